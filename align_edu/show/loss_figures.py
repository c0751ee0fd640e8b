"""Figures of the loss: small matrices side by side, and curves over the temperature."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator
from torch import Tensor

from align_edu.show.style import (
    BLUE,
    GREEN,
    INK,
    LINE,
    MUTED,
    ORANGE,
    PAPER,
    PINK,
    WIDTH,
    Picture,
    course_style,
    new_figure,
    wrapped,
)

ACROSS = 3  # matrices in a row
NUMBERS = 4  # the largest matrix with numbers in its cells
LABEL, HEAD = 0.4, 0.62  # inches beside and above each matrix
_SIGNED = LinearSegmentedColormap.from_list("signed", [ORANGE, PAPER, BLUE])
_LINES = (BLUE, ORANGE, GREEN, PINK, MUTED)


def matrix_row(
    matrices: Mapping[str, Tensor | np.ndarray],
    title: str | None = None,
    largest: float | None = None,
) -> Picture:
    """Return square matrices side by side: blue above zero, orange below, the pairs framed.

    Parameters
    ----------
    matrices : words -> (N, N), image i in row i, text j in column j.
    title : words above all.
    largest : the size of a number that has the full colour; without it, each matrix's own.

    Paper: Section 4.1, eq. (1) runs along the rows, eq. (2) down the columns.

    >>> figure = matrix_row({"cosines": np.eye(2), "gradient": -np.eye(2)})
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['cosines', 'gradient']
    """
    columns = min(len(matrices), ACROSS)
    rows = -(-len(matrices) // ACROSS)
    side = WIDTH / ACROSS - LABEL
    figure = new_figure(rows * (side + HEAD) + (0.4 if title else 0.1), title)
    with course_style():
        for number, (words, matrix) in enumerate(matrices.items(), 1):
            axes = figure.add_subplot(rows, max(columns, ACROSS), number)
            _matrix(axes, np.asarray(matrix, dtype=np.float64), largest)
            axes.set_title(wrapped(words, 26, 2), fontsize=10)
    return figure


def temperature_curves(
    sigmas: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    ylabel: str,
    marks: Mapping[str, tuple[float, float]] | None = None,
    title: str | None = None,
) -> Picture:
    """Return what depends on the temperature, as lines over σ on a logarithmic scale.

    Parameters
    ----------
    sigmas : temperatures, in order.
    lines : words -> one value a temperature.
    ylabel : what the values are.
    marks : words -> (σ, value), points of interest with their words beside them.

    Paper: Section 4.1 (the temperature scales the logits).

    >>> figure = temperature_curves([1 / 64, 1.0], {"share": [0.9, 0.1]}, "share")
    >>> figure.axes[0].get_xscale()
    'log'
    """
    figure = new_figure(3.2, title)
    with course_style():
        axes = figure.add_subplot(xscale="log", ylabel=ylabel, xlabel="temperature σ")
        for number, (words, values) in enumerate(lines.items()):
            axes.plot(sigmas, values, color=_LINES[number % len(_LINES)], label=words)
        for words, (sigma, value) in (marks or {}).items():
            axes.plot(sigma, value, "o", color=INK, markersize=5)
            axes.annotate(
                words, (sigma, value), (0, 8), textcoords="offset points", ha="center", fontsize=8.5
            )
        _powers_of_two(axes, min(sigmas), max(sigmas))
        if len(lines) > 1:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def softmax_bars(cosines: Sequence[float], parts: Mapping[str, Sequence[float]]) -> Picture:
    """Return one image against some texts: its cosines, and beside them what is made of them.

    Parameters
    ----------
    cosines : one a text, the image's own text first.
    parts : words -> one number a text, such as its probability.

    Paper: Section 4.1, eq. (1).

    >>> figure = softmax_bars([0.5, 0.2], {"probability": [0.9, 0.1]})
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['cosine', 'probability']
    """
    panels = {"cosine": cosines, **parts}
    figure = new_figure(2.2)
    with course_style():
        for axes, (words, values) in zip(figure.subplots(1, len(panels)), panels.items()):
            axes.set_title(words)
            bars = axes.bar(range(len(values)), values, color=[GREEN] + [BLUE] * (len(values) - 1))
            axes.bar_label(bars, [f"{v:.2f}" for v in values], fontsize=7.5, padding=1)
            axes.set(xticks=range(len(values)), ylim=(min(0, *values) * 1.6, 1.12))
            axes.set_xticklabels(["own", *map(str, range(1, len(values)))])
            axes.grid(axis="x", visible=False)
            axes.axhline(0, color=MUTED, linewidth=0.8)
    return figure


def _matrix(axes: Axes, values: np.ndarray, largest: float | None) -> None:
    """One matrix with its diagonal framed and, where there is room, its numbers."""
    n = len(values)
    top = largest or float(np.nanmax(np.abs(values))) or 1.0
    axes.imshow(values, cmap=_SIGNED, vmin=-top, vmax=top)
    axes.set(xticks=[], yticks=[], xlabel="text", ylabel="image")
    axes.spines[:].set(visible=True, color=LINE)
    axes.xaxis.labelpad = axes.yaxis.labelpad = 2
    axes.grid(visible=False)
    for i in range(n):
        frame = Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=1.4)
        axes.add_patch(frame).set(clip_on=False, zorder=3)
    if n <= NUMBERS:
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if abs(value) > 0.7 * top else INK
            axes.text(column, row, f"{value:z.2f}", ha="center", va="center", fontsize=9, c=colour)


def _powers_of_two(axes: Axes, low: float, high: float) -> None:
    """Ticks at 1/64, 1/32 and so on, named as the paper names temperatures."""
    powers = range(int(np.floor(np.log2(low))), int(np.ceil(np.log2(high))) + 1)
    ticks = [2.0**p for p in powers if 0.99 * low <= 2.0**p <= 1.01 * high]
    axes.set_xticks(ticks)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda sigma, _: f"1/{1 / sigma:.0f}" if sigma < 1 else f"{sigma:.0f}")
    )
