"""Light and weather: the tint of a scene, its sky, and what falls in front of it."""

from align_edu.world.brush import Brush, Colour, Dice, mix
from align_edu.world.scene import Scene

DARK_PLACES = ("night city", "space", "stage")
PAPER = (246, 241, 228)

# What is mixed into every colour of the background: (colour, part).
TINTS: dict[str, tuple[Colour, float]] = {
    "clear": ((255, 255, 255), 0.0),
    "rain": ((62, 72, 88), 0.42),
    "snowfall": ((206, 214, 226), 0.38),
    "fog": ((206, 208, 210), 0.62),
    "sunset": ((240, 112, 52), 0.34),
    "night": ((14, 20, 58), 0.66),
}
# The discs of a cloud: (x, y, radius) in units of its size.
PUFFS = ((-1.2, 0.2, 0.7), (1.2, 0.15, 0.8), (0.0, -0.2, 1.0))
SKIES: dict[str, tuple[Colour, Colour]] = {
    "clear": ((70, 150, 232), (190, 226, 248)),
    "rain": ((84, 96, 112), (150, 160, 170)),
    "snowfall": ((170, 182, 200), (220, 226, 234)),
    "fog": ((196, 200, 204), (220, 222, 222)),
    "sunset": ((110, 60, 140), (255, 166, 70)),
    "night": ((10, 14, 44), (46, 56, 110)),
}


def is_dark(scene: Scene) -> bool:
    """Whether the background is dark, so that objects need a light rim.

    Parameters
    ----------
    scene : the scene.

    Returns
    -------
    bool
    """
    return scene.weather == "night" or (scene.place in DARK_PLACES and scene.weather != "fog")


def light(brush: Brush, scene: Scene, dice: Dice) -> None:
    """Set the light in which the background is painted.

    Parameters
    ----------
    brush : the brush whose gain and bias are set.
    scene : the scene; its weather and style decide.
    dice : the source of randomness; exposure and warmth vary a little.
    """
    exposure, warmth = dice.between(0.9, 1.06), dice.between(-0.05, 0.05)
    brush.gain = (exposure * (1 + warmth), exposure, exposure * (1 - warmth))
    colour, part = TINTS[scene.weather]
    if part:
        brush.tint(colour, part * dice.between(0.85, 1.1))
    if scene.style == "sketch":
        brush.tint(PAPER, 0.28)


def _clouds(brush: Brush, dice: Dice, horizon: float, colour: Colour, n: int) -> None:
    for _ in range(n):
        x, y = dice.unit(), dice.between(0.03, max(0.1, horizon * 0.75))
        r = dice.between(0.035, 0.075)
        for dx, dy, k in PUFFS:
            brush.oval(x + dx * r, y + dy * r, k * r, k * r * 0.85, colour)


def _sun_moon_clouds(brush: Brush, weather: str, dice: Dice, horizon: float, dark: Colour) -> None:
    x, y = dice.between(0.1, 0.9), dice.between(0.06, 0.2)
    if weather == "clear":
        if dice.unit() < 0.6:
            brush.oval(x, y, 0.055, 0.055, (255, 232, 130))
        _clouds(brush, dice, horizon, (255, 255, 255), dice.count(0, 3))
    elif weather == "sunset":
        y = horizon - dice.between(0.0, 0.07)
        brush.glow(x, y, 0.24, 0.24, (255, 200, 90), 0.35)
        brush.oval(x, y, 0.13, 0.13, (255, 226, 120))
        _clouds(brush, dice, horizon, (250, 130, 110), dice.count(1, 2))
    elif weather == "night":
        for _ in range(14):
            r = dice.between(0.005, 0.011)
            brush.oval(dice.unit(), dice.between(0.0, horizon), r, r, (250, 246, 214))
        brush.oval(x, y, 0.075, 0.075, (250, 244, 208))
        brush.oval(x + 0.03, y - 0.015, 0.065, 0.065, dark)
    elif weather == "rain":
        _clouds(brush, dice, horizon * 0.5, (70, 78, 92), 3)
    elif weather == "snowfall":
        _clouds(brush, dice, horizon * 0.6, (236, 240, 246), 2)


def sky(brush: Brush, scene: Scene, dice: Dice, horizon: float) -> None:
    """Paint the sky of this weather down to the horizon.

    Parameters
    ----------
    brush : the brush.
    scene : the scene.
    dice : the source of randomness.
    horizon : y of the horizon, a part of the picture's side.
    """
    weather = scene.weather
    top, bottom = SKIES[weather]
    kept = brush.gain, brush.bias
    brush.gain, brush.bias = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    if scene.style == "sketch":
        brush.tint(PAPER, 0.28)
    shift = dice.between(-0.1, 0.14)
    top = mix(top, (255, 255, 255) if shift > 0 else (0, 0, 0), abs(shift))
    brush.fade(0.0, horizon, top, bottom, 3 if scene.style == "poster" else 12)
    brush.box(0.0, horizon, 1.0, min(1.0, horizon + 0.1), bottom)
    _sun_moon_clouds(brush, weather, dice, horizon, mix(top, bottom, 0.3))
    brush.gain, brush.bias = kept


def _rain(brush: Brush, dice: Dice) -> None:
    slant, length = dice.between(-0.05, 0.05), dice.between(0.1, 0.16)
    for k in range(30):
        x, y = dice.unit(), (k + dice.unit()) / 30 * 1.1 - 0.1
        colour = (206, 226, 248) if k % 3 else (120, 150, 190)
        brush.line(x, y, x + slant, y + length, 0.011, colour)


def _snowfall(brush: Brush, dice: Dice) -> None:
    for k in range(38):
        r = dice.between(0.009, 0.022)
        x, y = dice.unit(), (k + dice.unit()) / 38
        brush.oval(x, y, r, r, (255, 255, 255))


def evening_light(brush: Brush, scene: Scene, dice: Dice) -> None:
    """Paint the low sun's light from one side over the background, if there is one.

    Parameters
    ----------
    brush : the brush.
    scene : the scene.
    dice : the source of randomness.
    """
    if scene.weather == "sunset":
        x, y = dice.pick((0.0, 1.0)), dice.between(0.3, 0.5)
        for r in (0.6, 0.48, 0.36, 0.24):
            brush.glow(x, y, r, r * 0.8, (255, 190, 80), 0.12)


def weather_in_front(brush: Brush, weather: str, dice: Dice) -> None:
    """Paint what falls in front of the objects.

    Parameters
    ----------
    brush : the brush.
    weather : a key of `catalog.WEATHER`.
    dice : the source of randomness.
    """
    if weather == "rain":
        _rain(brush, dice)
    elif weather == "snowfall":
        _snowfall(brush, dice)
    elif weather == "fog":
        for _ in range(3):
            y, h = dice.between(0.1, 0.85), dice.between(0.05, 0.09)
            brush.veil((0, y, 0.5, y - 0.03, 1, y, 1, y + h, 0, y + h), (236, 238, 240), 0.3)
