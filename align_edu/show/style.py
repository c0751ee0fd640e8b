"""The one style of all figures: size, letters, colours that everyone can tell apart."""

import functools
import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito's palette, which people with any colour vision can tell apart.
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
SKY, YELLOW, PINK = "#56b4e9", "#e69f00", "#cc79a7"
INK, MUTED, LINE, PAPER = "#1f2933", "#5f6b76", "#dde2e7", "#ffffff"

WIDTH = 8.0  # inches: every figure is this wide, so that a page of them is calm
DPI = 100  # a figure of 8 inches is 800 pixels wide
COLOURS = 256  # in a figure's PNG: a third of the bytes, and no difference to be seen
FONT = "DejaVu Sans"  # comes with matplotlib: the same letters on every machine

_SETTINGS: Any = {  # matplotlib's own type for it changes from version to version
    "font.family": FONT,
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # "$" in alt-text means money
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "figure.dpi": DPI,
}


class Picture(Figure):
    """A figure that shows itself in a notebook without any global plotting state."""

    def _repr_png_(self) -> bytes:
        return to_png(self)

    def _ipython_display_(self) -> None:
        # Once some library has imported pyplot, IPython draws every figure its own, larger way.
        from IPython.display import display

        display({"image/png": to_png(self), "text/plain": "<Picture>"}, raw=True)


@contextmanager
def course_style() -> Iterator[None]:
    """Draw in the course's style inside the block, and leave matplotlib as it was after it.

    >>> with course_style():
    ...     matplotlib.rcParams["figure.dpi"] == DPI
    True
    """
    with matplotlib.rc_context(_SETTINGS):
        yield


def new_figure(height: float, title: str | None = None, width: float = WIDTH) -> Picture:
    """Return an empty figure whose parts make room for each other.

    Parameters
    ----------
    height, width : inches.
    title : bold words at the upper left.

    >>> new_figure(3).get_size_inches().tolist()
    [8.0, 3.0]
    """
    with course_style():
        figure = Picture(figsize=(width, height), layout="constrained")
        if title:
            figure.suptitle(wrapped(title, 66, 1), x=0.01, ha="left")
    return figure


def to_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file; a figure made twice gives the same bytes twice.

    >>> to_png(new_figure(1))[:4]
    b'\\x89PNG'
    """
    drawn, file = io.BytesIO(), io.BytesIO()
    with course_style():
        figure.savefig(drawn, format="png", dpi=DPI)
    Image.open(drawn).convert("RGB").quantize(COLOURS, kmeans=1).save(file, "PNG", optimize=True)
    return file.getvalue()


def wrapped(text: str, width: int, lines: int) -> str:
    """Return text in at most ``lines`` lines of ``width`` letters; what does not fit becomes "…".

    >>> wrapped("a red cat on a snowy roof at night", 12, 2)
    'a red cat on\\na snowy…'
    """
    return "\n".join(
        textwrap.wrap(
            printable(text), width, max_lines=lines, placeholder="…", break_on_hyphens=False
        )
    )


def printable(text: str) -> str:
    """Return text with one □ for each letter that the figures' font does not have.

    Alt-text of the web comes in all scripts; matplotlib would warn about each such letter.

    >>> printable("a cat\\t猫")
    'a cat □'
    """
    known = _letters()
    return "".join(c if ord(c) in known else "□" for c in " ".join(text.split()))


@functools.cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(FONT)).get_charmap())
