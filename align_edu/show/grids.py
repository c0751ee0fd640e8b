"""Grids: pictures with captions, what searches found, and matrices of numbers as colours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps
from torch import Tensor

from align_edu.show import style
from align_edu.show.style import Picture, bare, course_style, drawing, new_figure, wrapped

_ACROSS = 3  # matrices in a row
_LABEL, _HEAD = 0.4, 0.62  # inches beside and above each matrix of a row
_FRAMES = 32  # the largest similarity matrix with frames on its diagonal
_SIGNED = LinearSegmentedColormap.from_list(
    "signed", [style.ORANGE, style.PAPER, style.BLUE]
).with_extremes(bad=style.LINE)
_LETTER = 0.074  # inches, about the width of a letter of 8 points


def picture_grid(
    images: Sequence[Image.Image], captions: Sequence[str] | None = None,
    columns: int = 6, title: str | None = None,
) -> Picture:  # fmt: skip
    """Draw pictures of any size in rows of ``columns``, each with its caption below.

    captions: one text per picture, cut after four lines.

    >>> figure = picture_grid([Image.new("RGB", (9, 9))] * 3, ["one", "two", "three"], columns=2)
    >>> figure.axes[2].get_xlabel()
    'three'
    """
    rows = -(-len(images) // columns)
    cell = style.WIDTH / columns
    texts = [wrapped(text, int(cell / _LETTER), 4) for text in captions or [""] * len(images)]
    lines = max((text.count("\n") + bool(text) for text in texts), default=0)
    height = max(rows * (cell + 0.06 + 0.15 * lines), 0.5) + (0.4 if title else 0.0)
    with drawing(height, title) as figure:
        for number, (image, text) in enumerate(zip(images, texts, strict=True)):
            axes = figure.add_subplot(rows, columns, number + 1)
            _show(axes, image, text, style.INK)
    return figure


def search_gallery(
    queries: Sequence[str], found: Sequence[Sequence[Image.Image]],
    scores: Sequence[Sequence[float]], correct: Sequence[Sequence[bool]] | None = None,
    starts: Sequence[Image.Image] | None = None,
) -> Picture:  # fmt: skip
    """Draw one row per query: its text, then the pictures that it found, the best first.

    found, scores: for each query its pictures, and the similarity of each. correct: True frames
    and ticks a picture that the text describes. starts: the picture that each query starts from,
    drawn above its text.

    >>> figure = search_gallery(["a cat"], [[Image.new("RGB", (9, 9))]], [[0.5]], [[True]])
    >>> figure.axes[1].get_xlabel()
    '✓ 0.50'
    """
    columns = max((len(row) for row in found), default=0)
    text_width, below = (1.2, 0.54) if starts else (2.2, 0.24)  # in pictures; in inches
    cell = style.WIDTH / (columns + text_width)
    with drawing(max(len(queries) * (cell + below), 0.5)) as figure:
        widths = [text_width] + [1] * columns
        grid = figure.add_gridspec(len(queries), columns + 1, width_ratios=widths)
        for row, query in enumerate(queries):
            axes = figure.add_subplot(grid[row, 0])
            text = wrapped(query, int(0.9 * text_width * cell / _LETTER), 5)
            if starts:
                _show(axes, starts[row], text, style.INK)
                axes.spines[:].set(color=style.ORANGE, linewidth=3)
            else:
                axes.set_axis_off()
                axes.text(0, 0.5, text, va="center", fontsize=9)
            for place, image in enumerate(found[row]):
                right = bool(correct and correct[row][place])
                label = f"{'✓ ' if right else ''}{scores[row][place]:.2f}"
                axes = figure.add_subplot(grid[row, place + 1])
                _show(axes, image, label, style.GREEN if right else style.MUTED)
                if right:
                    axes.spines[:].set(color=style.GREEN, linewidth=3)
    return figure


def _show(axes: Axes, image: Image.Image, label: str, colour: str) -> None:
    axes.imshow(np.asarray(style.thumbnail(image)))
    bare(axes)
    axes.spines[:].set(visible=True, color=style.LINE, linewidth=1)
    axes.set_xlabel(label, fontsize=8, color=colour)


def rule_matrix(funnel: Mapping[str, Any]) -> Picture:
    """Draw the share of each kind of noise that each rule alone drops, and that all drop.

    funnel: `Funnel.to_dict()` of a filter on the toy world, or the content of funnel.json.
    Paper: Section 3.

    >>> truth = {"pairs": {"clean": 90, "one_word": 10}, "dropped": {"clean": 0, "one_word": 9},
    ...          "by_rule": {"clean": {"length": 0}, "one_word": {"length": 9}}}
    >>> [text.get_text() for text in rule_matrix({"truth": truth}).axes[0].texts]
    ['·', '·', '90', '90']
    """
    truth = funnel["truth"]
    kinds = list(truth["pairs"])
    rules = list(truth["by_rule"][kinds[0]])
    counts = [[*truth["by_rule"][kind].values(), truth["dropped"][kind]] for kind in kinds]
    shares = np.array(counts) / np.array([[truth["pairs"][kind]] for kind in kinds])
    with drawing(1.3 + 0.27 * len(kinds)) as figure:
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
        axes.set_xticks(range(len(rules) + 1), [*rules, "any rule"], rotation=25, ha="left")
        axes.xaxis.tick_top()
        axes.set_yticks(range(len(kinds)), kinds)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        _numbers(axes, 100 * shares, ".0f", shares > 0.6, size=8.5, zero="·")
        axes.axvline(len(rules) - 0.5, color=style.MUTED, linewidth=1)
        axes.set_xlabel("per cent of the kind's pairs")
    return figure


def matrix_row(
    matrices: Mapping[str, Tensor | np.ndarray], largest: float | None = None, unit: str = ""
) -> Picture:
    """Draw square matrices side by side: blue above zero, orange below, positive pairs framed.

    matrices: label -> (N, N), image i in row i, text j in column j; nan is drawn gray.
    largest: the absolute value drawn in full colour; by default the largest of each matrix.
    unit: what the cells hold; given, each matrix has its range, and all a common colour scale.
    Paper: Section 4.1, eq. (1) runs along the rows, eq. (2) down the columns.

    >>> figure = matrix_row({"cosines": np.eye(2), "gradient": -np.eye(2)})
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['cosines', 'gradient']
    """
    rows = -(-len(matrices) // _ACROSS)
    side = style.WIDTH / _ACROSS - _LABEL
    if unit and not largest:
        largest = max(float(np.nanmax(np.abs(np.asarray(each)))) for each in matrices.values())
    with drawing(rows * (side + _HEAD) + 0.1) as figure:
        for number, (label, matrix) in enumerate(matrices.items(), 1):
            axes = figure.add_subplot(rows, _ACROSS, number)
            values = np.asarray(matrix, dtype=np.float64)
            top = largest or float(np.nanmax(np.abs(values))) or 1.0
            shown = axes.imshow(values, cmap=_SIGNED, vmin=-top, vmax=top)
            axes.set(xticks=[], yticks=[], xlabel="text", ylabel="image")
            axes.spines[:].set(visible=True, color=style.LINE)
            axes.xaxis.labelpad = axes.yaxis.labelpad = 2
            axes.grid(visible=False)
            _frames(axes, len(values), style.INK, clip_on=False, zorder=3)
            if len(values) <= 4:
                _numbers(axes, values, "z.2f", np.abs(values) > 0.7 * top, size=9)
            limits = f"\n{np.nanmin(values):z.2f} to {np.nanmax(values):z.2f}" if unit else ""
            axes.set_title(wrapped(label, 26, 2) + limits, fontsize=10)
        if unit:
            scale = figure.colorbar(shown, ax=figure.axes, label=unit, aspect=40, fraction=0.03)
            scale.outline.set_visible(False)
    return figure


def similarity_matrix(
    similarity: Tensor | np.ndarray,
    images: Sequence[Image.Image] = (), captions: Sequence[str] = (),
) -> Picture:  # fmt: skip
    """Draw the cosines of images and texts: one image per row, one text per column.

    similarity: (I, T) cosines, pairs framed. images, captions: I pictures and T texts, or none.
    Paper: Section 4.1; eq. (1) and eq. (2) raise the framed cells over their row and column.

    >>> figure = similarity_matrix(np.eye(2), captions=["a cat", "a dog"])
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['a cat', 'a dog']
    """
    values = np.asarray(similarity, dtype=np.float64)  # (I, T)
    rows, texts = values.shape
    columns = texts + bool(images)
    cell = min((style.WIDTH - 1.1) / columns, 0.9)  # inches; the colour scale takes one
    labels = [wrapped(text, int(cell / _LETTER), 6) for text in captions]
    lines = max((label.count("\n") + 1 for label in labels), default=0)
    figure = new_figure(cell * rows + 0.14 * lines + 0.2)
    figure.set_layout_engine("none")  # it cannot fit squares below long labels
    with course_style():
        axes = _axes_at(figure, 0.1, cell * columns, cell * rows)
        shown = axes.imshow(values, cmap="Blues")
        for row, image in enumerate(images):  # left of the first column, in the cells' size
            square = ImageOps.fit(image.convert("RGB"), (style.THUMBNAIL, style.THUMBNAIL))
            axes.imshow(square, extent=(-1.5, -0.58, row + 0.46, row - 0.46))
        axes.set(xlim=(texts - 0.5 - columns, texts - 0.5), ylim=(rows - 0.5, -0.5))
        bare(axes)
        axes.xaxis.tick_top()
        axes.set_xticks(range(len(labels)), labels, fontsize=8, color=style.INK)
        if max(values.shape) <= _FRAMES:
            _frames(axes, min(values.shape), style.ORANGE)
        if max(values.shape) <= 12:
            dark = values > (values.min() + 2 * values.max()) / 3
            _numbers(axes, values, "z.2f", dark, size=8)
        scale = _axes_at(figure, cell * columns + 0.22, 0.14, cell * rows)
        figure.colorbar(shown, cax=scale, label="cosine").outline.set_visible(False)
    return figure


def heat_maps(
    maps: Mapping[str, Mapping[tuple[str, str], float]], rows: Sequence[str], columns: Sequence[str]
) -> Picture:
    """Draw numbers over two sizes as heat maps side by side; a dash where there is none.

    maps: title -> (row, column) -> number. Paper: Section 6.1, Figure 3.

    >>> figure = heat_maps({"retrieval": {("B7", "Base"): 55.4}}, ["B7"], ["Mini", "Base"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['–', '55.4']
    """
    with drawing(0.9 + 0.66 * len(rows)) as figure:
        panels = figure.subplots(1, len(maps), squeeze=False)[0]
        for axes, (title, cells) in zip(panels, maps.items()):
            values = np.array([[cells.get((r, c), np.nan) for c in columns] for r in rows])
            low, high = min(cells.values()), max(cells.values())
            room = max(high - low, 1.0)  # light colours only, to be read on
            limits = {"vmin": low - 0.2 * room, "vmax": high + room}
            axes.imshow(values, cmap="Blues", aspect="auto", **limits)
            axes.set(title=title, xlabel="text tower", ylabel="image tower")
            axes.set_xticks(range(len(columns)), columns)
            axes.set_yticks(range(len(rows)), rows)
            axes.grid(visible=False)
            _numbers(axes, values, ".1f", np.zeros(values.shape, bool), size=10)
    return figure


def _axes_at(figure: Picture, left: float, width: float, height: float) -> Axes:
    """Add axes near the figure's lower edge; lengths are in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, 0.1 / up, width / across, height / up))


def _frames(axes: Axes, count: int, colour: str, **options: Any) -> None:
    """Frame the cells of the diagonal."""
    for i in range(count):
        frame = Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=colour, linewidth=1.4)
        axes.add_patch(frame).set(**options)


def _numbers(
    axes: Axes, values: np.ndarray, form: str, dark: np.ndarray, size: float, zero: str = ""
) -> None:
    """Write each cell's number into it, a dash for none, in white where the cell is dark."""
    for (row, column), value in np.ndenumerate(values):
        text = zero if zero and not round(value) else f"{value:{form}}"
        text = "–" if np.isnan(value) else text
        colour = "white" if dark[row, column] else style.INK
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
