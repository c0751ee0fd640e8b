"""Draws the diagrams of the notebooks: writes one SVG per function into this folder.

python notebooks/images/diagrams.py

A diagram is a function marked ``@diagram`` that fills a `Drawing`; its name names the file.
`tests/test_diagrams.py` compares the files with what the functions draw.
"""

from collections.abc import Callable
from html import escape
from pathlib import Path

from align_edu.show.style import BLUE, FONT, GREEN, INK, LINE, MUTED, ORANGE, PAPER

FOLDER = Path(__file__).parent
SIZE = 17  # of letters; a drawing is 760 wide, so 13 pixels where a page shows 600
DIAGRAMS: dict[str, Callable[[], "Drawing"]] = {}


def diagram(draw: Callable[[], "Drawing"]) -> Callable[[], "Drawing"]:
    """Register a diagram under the name of its function."""
    DIAGRAMS[draw.__name__] = draw
    return draw


class Drawing:
    """An SVG drawing, filled from back to front; the origin is at the top left."""

    def __init__(self, title: str, height: int, width: int = 760) -> None:
        """``title`` is what a screen reader reads."""
        self.size, self.title, self.parts = (width, height), title, list[str]()
        self._add("rect", width=width, height=height, fill=PAPER)

    def box(
        self, x: float, y: float, width: float, height: float, *lines: str, colour: str = BLUE
    ) -> None:
        """Draw a rounded box with its lines in the middle, the first one bold."""
        look = {"fill": colour, "fill-opacity": 0.1, "stroke": colour, "stroke-width": 2}
        self._add("rect", x=x, y=y, width=width, height=height, rx=8, **look)
        first = y + height / 2 - (len(lines) - 1) * 0.62 * SIZE
        for place, line in enumerate(lines):
            self.text(x + width / 2, first + place * 1.24 * SIZE, line, bold=place == 0)

    def arrow(
        self, *points: tuple[float, float], colour: str = MUTED, width: float = 2.5, dash: str = ""
    ) -> None:
        """Draw a line through the points, with a head at the last."""
        (x0, y0), (x, y) = points[-2:]
        length = ((x - x0) ** 2 + (y - y0) ** 2) ** 0.5
        u, v = (x - x0) / length, (y - y0) / length  # the direction of the head
        long, half = 9 + width, 3 + width
        base = (x - long * u, y - long * v)
        self.line(*points[:-1], base, colour=colour, width=width, dash=dash)
        corners = [(x, y)] + [(base[0] - s * half * v, base[1] + s * half * u) for s in (1, -1)]
        self._add("polygon", points=_joined(corners), fill=colour)

    def line(
        self, *points: tuple[float, float], colour: str = MUTED, width: float = 2.5, dash: str = ""
    ) -> None:
        """Draw a line through the points."""
        look = {"fill": "none", "stroke": colour, "stroke-width": width, "stroke-dasharray": dash}
        self._add("polyline", points=_joined(points), **look)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        bold: bool = False,
        colour: str = INK,
        anchor: str = "middle",
        size: float = SIZE,
    ) -> None:
        """Write one line; y is its middle. ``anchor``: start, middle or end at x."""
        look = {"font-weight": "bold" if bold else "", "fill": colour, "font-size": size}
        self._add("text", text, x=x, y=y + 0.35 * size, **{"text-anchor": anchor}, **look)

    def grid(self, x: float, y: float, cell: float, rows: list[list[str]]) -> None:
        """Draw square cells, each filled with the colour that stands in its place."""
        for i, row in enumerate(rows):
            for j, colour in enumerate(row):
                place = {"x": x + j * cell, "y": y + i * cell, "width": cell, "height": cell}
                self._add("rect", **place, fill=colour, stroke=LINE)

    def circle(self, x: float, y: float, radius: float, text: str = "", colour: str = BLUE) -> None:
        """Draw a circle with a bold text in its middle."""
        look = {"fill": PAPER, "stroke": colour, "stroke-width": 2}
        self._add("circle", cx=x, cy=y, r=radius, **look)
        if text:
            self.text(x, y, text, bold=True)

    def svg(self) -> str:
        """Return the drawing as a file's text."""
        width, height = self.size
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
            f' width="{width}" height="{height}" role="img"'
            f' font-family="{FONT}, Verdana, sans-serif">'
        )
        return "\n".join([head, f"<title>{escape(self.title)}</title>", *self.parts, "</svg>", ""])

    def _add(self, name: str, text: str = "", /, **look: object) -> None:
        """Add one element; attributes that are empty are left out."""
        written = "".join(f' {k}="{_short(v)}"' for k, v in look.items() if v != "")
        self.parts.append(
            f"<{name}{written}>{escape(text)}</{name}>" if text else f"<{name}{written}/>"
        )


def _short(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _joined(points: list[tuple[float, float]] | tuple[tuple[float, float], ...]) -> str:
    return " ".join(f"{_short(float(x))},{_short(float(y))}" for x, y in points)


def faded(colour: str, share: float) -> str:
    """Return the colour mixed with white: 0 is white, 1 the colour itself."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in parts)


@diagram
def two_towers() -> Drawing:
    """Notebook 00: a picture and a text become two unit vectors, and these a cosine."""
    draw = Drawing("Two towers: a picture and its text become vectors of one space", 320)
    rows = (
        (
            70,
            BLUE,
            ("picture", "289 × 289 × 3"),
            ("image encoder", "EfficientNet,", "global pooling"),
            "x",
        ),
        (
            250,
            ORANGE,
            ("alt-text", "“a blue car”"),
            ("text encoder", "BERT, [CLS],", "linear layer"),
            "y",
        ),
    )
    for y, colour, given, tower, name in rows:
        draw.box(10, y - 34, 140, 68, *given, colour=MUTED)
        draw.arrow((150, y), (190, y))
        draw.box(190, y - 46, 175, 92, *tower, colour=colour)
        draw.arrow((365, y), (405, y))
        shades = (0.9, 0.2, 0.6, 0.1, 0.75, 0.4)
        draw.grid(408, y - 13, 26, [[faded(colour, share) for share in shades]])
        draw.text(486, y - 32, f"{name}, length 1", bold=True)
    draw.arrow((575, 70), (650, 70), (650, 116))
    draw.arrow((575, 250), (650, 250), (650, 204))
    draw.box(
        570, 116, 180, 88, "xᵀy", "cosine of the angle,", "as in eq. (1) and (2)", colour=GREEN
    )
    draw.text(486, 160, "same length D", colour=MUTED)
    draw.arrow((486, 145), (486, 100))
    draw.arrow((486, 175), (486, 206))
    return draw


def main() -> None:
    """Write all diagrams."""
    for name, draw in DIAGRAMS.items():
        (FOLDER / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
