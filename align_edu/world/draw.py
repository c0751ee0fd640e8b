"""Draws a scene: background, objects, weather in front, and the finish of the style."""

import math
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from align_edu.io import InputError
from align_edu.world import paint
from align_edu.world.catalog import COLOURS, PICTURES, Colour, artwork
from align_edu.world.paint import BLACK, WHITE, Brush, Dice, mix
from align_edu.world.places import PAINTERS
from align_edu.world.scene import Scene, Thing

LAYOUT, RIMS = PICTURES["layout"], PICTURES["rims"]
FREE, FLYING = LAYOUT["free"], LAYOUT["flying"]
GRAIN = 6.0  # standard deviation of the film grain, of 255
STEPS = 58  # places along one side where the stored grain and hatching may start
VIVID = 1.35  # how much further from gray a poster's colours are
TILE = 512  # side of the stored grain, pixels


@dataclass(frozen=True, slots=True)
class Spot:
    """One object on the picture; lengths are parts of the picture's side."""

    thing: Thing
    x: float  # of its centre
    y: float
    scale: float  # its longest side
    turn: float  # its tilt in radians
    mirrored: bool  # looks to the left
    stretch: float  # width over height, relative to the artwork


def check_drawing(seed: int, image_size: int) -> None:
    """Refuse a seed that is not one 32-bit number, and sizes in pixels that cannot be drawn."""
    check_range("seed", seed, 0, 2**32 - 1)
    check_range("image size", image_size, 8, 4096)


