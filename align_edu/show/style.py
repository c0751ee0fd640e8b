"""The style of all figures: size, font, and colours that people with any vision can tell apart."""

import functools
import io
import textwrap
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from PIL import Image

# Okabe and Ito's palette.
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
SKY, YELLOW, PINK = "#56b4e9", "#e69f00", "#cc79a7"

_SETTINGS: Any = matplotlib.rc_params_from_file(
    Path(__file__).with_name("course.mplstyle"), use_default_template=False
)
INK, MUTED = _SETTINGS["text.color"], _SETTINGS["axes.labelcolor"]
LINE, PAPER = _SETTINGS["grid.color"], _SETTINGS["figure.facecolor"]
DPI = _SETTINGS["figure.dpi"]  # a figure is 800 pixels wide
(FONT,) = _SETTINGS["font.family"]
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, INK, MUTED)  # of lines in one figure

WIDTH = 8.0  # inches, of every figure
THUMBNAIL = 160  # pixels: more than a cell of a figure can show
_PNG_COLOURS = 256  # a third of the bytes, without a visible difference


class Picture(Figure):
    """A figure that displays itself in a notebook without pyplot's global state."""

    def _ipython_display_(self) -> None:
        # Once a library has imported pyplot, IPython would draw every figure in its own size.
        from IPython.display import display

        display({"image/png": to_png(self), "text/plain": "<Picture>"}, raw=True)


def course_style() -> AbstractContextManager[None]:
    """Apply the course's style inside a block, and restore matplotlib's settings after it."""
    return matplotlib.rc_context(_SETTINGS)


@contextmanager
def drawing(height: float, title: str | None = None) -> Iterator[Picture]:
    """Yield a :func:`new_figure`, to be drawn in the course's style."""
    with course_style():
        yield new_figure(height, title)


def new_figure(height: float, title: str | None = None, width: float = WIDTH) -> Picture:
    """Return an empty figure of this size in inches, with a constrained layout."""
    with course_style():
        figure = Picture(figsize=(width, height), layout="constrained")
        if title:
            figure.suptitle(wrapped(title, 66, 1), x=0.01, ha="left")
    return figure


def bare(axes: Axes) -> None:
    """Remove ticks, frame and grid."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(visible=False)


def to_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file; the same figure gives the same bytes."""
    drawn, file = io.BytesIO(), io.BytesIO()
    with course_style():
        figure.savefig(drawn, format="png", dpi=DPI)
    image = Image.open(drawn).convert("RGB").quantize(_PNG_COLOURS, kmeans=1)
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def thumbnail(image: Image.Image) -> Image.Image:
    """Return an RGB copy that fits into a square of ``THUMBNAIL`` pixels."""
    small = image.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return small


def wrapped(text: str, width: int, lines: int) -> str:
    """Wrap text into at most ``lines`` lines of ``width`` letters; "…" marks what is cut.

    Each letter that the figures' font lacks becomes □: alt-text of the web comes in all scripts.

    >>> wrapped("a red cat\\ton a 猫 roof at night", 12, 2)
    'a red cat on\\na □ roof at…'
    """
    text = "".join(
        letter if ord(letter) in _letters() else "□" for letter in " ".join(text.split())
    )
    options: Any = {"max_lines": lines, "placeholder": "…", "break_on_hyphens": False}
    return "\n".join(textwrap.wrap(text, width, **options))


@functools.cache
def _letters() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT)).get_charmap())
