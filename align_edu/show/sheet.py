"""The pictures that a search found, as one PNG file; by Pillow alone, which starts quickly."""

from __future__ import annotations

import importlib.util
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from align_edu.io import written_whole
from align_edu.pairs.images import BrokenImage, decode_image

if TYPE_CHECKING:
    from align_edu.search import Hit

SHOWN = 100  # pictures at most; the list of hits names all
COLUMNS, SIDE, GAP = 5, 160, 6  # pixels: a sheet is 800 wide, as all figures
LINES, LETTERS = 2, 26  # of a caption
INK, LINE, PAPER = "#1f2933", "#dde2e7", "#ffffff"


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
