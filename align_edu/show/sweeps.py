"""Recorded sweeps: dots with intervals, lines over a size, and heat maps of two sizes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import NullLocator, PercentFormatter

from align_edu.show import style
from align_edu.show.style import Picture, drawing, wrapped

if TYPE_CHECKING:
    from align_edu.claims.verdicts import Estimate


def interval_dots(
    rows: Mapping[str, "Estimate"], measure: str, paper: Mapping[str, float] | None = None
) -> Picture:
    """Draw one row per variant: a dot for each seed, the mean, and its 95 % interval.

    measure: what is shown, in words; values are shares, drawn as per cent. paper: the paper's own
    numbers for the rows that it has, in a panel beside ours.

    >>> from align_edu.claims.verdicts import Estimate
    >>> rows = {"all negatives": Estimate(0.5, 0.4, 0.6, (0.45, 0.55))}
    >>> figure = interval_dots(rows, "found first", {"all negatives": 51.7})
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['here: found first', 'the paper']
    """
    places = range(len(rows))
    with drawing(1.0 + 0.36 * len(rows)) as figure:
        ratios = [3, 1] if paper else [1]
        panels = figure.subplots(1, len(ratios), squeeze=False, width_ratios=ratios)[0]
        axes = panels[0]
        for place, row in enumerate(rows.values()):
            axes.plot([row.low, row.high], [place, place], color=style.SKY, linewidth=5, zorder=1)
            axes.plot(row.seeds, [place] * len(row.seeds), "o", color=style.BLUE, markersize=4.5)
            axes.plot(row.mean, place, "|", color=style.INK, markersize=15, markeredgewidth=2)
            text: Any = {"xytext": (0, 9), "textcoords": "offset points", "ha": "center"}
            axes.annotate(f"{100 * row.mean:.1f}", (row.mean, place), fontsize=8.5, **text)
        axes.set(title=f"here: {measure}", ylim=(len(rows) - 0.5, -0.7))
        axes.set_yticks(places, [wrapped(name, 30, 2) for name in rows], color=style.INK)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        if paper:
            numbers = [paper.get(name, np.nan) for name in rows]
            panels[1].plot(numbers, places, "D", color=style.ORANGE, markersize=6)
            panels[1].set(title="the paper", ylim=axes.get_ylim())
            panels[1].set_yticks(places, [])
            panels[1].xaxis.set_major_formatter(PercentFormatter(100))
            panels[1].margins(x=0.25)
    return figure


def interval_lines(
    lines: Mapping[str, Mapping[float, "Estimate"]], xlabel: str, ylabel: str
) -> Picture:
    """Draw quality over a size on a logarithmic scale, one line with its interval per label.

    lines: label -> size -> estimate; values are shares, drawn as per cent.

    >>> from align_edu.claims.verdicts import Estimate
    >>> line = {1_000: Estimate(0.2, 0.1, 0.3, (0.2,)), 3_000: Estimate(0.4, 0.3, 0.5, (0.4,))}
    >>> interval_lines({"no noise": line}, "pairs", "found").axes[0].get_xscale()
    'log'
    """
    sizes = sorted({size for line in lines.values() for size in line})
    with drawing(3.8) as figure:
        axes = figure.add_subplot(xscale="log", xlabel=xlabel, ylabel=ylabel)
        for (label, line), colour in zip(lines.items(), style.CYCLE):
            points = sorted(line)
            low, high = ([getattr(line[x], end) for x in points] for end in ("low", "high"))
            axes.fill_between(points, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(points, [line[x].mean for x in points], "o-", color=colour, label=label)
            for x in points:
                seeds = line[x].seeds
                axes.plot([x] * len(seeds), seeds, "o", color=colour, markersize=3, alpha=0.6)
        axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def size_heat_maps(
    maps: Mapping[str, np.ndarray], rows: Sequence[str], columns: Sequence[str]
) -> Picture:
    """Draw qualities over two sizes as heat maps side by side, each with its numbers.

    maps: title -> (R, C) shares. rows, columns: names of the sizes, the smallest first.
    Paper: Section 6.1, Figure 3.

    >>> figure = size_heat_maps({"retrieval": np.array([[0.1, 0.2]])}, ["B1"], ["Mini", "Base"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['10.0', '20.0']
    """
    with drawing(0.9 + 0.72 * len(rows)) as figure:
        for axes, (title, values) in zip(
            figure.subplots(1, len(maps), squeeze=False)[0], maps.items()
        ):
            low, high = np.nanmin(values), np.nanmax(values)
            axes.imshow(values, cmap="Blues", vmin=low - 0.2 * (high - low), aspect="auto")
            axes.set(title=title)
            axes.set_xticks(range(len(columns)), columns)
            axes.set_yticks(range(len(rows)), rows)
            axes.tick_params(length=0)
            axes.grid(visible=False)
            for (row, column), value in np.ndenumerate(values):
                colour = style.PAPER if value > (low + 1.5 * high) / 2.5 else style.INK
                axes.text(column, row, f"{100 * value:.1f}", ha="center", va="center", color=colour)
    return figure


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], xlabel: str, ylabel: str) -> Picture:
    """Draw lines over one another, each later one thinner, so that equal ones are all seen.

    lines: label -> points (x, y).

    >>> curves({"recorded": [(1, 9.0)], "live": [(1, 9.1)]}, "step", "loss").axes[0].get_ylabel()
    'loss'
    """
    with drawing(3.0) as figure:
        axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
        for number, ((label, points), colour) in enumerate(zip(lines.items(), style.CYCLE)):
            x, y = zip(*points)
            axes.plot(x, y, color=colour, label=label, linewidth=max(1.5, 5 - 3 * number))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
