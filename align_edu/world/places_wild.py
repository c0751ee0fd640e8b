"""Backgrounds under the open sky."""

from align_edu.world.brush import Brush, Dice, mix
from align_edu.world.scene import Scene
from align_edu.world.scenery import BLACK, WHITE, fir, hills, palm, varied
from align_edu.world.weather import sky


def beach(brush: Brush, scene: Scene, dice: Dice) -> None:
    """A beach: sea, surf, sand, often a palm."""
    horizon, shore = dice.between(0.3, 0.42), dice.between(0.58, 0.7)
    sky(brush, scene, dice, horizon)
    brush.fade(
        horizon, shore + 0.08, (30, 110, 180), (80, 196, 206), 2 if scene.style == "poster" else 6
    )
    for _ in range(5):
        x, y = dice.unit(), dice.between(horizon + 0.03, shore - 0.04)
        brush.line(x, y, x + 0.12, y, 0.009, (200, 234, 240))
    sand = varied((240, 214, 150), dice)
    lean = dice.between(-0.06, 0.06)
    brush.poly(
        (0, shore + lean, 0.33, shore + 0.03, 0.66, shore - 0.03, 1, shore - lean, 1, 1, 0, 1),
        WHITE,
    )
    shore += 0.03
    brush.poly(
        (0, shore + lean, 0.33, shore + 0.03, 0.66, shore - 0.03, 1, shore - lean, 1, 1, 0, 1), sand
    )
    for _ in range(8):
        x, y = dice.unit(), dice.between(shore + 0.06, 1)
        brush.oval(x, y, 0.012, 0.008, mix(sand, (150, 110, 60), 0.35))
    if dice.unit() < 0.6:
        x = dice.pick((0.06, 0.94)) + dice.between(-0.04, 0.04)
        palm(brush, x, shore + 0.1, dice.between(0.16, 0.28))


def forest(brush: Brush, scene: Scene, dice: Dice) -> None:
    """A forest: trunks near and far under a roof of leaves."""
    ground = dice.between(0.68, 0.78)
    sky(brush, scene, dice, 0.44)
    far = varied((84, 132, 92), dice)
    brush.box(0, 0.42, 1, ground + 0.02, far)
    for k in range(8):
        brush.oval((k + dice.unit()) / 8, dice.between(0.34, 0.44), 0.1, 0.13, far)
    for k in range(6):
        x, w = (k + dice.unit()) / 6, dice.between(0.012, 0.025)
        brush.box(x - w, 0.1, x + w, ground, (66, 84, 62))
    soil = varied((92, 84, 52), dice)
    brush.box(0, ground, 1, 1, soil)
    for _ in range(8):
        brush.oval(dice.unit(), dice.between(ground, 1), 0.06, 0.022, mix(soil, (70, 130, 50), 0.6))
    for k in range(4):
        x, w = (k + dice.unit() * 0.8) / 4, dice.between(0.025, 0.05)
        foot = ground + dice.between(0.02, 0.12)
        bark = varied((84, 60, 42), dice)
        brush.poly(
            (x - w, 0, x + w, 0, x + w, foot - 0.05, x + w * 1.7, foot, x - w * 1.7, foot), bark
        )
        brush.box(x - w * 0.6, 0, x - w * 0.2, foot - 0.04, mix(bark, WHITE, 0.15))
    leaf = varied((36, 96, 48), dice)
    for k in range(7):
        colour = mix(leaf, (90, 150, 60), dice.unit() * 0.5)
        brush.oval(
            (k + dice.unit()) / 7, dice.between(-0.02, 0.06), 0.13, dice.between(0.08, 0.15), colour
        )


def meadow(brush: Brush, scene: Scene, dice: Dice) -> None:
    """A meadow: hills and flowers."""
    horizon = dice.between(0.4, 0.54)
    sky(brush, scene, dice, horizon)
    green = varied((124, 190, 76), dice)
    hills(brush, dice, horizon, 0.09, mix(green, (60, 130, 110), 0.4))
    hills(brush, dice, horizon + 0.14, 0.08, green)
    petals = dice.pick(((255, 250, 240), (250, 220, 90), (240, 150, 190), (190, 130, 220)))
    for k in range(22):
        x, y = dice.unit(), horizon + 0.12 + (1 - horizon - 0.12) * (k + dice.unit()) / 22
        r = 0.006 + 0.017 * (y - horizon)
        brush.line(x, y, x, y + 0.045, 0.009, mix(green, (30, 90, 30), 0.5))
        brush.oval(x, y, r * 1.4, r * 1.4, petals if k % 3 else (255, 236, 120))


