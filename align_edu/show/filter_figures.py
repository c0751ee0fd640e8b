"""Figures of the filters: which rule catches which noise, and what a hash recognises."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from align_edu.show.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PINK,
    SKY,
    YELLOW,
    Picture,
    course_style,
    new_figure,
)

_LINES = (BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, INK, MUTED)


def rule_matrix(funnel: Mapping[str, Any], title: str | None = None) -> Picture:
    """Return a matrix: for each kind of noise, the share of its pairs that each rule alone drops.

    Parameters
    ----------
    funnel : `Funnel.to_dict()` of a filter on the toy world, or what funnel.json holds.

    Paper: Section 3.

    >>> truth = {"pairs": {"clean": 90, "one_word": 10}, "dropped": {"clean": 0, "one_word": 9},
    ...          "by_rule": {"clean": {"length": 0}, "one_word": {"length": 9}}}
    >>> [text.get_text() for text in rule_matrix({"truth": truth}).axes[0].texts]
    ['·', '·', '90', '90']
    """
    truth = funnel["truth"]
    kinds = list(truth["pairs"])
    rules = list(next(iter(truth["by_rule"].values())))
    counts = [[*truth["by_rule"][kind].values(), truth["dropped"][kind]] for kind in kinds]
    shares = np.array(counts) / np.array([[truth["pairs"][kind]] for kind in kinds])
    figure = new_figure(1.3 + 0.27 * len(kinds), title)
    with course_style():
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
        axes.set_xticks(range(len(rules) + 1), [*rules, "any rule"], rotation=25, ha="left")
        axes.xaxis.tick_top()
        axes.set_yticks(range(len(kinds)), kinds)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.6 else INK
            text = f"{100 * share:.0f}" if round(100 * share) else "·"
            axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=colour)
        axes.axvline(len(rules) - 0.5, color=MUTED, linewidth=1)
        axes.set_xlabel("per cent of the kind's pairs")
    return figure


def hash_curve(
    bits: Sequence[int],
    found: Mapping[str, Sequence[float]],
    chosen: int,
    title: str | None = None,
) -> Picture:
    """Return the share of edited images that a hash still finds, for each allowed distance.

    Parameters
    ----------
    bits : allowed distances.
    found : edit -> share found at each distance.
    chosen : the distance in use, drawn as a line.

    >>> figure = hash_curve([0, 10, 20], {"resized": [0.2, 1.0, 1.0]}, chosen=10)
    >>> [line.get_label() for line in figure.axes[0].lines][0]
    'resized'
    """
    figure = new_figure(3.4, title)
    with course_style():
        axes = figure.add_subplot()
        for number, (edit, shares) in enumerate(found.items()):
            style = "-" if number < len(_LINES) else "--"
            axes.plot(bits, shares, style, color=_LINES[number % len(_LINES)], label=edit)
        axes.axvline(chosen, color=MUTED, linestyle=":")
        axes.set_xlabel("bits of 256 that may differ")
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
