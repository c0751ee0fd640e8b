"""Backgrounds without weather: rooms, the stage, the sea floor and space."""

from align_edu.world.brush import Brush, Dice, mix
from align_edu.world.scene import Scene
from align_edu.world.scenery import varied

WALLS = ((236, 214, 180), (206, 222, 204), (226, 206, 216), (200, 214, 230), (240, 228, 190))
SPINES = (
    (150, 60, 54),
    (60, 90, 130),
    (80, 120, 84),
    (196, 160, 90),
    (110, 70, 110),
    (200, 190, 170),
)


def room(brush: Brush, scene: Scene, dice: Dice) -> None:
    """A living room: wall, window with curtains, wooden floor, rug."""
    floor = dice.between(0.66, 0.78)
    wall = varied(dice.pick(WALLS), dice)
    brush.box(0, 0, 1, floor, wall)
    if dice.unit() < 0.5:
        stripe = mix(wall, (255, 255, 255), 0.3)
        for k in range(8):
            brush.box(k / 8, 0, k / 8 + 0.05, floor, stripe)
    wood = varied((176, 124, 78), dice)
    brush.box(0, floor, 1, 1, wood)
    for k in range(1, 4):
        y = floor + (1 - floor) * k / 4
        brush.line(0, y, 1, y, 0.008, mix(wood, (0, 0, 0), 0.2))
    brush.box(0, floor - 0.03, 1, floor, (250, 248, 240))
    x, y = dice.between(0.04, 0.62), dice.between(0.05, 0.14)
    brush.box(x - 0.02, y - 0.02, x + 0.34, y + 0.38, (252, 250, 246))
    brush.box(x, y, x + 0.32, y + 0.36, (164, 212, 240))
    brush.poly(
        (x, y + 0.36, x, y + 0.26, x + 0.16, y + 0.2, x + 0.32, y + 0.27, x + 0.32, y + 0.36),
        (120, 180, 110),
    )
    brush.box(x + 0.15, y, x + 0.17, y + 0.36, (252, 250, 246))
    brush.box(x, y + 0.17, x + 0.32, y + 0.19, (252, 250, 246))
    curtain = varied(dice.pick(((190, 90, 80), (90, 120, 150), (170, 150, 90))), dice)
    brush.poly(
        (x - 0.07, y - 0.04, x + 0.07, y - 0.04, x - 0.02, y + 0.42, x - 0.09, y + 0.42), curtain
    )
    brush.poly(
        (x + 0.27, y - 0.04, x + 0.41, y - 0.04, x + 0.43, y + 0.42, x + 0.36, y + 0.42), curtain
    )
    brush.oval(dice.between(0.2, 0.8), 0.97, 0.36, 0.09, varied((196, 96, 90), dice))


def kitchen(brush: Brush, scene: Scene, dice: Dice) -> None:
    """A kitchen: cupboards, tiles, a shelf of jars, a counter."""
    counter = dice.between(0.6, 0.72)
    tile = varied(dice.pick(((226, 238, 240), (240, 236, 220), (214, 232, 216))), dice)
    brush.box(0, 0, 1, counter, tile)
    seam = mix(tile, (110, 130, 140), 0.4)
    step, shift = dice.between(0.11, 0.15), dice.unit() * 0.1
    for k in range(9):
        brush.line(0, k * step + shift, 1, k * step + shift, 0.007, seam)
        brush.line(k * step + shift, 0, k * step + shift, counter, 0.007, seam)
    cupboard = varied(dice.pick(((120, 160, 170), (206, 170, 120), (170, 190, 150))), dice)
    brush.box(0, 0, 1, 0.13, cupboard)
    edge = mix(cupboard, (0, 0, 0), 0.3)
    for k in range(4):
        brush.box(k / 4 + 0.01, 0.12, k / 4 + 0.24, 0.14, edge)
        brush.line(k / 4, 0, k / 4, 0.13, 0.01, edge)
    y = dice.between(0.24, 0.32)
    brush.box(0, y, 1, y + 0.02, (150, 110, 70))
    for k in range(6):
        x = (k + dice.unit() * 0.6) / 6
        jar = varied(dice.pick(((220, 120, 70), (90, 150, 160), (230, 210, 160))), dice)
        brush.box(x, y - 0.08, x + 0.07, y, jar)
        brush.box(x + 0.01, y - 0.1, x + 0.06, y - 0.08, (240, 240, 236))
    brush.box(0, counter, 1, counter + 0.06, varied((226, 220, 210), dice))
    brush.box(0, counter + 0.06, 1, 1, cupboard)
    for k in range(3):
        brush.box(k / 3 + 0.03, counter + 0.1, k / 3 + 0.3, 1, edge)
        brush.box(
            k / 3 + 0.04, counter + 0.11, k / 3 + 0.29, 1, mix(cupboard, (255, 255, 255), 0.12)
        )
        brush.oval(k / 3 + 0.26, counter + 0.18, 0.014, 0.014, (240, 236, 226))


def library(brush: Brush, scene: Scene, dice: Dice) -> None:
    """A wall of bookshelves."""
    wood = varied((112, 74, 46), dice)
    brush.box(0, 0, 1, 1, mix(wood, (0, 0, 0), 0.35))
    shelves = dice.pick((4, 5))
    height = 1 / shelves
    for row in range(shelves):
        x, floor = -dice.unit() * 0.05, (row + 1) * height - 0.025
        for _ in range(14):
            width = dice.between(0.05, 0.1)
            top = floor - height * dice.between(0.6, 0.84)
            colour = mix(dice.pick(SPINES), (90, 70, 60), dice.between(0.1, 0.4))
            brush.box(x, top, x + width - 0.008, floor, colour)
            x += width
            if x > 1:
                break
        brush.box(0, floor, 1, floor + 0.03, wood)
    brush.box(0, 0, 0.03, 1, wood)
    brush.box(0.97, 0, 1, 1, wood)


