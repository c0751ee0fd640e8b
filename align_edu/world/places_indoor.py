"""Backgrounds without weather: rooms, the stage, the sea floor and space."""

from align_edu.world.brush import BLACK, WHITE, Brush, Dice, mix
from align_edu.world.catalog import Hues
from align_edu.world.places_outdoor import Painter
from align_edu.world.scene import Scene


def room(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """A living room: wall, window with curtains, wooden floor, rug."""
    floor = dice.between(0.66, 0.78)
    wall = dice.varied(dice.pick(hue["walls"]))
    brush.box(0, 0, 1, floor, wall)
    if dice.unit() < 0.5:
        for k in range(8):
            brush.box(k / 8, 0, k / 8 + 0.05, floor, mix(wall, WHITE, 0.3))
    wood = dice.varied(hue["wood"])
    brush.box(0, floor, 1, 1, wood)
    for k in range(1, 4):
        y = floor + (1 - floor) * k / 4
        brush.line(0, y, 1, y, 0.008, mix(wood, BLACK, 0.2))
    brush.box(0, floor - 0.03, 1, floor, hue["skirting"])
    x, y = dice.between(0.04, 0.62), dice.between(0.05, 0.14)
    brush.box(x - 0.02, y - 0.02, x + 0.34, y + 0.38, hue["window_frame"])
    brush.box(x, y, x + 0.32, y + 0.36, hue["sky"])
    garden = (0, 0.36, 0, 0.26, 0.16, 0.2, 0.32, 0.27, 0.32, 0.36)
    brush.shape(x, y, 1, 1, garden, hue["garden"])
    brush.box(x + 0.15, y, x + 0.17, y + 0.36, hue["window_frame"])
    brush.box(x, y + 0.17, x + 0.32, y + 0.19, hue["window_frame"])
    curtain = dice.varied(dice.pick(hue["curtains"]))
    brush.shape(x, y, 1, 1, (-0.07, -0.04, 0.07, -0.04, -0.02, 0.42, -0.09, 0.42), curtain)
    brush.shape(x, y, 1, 1, (0.27, -0.04, 0.41, -0.04, 0.43, 0.42, 0.36, 0.42), curtain)
    brush.oval(dice.between(0.2, 0.8), 0.97, 0.36, 0.09, dice.varied(hue["rug"]))


def kitchen(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """A kitchen: cupboards, tiles, a shelf of jars, a counter."""
    counter = dice.between(0.6, 0.72)
    tile = dice.varied(dice.pick(hue["tiles"]))
    brush.box(0, 0, 1, counter, tile)
    seam = mix(tile, hue["seam"], 0.4)
    step, shift = dice.between(0.11, 0.15), dice.unit() * 0.1
    for k in range(9):
        at = k * step + shift
        brush.line(0, at, 1, at, 0.007, seam)
        brush.line(at, 0, at, counter, 0.007, seam)
    cupboard = dice.varied(dice.pick(hue["cupboards"]))
    brush.box(0, 0, 1, 0.13, cupboard)
    edge = mix(cupboard, BLACK, 0.3)
    for k in range(4):
        brush.box(k / 4 + 0.01, 0.12, k / 4 + 0.24, 0.14, edge)
        brush.line(k / 4, 0, k / 4, 0.13, 0.01, edge)
    y = dice.between(0.24, 0.32)
    brush.box(0, y, 1, y + 0.02, hue["shelf"])
    for x in dice.spread(6, jitter=0.6):
        brush.box(x, y - 0.08, x + 0.07, y, dice.varied(dice.pick(hue["jars"])))
        brush.box(x + 0.01, y - 0.1, x + 0.06, y - 0.08, hue["lid"])
    brush.box(0, counter, 1, counter + 0.06, dice.varied(hue["counter"]))
    brush.box(0, counter + 0.06, 1, 1, cupboard)
    door = mix(cupboard, WHITE, 0.12)
    for x in (0, 1 / 3, 2 / 3):
        brush.box(x + 0.03, counter + 0.1, x + 0.3, 1, edge)
        brush.box(x + 0.04, counter + 0.11, x + 0.29, 1, door)
        brush.oval(x + 0.26, counter + 0.18, 0.014, 0.014, hue["knob"])


def library(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """A wall of bookshelves."""
    wood = dice.varied(hue["wood"])
    brush.box(0, 0, 1, 1, mix(wood, BLACK, 0.35))
    shelves = dice.pick((4, 5))
    height = 1 / shelves
    for row in range(shelves):
        x, floor = -dice.unit() * 0.05, (row + 1) * height - 0.025
        for _ in range(14):
            width = dice.between(0.05, 0.1)
            top = floor - height * dice.between(0.6, 0.84)
            colour = mix(dice.pick(hue["spines"]), hue["shadow"], dice.between(0.1, 0.4))
            brush.box(x, top, x + width - 0.008, floor, colour)
            x += width
            if x > 1:
                break
        brush.box(0, floor, 1, floor + 0.03, wood)
    brush.box(0, 0, 0.03, 1, wood)
    brush.box(0.97, 0, 1, 1, wood)


def stage(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """A stage: curtains, a spotlight, footlights."""
    floor = dice.between(0.7, 0.8)
    brush.box(0, 0, 1, floor, hue["back"])
    cloth = dice.varied(dice.pick(hue["curtains"]))
    folds = dice.pick((12, 14, 16))
    for k in range(folds):
        colour = mix(cloth, BLACK, 0.34 if k % 2 else 0.08)
        brush.box(k / folds, 0, (k + 1) / folds, floor, colour)
    wood = dice.varied(hue["wood"])
    brush.box(0, floor, 1, 1, wood)
    for k in range(9):
        brush.line(k / 8, floor, (k / 8 - 0.5) * 1.5 + 0.5, 1, 0.007, mix(wood, BLACK, 0.3))
    for k in range(7):
        brush.oval((k + 0.5) / 7, 0.02, 0.09, 0.1, mix(cloth, BLACK, 0.2))
        brush.oval((k + 0.5) / 7, 0.0, 0.09, 0.1, mix(cloth, hue["fringe"], 0.16))
    x, lean = dice.between(0.35, 0.65), dice.between(-0.3, 0.3)
    top = x + lean
    beam = (top - 0.04, 0, top + 0.04, 0, x + 0.34, 0.9, x - 0.34, 0.9)
    brush.veil(beam, hue["spotlight"], 0.34)
    for k in range(8):
        brush.oval((k + 0.5) / 8, 0.985, 0.02, 0.02, hue["footlight"])


def underwater(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """Under the sea: rays of light, sand, weeds, coral, bubbles."""
    deep = dice.varied(hue["deep"])
    brush.fade(0, 1, hue["surface"], deep, 4 if scene.style == "poster" else 14)
    for _ in range(3):
        x, w = dice.unit(), dice.between(0.05, 0.12)
        brush.veil((x, 0, x + w, 0, x + w - 0.25, 1, x - w - 0.25, 1), hue["ray"], 0.16)
    sand = dice.between(0.84, 0.9)
    floor = (0, 1, 0, sand, 0.3, sand - 0.04, 0.6, sand + 0.03, 1, sand - 0.02, 1, 1)
    brush.poly(floor, dice.varied(hue["sand"]))
    for _ in range(6):
        x, h = dice.unit(), dice.between(0.14, 0.4)
        weed = (-0.02, 0, -0.035, -0.5, 0.01, -1, 0.02, -0.5, 0.03, 0)
        brush.shape(x, 1, 1, h, weed, dice.between_colours(hue["weeds"]))
    for _ in range(3):
        x, r = dice.unit(), dice.between(0.03, 0.07)
        coral = dice.pick(hue["corals"])
        brush.oval(x, sand + 0.05, r, r, coral)
        brush.oval(x + r, sand + 0.07, r * 0.7, r * 0.8, mix(coral, WHITE, 0.2))
    for _ in range(12):
        x, y, r = dice.unit(), dice.between(0, 0.85), dice.between(0.008, 0.026)
        brush.oval(x, y, r, r, hue["bubble"])
        brush.oval(x, y, r * 0.65, r * 0.65, hue["inside_bubble"])


def space(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """Outer space: stars, nebulae, a planet with a ring."""
    brush.box(0, 0, 1, 1, dice.between_colours(hue["skies"]))
    for _ in range(3):
        colour = dice.pick(hue["nebulae"])
        x, y, r = dice.unit(), dice.unit(), dice.between(0.15, 0.32)
        for k in (1.0, 0.8, 0.6):
            brush.glow(x, y, r * k, r * k * 0.7, colour, 0.16)
    for k in range(46):
        r = 0.005 if k % 4 else 0.011
        brush.oval(dice.unit(), dice.unit(), r, r, dice.pick(hue["stars"]))
    planet = dice.pick(hue["planets"])
    x, y = dice.pick(((0.1, 0.12), (0.88, 0.12), (0.1, 0.88), (0.9, 0.86)))
    x, y, r = x + dice.between(-0.04, 0.04), y + dice.between(-0.04, 0.04), dice.between(0.09, 0.15)
    brush.oval(x, y, r, r, planet)
    brush.oval(x - r * 0.25, y - r * 0.3, r * 0.5, r * 0.4, mix(planet, WHITE, 0.25))
    ring = (-1.7, 0.5, 1.7, -0.6, 1.75, -0.4, -1.6, 0.75)
    brush.shape(x, y, r, r, ring, mix(planet, hue["ring"], 0.55))


INDOOR: dict[str, Painter] = {
    paint.__name__.replace("_", " "): paint
    for paint in (room, kitchen, library, stage, underwater, space)
}
