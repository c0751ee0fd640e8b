"""The parts of a web page that is one file: no links, no scripts, pictures inside."""

import base64
import html
import io
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure
from PIL import Image

from align_edu.show.style import BLUE, GREEN, INK, LINE, MUTED, ORANGE, to_png

THUMBNAIL = 160  # pixels

CSS = f"""
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: #f5f7f9; color: {INK}; font: 16px/1.5 system-ui, sans-serif; }}
main {{ max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }}
h1 {{ font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 .25rem; }}
h2 {{ font-size: 1.15rem; margin: 0 0 .25rem; }}
h3 {{ font-size: 1rem; font-weight: 600; margin: 1.1rem 0 .4rem; }}
p {{ margin: 0 0 .9rem; max-width: 44rem; }}
.quiet {{ color: {MUTED}; }}
section {{ background: #fff; border: 1px solid {LINE}; border-radius: 10px;
  padding: 1.1rem 1.2rem; margin-top: 1rem; }}
.tiles {{ display: grid; gap: .75rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); }}
.tile {{ background: #fff; border: 1px solid {LINE}; border-radius: 10px; padding: .8rem 1rem; }}
.tile b {{ display: block; font-size: 1.6rem; line-height: 1.2; color: {BLUE}; }}
.tile span {{ color: {MUTED}; font-size: .88rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-size: .93rem; }}
th, td {{ padding: .35rem .6rem; border-bottom: 1px solid {LINE}; text-align: left; }}
th {{ color: {MUTED}; font-weight: 600; }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }}
img.figure {{ display: block; max-width: 100%; height: auto; margin: .6rem auto 0; }}
.cards {{ display: grid; gap: .75rem; margin-top: .6rem;
  grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); }}
figure {{ margin: 0; }}
figure img {{ width: 100%; aspect-ratio: 1; object-fit: contain; background: #eef1f4;
  border-radius: 6px; display: block; }}
figcaption {{ font-size: .84rem; line-height: 1.35; margin-top: .3rem;
  overflow-wrap: anywhere; }}
.right img {{ outline: 3px solid {GREEN}; }}
.right figcaption {{ color: #00734f; font-weight: 600; }}
.mark {{ display: inline-block; border: 1px solid {GREEN}; color: #00734f; border-radius: 99px;
  padding: 0 .5rem; font-size: .78rem; margin-bottom: .15rem; }}
.mark.noise {{ border-color: {ORANGE}; color: #a34700; }}
@media print {{ body {{ background: #fff; }} section {{ break-inside: avoid; }} }}
"""


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page; ``parts`` is HTML already."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{CSS}</style></head>",
            "<body><main>",
            *parts,
            "</main></body></html>",
            "",
        ]
    )


def section(title: str, lead: str, *parts: str) -> str:
    """Return a framed part of the page; ``title`` and ``lead`` are plain text, parts HTML.

    >>> section("Loss", "It falls.")
    '<section><h2>Loss</h2>\\n<p class="quiet">It falls.</p></section>'
    """
    head = [f"<h2>{html.escape(title)}</h2>", f'<p class="quiet">{html.escape(lead)}</p>']
    return f"<section>{chr(10).join([*head, *parts])}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int) -> str:
    """Return a table of plain text; the last ``numbers`` columns stand at the right.

    >>> table(["a"], [["<b>"]], numbers=0)
    '<div class="wide"><table><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table></div>'
    """
    lines = []
    for tag, cells in [("th", head), *(("td", row) for row in rows)]:
        first = len(cells) - numbers
        kinds = ["" if i < first else ' class="number"' for i in range(len(cells))]
        row = [f"<{tag}{k}>{html.escape(c)}</{tag}>" for k, c in zip(kinds, cells, strict=True)]
        lines.append(f"<tr>{''.join(row)}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def tiles(values: Iterable[tuple[str, str]]) -> str:
    """Return headline numbers, each a (value, label).

    >>> tiles([("0.07", "temperature")])
    '<div class="tiles"><div class="tile"><b>0.07</b><span>temperature</span></div></div>'
    """
    parts = [
        f'<div class="tile"><b>{html.escape(value)}</b><span>{html.escape(label)}</span></div>'
        for value, label in values
    ]
    return f'<div class="tiles">{"".join(parts)}</div>'


def card(image: Image.Image, alt: str, caption: str, right: bool = False) -> str:
    """Return a thumbnail with a caption (HTML) below; ``alt`` is plain text."""
    small = image.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=88)
    shown = _picture("image/jpeg", file.getvalue(), alt)
    kind = ' class="right"' if right else ""
    return f"<figure{kind}>{shown}<figcaption>{caption}</figcaption></figure>"


def cards(parts: Iterable[str]) -> str:
    """Return cards side by side, as many in a row as the screen is wide."""
    return f'<div class="cards">{"".join(parts)}</div>'


def drawn(figure: Figure, alt: str) -> str:
    """Return a figure as an image inside the page."""
    return _picture("image/png", to_png(figure), alt, ' class="figure"')


def _picture(kind: str, data: bytes, alt: str, extra: str = "") -> str:
    inside = base64.b64encode(data).decode("ascii")
    return f'<img{extra} alt="{html.escape(alt)}" src="data:{kind};base64,{inside}">'
