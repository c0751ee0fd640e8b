"""Draws the diagrams of the notebooks: writes one SVG per function into this folder.

python notebooks/images/diagrams.py

A diagram is a function marked ``@diagram`` that fills a `Drawing`; its name names the file.
`tests/test_notebooks_are_clean.py` compares the files with what the functions draw.
"""

from collections.abc import Callable
from html import escape
from math import cos, sin
from pathlib import Path

from align_edu.show.style import (
    BLUE,
    CYCLE,
    FONT,
    GREEN,
    INK,
    LINE,
    MUTED,
    ORANGE,
    PAPER,
    PINK,
    SKY,
    YELLOW,
)

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

    def dot(self, x: float, y: float, radius: float, colour: str = BLUE) -> None:
        """Draw a filled circle."""
        self._add("circle", cx=x, cy=y, r=radius, fill=colour)

    def frame(
        self, x: float, y: float, width: float, height: float, colour: str, stroke: float = 2.5
    ) -> None:
        """Draw a rectangle without a filling."""
        look = {"fill": "none", "stroke": colour, "stroke-width": stroke}
        self._add("rect", x=x, y=y, width=width, height=height, **look)

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


@diagram
def data_path() -> Drawing:
    """Notebook 01: from web pages to training batches."""
    draw = Drawing("The path of the data, from a web page to the training", 350)
    draw.box(10, 20, 320, 122, colour=MUTED)
    draw.text(24, 42, "a web page", bold=True, anchor="start")
    draw.grid(26, 62, 16, [[BLUE, SKY, SKY, BLUE], [SKY, YELLOW, YELLOW, SKY], [GREEN] * 4])
    draw.text(24, 122, "image", anchor="start", colour=MUTED)
    draw.text(104, 74, '<img src="cat.jpg"', anchor="start")
    draw.text(124, 100, 'alt="a red cat">', anchor="start", colour=ORANGE)
    draw.arrow((330, 80), (415, 80))
    draw.text(372, 62, "crawler", colour=MUTED)
    draw.box(415, 40, 335, 80, "raw pairs", "(image, alt-text): many and noisy")
    draw.arrow((582, 120), (582, 158))
    draw.box(
        415,
        158,
        335,
        90,
        "filters that count (Section 3)",
        "images: size, texts of one image",
        "texts: sharing, rare words, length",
        colour=ORANGE,
    )
    draw.arrow((415, 203), (330, 203))
    draw.text(372, 185, "kept", colour=MUTED)
    draw.box(
        10,
        158,
        320,
        90,
        "shards",
        "00000.tar, 00001.tar, …",
        "some thousand pairs in each",
        colour=GREEN,
    )
    draw.arrow((170, 248), (170, 284))
    draw.box(10, 284, 320, 56, "batches of N pairs", colour=GREEN)
    draw.arrow((330, 312), (415, 312))
    draw.box(415, 284, 335, 56, "training of the two towers", colour=BLUE)
    draw.line((582, 248), (582, 272), dash="4 4")
    draw.text(594, 262, "the rest is dropped", anchor="start", colour=MUTED, size=15)
    return draw


