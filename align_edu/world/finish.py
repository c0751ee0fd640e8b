"""The finish of a picture: photograph, pencil sketch or poster."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from align_edu.world.brush import Dice
from align_edu.world.scene import Scene

GRAIN = 6.0  # standard deviation of the film grain, of 255
STEPS = 58  # places along one side where the stored grain and hatching may start
VIVID = 1.35  # how much further from gray a poster's colours are
TILE = 512  # side of the stored grain, pixels


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
    rng = np.random.default_rng(7)
    line = (np.arange(2 * size) + 0.5) / size
    diagonal = line[:, None] * 0.9 + line[None, :]
    waves = 0.5 + 0.5 * np.sin(diagonal * 92.0)
    cells = (line * STEPS).astype(int)
    patchy = rng.random((2 * STEPS, 2 * STEPS))[np.ix_(cells, cells)] * 0.4 + 0.6
    return (1.0 - 0.15 * waves * patchy)[:, :, None].astype(np.float32)


def _window(tile: np.ndarray, size: int, dice: Dice) -> np.ndarray:
    """A part of the tile, (size, size, 1); its place in steps that are the same at any size."""
    if tile.shape[0] < 2 * size:
        repeats = 2 * size // tile.shape[0] + 1
        tile = np.tile(tile, (repeats, repeats, 1))
    y, x = (int(dice.unit() * STEPS) * size // STEPS for _ in range(2))
    return tile[y : y + size, x : x + size]


def _photo(picture: Image.Image, dice: Dice) -> np.ndarray:
    size = picture.size[0]
    blurred = picture.filter(ImageFilter.BoxBlur(size * dice.between(0.002, 0.006)))
    pixels = np.asarray(blurred) * _vignette(size)  # (size, size, 3)
    return pixels + _window(_grain(), size, dice)


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


def _poster(picture: Image.Image) -> np.ndarray:
    size = picture.size[0]
    gray = picture.convert("L").convert("RGB")
    pixels = np.array(Image.blend(gray, picture, VIVID))
    edge = max(1, round(size * 0.035))
    for frame in (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:]):
        frame[...] = (252.0, 246.0, 232.0)
    return pixels


def _fog(pixels: np.ndarray) -> np.ndarray:
    size = pixels.shape[0]
    thickness = np.linspace(0.22, 0.12, size, dtype=np.float32)[:, None, None]
    return pixels * (1 - thickness) + thickness * 226.0


def finish(picture: Image.Image, scene: Scene, dice: Dice) -> Image.Image:
    """Give the picture the look of its style.

    Parameters
    ----------
    picture : RGB, (size, size).
    scene : the scene; its style and its weather decide.
    dice : the source of randomness.

    Returns
    -------
    PIL.Image.Image
        RGB, (size, size).
    """
    if scene.style == "photo":
        pixels = _photo(picture, dice)
    elif scene.style == "sketch":
        pixels = _sketch(picture, dice)
    else:
        pixels = _poster(picture)
    if scene.weather == "fog":
        pixels = _fog(pixels)
    return Image.fromarray(np.clip(pixels, 0.0, 255.0).astype(np.uint8))
