"""Backgrounds under the open sky, in nature and where people live."""

from collections.abc import Callable

from align_edu.world.brush import BLACK, WHITE, Brush, Dice, mix
from align_edu.world.catalog import PICTURES, Colour, Hues
from align_edu.world.scene import Scene
from align_edu.world.weather import sky

SCENERY = PICTURES["scenery"]


def _hills(brush: Brush, dice: Dice, base: float, height: float, colour: Colour) -> None:
    """Paint a line of hills and all that lies below it; `base` is its mean y."""
    a, b, c, d = (base - height * dice.unit() for _ in range(4))
    saddle = (b + c) / 2 - height * 0.3
    brush.poly((0, 1, 0, a, 0.18, b, 0.4, saddle, 0.65, c, 0.85, d, 1, a, 1, 1), colour)


def _leafy_tree(brush: Brush, x: float, foot: float, h: float, colour: Colour) -> None:
    """Paint a round tree of height h whose trunk ends at y = foot."""
    brush.box(x - h * 0.06, foot - h * 0.5, x + h * 0.06, foot, SCENERY["trunk"])
    brush.oval(x, foot - h * 0.68, h * 0.3, h * 0.34, colour)
    brush.oval(x - h * 0.08, foot - h * 0.76, h * 0.16, h * 0.17, mix(colour, WHITE, 0.14))


def _fir(brush: Brush, x: float, foot: float, h: float, colour: Colour) -> None:
    """Paint a fir of height h whose trunk ends at y = foot."""
    brush.box(x - h * 0.05, foot - h * 0.2, x + h * 0.05, foot, SCENERY["fir_trunk"])
    brush.shape(x, foot, h, h, (0, -1, 0.28, -0.45, -0.28, -0.45), colour)
    below = mix(colour, BLACK, 0.12)
    brush.shape(x, foot, h, h, (0, -0.7, 0.36, -0.12, -0.36, -0.12), below)


def _palm(brush: Brush, x: float, foot: float, top: float) -> None:
    """Paint a palm that leans towards the middle of the picture."""
    crown = x + (0.5 - x) * 0.25
    trunk = (x - 0.02, foot, x + 0.025, foot, crown + 0.015, top, crown - 0.015, top)
    brush.poly(trunk, SCENERY["palm_trunk"])
    for dx, dy in ((-0.17, 0.08), (0.17, 0.08), (-0.12, -0.07), (0.12, -0.07), (0.02, 0.14)):
        leaf = (0, -0.025, dx, dy, 0, 0.03)
        brush.shape(crown, top, 1, 1, leaf, SCENERY["palm_leaf"])


def _bench(brush: Brush, x: float, y: float) -> None:
    """Paint a wooden bench whose upper left corner is (x, y)."""
    for k in range(3):
        brush.box(x, y + k * 0.035, x + 0.22, y + k * 0.035 + 0.022, SCENERY["bench"])
    brush.box(x + 0.02, y, x + 0.04, y + 0.17, SCENERY["bench_leg"])
    brush.box(x + 0.18, y, x + 0.2, y + 0.17, SCENERY["bench_leg"])


