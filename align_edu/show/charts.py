"""Bars and curves: funnel, training, recall, temperature, costs, and recorded sweeps."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from align_edu.show import style
from align_edu.show.style import Picture, drawing, wrapped

if TYPE_CHECKING:
    from align_edu.claims.verdicts import Estimate

_BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}  # of a legend


def funnel_bars(funnel: Mapping[str, Any]) -> Picture:
    """Draw the pairs left after each filter that was applied, as bars from the raw pairs down.

    funnel: `Funnel.to_dict()` or the content of funnel.json. Paper: Section 3.

    >>> step = {"says": "too small", "applied": True, "pairs_in": 100, "dropped": 20}
    >>> [text.get_text() for text in funnel_bars({"raw": 100, "steps": [step]}).axes[0].texts]
    ['100', '80  (−20)']
    """
    steps = [step for step in funnel["steps"] if step["applied"]]
    before = np.array([funnel["raw"], *(step["pairs_in"] for step in steps)])
    left = before - np.array([0, *(step["dropped"] for step in steps)])
    whole = max(int(funnel["raw"]), 1)
    names = ["raw pairs", *(wrapped(step["says"], 44, 2) for step in steps)]
    texts = [
        f"{count:,}  (−{first - count:,})" if first > count else f"{count:,}"
        for count, first in zip(left.tolist(), before.tolist())
    ]
    with drawing(1.25 + 0.34 * len(steps)) as figure:
        axes = figure.add_subplot()
        _bars_down(axes, names, left, texts, before + 0.01 * whole).set_label("left")
        dropped = axes.barh(range(len(names)), before - left, 0.7, left, color=style.SKY)
        dropped.set_label("dropped here")
        axes.set(xlim=(0, 1.22 * whole), xlabel="pairs")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def cost_bars(
    parts: Mapping[str, float], unit: str, limit: float | None = None, title: str | None = None
) -> Picture:
    """Draw the parts of a cost as bars, the largest on top, and what is available as a line.

    parts: name and size of each part, in ``unit``. limit: what is available, for their sum.
    Paper: Section 5 (the devices of the run).

    >>> figure = cost_bars({"weights": 3.0, "activations": 20.0}, "GiB", limit=16.0)
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['20', '3', '16 available']
    """
    names = sorted(parts, key=lambda name: parts[name], reverse=True)
    sizes = np.array([parts[name] for name in names])
    end = 1.15 * max([*sizes, limit or 0.0])
    with drawing(0.9 + 0.34 * len(names), title) as figure:
        axes = figure.add_subplot()
        _bars_down(axes, names, sizes, [f"{size:.3g}" for size in sizes], sizes + 0.01 * end)
        if limit is not None:
            axes.axvline(limit, color=style.ORANGE, linestyle="--")
            text = axes.text(limit + 0.01 * end, len(names) - 1, f"{limit:.3g} available")
            text.set(va="center", fontsize=9, color=style.ORANGE)
        axes.set(xlim=(0, end), xlabel=unit)
    return figure


def training_curves(rows: Sequence[Mapping[str, Any]]) -> Picture:
    """Draw the loss beside its floor and its chance level, and the temperature.

    rows: the lines of a run's metrics.jsonl.
    Paper: Section 4.1 (the learned temperature), Section 5 (label smoothing gives a floor).

    >>> row = {"step": 1, "loss": 5.0, "floor": 0.3, "chance": 9.7, "temperature": 0.07}
    >>> [axes.get_title(loc="left") for axes in training_curves([row]).axes]
    ['loss', 'temperature σ']
    """
    steps, sigmas, loss, chance, floor = (
        [row[key] for row in rows] for key in ("step", "temperature", "loss", "chance", "floor")
    )
    with drawing(3.2) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(steps, chance, color=style.MUTED, linestyle="--")
        left.plot(steps, floor, color=style.GREEN, linestyle="--")
        left.plot(steps, loss, color=style.BLUE)
        left.set(title="loss", ylim=(0, 1.15 * max(*chance, *loss)))
        # The curve starts high and ends low: place the labels where it is not.
        text: Any = {"va": "bottom", "fontsize": 8.5, "transform": left.get_yaxis_transform()}
        left.text(0.98, chance[-1], "knows nothing", color=style.MUTED, ha="right", **text)
        left.text(0.02, floor[0], "lowest possible", color=style.GREEN, ha="left", **text)
        right.plot(steps, sigmas, color=style.ORANGE)
        right.set(title="temperature σ", ylim=(0, 1.08 * max(sigmas)))
        for axes in (left, right):
            axes.set(xlabel="step")
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure


def recall_bars(result: Mapping[str, Any]) -> Picture:
    """Draw the recalls that `evaluate_retrieval` returns; held-out scenes beside all scenes.

    >>> recall = {"R@1": 0.5, "R@5": 0.75}
    >>> figure = recall_bars({"image_to_text": recall, "text_to_image": recall})
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['50', '75']
    """
    parts = [("all scenes", style.BLUE, result)]
    if "held_out" in result:
        parts.append(("never seen in training", style.SKY, result["held_out"]))
    width = 0.8 / len(parts)
    with drawing(3.0) as figure:
        for axes, direction in zip(figure.subplots(1, 2), ("image_to_text", "text_to_image")):
            for place, (label, colour, part) in enumerate(parts):
                names, heights = list(part[direction]), list(part[direction].values())
                x = np.arange(len(names)) + (place - (len(parts) - 1) / 2) * width
                bars = axes.bar(x, heights, 0.94 * width, color=colour, label=label)
                axes.bar_label(bars, [f"{100 * v:.0f}" for v in heights], fontsize=9, padding=1)
            axes.set(title=direction.replace("_", " "), ylim=(0, 1.1), yticks=np.linspace(0, 1, 6))
            axes.set_xticks(range(len(names)), names)
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.grid(axis="x", visible=False)
        if len(parts) > 1:
            handles, labels = figure.axes[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def temperature_curves(
    sigmas: Sequence[float], lines: Mapping[str, Sequence[float]], ylabel: str,
    marks: Mapping[str, tuple[float, float]] | None = None,
) -> Picture:  # fmt: skip
    """Draw quantities that depend on the temperature, as lines over σ on a logarithmic scale.

    sigmas: temperatures, in order. lines: label -> one value per temperature, of what ``ylabel``
    names. marks: label -> (σ, value), points of interest.
    Paper: Section 4.1 (the temperature scales the logits).

    >>> figure = temperature_curves([1 / 64, 1.0], {"share": [0.9, 0.1]}, "share")
    >>> figure.axes[0].get_xscale()
    'log'
    """
    low, high = min(sigmas), max(sigmas)
    powers = range(int(np.floor(np.log2(low))), int(np.ceil(np.log2(high))) + 1)
    with drawing(3.2) as figure:
        axes = figure.add_subplot(xscale="log", ylabel=ylabel, xlabel="temperature σ")
        for (label, values), colour in zip(lines.items(), style.CYCLE):
            axes.plot(sigmas, values, color=colour, label=label)
        for label, (sigma, value) in (marks or {}).items():
            axes.plot(sigma, value, "o", color=style.INK, markersize=5)
            offset: dict[str, Any] = {"xytext": (0, 8), "textcoords": "offset points"}
            axes.annotate(label, (sigma, value), ha="center", fontsize=8.5, **offset)
        axes.set_xticks([2.0**p for p in powers if 0.99 * low <= 2.0**p <= 1.01 * high])
        axes.xaxis.set_minor_locator(NullLocator())
        # As the paper writes temperatures: 1/64.
        axes.xaxis.set_major_formatter(lambda s, _: f"1/{1 / s:.0f}" if s < 1 else f"{s:.0f}")
        if len(lines) > 1:
            axes.legend(**_BESIDE)
    return figure


def softmax_bars(cosines: Sequence[float], parts: Mapping[str, Sequence[float]]) -> Picture:
    """Draw the cosines of one image with some texts, and beside them what is computed from them.

    cosines: one per text, the positive text first. parts: label -> one number per text.
    Paper: Section 4.1, eq. (1).

    >>> figure = softmax_bars([0.5, 0.2], {"probability": [0.9, 0.1]})
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['cosine', 'probability']
    """
    panels = {"cosine": cosines, **parts}
    with drawing(2.4) as figure:
        for axes, (label, values) in zip(figure.subplots(1, len(panels)), panels.items()):
            colours = [style.GREEN] + [style.BLUE] * (len(values) - 1)
            bars = axes.bar(range(len(values)), values, color=colours)
            axes.bar_label(bars, [f"{v:.2f}" for v in values], fontsize=8.5, padding=1)
            axes.set(title=label, xlabel="text", ylim=(min(0, *values) * 1.7, 1.12))
            axes.set_xticks(range(len(values)), ["own", *map(str, range(1, len(values)))])
            axes.grid(axis="x", visible=False)
            axes.axhline(0, color=style.MUTED, linewidth=0.8)
    return figure


def interval_dots(
    rows: Mapping[str, "Estimate"], measure: str, paper: Mapping[str, float] | None = None
) -> Picture:
    """Draw one row per variant: a dot for each seed, the mean, and its 95 % interval.

    measure: what is shown, in words; values are shares, drawn as per cent. paper: the paper's
    numbers for the rows that it has, in a panel beside those of the toy world.

    >>> from align_edu.claims.verdicts import Estimate
    >>> rows = {"all negatives": Estimate(0.5, 0.4, 0.6, (0.45, 0.55))}
    >>> figure = interval_dots(rows, "found first", {"all negatives": 51.7})
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['toy world: found first', 'the paper']
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
        axes.set(title="toy world: " * bool(paper) + measure, ylim=(len(rows) - 0.5, -0.7))
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
        axes.legend(**_BESIDE)
    return figure


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]], xlabel: str, ylabel: str, over: bool = False
) -> Picture:
    """Draw lines, label -> points (x, y). over: the first is thick, and shows under its equal.

    >>> curves({"recorded": [(1, 9.0)]}, "step", "loss", over=True).axes[0].lines[0].get_lw()
    5.0
    """
    with drawing(3.2) as figure:
        axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
        for number, (label, points) in enumerate(lines.items()):
            dashed, place = divmod(number, len(style.CYCLE))
            how: Any = {"color": style.CYCLE[place], "linestyle": "--" if dashed else "-"}
            wide = 5.0 if over and number == 0 else 2.0
            axes.plot(*zip(*points), label=label, linewidth=wide, **how)
        axes.legend(**_BESIDE)
    return figure


def _bars_down(
    axes: Axes, names: Sequence[str], lengths: np.ndarray, texts: Sequence[str], ends: np.ndarray
) -> Any:
    """Draw named bars from top to bottom, each with a text at its end; return the bars."""
    bars = axes.barh(range(len(names)), lengths, color=style.BLUE, height=0.7)
    axes.set_yticks(range(len(names)), names, color=style.INK)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    for place, (x, text) in enumerate(zip(ends, texts)):
        paper: Any = {"facecolor": style.PAPER, "edgecolor": "none", "pad": 1}  # hides the grid
        axes.text(x, place, text, va="center", fontsize=9, bbox=paper)
    return bars
