"""Things that several backgrounds share: hills, trees, a bench."""

from align_edu.world.brush import Brush, Colour, Dice, mix

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def varied(colour: Colour, dice: Dice) -> Colour:
    """The colour a little lighter or darker."""
    shift = dice.between(-0.14, 0.14)
    return mix(colour, WHITE if shift > 0 else BLACK, abs(shift))


def hills(brush: Brush, dice: Dice, base: float, height: float, colour: Colour) -> None:
    """Paint a line of hills and all that lies below it; `base` is its mean y."""
    a, b, c, d = (base - height * dice.unit() for _ in range(4))
    brush.poly(
        (0, 1, 0, a, 0.18, b, 0.4, (b + c) / 2 - height * 0.3, 0.65, c, 0.85, d, 1, a, 1, 1), colour
    )


def leafy_tree(brush: Brush, x: float, foot: float, h: float, colour: Colour) -> None:
    """Paint a round tree of height h whose trunk ends at y = foot."""
    brush.box(x - h * 0.06, foot - h * 0.5, x + h * 0.06, foot, (104, 74, 48))
    brush.oval(x, foot - h * 0.68, h * 0.3, h * 0.34, colour)
    brush.oval(x - h * 0.08, foot - h * 0.76, h * 0.16, h * 0.17, mix(colour, WHITE, 0.14))


def fir(brush: Brush, x: float, foot: float, h: float, colour: Colour) -> None:
    """Paint a fir of height h whose trunk ends at y = foot."""
    brush.box(x - h * 0.05, foot - h * 0.2, x + h * 0.05, foot, (90, 66, 46))
    brush.poly((x, foot - h, x + h * 0.28, foot - h * 0.45, x - h * 0.28, foot - h * 0.45), colour)
    brush.poly(
        (x, foot - h * 0.7, x + h * 0.36, foot - h * 0.12, x - h * 0.36, foot - h * 0.12),
        mix(colour, BLACK, 0.12),
    )


def palm(brush: Brush, x: float, foot: float, top: float) -> None:
    """Paint a palm that leans towards the middle of the picture."""
    lean = (0.5 - x) * 0.25
    trunk = (x - 0.02, foot, x + 0.025, foot, x + lean + 0.015, top, x + lean - 0.015, top)
    brush.poly(trunk, (140, 100, 60))
    for dx, dy in ((-0.17, 0.08), (0.17, 0.08), (-0.12, -0.07), (0.12, -0.07), (0.02, 0.14)):
        leaf = (x + lean, top - 0.025, x + lean + dx, top + dy, x + lean, top + 0.03)
        brush.poly(leaf, (50, 140, 70))


def bench(brush: Brush, x: float, y: float) -> None:
    """Paint a wooden bench whose upper left corner is (x, y)."""
    for k in range(3):
        brush.box(x, y + k * 0.035, x + 0.22, y + k * 0.035 + 0.022, (150, 98, 56))
    brush.box(x + 0.02, y, x + 0.04, y + 0.17, (60, 60, 64))
    brush.box(x + 0.18, y, x + 0.2, y + 0.17, (60, 60, 64))
