"""Backgrounds where people live and work outdoors."""

from align_edu.world.brush import Brush, Dice, mix
from align_edu.world.scene import Scene
from align_edu.world.scenery import BLACK, bench, leafy_tree, varied
from align_edu.world.weather import sky

HOUSE_FRONTS = ((200, 120, 90), (220, 190, 140), (160, 150, 150), (150, 110, 100), (190, 200, 200))


def street(brush: Brush, scene: Scene, dice: Dice) -> None:
    """A street: house fronts, pavement, road."""
    kerb = dice.between(0.6, 0.7)
    sky(brush, scene, dice, 0.5)
    x = -dice.unit() * 0.15
    while x < 1:
        w, top = dice.between(0.2, 0.32), dice.between(0.06, 0.3)
        front = varied(dice.pick(HOUSE_FRONTS), dice)
        brush.box(x, top, x + w, kerb, front)
        brush.box(x, top, x + w, top + 0.025, mix(front, BLACK, 0.3))
        lit = (255, 226, 140) if scene.weather == "night" or dice.unit() < 0.15 else (90, 110, 130)
        y = top + 0.06
        while y < kerb - 0.12:
            for k in range(2):
                left = x + w * (0.16 + 0.42 * k)
                brush.box(left, y, left + w * 0.26, y + 0.07, lit)
            y += 0.13
        brush.box(x + w * 0.36, kerb - 0.1, x + w * 0.62, kerb, mix(front, (60, 40, 30), 0.6))
        x += w
    brush.box(0, kerb, 1, kerb + 0.06, (186, 184, 180))
    brush.box(0, kerb + 0.06, 1, 1, varied((92, 94, 100), dice))
    y, shift = (kerb + 1.06) / 2, dice.unit() * 0.2
    for k in range(6):
        left = k * 0.2 - shift
        brush.box(left, y - 0.012, left + 0.11, y + 0.012, (236, 232, 210))


def night_city(brush: Brush, scene: Scene, dice: Dice) -> None:
    """A city at night: towers with lit windows, a road with car lights."""
    low = mix((70, 50, 110), (40, 60, 120), dice.unit())
    brush.fade(0, 0.8, (12, 14, 44), low, 3 if scene.style == "poster" else 10)
    for _ in range(10):
        brush.oval(dice.unit(), dice.between(0, 0.3), 0.006, 0.006, (230, 230, 240))
    x = -dice.unit() * 0.1
    while x < 1:
        w, top = dice.between(0.11, 0.2), dice.between(0.12, 0.5)
        tower = mix((26, 28, 54), (44, 40, 72), dice.unit())
        brush.box(x, top, x + w - 0.008, 0.86, tower)
        lamp = dice.pick(((255, 220, 120), (255, 190, 90), (190, 230, 255)))
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
    brush.box(0, road, 1, 1, (34, 34, 48))
    for k in range(7):
        x = (k + dice.unit()) / 7
        colour = (255, 90, 70) if k % 2 else (255, 230, 160)
        brush.box(x, road + 0.05, x + 0.07, road + 0.07, colour)


def park(brush: Brush, scene: Scene, dice: Dice) -> None:
    """A park: lawn, round trees, a path, a bench."""
    horizon = dice.between(0.44, 0.54)
    sky(brush, scene, dice, horizon)
    grass = varied((92, 160, 80), dice)
    for k in range(6):
        brush.oval((k + dice.unit()) / 6, horizon, 0.13, 0.1, mix(grass, (30, 80, 60), 0.5))
    brush.box(0, horizon + 0.02, 1, 1, grass)
    for k in range(4):
        x = (k + dice.unit()) / 4
        leafy_tree(
            brush,
            x,
            horizon + dice.between(0.06, 0.14),
            dice.between(0.3, 0.44),
            varied((70, 136, 64), dice),
        )
    x, end = dice.between(0.3, 0.7), dice.between(0.1, 0.9)
    path = varied((222, 206, 172), dice)
    brush.poly(
        (
            x - 0.03,
            horizon + 0.03,
            x + 0.03,
            horizon + 0.03,
            x + 0.14,
            0.7,
            end + 0.3,
            1,
            end - 0.3,
            1,
            x + 0.0,
            0.7,
        ),
        path,
    )
    x, y = dice.pick((dice.between(0.03, 0.2), dice.between(0.62, 0.76))), dice.between(0.68, 0.8)
    bench(brush, x, y)


def farm(brush: Brush, scene: Scene, dice: Dice) -> None:
    """A farm: crops in rows on ploughed earth, a barn, a fence."""
    horizon = dice.between(0.46, 0.56)
    sky(brush, scene, dice, horizon)
    field = varied((122, 88, 56), dice)
    brush.box(0, horizon, 1, 1, field)
    vanish = dice.between(0.2, 0.8)
    for k in range(-3, 13):
        x = k / 9
        brush.poly(
            (vanish + (x - vanish) * 0.1, horizon, x * 1.6 - 0.3, 1, x * 1.6 - 0.24, 1),
            mix(field, (96, 190, 60), 0.85),
        )
    x, top = dice.pick((dice.between(0.0, 0.12), dice.between(0.58, 0.7))), horizon - 0.2
    brush.box(x, top, x + 0.3, horizon + 0.03, (170, 56, 46))
    brush.poly(
        (
            x - 0.03,
            top,
            x + 0.06,
            top - 0.1,
            x + 0.15,
            top - 0.14,
            x + 0.24,
            top - 0.1,
            x + 0.33,
            top,
        ),
        (110, 92, 88),
    )
    brush.box(x + 0.1, top + 0.08, x + 0.2, horizon + 0.03, (246, 240, 230))
    brush.box(x + 0.115, top + 0.095, x + 0.185, horizon + 0.03, (140, 44, 38))
    y = dice.between(0.76, 0.84)
    for k in range(6):
        brush.box(k / 5 - 0.02, y - 0.08, k / 5 + 0.02, y + 0.1, (236, 228, 212))
    brush.box(0, y - 0.05, 1, y - 0.02, (236, 228, 212))
    brush.box(0, y + 0.02, 1, y + 0.05, (236, 228, 212))
