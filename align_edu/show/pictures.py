"""Figures made of pictures: grids, and galleries of searches."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from align_edu.show import style
from align_edu.show.style import Picture, drawing, wrapped

_LETTER = 0.074  # inches, about the width of a letter of 8 points


def picture_grid(
    images: Sequence[Image.Image],
    captions: Sequence[str] | None = None,
    columns: int = 6,
    title: str | None = None,
) -> Picture:
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
    queries: Sequence[str],
    found: Sequence[Sequence[Image.Image]],
    scores: Sequence[Sequence[float]],
    correct: Sequence[Sequence[bool]] | None = None,
) -> Picture:
    """Draw one row per query: its text, then the pictures that it found, the best first.

    found, scores: for each query its pictures, and the similarity of each. correct: True frames
    and ticks a picture that the text describes.

    >>> figure = search_gallery(["a cat"], [[Image.new("RGB", (9, 9))]], [[0.5]], [[True]])
    >>> figure.axes[1].get_xlabel()
    '✓ 0.50'
    """
    columns = max((len(row) for row in found), default=0)
    text_width = 2.2  # in pictures
    cell = style.WIDTH / (columns + text_width)
    with drawing(max(len(queries) * (cell + 0.24), 0.5)) as figure:
        widths = [text_width] + [1] * columns
        grid = figure.add_gridspec(len(queries), columns + 1, width_ratios=widths)
        for row, query in enumerate(queries):
            axes = figure.add_subplot(grid[row, 0])
            axes.set_axis_off()
            text = wrapped(query, int(0.9 * text_width * cell / _LETTER), 5)
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
    style.bare(axes)
    axes.spines[:].set(visible=True, color=style.LINE, linewidth=1)
    axes.set_xlabel(label, fontsize=8, color=colour)