@diagram
def attention() -> Drawing:
    """Notebook 03: one query meets all keys; a softmax weighs the values."""
    draw = Drawing("Attention of one piece to all pieces of its text", 420)
    pieces = ("[CLS]", "a", "red", "cat", "[SEP]")
    weights = (0.1, 0.06, 0.36, 0.4, 0.08)  # an example, drawn as widths and shades
    places = [120 + 145 * place for place in range(5)]
    for x, piece in zip(places, pieces):
        draw.box(x - 50, 360, 100, 40, piece, colour=MUTED)
        draw.text(x, 338, "k, v", colour=MUTED)
    draw.text(places[0] - 50, 310, "q", bold=True, colour=BLUE)
    draw.arrow((places[0] - 36, 360), (places[0] - 36, 265), colour=BLUE)
    draw.box(20, 215, 720, 50, "scores: q·k of each piece, divided by √d")
    for x in places:
        draw.arrow((x + 8, 322), (x + 8, 265))
    for x, weight in zip(places, weights):
        draw.arrow((x, 215), (x, 186))
        draw.grid(x - 22, 142, 44, [[faded(ORANGE, 2.2 * weight)]])
        draw.text(x, 164, f"α{'₁₂₃₄₅'[places.index(x)]}")
    draw.text(20, 40, "softmax: the weights α", anchor="start", colour=MUTED)
    draw.text(20, 64, "add up to 1", anchor="start", colour=MUTED)
    for x, weight in zip(places, weights):
        draw.line((x, 142), (x, 130), (410, 92), colour=faded(ORANGE, 0.9), width=1 + 22 * weight)
    draw.box(250, 20, 320, 64, "α₁v₁ + α₂v₂ + … + α₅v₅", "the answer to [CLS]", colour=GREEN)
    return draw


@diagram
def mbconv() -> Drawing:
    """Notebook 04: the parts of an MBConv block and the shapes between them."""
    draw = Drawing("An MBConv block with its residual connection", 300)
    parts = (
        ("expand", "1 × 1", "C → tC", BLUE),
        ("depthwise", "k × k,", "stride s", ORANGE),
        ("squeeze", "and excite", "× factor", YELLOW),
        ("project", "1 × 1", "tC → C′", BLUE),
    )
    shapes = ("H × W × tC", "H/s × W/s × tC", "H/s × W/s × tC", "H/s × W/s × C′")
    y = 150
    draw.text(8, 240, "H × W × C", anchor="start", colour=MUTED, size=15)
    draw.arrow((10, y), (78, y))
    for place, ((*lines, colour), shape) in enumerate(zip(parts, shapes)):
        x = 78 + 150 * place
        draw.box(x, y - 50, 112, 100, *lines, colour=colour)
        draw.arrow((x + 112, y), (x + 150, y))
        draw.text(x + 131, 240 if place % 2 else 264, shape, colour=MUTED, size=15)
        draw.line((x + 131, y + 10), (x + 131, 228 if place % 2 else 252), colour=LINE, width=1.5)
    draw.circle(696, y, 18, "+")
    draw.arrow((714, y), (755, y))
    draw.arrow((40, y), (40, 50), (696, 50), (696, y - 18), colour=GREEN, dash="7 5")
    draw.text(368, 30, "residual connection, where s = 1 and C′ = C", colour=GREEN)
    return draw


@diagram
def shared_space() -> Drawing:
    """Notebook 05: the outputs of both towers are points on one circle; angles say how close."""
    draw = Drawing("Pictures and texts become points on one circle", 330)
    rows = ((80, BLUE, "pictures", "image encoder"), (250, ORANGE, "texts", "text encoder"))
    for y, colour, given, tower in rows:
        draw.box(10, y - 26, 110, 52, given, colour=MUTED)
        draw.arrow((120, y), (158, y))
        draw.box(158, y - 26, 160, 52, tower, colour=colour)
    x, y, radius = 540, 165, 125
    draw.circle(x, y, radius, colour=MUTED)
    draw.arrow((318, 80), (425, 112))
    draw.arrow((318, 250), (425, 218))
    draw.text(238, 165, "÷ own length", colour=MUTED)
    for angle, apart, name in ((0.65, 0.22, "bus"), (-0.95, 0.2, "lamp"), (2.05, 0.24, "cat")):
        ends = [(cos(angle + s * apart), sin(angle + s * apart)) for s in (-1, 1)]
        for (u, v), colour in zip(ends, (BLUE, ORANGE)):
            draw.line((x, y), (x + radius * u, y - radius * v), colour=colour, width=2)
            draw.dot(x + radius * u, y - radius * v, 7, colour)
        draw.text(x + 1.26 * radius * cos(angle), y - 1.12 * radius * sin(angle), name, bold=True)
    draw.text(x + 0.5 * radius * cos(0.65), y - 0.5 * radius * sin(0.65), "θ")
    draw.dot(680, 150, 7, BLUE)
    draw.text(694, 150, "picture", anchor="start")
    draw.dot(680, 182, 7, ORANGE)
    draw.text(694, 182, "text", anchor="start")
    return draw