def snow(brush: Brush, scene: Scene, dice: Dice) -> None:
    """A snowy land: white hills and firs."""
    horizon = dice.between(0.4, 0.52)
    sky(brush, scene, dice, horizon)
    hills(brush, dice, horizon, 0.08, (206, 220, 238))
    for k in range(6):
        x, h = (k + dice.unit()) / 6, dice.between(0.16, 0.34)
        foot = horizon + dice.between(0.03, 0.1)
        fir(brush, x, foot, h, (70, 112, 104))
        brush.poly(
            (x, foot - h, x + h * 0.14, foot - h * 0.72, x - h * 0.14, foot - h * 0.72),
            (244, 248, 252),
        )
        brush.poly(
            (x - h * 0.2, foot - h * 0.45, x + h * 0.2, foot - h * 0.45, x, foot - h * 0.36),
            (244, 248, 252),
        )
    hills(brush, dice, horizon + 0.18, 0.09, (236, 242, 250))
    for _ in range(6):
        x, y = dice.unit(), dice.between(horizon + 0.2, 1)
        brush.oval(x, y, dice.between(0.05, 0.12), 0.016, (212, 224, 242))


def mountains(brush: Brush, scene: Scene, dice: Dice) -> None:
    """Mountains with white tops above a valley of firs."""
    foot = dice.between(0.66, 0.76)
    sky(brush, scene, dice, foot)
    rock = varied((120, 124, 146), dice)
    for k in range(4):
        x, w = (k + dice.unit() * 0.9) / 3.6, dice.between(0.24, 0.4)
        top = dice.between(0.1, 0.34)
        shade = mix(rock, (180, 190, 214), 0.5 if k % 2 == 0 else 0.0)
        brush.poly((x, top, x + w, foot + 0.02, x - w, foot + 0.02), shade)
        brush.poly((x, top, x + w, foot + 0.02, x + w * 0.1, foot + 0.02), mix(shade, BLACK, 0.22))
        c, d = w * 0.34, (foot - top) * 0.34
        brush.poly(
            (
                x,
                top,
                x + c,
                top + d,
                x + c * 0.4,
                top + d * 0.75,
                x,
                top + d * 1.15,
                x - c * 0.45,
                top + d * 0.75,
                x - c,
                top + d,
            ),
            (246, 248, 252),
        )
    valley = varied((104, 140, 92), dice)
    hills(brush, dice, foot + 0.06, 0.07, valley)
    for k in range(7):
        fir(
            brush,
            (k + dice.unit()) / 7,
            foot + dice.between(0.06, 0.24),
            dice.between(0.1, 0.18),
            mix(valley, (20, 60, 50), 0.6),
        )


def desert(brush: Brush, scene: Scene, dice: Dice) -> None:
    """A desert: dunes, a mesa, stones."""
    horizon = dice.between(0.42, 0.56)
    sky(brush, scene, dice, horizon)
    sand = varied((228, 168, 96), dice)
    mesa, top = dice.unit() * 0.8, horizon - dice.between(0.1, 0.2)
    rock = varied((176, 96, 62), dice)
    brush.poly(
        (mesa - 0.06, horizon + 0.05, mesa, top, mesa + 0.2, top, mesa + 0.28, horizon + 0.05), rock
    )
    brush.box(mesa + 0.0, top + 0.04, mesa + 0.2, top + 0.06, mix(rock, BLACK, 0.2))
    hills(brush, dice, horizon + 0.03, 0.06, mix(sand, (180, 110, 60), 0.35))
    for k in range(3):
        y = horizon + 0.12 + k * 0.15
        crest = dice.between(0.2, 0.8)
        tone = mix(sand, WHITE, 0.05 + 0.07 * k)
        brush.poly((0, 1, 0, y + 0.05, crest, y - 0.05, 1, y + 0.06, 1, 1), tone)
        brush.poly(
            (crest, y - 0.05, 1, y + 0.06, 1, y + 0.14, crest + 0.1, y + 0.12),
            mix(tone, (150, 84, 40), 0.4),
        )
    for _ in range(3):
        x, y = dice.unit(), dice.between(horizon + 0.1, 0.95)
        brush.oval(x, y, 0.03, 0.018, rock)
