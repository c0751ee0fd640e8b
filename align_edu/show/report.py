"""What a command leaves for people: the report of a run as HTML, and a search's picture as PNG.

A search starts quickly: its picture is drawn by Pillow, and only the report imports matplotlib.
"""

from __future__ import annotations

import base64
import functools
import importlib.util
import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from align_edu.io import written_whole
from align_edu.pairs.images import BrokenImage, decode_image

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure

    from align_edu.search import Hit

SHOWN = 100  # pictures of a search at most; the list of hits names all
COLUMNS, SIDE, GAP = 5, 160, 6  # pixels: a sheet is 800 wide, as all figures
LINES, LETTERS = 2, 26  # of a caption
INK, LINE, PAPER = "#1f2933", "#dde2e7", "#ffffff"


class Sample(NamedTuple):
    """A raw pair: its picture, its alt-text, and the kind of its noise or "clean"."""

    image: Image.Image
    caption: str
    noise: str


class Found(NamedTuple):
    """A search: its text, the pictures found, their scores, and which ones the text describes."""

    query: str
    images: Sequence[Image.Image]
    scores: Sequence[float]
    correct: Sequence[bool]


def write_report(
    path: str | Path, results: Mapping[str, Any], *, samples: Sequence[Sample] = (),
    training: Figure | None = None, gallery: Sequence[Found] = (), similarity: Figure | None = None,
) -> Path:  # fmt: skip
    """Write a page without links or scripts, whole or not at all; return its path.

    results: the content of a demo's results.json. training, similarity: the figures of
    `training_curves` and `similarity_matrix`. Sections without data are left out.
    Raises InputError when it cannot be written.

    >>> import tempfile
    >>> path = write_report(Path(tempfile.mkdtemp()) / "report.html", {"temperature": 0.07})
    >>> "<h1>" in path.read_text(encoding="utf-8")
    True
    """
    figures = {"training": training, "similarity": similarity}
    text = _template().render(results=results, samples=samples, gallery=gallery, **figures)
    with written_whole(Path(path)) as beside:
        beside.write_text(text, encoding="utf-8")
    return Path(path)


@functools.cache
def _template() -> jinja2.Template:
    import jinja2

    from align_edu.show import charts, style

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("align_edu", "show"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"style": style, "charts": charts}
    environment.filters |= {
        "percent": lambda share: f"{100 * share:.1f} %",
        "thousands": lambda number: f"{number:,}",
        "words": lambda name: name.replace("_", " "),
        "duration": lambda s: (
            f"{s:.1f} s" if s < 60 else "{} min {} s".format(*divmod(round(s), 60))
        ),
        "png": lambda figure: _data_url("png", style.to_png(figure)),
        "jpeg": lambda image: _data_url("jpeg", _jpeg(style.thumbnail(image))),
    }
    return environment.get_template("report.html.j2")


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    return file.getvalue()


def _data_url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def save_search_picture(path: str | Path, query: str, hits: Sequence[Hit]) -> Path:
    """Write the first hundred pictures of a search as a grid to a PNG file; return its path.

    A picture that can no longer be read is drawn as an empty frame.
    Raises InputError when the file cannot be written.
    """
    shown, below, top = hits[:SHOWN], 14 * LINES + GAP, 36
    rows = -(-len(shown) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIDE, top + rows * (SIDE + below)), PAPER)
    draw = ImageDraw.Draw(sheet)
    title = textwrap.shorten(_printable(query), 88, placeholder="…")
    draw.text((GAP, GAP), title, INK, _font("DejaVuSans-Bold.ttf", 16))
    for number, hit in enumerate(shown):
        row, column = divmod(number, COLUMNS)
        x, y = column * SIDE, top + row * (SIDE + below)
        picture = _read(hit.path)
        corner = (x + (SIDE - picture.width) // 2, y + (SIDE - picture.height) // 2)
        sheet.paste(picture, corner)
        outline = (corner[0], corner[1], corner[0] + picture.width, corner[1] + picture.height)
        draw.rectangle(outline, outline=LINE)
        caption = _printable(f"{hit.rank}. {hit.path.name} ({hit.score:.2f})")
        lines = textwrap.wrap(caption, LETTERS, max_lines=LINES, placeholder="…")
        draw.multiline_text((x + GAP, y + SIDE), "\n".join(lines), INK, _font("DejaVuSans.ttf", 11))
    with written_whole(Path(path)) as beside:
        sheet.save(beside, "PNG")
    return Path(path)


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font that comes with matplotlib, whose import takes longer than all else here."""
    found = importlib.util.find_spec("matplotlib")
    assert found is not None and found.origin is not None  # a dependency of the package
    file = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / name
    return ImageFont.truetype(file, size)


def _printable(text: str) -> str:
    """Return text in one line, with "?" for what is not UTF-8 in a file's name."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


def _read(file: Path) -> Image.Image:
    """Return a thumbnail of a picture; an empty one if it moved or changed since it was indexed."""
    try:
        picture = decode_image(file.read_bytes())
    except (OSError, BrokenImage):
        return Image.new("RGB", (SIDE - 2 * GAP, SIDE - 2 * GAP), LINE)
    picture.thumbnail((SIDE - 2 * GAP, SIDE - 2 * GAP))
    return picture
