"""Draws a scene: background, objects, weather in front, and the finish of the style.

Shades of parts: "body", "dark", "light" and "deep" follow the colour of the thing; the others
are fixed accents, so that an object can be recognised in any colour.
"""

import math

import numpy as np
from PIL import Image

from align_edu.world import catalog
from align_edu.world.artwork import artwork
from align_edu.world.brush import Brush, Colour, Dice, mix
from align_edu.world.finish import finish
from align_edu.world.layout import FLYING_KINDS, Spot, lay_out
from align_edu.world.places import paint_place
from align_edu.world.scene import Scene
from align_edu.world.weather import PAPER, is_dark, light, weather_in_front

ACCENTS: dict[str, Colour] = {
    "ink": (30, 28, 32),
    "white": (250, 250, 248),
    "cream": (252, 238, 208),
    "paper": (250, 246, 234),
    "pencil": (150, 146, 140),
    "gold": (250, 200, 60),
    "orange": (244, 150, 40),
    "flame": (255, 196, 60),
    "rose": (244, 150, 160),
    "cherry": (190, 40, 44),
    "clay": (190, 98, 62),
    "wood": (130, 86, 48),
    "waffle": (218, 160, 84),
    "coffee": (74, 44, 26),
    "green": (66, 150, 60),
    "leaf": (60, 140, 60),
    "lime": (190, 226, 90),
    "olive": (128, 148, 84),
    "metal": (188, 194, 202),
    "glass": (190, 226, 244),
    "string": (150, 142, 132),
    "steam": (244, 246, 248),
}
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
GRAPHITE = (62, 58, 60)
LOWEST_FLIGHT = 0.66  # what ends lower than this stands on the ground and has a shadow
GROUNDLESS = ("underwater", "space")
RIM_WIDTH = {"photo": 0.013, "sketch": 0.013, "poster": 0.024}


def _brightness(colour: Colour) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def _shades(colour: str, dice: Dice) -> dict[str, Colour]:
    """The colours of the parts of one thing; no two drawings have quite the same."""
    exact = catalog.COLOURS[colour]
    body = mix(exact, WHITE if dice.unit() < 0.5 else BLACK, dice.between(0.0, 0.09))
    if _brightness(body) < 60:
        return {
            "body": body,
            "dark": mix(body, WHITE, 0.14),
            "light": mix(body, WHITE, 0.34),
            "deep": mix(body, WHITE, 0.22),
            **ACCENTS,
        }
    # White would read as gray in a deep shade.
    return {
        "body": body,
        "dark": mix(body, BLACK, 0.11 if _brightness(body) > 215 else 0.17),
        "light": mix(body, WHITE, 0.4),
        "deep": mix(body, BLACK, 0.42),
        **ACCENTS,
    }


def _rim(body: Colour, style: str, dark: bool) -> Colour:
    """A colour that sets the body off against any place."""
    bright = _brightness(body)
    if style == "sketch":
        return GRAPHITE
    if style == "poster":
        return (40, 34, 44) if bright > 205 else (252, 248, 238)
    if bright < 70 or (dark and bright < 175):
        return mix(body, WHITE, 0.72)
    return mix(body, BLACK, 0.72)


def _draw_spot(brush: Brush, spot: Spot, style: str, dark: bool, dice: Dice) -> None:
    art = artwork(spot.thing.kind)
    side = brush.side
    across = -spot.stretch if spot.mirrored else spot.stretch
    cos, sin = math.cos(spot.turn), math.sin(spot.turn)
    turn = np.array([[across * cos, across * sin], [-sin, cos]], dtype=np.float32)  # (2, 2)
    centre = np.array([spot.x * side, spot.y * side], dtype=np.float32)
    pixels = (art.points * (spot.scale * side)) @ turn + centre  # (n, 2)
    fatter = pixels + (art.outward * (RIM_WIDTH[style] * side)) @ turn
    shades = _shades(spot.thing.colour, dice)
    rim = brush.ink(_rim(shades["body"], style, dark))
    starts = (0, *art.ends)
    for part in art.rims:
        brush.outline(fatter[starts[part] : art.ends[part]], rim)
    inks = {shade: brush.ink(shades[shade]) for shade in set(art.shades)}
    for part, shade in enumerate(art.shades):
        brush.outline(pixels[starts[part] : art.ends[part]], inks[shade])


def _draw_shadow(brush: Brush, spot: Spot) -> None:
    across, down = artwork(spot.thing.kind).half
    foot = spot.y + down * spot.scale
    if foot > LOWEST_FLIGHT and spot.thing.kind not in FLYING_KINDS:
        width = across * spot.scale
        brush.glow(spot.x, foot - 0.01, width * 1.06, width * 0.2, BLACK, 0.3)


def draw(scene: Scene, rng: np.random.Generator, size: int = 58) -> Image.Image:
    """Draw one picture of the scene.

    Parameters
    ----------
    scene : what to draw.
    rng : the source of randomness; one state gives one picture, at whatever size.
    size : side of the picture in pixels; 58 is the size at which the toy model trains.

    Returns
    -------
    PIL.Image.Image
        RGB, (size, size).

    >>> from align_edu.world.scene import Thing
    >>> scene = Scene(Thing("cat", "red"), 2, "medium", "beach", "rain", "photo")
    >>> draw(scene, np.random.default_rng(0)).size
    (58, 58)
    """
    dice = Dice(rng)
    finer = 3 if size < 100 else 2
    brush = Brush(size * finer)
    light(brush, scene, dice)
    paint_place(brush, scene, dice)
    spots = lay_out(scene, dice)
    brush.gain, brush.bias = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    if scene.style == "sketch":
        brush.tint(PAPER, 0.14)
    dark = is_dark(scene)
    if scene.place not in GROUNDLESS:
        for spot in spots:
            _draw_shadow(brush, spot)
    for spot in spots:
        _draw_spot(brush, spot, scene.style, dark, dice)
    weather_in_front(brush, scene.weather, dice)
    return finish(brush.picture.reduce(finer), scene, dice)
