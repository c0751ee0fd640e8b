"""Light and weather: the tint of a scene, its sky, and what falls in front of it."""

from align_edu.world.brush import BLACK, WHITE, Brush, Colour, Dice, mix
from align_edu.world.catalog import PICTURES
from align_edu.world.scene import Scene

DARK_PLACES = ("night city", "space", "stage")
PAPER = (246, 241, 228)  # of a sketch
HUES = PICTURES["weather"]


def is_dark(scene: Scene) -> bool:
    """Return True if the background is dark, so that objects need a light rim."""
    return scene.weather == "night" or (scene.place in DARK_PLACES and scene.weather != "fog")


def light(brush: Brush, scene: Scene, dice: Dice) -> None:
    """Set the light in which the background is painted; exposure and warmth vary a little."""
    exposure, warmth = dice.between(0.9, 1.06), dice.between(-0.05, 0.05)
    brush.gain = (exposure * (1 + warmth), exposure, exposure * (1 - warmth))
    if scene.weather != "clear":
        tint = PICTURES["tints"][scene.weather]
        brush.tint(tint["colour"], tint["part"] * dice.between(0.85, 1.1))
    if scene.style == "sketch":
        brush.tint(PAPER, 0.28)


def sky(brush: Brush, scene: Scene, dice: Dice, horizon: float) -> None:
    """Paint the sky of this weather down to y = horizon."""
    top, bottom = PICTURES["skies"][scene.weather]
    kept = brush.gain, brush.bias
    brush.gain, brush.bias = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    if scene.style == "sketch":
        brush.tint(PAPER, 0.28)
    shift = dice.between(-0.1, 0.14)
    top = mix(top, WHITE if shift > 0 else BLACK, abs(shift))
    brush.fade(0.0, horizon, top, bottom, 3 if scene.style == "poster" else 12)
    brush.box(0.0, horizon, 1.0, min(1.0, horizon + 0.1), bottom)
    _sun_moon_clouds(brush, scene.weather, dice, horizon, mix(top, bottom, 0.3))
    brush.gain, brush.bias = kept


def _sun_moon_clouds(brush: Brush, weather: str, dice: Dice, horizon: float, dark: Colour) -> None:
    x, y = dice.between(0.1, 0.9), dice.between(0.06, 0.2)
    if weather == "clear":
        if dice.unit() < 0.6:
            brush.oval(x, y, 0.055, 0.055, HUES["sun"])
        _clouds(brush, dice, horizon, HUES["cloud"], dice.count(0, 3))
    elif weather == "sunset":
        y = horizon - dice.between(0.0, 0.07)
        brush.glow(x, y, 0.24, 0.24, HUES["sunset_glow"], 0.35)
        brush.oval(x, y, 0.13, 0.13, HUES["sunset_sun"])
        _clouds(brush, dice, horizon, HUES["sunset_cloud"], dice.count(1, 2))
    elif weather == "night":
        for _ in range(14):
            r = dice.between(0.005, 0.011)
            brush.oval(dice.unit(), dice.between(0.0, horizon), r, r, HUES["star"])
        brush.oval(x, y, 0.075, 0.075, HUES["moon"])
        brush.oval(x + 0.03, y - 0.015, 0.065, 0.065, dark)
    elif weather == "rain":
        _clouds(brush, dice, horizon * 0.5, HUES["rain_cloud"], 3)
    elif weather == "snowfall":
        _clouds(brush, dice, horizon * 0.6, HUES["snow_cloud"], 2)


def _clouds(brush: Brush, dice: Dice, horizon: float, colour: Colour, n: int) -> None:
    for _ in range(n):
        x, y = dice.unit(), dice.between(0.03, max(0.1, horizon * 0.75))
        r = dice.between(0.035, 0.075)
        for dx, dy, k in PICTURES["layout"]["puffs"]:
            brush.oval(x + dx * r, y + dy * r, k * r, k * r * 0.85, colour)


def evening_light(brush: Brush, scene: Scene, dice: Dice) -> None:
    """Let a low sun shine in from one side."""
    if scene.weather == "sunset":
        x, y = dice.pick((0.0, 1.0)), dice.between(0.3, 0.5)
        for r in (0.6, 0.48, 0.36, 0.24):
            brush.glow(x, y, r, r * 0.8, HUES["sunset_light"], 0.12)


def weather_in_front(brush: Brush, weather: str, dice: Dice) -> None:
    """Paint what falls in front of the objects."""
    if weather == "rain":
        slant, length = dice.between(-0.05, 0.05), dice.between(0.1, 0.16)
        for k in range(30):
            x, y = dice.unit(), (k + dice.unit()) / 30 * 1.1 - 0.1
            colour = HUES["light_drop"] if k % 3 else HUES["dark_drop"]
            brush.line(x, y, x + slant, y + length, 0.011, colour)
    elif weather == "snowfall":
        for k in range(38):
            r = dice.between(0.009, 0.022)
            x, y = dice.unit(), (k + dice.unit()) / 38
            brush.oval(x, y, r, r, HUES["flake"])
    elif weather == "fog":
        for _ in range(3):
            y, h = dice.between(0.1, 0.85), dice.between(0.05, 0.09)
            brush.veil((0, y, 0.5, y - 0.03, 1, y, 1, y + h, 0, y + h), HUES["fog"], 0.3)