@diagram
def contrastive_matrix() -> Drawing:
    """Notebook 06: one matrix of logits; eq. (1) reads its rows, eq. (2) its columns."""
    draw = Drawing("The N × N matrix of logits and its two softmaxes", 410)
    left, top, cell = 60, 70, 62
    logits = (
        (0.9, 0.3, 0.1, 0.4),
        (0.2, 0.8, 0.5, 0.1),
        (0.4, 0.1, 0.9, 0.2),
        (0.1, 0.5, 0.2, 0.8),
    )
    draw.grid(left, top, cell, [[faded(MUTED, 0.7 * share) for share in row] for row in logits])
    for k, name in enumerate("₁₂₃₄"):
        middle = (k + 0.5) * cell
        draw.text(left + middle, top - 20, f"y{name}", bold=True, colour=ORANGE)
        draw.text(left - 24, top + middle, f"x{name}", bold=True, colour=BLUE)
        draw.frame(left + k * cell + 4, top + k * cell + 4, cell - 8, cell - 8, GREEN)
    draw.text(left + 2 * cell, top - 48, "one column for each text", colour=MUTED)
    draw.text(left + 1.5 * cell, top + 1.5 * cell, "x₂ᵀy₂/σ", size=14)
    draw.frame(left, top + cell, 4 * cell, cell, BLUE, 4)
    draw.frame(left + cell, top, cell, 4 * cell, ORANGE, 4)
    start = 440
    for y, colour, name, question, shares in (
        (
            150,
            BLUE,
            "(1): softmax of each row",
            "Which text belongs to x₂?",
            (0.1, 0.7, 0.15, 0.05),
        ),
        (320, ORANGE, "(2): softmax of each column", "Which image to y₂?", (0.15, 0.6, 0.05, 0.2)),
    ):
        draw.text(start, y - 44, f"eq. {name}", bold=True, colour=colour, anchor="start")
        draw.text(start, y + 44, question, anchor="start")
        draw.grid(start, y - 26, 52, [[faded(colour, share) for share in shares]])
        draw.frame(start + 56, y - 22, 44, 44, GREEN)
        draw.text(start + 220, y, "adds up to 1", colour=MUTED, anchor="start", size=14)
    row, column = top + 1.5 * cell, left + 1.5 * cell
    draw.arrow((left + 4 * cell, row), (start - 8, row - 13), colour=BLUE)
    draw.arrow((column, top + 4 * cell), (column, 350), (start - 8, 350), colour=ORANGE)
    draw.text(left, 388, "one row for each image;", colour=MUTED, anchor="start")
    words = "positive pairs in green, in-batch negatives elsewhere"
    draw.text(left + 213, 388, words, colour=MUTED, anchor="start")
    return draw


@diagram
def training_loop() -> Drawing:
    """Notebook 08: one step of training."""
    draw = Drawing("One training step, again and again", 310)
    boxes = (
        (10, "batch", "N pictures", "N texts", MUTED),
        (205, "two towers", "weights", "θ", BLUE),
        (400, "N × N logits", "cosines ÷ σ", "", GREEN),
        (595, "loss", "eq. (1) +", "eq. (2)", ORANGE),
    )
    for x, *lines, colour in boxes:
        draw.box(x, 40, 150, 92, *filter(None, lines), colour=colour)
    for x in (160, 355, 550):
        draw.arrow((x, 86), (x + 45, 86))
    draw.box(240, 212, 270, 76, "optimiser", "learning rate, weight decay", colour=PINK)
    draw.arrow((670, 132), (670, 250), (510, 250))
    draw.text(660, 190, "gradient", colour=MUTED, anchor="end")
    draw.arrow((280, 212), (280, 132))
    draw.text(292, 172, "new θ, new σ", colour=MUTED, anchor="start")
    draw.arrow((240, 250), (85, 250), (85, 132), dash="6 5")
    draw.text(97, 190, "next batch", colour=MUTED, anchor="start")
    return draw