def beach(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """A beach: sea, surf, sand, often a palm."""
    horizon, shore = dice.between(0.3, 0.42), dice.between(0.58, 0.7)
    sky(brush, scene, dice, horizon)
    bands = 2 if scene.style == "poster" else 6
    brush.fade(horizon, shore + 0.08, hue["far_sea"], hue["near_sea"], bands)
    for _ in range(5):
        x, y = dice.unit(), dice.between(horizon + 0.03, shore - 0.04)
        brush.line(x, y, x + 0.12, y, 0.009, hue["wave"])
    sand, lean = dice.varied(hue["sand"]), dice.between(-0.06, 0.06)
    for down, colour in ((0.0, WHITE), (0.03, sand)):  # the surf, then the sand
        y = shore + down
        line = (0, y + lean, 0.33, y + 0.03, 0.66, y - 0.03, 1, y - lean, 1, 1, 0, 1)
        brush.poly(line, colour)
    for _ in range(8):
        x, y = dice.unit(), dice.between(shore + 0.03 + 0.06, 1)
        brush.oval(x, y, 0.012, 0.008, mix(sand, hue["pebble"], 0.35))
    if dice.unit() < 0.6:
        x = dice.pick((0.06, 0.94)) + dice.between(-0.04, 0.04)
        _palm(brush, x, shore + 0.03 + 0.1, dice.between(0.16, 0.28))


def forest(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """A forest: trunks near and far under a roof of leaves."""
    ground = dice.between(0.68, 0.78)
    sky(brush, scene, dice, 0.44)
    far = dice.varied(hue["far"])
    brush.box(0, 0.42, 1, ground + 0.02, far)
    for x in dice.spread(8):
        brush.oval(x, dice.between(0.34, 0.44), 0.1, 0.13, far)
    for x in dice.spread(6):
        w = dice.between(0.012, 0.025)
        brush.box(x - w, 0.1, x + w, ground, hue["far_trunk"])
    soil = dice.varied(hue["soil"])
    brush.box(0, ground, 1, 1, soil)
    for _ in range(8):
        brush.oval(dice.unit(), dice.between(ground, 1), 0.06, 0.022, mix(soil, hue["moss"], 0.6))
    for x in dice.spread(4, jitter=0.8):
        w = dice.between(0.025, 0.05)
        foot = ground + dice.between(0.02, 0.12)
        bark = dice.varied(hue["bark"])
        trunk = (x - w, 0, x + w, 0, x + w, foot - 0.05, x + w * 1.7, foot, x - w * 1.7, foot)
        brush.poly(trunk, bark)
        brush.box(x - w * 0.6, 0, x - w * 0.2, foot - 0.04, mix(bark, WHITE, 0.15))
    leaf = dice.varied(hue["leaf"])
    for k in range(7):
        colour = mix(leaf, hue["bright_leaf"], dice.unit() * 0.5)
        x, y = (k + dice.unit()) / 7, dice.between(-0.02, 0.06)
        brush.oval(x, y, 0.13, dice.between(0.08, 0.15), colour)


def meadow(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """A meadow: hills and flowers."""
    horizon = dice.between(0.4, 0.54)
    sky(brush, scene, dice, horizon)
    green = dice.varied(hue["grass"])
    _hills(brush, dice, horizon, 0.09, mix(green, hue["far"], 0.4))
    _hills(brush, dice, horizon + 0.14, 0.08, green)
    petals = dice.pick(hue["petals"])
    for k in range(22):
        x, y = dice.unit(), horizon + 0.12 + (1 - horizon - 0.12) * (k + dice.unit()) / 22
        r = 0.006 + 0.017 * (y - horizon)
        brush.line(x, y, x, y + 0.045, 0.009, mix(green, hue["stalk"], 0.5))
        brush.oval(x, y, r * 1.4, r * 1.4, petals if k % 3 else hue["buttercup"])


def snow(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """A snowy land: white hills and firs."""
    horizon = dice.between(0.4, 0.52)
    sky(brush, scene, dice, horizon)
    _hills(brush, dice, horizon, 0.08, hue["far"])
    for x in dice.spread(6):
        h = dice.between(0.16, 0.34)
        foot = horizon + dice.between(0.03, 0.1)
        _fir(brush, x, foot, h, hue["fir"])
        brush.shape(x, foot, h, h, (0, -1, 0.14, -0.72, -0.14, -0.72), hue["cap"])
        brush.shape(x, foot, h, h, (-0.2, -0.45, 0.2, -0.45, 0, -0.36), hue["cap"])
    _hills(brush, dice, horizon + 0.18, 0.09, hue["near"])
    for _ in range(6):
        x, y = dice.unit(), dice.between(horizon + 0.2, 1)
        brush.oval(x, y, dice.between(0.05, 0.12), 0.016, hue["drift"])


def mountains(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """Mountains with white tops above a valley of firs."""
    foot = dice.between(0.66, 0.76)
    sky(brush, scene, dice, foot)
    rock = dice.varied(hue["rock"])
    for k in range(4):
        x, w = (k + dice.unit() * 0.9) / 3.6, dice.between(0.24, 0.4)
        top = dice.between(0.1, 0.34)
        shade = mix(rock, hue["haze"], 0.5 if k % 2 == 0 else 0.0)
        base = foot + 0.02
        brush.poly((x, top, x + w, base, x - w, base), shade)
        brush.poly((x, top, x + w, base, x + w * 0.1, base), mix(shade, BLACK, 0.22))
        cap = (0, 0, 1, 1, 0.4, 0.75, 0, 1.15, -0.45, 0.75, -1, 1)
        brush.shape(x, top, w * 0.34, (foot - top) * 0.34, cap, hue["cap"])
    valley = dice.varied(hue["valley"])
    _hills(brush, dice, foot + 0.06, 0.07, valley)
    for x in dice.spread(7):
        low, high = foot + dice.between(0.06, 0.24), dice.between(0.1, 0.18)
        _fir(brush, x, low, high, mix(valley, hue["fir"], 0.6))


def desert(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """A desert: dunes, a mesa, stones."""
    horizon = dice.between(0.42, 0.56)
    sky(brush, scene, dice, horizon)
    sand = dice.varied(hue["sand"])
    x, top, foot = dice.unit() * 0.8, horizon - dice.between(0.1, 0.2), horizon + 0.05
    rock = dice.varied(hue["rock"])
    brush.poly((x - 0.06, foot, x, top, x + 0.2, top, x + 0.28, foot), rock)
    brush.box(x, top + 0.04, x + 0.2, top + 0.06, mix(rock, BLACK, 0.2))
    _hills(brush, dice, horizon + 0.03, 0.06, mix(sand, hue["far"], 0.35))
    for k in range(3):
        y = horizon + 0.12 + k * 0.15
        crest = dice.between(0.2, 0.8)
        tone = mix(sand, WHITE, 0.05 + 0.07 * k)
        brush.poly((0, 1, 0, y + 0.05, crest, y - 0.05, 1, y + 0.06, 1, 1), tone)
        lee = (crest, y - 0.05, 1, y + 0.06, 1, y + 0.14, crest + 0.1, y + 0.12)
        brush.poly(lee, mix(tone, hue["shade"], 0.4))
    for _ in range(3):
        x, y = dice.unit(), dice.between(horizon + 0.1, 0.95)
        brush.oval(x, y, 0.03, 0.018, rock)


def street(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """A street: house fronts, pavement, road."""
    kerb = dice.between(0.6, 0.7)
    sky(brush, scene, dice, 0.5)
    x = -dice.unit() * 0.15
    while x < 1:
        w, top = dice.between(0.2, 0.32), dice.between(0.06, 0.3)
        front = dice.varied(dice.pick(hue["fronts"]))
        brush.box(x, top, x + w, kerb, front)
        brush.box(x, top, x + w, top + 0.025, mix(front, BLACK, 0.3))
        lit = scene.weather == "night" or dice.unit() < 0.15
        pane = hue["lit_window" if lit else "window"]
        y = top + 0.06
        while y < kerb - 0.12:
            for k in range(2):
                left = x + w * (0.16 + 0.42 * k)
                brush.box(left, y, left + w * 0.26, y + 0.07, pane)
            y += 0.13
        brush.box(x + w * 0.36, kerb - 0.1, x + w * 0.62, kerb, mix(front, hue["door"], 0.6))
        x += w
    brush.box(0, kerb, 1, kerb + 0.06, hue["pavement"])
    brush.box(0, kerb + 0.06, 1, 1, dice.varied(hue["road"]))
    y, shift = (kerb + 1.06) / 2, dice.unit() * 0.2
    for k in range(6):
        left = k * 0.2 - shift
        brush.box(left, y - 0.012, left + 0.11, y + 0.012, hue["line"])


def night_city(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """A city at night: towers with lit windows, a road with car lights."""
    low = dice.between_colours(hue["horizons"])
    brush.fade(0, 0.8, hue["sky"], low, 3 if scene.style == "poster" else 10)
    for _ in range(10):
        brush.oval(dice.unit(), dice.between(0, 0.3), 0.006, 0.006, hue["star"])
    x = -dice.unit() * 0.1
    while x < 1:
        w, top = dice.between(0.11, 0.2), dice.between(0.12, 0.5)
        brush.box(x, top, x + w - 0.008, 0.86, dice.between_colours(hue["towers"]))
        lamp = dice.pick(hue["windows"])
        columns = 3 if w > 0.15 else 2
        for column in range(columns):
            left = x + w * (column + 0.25) / columns
            y = top + 0.04
            while y < 0.8:
                if dice.unit() < 0.62:
                    brush.box(left, y, left + 0.03, y + 0.038, lamp)
                y += 0.075
        x += w
    road = dice.between(0.8, 0.87)
    brush.box(0, road, 1, 1, hue["road"])
    for k, x in enumerate(dice.spread(7)):
        colour = hue["tail_light" if k % 2 else "headlight"]
        brush.box(x, road + 0.05, x + 0.07, road + 0.07, colour)


def park(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """A park: lawn, round trees, a path, a bench."""
    horizon = dice.between(0.44, 0.54)
    sky(brush, scene, dice, horizon)
    grass = dice.varied(hue["grass"])
    for x in dice.spread(6):
        brush.oval(x, horizon, 0.13, 0.1, mix(grass, hue["bush"], 0.5))
    brush.box(0, horizon + 0.02, 1, 1, grass)
    for x in dice.spread(4):
        foot, h = horizon + dice.between(0.06, 0.14), dice.between(0.3, 0.44)
        _leafy_tree(brush, x, foot, h, dice.varied(hue["tree"]))
    x, end, top = dice.between(0.3, 0.7), dice.between(0.1, 0.9), horizon + 0.03
    path = (x - 0.03, top, x + 0.03, top, x + 0.14, 0.7, end + 0.3, 1, end - 0.3, 1, x, 0.7)
    brush.poly(path, dice.varied(hue["path"]))
    x, y = dice.pick((dice.between(0.03, 0.2), dice.between(0.62, 0.76))), dice.between(0.68, 0.8)
    _bench(brush, x, y)


def farm(brush: Brush, scene: Scene, dice: Dice, hue: Hues) -> None:
    """A farm: crops in rows on ploughed earth, a barn, a fence."""
    horizon = dice.between(0.46, 0.56)
    sky(brush, scene, dice, horizon)
    field = dice.varied(hue["earth"])
    brush.box(0, horizon, 1, 1, field)
    vanish = dice.between(0.2, 0.8)
    for k in range(-3, 13):
        x = k / 9
        row = (vanish + (x - vanish) * 0.1, horizon, x * 1.6 - 0.3, 1, x * 1.6 - 0.24, 1)
        brush.poly(row, mix(field, hue["crop"], 0.85))
    x, top = dice.pick((dice.between(0.0, 0.12), dice.between(0.58, 0.7))), horizon - 0.2
    brush.box(x, top, x + 0.3, horizon + 0.03, hue["barn"])
    roof = (-0.03, 0, 0.06, -0.1, 0.15, -0.14, 0.24, -0.1, 0.33, 0)
    brush.shape(x, top, 1, 1, roof, hue["roof"])
    brush.box(x + 0.1, top + 0.08, x + 0.2, horizon + 0.03, hue["door_frame"])
    brush.box(x + 0.115, top + 0.095, x + 0.185, horizon + 0.03, hue["door"])
    y = dice.between(0.76, 0.84)
    for k in range(6):
        brush.box(k / 5 - 0.02, y - 0.08, k / 5 + 0.02, y + 0.1, hue["fence"])
    brush.box(0, y - 0.05, 1, y - 0.02, hue["fence"])
    brush.box(0, y + 0.02, 1, y + 0.05, hue["fence"])


Painter = Callable[[Brush, Scene, Dice, Hues], None]
OUTDOOR: dict[str, Painter] = {
    paint.__name__.replace("_", " "): paint
    for paint in (beach, street, park, forest, snow, meadow, mountains, farm, desert, night_city)
}