def check_range(name: str, value: object, low: int, high: int | None = None) -> None:
    """Refuse a value that is not a whole number from `low` to `high`."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not (whole and low <= value and (high is None or value <= high)):  # type: ignore[operator]
        allowed = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name} {value}: give a whole number {allowed}")


def draw(scene: Scene, rng: np.random.Generator, size: int = 58) -> Image.Image:
    """Draw one picture of the scene, RGB of (size, size) pixels.

    One state of `rng` gives one picture, at whatever size. The toy model trains at 58.

    >>> scene = Scene(Thing("cat", "red"), 2, "medium", "beach", "rain", "photo")
    >>> draw(scene, np.random.default_rng(0)).size
    (58, 58)
    """
    dice = Dice(rng)
    finer = 3 if size < 100 else 2
    brush = Brush(size * finer, flat=scene.style == "poster")
    paint.light(brush, scene, dice)
    PAINTERS[scene.place](brush, scene, dice, PICTURES[scene.place])
    paint.evening_light(brush, scene, dice)
    spots = _lay_out(scene, dice)
    brush.clear()
    if scene.style == "sketch":
        brush.tint(paint.PAPER, 0.14)
    if scene.place not in LAYOUT["groundless"]:
        for spot in spots:
            _draw_shadow(brush, spot)
    for spot in spots:
        _draw_spot(brush, spot, scene, dice)
    paint.weather_in_front(brush, scene.weather, dice)
    return _finish(brush.picture.reduce(finer), scene, dice)


def _lay_out(scene: Scene, dice: Dice) -> list[Spot]:
    """Give every object of the scene a spot where it covers no other, the main objects first."""
    if scene.other is not None:
        return _paired(scene, scene.other, dice)
    if scene.count == 1:
        return _alone(scene, dice)
    scale = LAYOUT["several"][scene.size]
    shake = LAYOUT["shake"] + (LAYOUT["several"]["large"] - scale) * 0.4
    return [
        _spot(scene.thing, x + dice.between(-shake, shake), y + dice.between(-shake, shake),
              scale, 0.5, dice)
        for x, y in dice.pick(LAYOUT["slots"][str(scene.count)])
    ]  # fmt: skip


def _spot(thing: Thing, x: float, y: float, scale: float, turn: float, dice: Dice) -> Spot:
    widest = LAYOUT["free_turn" if thing.kind in FREE else "turn"]
    scale *= dice.between(0.94, 1.02)
    radians = math.radians(dice.between(-widest, widest) * turn)
    return Spot(thing, x, y, scale, radians, dice.unit() < 0.5, dice.between(0.93, 1.07))


def _alone(scene: Scene, dice: Dice) -> list[Spot]:
    kind, scale = scene.thing.kind, LAYOUT["alone"][scene.size]
    across, down = (0.5, 0.5) if kind in FREE else artwork(kind).half
    free_x = max(0.0, 0.5 - LAYOUT["margin"] - across * scale)
    free_y = max(0.0, 0.5 - LAYOUT["margin"] - down * scale)
    x = 0.5 + dice.between(-free_x, free_x)
    low, high = (-1.0, 0.4) if kind in FLYING else (-0.4, 1.0)
    return [_spot(scene.thing, x, 0.5 + free_y * dice.between(low, high), scale, 1.0, dice)]


def _paired(scene: Scene, other: Thing, dice: Dice) -> list[Spot]:
    """The main object and the other one along one axis, as near or far as the room allows."""
    scale, partner = LAYOUT["paired"][scene.size], LAYOUT["partner"]
    margin = LAYOUT["pair_margin"]
    room = 1.0 - 2 * margin - scale - partner
    gap = room * dice.between(0.2, 0.7)
    start = margin + (room - gap) * dice.between(0.2, 0.8)
    first, second = start + scale / 2, start + scale + gap + partner / 2
    if scene.relation == "below" or (scene.relation == "beside" and dice.unit() < 0.5):
        first, second = 1.0 - first, 1.0 - second
    if scene.relation == "beside":
        level = dice.between(0.4, 0.62)
        at, other_at = (first, level), (second, level + dice.between(-0.05, 0.05))
    else:
        middle = dice.between(0.38, 0.62)
        at, other_at = (middle, first), (middle + dice.between(-0.09, 0.09), second)
    main = _spot(scene.thing, *at, scale, 0.5, dice)
    return [main, _spot(other, *other_at, partner, 0.5, dice)]


def _draw_shadow(brush: Brush, spot: Spot) -> None:
    across, down = artwork(spot.thing.kind).half
    foot = spot.y + down * spot.scale
    if foot > LAYOUT["lowest_flight"] and spot.thing.kind not in FLYING:
        width = across * spot.scale
        brush.glow((spot.x, foot - 0.01), width * 1.06, width * 0.2, BLACK, 0.3)


def _draw_spot(brush: Brush, spot: Spot, scene: Scene, dice: Dice) -> None:
    art, side = artwork(spot.thing.kind), brush.side
    across = -spot.stretch if spot.mirrored else spot.stretch
    cos, sin = math.cos(spot.turn), math.sin(spot.turn)
    turn = np.array([[across * cos, across * sin], [-sin, cos]], dtype=np.float32)  # (2, 2)
    centre = np.array([spot.x * side, spot.y * side], dtype=np.float32)
    pixels = (art.points * (spot.scale * side)) @ turn + centre  # (n, 2)
    fatter = pixels + (art.outward * (RIMS["width"][scene.style] * side)) @ turn
    shades = _shades(spot.thing.colour, dice)
    rim = brush.ink(_rim(shades["body"], scene))
    starts = (0, *art.ends)
    for part in art.rims:
        brush.outline(fatter[starts[part] : art.ends[part]], rim)
    inks = {shade: brush.ink(shades[shade]) for shade in set(art.shades)}
    for start, end, shade in zip(starts, art.ends, art.shades):
        brush.outline(pixels[start:end], inks[shade])


def _brightness(colour: Colour) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def _shades(colour: str, dice: Dice) -> dict[str, Colour]:
    """The colours of the parts of one thing; no two drawings have quite the same."""
    body = mix(COLOURS[colour], WHITE if dice.unit() < 0.5 else BLACK, dice.between(0.0, 0.09))
    bright = _brightness(body)
    if bright < 60:
        dark, light, deep = (mix(body, WHITE, part) for part in (0.14, 0.34, 0.22))
    else:  # white would look gray in a darker shade
        dark, deep = mix(body, BLACK, 0.11 if bright > 215 else 0.17), mix(body, BLACK, 0.42)
        light = mix(body, WHITE, 0.4)
    return {"body": body, "dark": dark, "light": light, "deep": deep, **PICTURES["accents"]}


def _rim(body: Colour, scene: Scene) -> Colour:
    """A colour that sets the body off against any place."""
    bright, style = _brightness(body), scene.style
    if style != "photo":
        return RIMS["dark_poster" if style == "poster" and bright > 205 else style]
    dark = scene.weather == "night" or (scene.place in LAYOUT["dark"] and scene.weather != "fog")
    return mix(body, WHITE if bright < 70 or (dark and bright < 175) else BLACK, 0.72)


def _finish(picture: Image.Image, scene: Scene, dice: Dice) -> Image.Image:
    """Give the picture, RGB of (size, size), the look of its style."""
    styles = {"photo": _photo, "sketch": _sketch, "poster": _poster}
    pixels = styles[scene.style](picture, dice)
    if scene.weather == "fog":
        thickness = np.linspace(0.22, 0.12, len(pixels), dtype=np.float32)[:, None, None]
        pixels = pixels * (1 - thickness) + thickness * 226.0
    return Image.fromarray(pixels.clip(0.0, 255.0).astype(np.uint8))


def _photo(picture: Image.Image, dice: Dice) -> np.ndarray:
    size = picture.size[0]
    blurred = picture.filter(ImageFilter.BoxBlur(size * dice.between(0.002, 0.006)))
    return np.asarray(blurred) * _vignette(size) + _window(_grain(), size, dice)  # (size, size, 3)


def _sketch(picture: Image.Image, dice: Dice) -> np.ndarray:
    size = picture.size[0]
    pixels = np.asarray(picture).astype(np.float32)  # (size, size, 3)
    gray = np.asarray(picture.convert("L")).astype(np.float32)  # (size, size)
    step = max(1, size // 58)
    edges = np.abs(gray[step:, step:] - gray[:-step, step:])
    edges += np.abs(gray[step:, step:] - gray[step:, :-step])
    pixels *= _window(_hatching(size), size, dice)
    pixels[step:, step:] -= np.minimum(edges, 100.0)[:, :, None] * 0.5
    return pixels


def _poster(picture: Image.Image, dice: Dice) -> np.ndarray:
    pixels = np.array(ImageEnhance.Color(picture).enhance(VIVID))
    edge = max(1, round(picture.size[0] * 0.035))
    for frame in (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:]):
        frame[...] = PICTURES["poster_frame"]
    return pixels


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    """A tile of film grain, (TILE, TILE, 1) float32."""
    noise = np.random.default_rng(20210211).normal(0.0, GRAIN, (TILE, TILE, 1))
    return noise.astype(np.float32)


@lru_cache(maxsize=8)
def _vignette(size: int) -> np.ndarray:
    """Darkening towards the corners, (size, size, 1) float32."""
    line = np.linspace(-1.0, 1.0, size)
    far = line[:, None] ** 2 + line[None, :] ** 2
    return (1.0 - 0.2 * far**1.5 / 2.0)[:, :, None].astype(np.float32)


@lru_cache(maxsize=8)
def _hatching(size: int) -> np.ndarray:
    """Diagonal pencil strokes, (2 * size, 2 * size, 1) float32 around 1."""
    line = (np.arange(2 * size) + 0.5) / size
    waves = 0.5 + 0.5 * np.sin((line[:, None] * 0.9 + line[None, :]) * 92.0)
    cells = (line * STEPS).astype(int)
    patchy = np.random.default_rng(7).random((2 * STEPS, 2 * STEPS))[np.ix_(cells, cells)]
    return (1.0 - 0.15 * waves * (patchy * 0.4 + 0.6))[:, :, None].astype(np.float32)


def _window(tile: np.ndarray, size: int, dice: Dice) -> np.ndarray:
    """A part of the tile, (size, size, 1); its place in steps that are the same at any size."""
    if tile.shape[0] < 2 * size:
        repeats = 2 * size // tile.shape[0] + 1
        tile = np.tile(tile, (repeats, repeats, 1))
    y, x = (int(dice.unit() * STEPS) * size // STEPS for _ in range(2))
    return tile[y : y + size, x : x + size]