@diagram
def gather_over_cores() -> Drawing:
    """Notebook 15: each core embeds its pairs, receives all embeddings, and takes its rows."""
    draw = Drawing("Four cores gather their embeddings; the gradient returns", 500)
    colours = (BLUE, ORANGE, GREEN, PINK)
    draw.box(20, 176, 640, 44, "all-gather: every core receives the embeddings of all", colour=INK)
    for core, colour in enumerate(colours):
        x = 20 + 165 * core
        draw.box(x, 14, 145, 66, f"core {core + 1}", "its own pairs", colour=colour)
        draw.arrow((x + 72, 80), (x + 72, 112))
        draw.grid(x + 32, 116, 20, [[faded(colour, share) for share in (0.9, 0.5, 0.7, 0.4)]])
        draw.arrow((x + 72, 138), (x + 72, 174))
        draw.arrow((x + 72, 220), (x + 72, 250))
        rows = [[faded(each, share) for share in (0.9, 0.5, 0.7, 0.4)] for each in colours]
        draw.grid(x + 32, 254, 20, rows)
        draw.arrow((x + 72, 336), (x + 72, 364))
        strip = [faded(colour, 0.95 if other == core else 0.25) for other in range(4)]
        draw.grid(x + 12, 368, 30, [strip])
    draw.text(340, 424, "logits: its own rows, all columns; the dark block is all it had alone")
    draw.box(20, 446, 640, 44, "loss: own rows and own columns, summed over the cores", colour=INK)
    draw.arrow((660, 468), (715, 468), (715, 47), (664, 47), colour=ORANGE, dash="7 5")
    draw.text(704, 244, "the", colour=ORANGE, anchor="end")
    draw.text(704, 266, "gradient", colour=ORANGE, anchor="end")
    draw.text(704, 288, "returns", colour=ORANGE, anchor="end")
    return draw


@diagram
def mesh_and_shards() -> Drawing:
    """Notebook 16: what each device of a mesh holds of the weights, the batch and the logits."""
    draw = Drawing("A mesh of eight devices: weights replicated, batch and logits sharded", 420)
    left, step = 196, 70
    labels = (
        (36, "weights, moments:", "replicated"),
        (116, "mesh, axis “data”", ""),
        (186, "batch: sharded", "by rows"),
        (262, "embeddings", ""),
        (346, "logits: sharded", "by rows"),
    )
    for y, first, second in labels:
        draw.text(184, y - (11 if second else 0), first, anchor="end")
        draw.text(184, y + 11, second, anchor="end", colour=MUTED)
    draw.box(left, 14, 8 * step - 6, 44, "one whole copy on each device", colour=INK)
    draw.box(left, 240, 8 * step - 6, 44, "all-gather, which XLA adds", colour=INK)
    for device, colour in enumerate(CYCLE):
        x = left + step * device
        draw.arrow((x + 32, 58), (x + 32, 90))
        draw.box(x, 94, 64, 44, str(device), colour=colour)
        draw.grid(x + 2, 166, 20, [[faded(colour, 0.8)] * 3] * 2)
        draw.arrow((x + 32, 208), (x + 32, 238))
        draw.arrow((x + 32, 284), (x + 32, 314))
        strip = [faded(colour, 0.95 if other == device else 0.25) for other in range(8)]
        draw.grid(x, 318, 8, [strip] * 7)
    draw.text(left + 4 * step, 402, "each device: its own rows of the matrix, all columns")
    return draw


def main() -> None:
    """Write all diagrams."""
    for name, draw in DIAGRAMS.items():
        (FOLDER / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