def stage(brush: Brush, scene: Scene, dice: Dice) -> None:
    """A stage: curtains, a spotlight, footlights."""
    floor = dice.between(0.7, 0.8)
    brush.box(0, 0, 1, floor, (50, 22, 40))
    cloth = varied(dice.pick(((150, 24, 44), (120, 20, 60), (160, 40, 34))), dice)
    folds = dice.pick((12, 14, 16))
    for k in range(folds):
        colour = mix(cloth, (0, 0, 0), 0.34 if k % 2 else 0.08)
        brush.box(k / folds, 0, (k + 1) / folds, floor, colour)
    wood = varied((170, 116, 70), dice)
    brush.box(0, floor, 1, 1, wood)
    for k in range(9):
        brush.line(k / 8, floor, (k / 8 - 0.5) * 1.5 + 0.5, 1, 0.007, mix(wood, (0, 0, 0), 0.3))
    for k in range(7):
        brush.oval((k + 0.5) / 7, 0.02, 0.09, 0.1, mix(cloth, (0, 0, 0), 0.2))
        brush.oval((k + 0.5) / 7, 0.0, 0.09, 0.1, mix(cloth, (255, 200, 80), 0.16))
    x, lean = dice.between(0.35, 0.65), dice.between(-0.3, 0.3)
    top = x + lean
    brush.veil((top - 0.04, 0, top + 0.04, 0, x + 0.34, 0.9, x - 0.34, 0.9), (255, 240, 190), 0.34)
    for k in range(8):
        brush.oval((k + 0.5) / 8, 0.985, 0.02, 0.02, (255, 226, 130))


def underwater(brush: Brush, scene: Scene, dice: Dice) -> None:
    """Under the sea: rays of light, sand, weeds, coral, bubbles."""
    deep = varied((14, 70, 140), dice)
    brush.fade(0, 1, (70, 186, 214), deep, 4 if scene.style == "poster" else 14)
    for _ in range(3):
        x, w = dice.unit(), dice.between(0.05, 0.12)
        brush.veil((x, 0, x + w, 0, x + w - 0.25, 1, x - w - 0.25, 1), (220, 250, 250), 0.16)
    sand = dice.between(0.84, 0.9)
    tone = varied((206, 190, 140), dice)
    brush.poly((0, 1, 0, sand, 0.3, sand - 0.04, 0.6, sand + 0.03, 1, sand - 0.02, 1, 1), tone)
    for _ in range(6):
        x, h = dice.unit(), dice.between(0.14, 0.4)
        colour = mix((30, 120, 80), (20, 80, 110), dice.unit())
        brush.poly(
            (
                x - 0.02,
                1,
                x - 0.035,
                1 - h * 0.5,
                x + 0.01,
                1 - h,
                x + 0.02,
                1 - h * 0.5,
                x + 0.03,
                1,
            ),
            colour,
        )
    for _ in range(3):
        x, r = dice.unit(), dice.between(0.03, 0.07)
        coral = dice.pick(((226, 110, 120), (236, 150, 90), (180, 110, 180)))
        brush.oval(x, sand + 0.05, r, r, coral)
        brush.oval(x + r, sand + 0.07, r * 0.7, r * 0.8, mix(coral, (255, 255, 255), 0.2))
    for _ in range(12):
        x, y, r = dice.unit(), dice.between(0, 0.85), dice.between(0.008, 0.026)
        brush.oval(x, y, r, r, (200, 240, 250))
        brush.oval(x, y, r * 0.65, r * 0.65, (96, 178, 214))


def space(brush: Brush, scene: Scene, dice: Dice) -> None:
    """Outer space: stars, nebulae, a planet with a ring."""
    brush.box(0, 0, 1, 1, mix((44, 12, 78), (66, 14, 88), dice.unit()))
    for _ in range(3):
        colour = dice.pick(((90, 40, 130), (40, 60, 140), (130, 40, 100)))
        x, y, r = dice.unit(), dice.unit(), dice.between(0.15, 0.32)
        for k in (1.0, 0.8, 0.6):
            brush.glow(x, y, r * k, r * k * 0.7, colour, 0.16)
    for k in range(46):
        r = 0.005 if k % 4 else 0.011
        brush.oval(
            dice.unit(),
            dice.unit(),
            r,
            r,
            dice.pick(((255, 255, 255), (255, 236, 190), (190, 214, 255))),
        )
    planet = dice.pick(((214, 150, 90), (110, 160, 200), (190, 110, 110), (150, 180, 120)))
    x, y = dice.pick(((0.1, 0.12), (0.88, 0.12), (0.1, 0.88), (0.9, 0.86)))
    x, y, r = x + dice.between(-0.04, 0.04), y + dice.between(-0.04, 0.04), dice.between(0.09, 0.15)
    brush.oval(x, y, r, r, planet)
    brush.oval(x - r * 0.25, y - r * 0.3, r * 0.5, r * 0.4, mix(planet, (255, 255, 255), 0.25))
    brush.poly(
        (
            x - r * 1.7,
            y + r * 0.5,
            x + r * 1.7,
            y - r * 0.6,
            x + r * 1.75,
            y - r * 0.4,
            x - r * 1.6,
            y + r * 0.75,
        ),
        mix(planet, (255, 240, 210), 0.55),
    )
