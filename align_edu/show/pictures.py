"""Figures made of pictures: grids, search results, and images against texts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps
from torch import Tensor

from align_edu.io import written_whole
from align_edu.pairs.images import BrokenImage, decode_image
from align_edu.search import Hit
from align_edu.show.style import (
    GREEN,
    INK,
    LINE,
    MUTED,
    ORANGE,
    WIDTH,
    Picture,
    course_style,
    new_figure,
    to_png,
    wrapped,
)

LABELS, SCALE = 2.6, 1.0  # inches beside a matrix, for its captions and its scale
FRAMES, NUMBERS = 32, 12  # the largest matrix with frames, with numbers in its cells
THUMBNAIL = 160  # pixels; a cell cannot show more
LETTER = 0.074  # inches, about the width of a letter of 8 points


def picture_grid(
    images: Sequence[Image.Image],
    captions: Sequence[str] | None = None,
    columns: int = 6,
    title: str | None = None,
    marked: Sequence[bool] | None = None,
) -> Picture:
    """Return pictures in rows, each with its caption below.

    Parameters
    ----------
    images : pictures of any size.
    captions : one text a picture, cut after four lines.
    columns : pictures a row.
    title : words above all.
    marked : True frames a picture.

    >>> figure = picture_grid([Image.new("RGB", (9, 9))] * 3, ["one", "two", "three"], columns=2)
    >>> figure.axes[2].get_xlabel()
    'three'
    """
    rows = -(-len(images) // columns)
    cell = WIDTH / columns
    texts = [wrapped(text, int(cell / LETTER), 4) for text in captions or [""] * len(images)]
    lines = max((text.count("\n") + bool(text) for text in texts), default=0)
    figure = new_figure(
        max(rows * (cell + 0.06 + 0.15 * lines), 0.5) + (0.4 if title else 0.0), title
    )
    with course_style():
        for number, (image, text) in enumerate(zip(images, texts, strict=True)):
            axes = figure.add_subplot(rows, columns, number + 1)
            _show(axes, image, framed=bool(marked and marked[number]))
            axes.set_xlabel(text, fontsize=8, color=INK)
    return figure


def search_gallery(
    queries: Sequence[str],
    found: Sequence[Sequence[Image.Image]],
    scores: Sequence[Sequence[float]],
    correct: Sequence[Sequence[bool]] | None = None,
    title: str | None = None,
) -> Picture:
    """Return one row a query: its words, then the pictures that it found, the best first.

    Parameters
    ----------
    queries : the words searched for.
    found : for each query its pictures.
    scores : for each picture its similarity.
    correct : True frames the picture that the words describe and adds a tick.

    >>> figure = search_gallery(["a cat"], [[Image.new("RGB", (9, 9))]], [[0.5]], [[True]])
    >>> figure.axes[1].get_xlabel()
    '✓ 0.50'
    """
    columns = max((len(row) for row in found), default=0)
    words = 2.2  # the query's words are as wide as so many pictures
    cell = WIDTH / (columns + words)
    figure = new_figure(max(len(queries) * (cell + 0.24), 0.5) + (0.4 if title else 0.0), title)
    with course_style():
        grid = figure.add_gridspec(len(queries), columns + 1, width_ratios=[words] + [1] * columns)
        for row, query in enumerate(queries):
            axes = figure.add_subplot(grid[row, 0])
            axes.set_axis_off()
            text = wrapped(query, int(0.9 * words * cell / LETTER), 5)
            axes.text(0, 0.5, text, va="center", fontsize=9)
            for place, image in enumerate(found[row]):
                right = bool(correct and correct[row][place])
                axes = figure.add_subplot(grid[row, place + 1])
                _show(axes, image, framed=right)
                label = f"{'✓ ' if right else ''}{scores[row][place]:.2f}"
                axes.set_xlabel(label, fontsize=8, color=GREEN if right else MUTED)
    return figure


def save_search_picture(path: str | Path, query: str, hits: Sequence[Hit]) -> Path:
    """Write the pictures that a search found as a grid in a PNG file, and return the file.

    Parameters
    ----------
    path : the file, written whole or not at all.
    query : the words above the pictures.
    hits : from `search`; a picture that can no longer be read is shown as an empty frame.

    Raises InputError when the file cannot be written.
    """
    images = [_read(hit.path) for hit in hits]
    captions = [f"{hit.rank}. {hit.path.name} ({hit.score:.2f})" for hit in hits]
    data = to_png(picture_grid(images, captions, columns=5, title=query))
    with written_whole(Path(path)) as beside:
        beside.write_bytes(data)
    return Path(path)


def similarity_matrix(
    similarity: Tensor | np.ndarray,
    images: Sequence[Image.Image] = (),
    captions: Sequence[str] = (),
    title: str | None = None,
) -> Picture:
    """Return the cosines of images and texts: images along the top, one text a row.

    Parameters
    ----------
    similarity : (I, T) cosines; those of text i and image i are framed.
    images, captions : I pictures and T texts, or none.

    Paper: Section 4.1; eq. (1) and eq. (2) raise the framed cells over their row and column.

    >>> figure = similarity_matrix(np.eye(2), captions=["a cat", "a dog"])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['a cat', 'a dog']
    """
    values = np.asarray(similarity, dtype=np.float64).T  # (T, I): one text a row
    texts, pictures = values.shape
    left, rows = LABELS if captions else 0.1, texts + bool(images)
    cell = min((WIDTH - left - SCALE) / pictures, 0.9)  # inches
    figure = new_figure(cell * rows + (0.55 if title else 0.2), title)
    figure.set_layout_engine("none")  # it cannot fit squares beside long labels
    with course_style():
        axes = _place(figure, left, 0.1, cell * pictures, cell * rows)
        shown = axes.imshow(values, cmap="Blues")
        for column, image in enumerate(images):  # above the first row, in the cells' own size
            square = ImageOps.fit(image.convert("RGB"), (THUMBNAIL, THUMBNAIL))
            axes.imshow(square, extent=(column - 0.46, column + 0.46, -0.58, -1.5))
        axes.set(xlim=(-0.5, pictures - 0.5), ylim=(texts - 0.5, texts - 0.5 - rows))
        _bare(axes)
        labels = [wrapped(text, 34, 3) for text in captions]
        axes.set_yticks(range(len(labels)), labels, fontsize=8, color=INK)
        _cells(axes, values)
        scale = _place(figure, left + cell * pictures + 0.12, 0.1, 0.14, cell * texts)
        figure.colorbar(shown, cax=scale, label="cosine").outline.set_visible(False)
    return figure


def _place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place of the figure, in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _cells(axes: Axes, values: np.ndarray) -> None:
    """Frame the cells of the diagonal and, where there is room, write the numbers."""
    texts, pictures = values.shape
    for i in range(min(texts, pictures) if max(texts, pictures) <= FRAMES else 0):
        axes.add_patch(
            Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=1.4)
        )
    if max(texts, pictures) <= NUMBERS:
        dark = (values.min() + 2 * values.max()) / 3
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if value > dark else INK
            axes.text(column, row, f"{value:z.2f}", ha="center", va="center", fontsize=8, c=colour)


def _show(axes: Axes, image: Image.Image, framed: bool) -> None:
    axes.imshow(_thumbnail(image))
    _bare(axes)
    axes.spines[:].set(visible=True, color=GREEN if framed else LINE, linewidth=3 if framed else 1)


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(visible=False)


def _read(file: Path) -> Image.Image:
    try:
        return decode_image(file.read_bytes())
    except (OSError, BrokenImage):  # moved or changed since it was indexed
        return Image.new("RGB", (THUMBNAIL, THUMBNAIL), LINE)


def _thumbnail(image: Image.Image) -> np.ndarray:
    small = image.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(small)
