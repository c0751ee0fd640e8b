"""Bars and curves: the funnel, the training, the recall."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from align_edu.show.style import (
    BLUE,
    GREEN,
    INK,
    LINE,
    MUTED,
    ORANGE,
    SKY,
    Picture,
    course_style,
    new_figure,
    wrapped,
)


def funnel_bars(funnel: Mapping[str, Any], title: str | None = None) -> Picture:
    """Return the pairs left after each filter, as bars from the raw pairs down.

    Parameters
    ----------
    funnel : `Funnel.to_json()` or what funnel.json holds. Rules that were not applied are
        left out.

    Paper: Section 3.

    >>> step = {"says": "too small", "applied": True, "pairs_in": 100, "dropped": 20}
    >>> [text.get_text() for text in funnel_bars({"raw": 100, "steps": [step]}).axes[0].texts]
    ['100', '80  (−20)']
    """
    steps = [step for step in funnel["steps"] if step["applied"]]
    before = np.array([funnel["raw"]] + [step["pairs_in"] for step in steps])
    left = before - np.array([0] + [step["dropped"] for step in steps])
    whole = max(int(funnel["raw"]), 1)
    figure = new_figure(1.25 + 0.34 * len(steps), title)
    with course_style():
        axes = figure.add_subplot()
        places = np.arange(len(before))
        axes.barh(places, left, color=BLUE, height=0.7, label="left")
        axes.barh(places, before - left, left=left, color=LINE, height=0.7, label="dropped here")
        names = ["raw pairs"] + [wrapped(step["says"], 44, 2) for step in steps]
        axes.set_yticks(places, names, color=INK)
        axes.invert_yaxis()
        for place, count, first in zip(
            places.tolist(), left.tolist(), before.tolist(), strict=True
        ):
            gone = f"  (−{first - count:,})" if first > count else ""
            axes.text(first + 0.01 * whole, place, f"{count:,}{gone}", va="center", fontsize=9)
        _pairs_axis(axes, 1.22 * whole)
    return figure


def training_curves(
    rows: Sequence[Mapping[str, Any]],
    recall: Sequence[tuple[int, float]] = (),
    title: str | None = None,
) -> Picture:
    """Return the loss beside its floor and its chance level, and the temperature.

    Parameters
    ----------
    rows : the lines of a run's metrics.jsonl, at least one.
    recall : (step, R@1) where it was measured; adds a third part.

    Paper: Section 4.1 (the learned temperature), Section 5 (label smoothing gives a floor).

    >>> row = {"step": 1, "loss": 5.0, "floor": 0.3, "chance": 9.7, "temperature": 0.07}
    >>> [axes.get_title(loc="left") for axes in training_curves([row]).axes]
    ['loss', 'temperature σ']
    """
    figure = new_figure(3.2, title)
    steps = [row["step"] for row in rows]
    with course_style():
        parts = figure.subplots(1, 3 if recall else 2)
        _loss_curve(parts[0], steps, rows)
        parts[1].set_title("temperature σ")
        parts[1].plot(steps, [row["temperature"] for row in rows], color=ORANGE)
        parts[1].set_ylim(0, 1.08 * max(row["temperature"] for row in rows))
        if recall:
            parts[2].set_title("R@1")
            parts[2].plot(*zip(*recall, strict=True), color=BLUE, marker="o", markersize=4)
            _percent_axis(parts[2], top=1.0)
        for axes in parts:
            axes.set_xlabel("step")
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure


def recall_bars(result: Mapping[str, Any], title: str | None = None) -> Picture:
    """Return the recalls of `evaluate_retrieval` as bars; held-out scenes beside all scenes.

    Parameters
    ----------
    result : what `evaluate_retrieval` returned.

    >>> recall = {"R@1": 0.5, "R@5": 0.75}
    >>> figure = recall_bars({"image_to_text": recall, "text_to_image": recall})
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['50', '75']
    """
    parts = [("all scenes", BLUE, result)]
    if "held_out" in result:
        parts.append(("never seen in training", SKY, result["held_out"]))
    figure = new_figure(3.0, title)
    with course_style():
        for axes, direction in zip(
            figure.subplots(1, 2), ("image_to_text", "text_to_image"), strict=True
        ):
            axes.set_title(direction.replace("_", " "))
            _recall_group(axes, [(label, colour, part[direction]) for label, colour, part in parts])
        if len(parts) > 1:
            handles, labels = figure.axes[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _loss_curve(axes: Axes, steps: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> None:
    loss, chance, floor = ([row[key] for row in rows] for key in ("loss", "chance", "floor"))
    axes.set_title("loss")
    axes.plot(steps, chance, color=MUTED, linestyle="--")
    axes.plot(steps, floor, color=GREEN, linestyle="--")
    axes.plot(steps, loss, color=BLUE)
    axes.set_ylim(0, 1.15 * max(*chance, *loss))
    # Words where the curve is not: it is low at the end and high at the start.
    across = axes.get_yaxis_transform()
    words: dict[str, Any] = {"va": "bottom", "fontsize": 8.5, "transform": across}
    axes.text(0.98, chance[-1], "knows nothing", color=MUTED, ha="right", **words)
    axes.text(0.02, floor[0], "lowest possible", color=GREEN, ha="left", **words)


def _pairs_axis(axes: Axes, top: float) -> None:
    axes.set_xlim(0, top)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("pairs")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _recall_group(axes: Axes, parts: Sequence[tuple[str, str, Mapping[str, float]]]) -> None:
    names = list(parts[0][2])
    width = 0.8 / len(parts)
    for place, (label, colour, recall) in enumerate(parts):
        x = np.arange(len(names)) + (place - (len(parts) - 1) / 2) * width
        heights = [recall[name] for name in names]
        bars = axes.bar(x, heights, 0.94 * width, color=colour, label=label)
        axes.bar_label(bars, [f"{100 * v:.0f}" for v in heights], fontsize=9, padding=1)
    axes.set_xticks(range(len(names)), names)
    axes.grid(axis="x", visible=False)
    _percent_axis(axes, top=1.1)


def _percent_axis(axes: Axes, top: float) -> None:
    axes.set_ylim(0, top)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
