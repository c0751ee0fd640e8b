"""The backgrounds: ten places under the open sky, and six without weather.

Random numbers are drawn in a fixed order: each statement below may move all that follow it.
"""

from collections.abc import Callable
from itertools import islice

import numpy as np

from align_edu.world.catalog import PLACES, Hues
from align_edu.world.paint import BLACK, WHITE, Brush, Dice, hills, mix, sky
from align_edu.world.scene import Scene


def _beach(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    horizon, shore = dice.between(0.3, 0.42), dice.between(0.58, 0.7)
    sky(brush, scene, dice, horizon)
    brush.fade(horizon, shore + 0.08, hue["far_sea"], hue["near_sea"], 6)
    for x, y in dice.points(5, horizon + 0.03, shore - 0.04):
        brush.line((x, y), (x + 0.12, y), 0.009, hue["wave"])
    sand, lean = dice.varied(hue["sand"]), dice.between(-0.06, 0.06)
    for y, colour in ((shore, WHITE), (shore + 0.03, sand)):  # the surf, then the sand
        line = (0, y + lean, 0.33, y + 0.03, 0.66, y - 0.03, 1, y - lean, 1, 1, 0, 1)
        brush.poly(line, colour)
    brush.ovals(dice.points(8, shore + 0.09, 1), 0.012, 0.008, mix(sand, hue["pebble"], 0.35))
    if dice.unit() < 0.6:
        x = dice.pick((0.06, 0.94)) + dice.between(-0.04, 0.04)
        crown, foot, top = x + (0.5 - x) * 0.25, shore + 0.03 + 0.1, dice.between(0.16, 0.28)
        trunk = (x - 0.02, foot, x + 0.025, foot, crown + 0.015, top, crown - 0.015, top)
        brush.poly(trunk, hue["palm_trunk"])
        brush.thing("palm_leaves", (crown, top), hue)


def _forest(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    ground = dice.between(0.68, 0.78)
    sky(brush, scene, dice, 0.44)
    far = brush.box(0, 0.42, 1, ground + 0.02, dice.varied(hue["far"]))
    for x in dice.spread(8):
        brush.oval(x, dice.between(0.34, 0.44), 0.1, 0.13, far)
    for x in dice.spread(6):
        w = dice.between(0.012, 0.025)
        brush.box(x - w, 0.1, x + w, ground, hue["far_trunk"])
    soil = brush.box(0, ground, 1, 1, dice.varied(hue["soil"]))
    brush.ovals(dice.points(8, ground, 1), 0.06, 0.022, mix(soil, hue["moss"], 0.6))
    for x in dice.spread(4, jitter=0.8):
        w, foot = dice.between(0.025, 0.05), ground + dice.between(0.02, 0.12)
        trunk = (x - w, 0, x + w, 0, x + w, foot - 0.05, x + w * 1.7, foot, x - w * 1.7, foot)
        bark = brush.poly(trunk, dice.varied(hue["bark"]))
        brush.box(x - w * 0.6, 0, x - w * 0.2, foot - 0.04, mix(bark, WHITE, 0.15))
    leaf = dice.varied(hue["leaf"])
    for k in range(7):
        colour = mix(leaf, hue["bright_leaf"], dice.unit() * 0.5)
        x, y = (k + dice.unit()) / 7, dice.between(-0.02, 0.06)
        brush.oval(x, y, 0.13, dice.between(0.08, 0.15), colour)


def _meadow(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    horizon = sky(brush, scene, dice, dice.between(0.4, 0.54))
    green = dice.varied(hue["grass"])
    hills(brush, dice, horizon, 0.09, mix(green, hue["far"], 0.4))
    hills(brush, dice, horizon + 0.14, 0.08, green)
    petals, stalk = dice.pick(hue["petals"]), mix(green, hue["stalk"], 0.5)
    for k in range(22):
        x, y = dice.unit(), horizon + 0.12 + (1 - horizon - 0.12) * (k + dice.unit()) / 22
        brush.line((x, y), (x, y + 0.045), 0.009, stalk)
        r = (0.006 + 0.017 * (y - horizon)) * 1.4
        brush.oval(x, y, r, r, petals if k % 3 else hue["buttercup"])


def _snow(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    horizon = sky(brush, scene, dice, dice.between(0.4, 0.52))
    hills(brush, dice, horizon, 0.08, hue["far"])
    firs = hue | {"shade": mix(hue["needles"], BLACK, 0.12)}
    for x in dice.spread(6):
        h, at = dice.between(0.16, 0.34), (x, horizon + dice.between(0.03, 0.1))
        brush.thing("snowy_fir", at, firs, h)
    hills(brush, dice, horizon + 0.18, 0.09, hue["near"])
    for x, y in dice.points(6, horizon + 0.2, 1):
        brush.oval(x, y, dice.between(0.05, 0.12), 0.016, hue["drift"])


def _mountains(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    foot = sky(brush, scene, dice, dice.between(0.66, 0.76))
    rock, base = dice.varied(hue["rock"]), foot + 0.02
    for k in range(4):
        x, w, top = (k + dice.unit() * 0.9) / 3.6, dice.between(0.24, 0.4), dice.between(0.1, 0.34)
        light = mix(rock, hue["haze"], 0.5 if k % 2 == 0 else 0.0)
        colours = {"light": light, "dark": mix(light, BLACK, 0.22)}
        brush.thing("mountain", (x, top), colours, w, base - top)
        brush.thing("mountain_cap", (x, top), hue, w * 0.34, (foot - top) * 0.34)
    valley = hills(brush, dice, foot + 0.06, 0.07, dice.varied(hue["valley"]))
    needles = mix(valley, hue["fir"], 0.6)
    firs = hue | {"needles": needles, "shade": mix(needles, BLACK, 0.12)}
    for x in dice.spread(7):
        at = x, foot + dice.between(0.06, 0.24)
        brush.thing("fir", at, firs, dice.between(0.1, 0.18))


def _desert(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    horizon = sky(brush, scene, dice, dice.between(0.42, 0.56))
    sand = dice.varied(hue["sand"])
    x, top, foot = dice.unit() * 0.8, horizon - dice.between(0.1, 0.2), horizon + 0.05
    mesa = (x - 0.06, foot, x, top, x + 0.2, top, x + 0.28, foot)
    rock = brush.poly(mesa, dice.varied(hue["rock"]))
    brush.box(x, top + 0.04, x + 0.2, top + 0.06, mix(rock, BLACK, 0.2))
    hills(brush, dice, horizon + 0.03, 0.06, mix(sand, hue["far"], 0.35))
    for k in range(3):
        y, crest = horizon + 0.12 + k * 0.15, dice.between(0.2, 0.8)
        tone = mix(sand, WHITE, 0.05 + 0.07 * k)
        brush.poly((0, 1, 0, y + 0.05, crest, y - 0.05, 1, y + 0.06, 1, 1), tone)
        lee = (crest, y - 0.05, 1, y + 0.06, 1, y + 0.14, crest + 0.1, y + 0.12)
        brush.poly(lee, mix(tone, hue["shade"], 0.4))
    brush.ovals(dice.points(3, horizon + 0.1, 0.95), 0.03, 0.018, rock)


def _street(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    kerb = dice.between(0.6, 0.7)
    sky(brush, scene, dice, 0.5)
    for x, w in dice.row(0.15, 0.2, 0.32):
        top = dice.between(0.06, 0.3)
        front = brush.box(x, top, x + w, kerb, dice.varied(dice.pick(hue["fronts"])))
        brush.box(x, top, x + w, top + 0.025, mix(front, BLACK, 0.3))
        lit = scene.weather == "night" or dice.unit() < 0.15
        for y in np.arange(top + 0.06, kerb - 0.12, 0.13).tolist():
            brush.thing("lit_windows" if lit else "windows", (x, y), hue, w, 1)
        brush.box(x + w * 0.36, kerb - 0.1, x + w * 0.62, kerb, mix(front, hue["door"], 0.6))
    brush.box(0, kerb, 1, kerb + 0.06, hue["pavement"])
    brush.box(0, kerb + 0.06, 1, 1, dice.varied(hue["road"]))
    y, shift = (kerb + 1.06) / 2, dice.unit() * 0.2
    for k in range(6):
        brush.thing("dash", (k * 0.2 - shift, y), hue)


def _night_city(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    brush.fade(0, 0.8, hue["sky"], dice.between_colours(hue["horizons"]), 10)
    brush.ovals(dice.points(10, 0, 0.3), 0.006, 0.006, hue["star"])
    for x, w in dice.row(0.1, 0.11, 0.2):
        top = dice.between(0.12, 0.5)
        brush.box(x, top, x + w - 0.008, 0.86, dice.between_colours(hue["towers"]))
        lamp, columns = dice.pick(hue["windows"]), 3 if w > 0.15 else 2
        for column in range(columns):
            left = x + w * (column + 0.25) / columns
            for y in np.arange(top + 0.04, 0.8, 0.075).tolist():
                if dice.unit() < 0.62:
                    brush.box(left, y, left + 0.03, y + 0.038, lamp)
    road = dice.between(0.8, 0.87)
    brush.box(0, road, 1, 1, hue["road"])
    for k, x in enumerate(dice.spread(7)):
        brush.box(x, road + 0.05, x + 0.07, road + 0.07, hue["lights"][k % 2])


def _park(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    horizon = sky(brush, scene, dice, dice.between(0.44, 0.54))
    grass = dice.varied(hue["grass"])
    bushes = ((x, horizon) for x in dice.spread(6))
    brush.ovals(bushes, 0.13, 0.1, mix(grass, hue["bush"], 0.5))
    brush.box(0, horizon + 0.02, 1, 1, grass)
    for x in dice.spread(4):
        foot, h = horizon + dice.between(0.06, 0.14), dice.between(0.3, 0.44)
        leaf = dice.varied(hue["tree"])
        colours = hue | {"leaf": leaf, "light_leaf": mix(leaf, WHITE, 0.14)}
        brush.thing("tree", (x, foot), colours, h)
    x, end, top = dice.between(0.3, 0.7), dice.between(0.1, 0.9), horizon + 0.03
    path = (x - 0.03, top, x + 0.03, top, x + 0.14, 0.7, end + 0.3, 1, end - 0.3, 1, x, 0.7)
    brush.poly(path, dice.varied(hue["path"]))
    x = dice.pick((dice.between(0.03, 0.2), dice.between(0.62, 0.76)))
    brush.thing("bench", (x, dice.between(0.68, 0.8)), hue)


def _farm(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    horizon = sky(brush, scene, dice, dice.between(0.46, 0.56))
    field = brush.box(0, horizon, 1, 1, dice.varied(hue["earth"]))
    vanish = dice.between(0.2, 0.8)
    for k in range(-3, 13):
        x = k / 9
        row = (vanish + (x - vanish) * 0.1, horizon, x * 1.6 - 0.3, 1, x * 1.6 - 0.24, 1)
        brush.poly(row, mix(field, hue["crop"], 0.85))
    x = dice.pick((dice.between(0.0, 0.12), dice.between(0.58, 0.7)))
    brush.thing("barn", (x, horizon - 0.2), hue)
    y = dice.between(0.76, 0.84)
    for k in range(6):
        brush.box(k / 5 - 0.02, y - 0.08, k / 5 + 0.02, y + 0.1, hue["fence"])
    brush.thing("rails", (0, y), hue)


def _room(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    floor = dice.between(0.66, 0.78)
    wall = brush.box(0, 0, 1, floor, dice.varied(dice.pick(hue["walls"])))
    if dice.unit() < 0.5:
        for k in range(8):
            brush.box(k / 8, 0, k / 8 + 0.05, floor, mix(wall, WHITE, 0.3))
    wood = brush.box(0, floor, 1, 1, dice.varied(hue["wood"]))
    for k in range(1, 4):
        y = floor + (1 - floor) * k / 4
        brush.line((0, y), (1, y), 0.008, mix(wood, BLACK, 0.2))
    brush.box(0, floor - 0.03, 1, floor, hue["skirting"])
    at = dice.between(0.04, 0.62), dice.between(0.05, 0.14)
    brush.thing("window", at, hue | {"curtain": dice.varied(dice.pick(hue["curtains"]))})
    brush.oval(dice.between(0.2, 0.8), 0.97, 0.36, 0.09, dice.varied(hue["rug"]))


def _kitchen(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    counter = dice.between(0.6, 0.72)
    tile = brush.box(0, 0, 1, counter, dice.varied(dice.pick(hue["tiles"])))
    seam = mix(tile, hue["seam"], 0.4)
    step, first = dice.between(0.11, 0.15), dice.unit() * 0.1
    for at in (k * step + first for k in range(9)):
        brush.line((0, at), (1, at), 0.007, seam)
        brush.line((at, 0), (at, counter), 0.007, seam)
    cupboard = brush.box(0, 0, 1, 0.13, dice.varied(dice.pick(hue["cupboards"])))
    edge = mix(cupboard, BLACK, 0.3)
    for k in range(4):
        brush.box(k / 4 + 0.01, 0.12, k / 4 + 0.24, 0.14, edge)
        brush.line((k / 4, 0), (k / 4, 0.13), 0.01, edge)
    y = dice.between(0.24, 0.32)
    brush.box(0, y, 1, y + 0.02, hue["shelf"])
    for x in dice.spread(6, jitter=0.6):
        brush.thing("jar", (x, y), hue | {"jar": dice.varied(dice.pick(hue["jars"]))})
    brush.box(0, counter, 1, counter + 0.06, dice.varied(hue["counter"]))
    brush.box(0, counter + 0.06, 1, 1, cupboard)
    colours = hue | {"edge": edge, "door": mix(cupboard, WHITE, 0.12)}
    for x in (0, 1 / 3, 2 / 3):
        brush.thing("cupboard", (x, counter), colours)


def _library(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    wood = dice.varied(hue["wood"])
    brush.box(0, 0, 1, 1, mix(wood, BLACK, 0.35))
    shelves = dice.pick((4, 5))
    height = 1 / shelves
    for row in range(shelves):
        floor = (row + 1) * height - 0.025
        for x, width in islice(dice.row(0.05, 0.05, 0.1), 14):
            top = floor - height * dice.between(0.6, 0.84)
            colour = mix(dice.pick(hue["spines"]), hue["shadow"], dice.between(0.1, 0.4))
            brush.box(x, top, x + width - 0.008, floor, colour)
        brush.box(0, floor, 1, floor + 0.03, wood)
    brush.box(0, 0, 0.03, 1, wood)
    brush.box(0.97, 0, 1, 1, wood)


def _stage(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    floor = dice.between(0.7, 0.8)
    brush.box(0, 0, 1, floor, hue["back"])
    cloth = dice.varied(dice.pick(hue["curtains"]))
    folds = dice.pick((12, 14, 16))
    for k in range(folds):
        fold = mix(cloth, BLACK, 0.34 if k % 2 else 0.08)
        brush.box(k / folds, 0, (k + 1) / folds, floor, fold)
    wood = brush.box(0, floor, 1, 1, dice.varied(hue["wood"]))
    for k in range(9):
        brush.line((k / 8, floor), (k / 8 * 1.5 - 0.25, 1), 0.007, mix(wood, BLACK, 0.3))
    colours = {"dark": mix(cloth, BLACK, 0.2), "light": mix(cloth, hue["fringe"], 0.16)}
    for k in range(7):
        brush.thing("fringe", ((k + 0.5) / 7, 0), colours)
    x = dice.between(0.35, 0.65)
    top = x + dice.between(-0.3, 0.3)
    beam = (top - 0.04, 0, top + 0.04, 0, x + 0.34, 0.9, x - 0.34, 0.9)
    brush.veil(beam, hue["spotlight"], 0.34)
    for k in range(8):
        brush.oval((k + 0.5) / 8, 0.985, 0.02, 0.02, hue["footlight"])


def _underwater(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    brush.fade(0, 1, hue["surface"], dice.varied(hue["deep"]), 14)
    for _ in range(3):
        x, w = dice.unit(), dice.between(0.05, 0.12)
        brush.veil((x, 0, x + w, 0, x + w - 0.25, 1, x - w - 0.25, 1), hue["ray"], 0.16)
    sand = dice.between(0.84, 0.9)
    brush.thing("sea_floor", (0, sand), {"sand": dice.varied(hue["sand"])})
    for x, h in dice.points(6, 0.14, 0.4):
        brush.thing("weed", (x, 1), {"weed": dice.between_colours(hue["weeds"])}, 1, h)
    for x, r in dice.points(3, 0.03, 0.07):
        coral = brush.oval(x, sand + 0.05, r, r, dice.pick(hue["corals"]))
        brush.oval(x + r, sand + 0.07, r * 0.7, r * 0.8, mix(coral, WHITE, 0.2))
    for at in dice.points(12, 0, 0.85):
        brush.thing("bubble", at, hue, dice.between(0.008, 0.026))


def _space(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    brush.box(0, 0, 1, 1, dice.between_colours(hue["skies"]))
    for _ in range(3):
        colour, at = dice.pick(hue["nebulae"]), (dice.unit(), dice.unit())
        r = dice.between(0.15, 0.32)
        for k in (1.0, 0.8, 0.6):
            brush.glow(at, r * k, r * k * 0.7, colour, 0.16)
    for k in range(46):
        r = 0.005 if k % 4 else 0.011
        brush.oval(dice.unit(), dice.unit(), r, r, dice.pick(hue["stars"]))
    planet = dice.pick(hue["planets"])
    x, y = dice.pick(((0.1, 0.12), (0.88, 0.12), (0.1, 0.88), (0.9, 0.86)))
    x, y, r = x + dice.between(-0.04, 0.04), y + dice.between(-0.04, 0.04), dice.between(0.09, 0.15)
    rings, shine = mix(planet, hue["ring"], 0.55), mix(planet, WHITE, 0.25)
    brush.thing("planet", (x, y), {"planet": planet, "shine": shine, "rings": rings}, r)


PAINTERS: dict[str, Callable[[Brush, Scene, Dice, Hues], None]] = {
    place: globals()[f"_{place.replace(' ', '_')}"] for place in PLACES
}
