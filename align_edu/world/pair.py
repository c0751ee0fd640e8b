"""One raw pair of the toy web: a picture, its alt-text, and the truth about both."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from align_edu.io import InputError, read_json
from align_edu.world.alt_text import caption
from align_edu.world.draw import draw
from align_edu.world.scene import Scene, child_rng, sample_scene, scene_from_facts
from align_edu.world.web_noise import DEFAULT_NOISE, NOISE

# The first number of each random stream: no two streams of one seed ever meet.
TRAINING_STREAM, BENCHMARK_STREAM, POPULAR_STREAM, TASK_STREAM, RATING_STREAM, EDIT_STREAM = range(
    6
)
# A popular image needs over 1,000 alt-texts; this mean makes fewer practically impossible.
TEXTS_PER_POPULAR_IMAGE = 1_150
JPEG_QUALITY = 90

USUAL_SIZES = (
    (640, 480), (800, 600), (1024, 768), (1024, 683), (1200, 800), (500, 375), (450, 338),
    (300, 225), (600, 600), (1080, 1080), (480, 640), (768, 1024), (683, 1024), (1920, 1080),
    (1280, 720), (400, 300), (236, 354), (1000, 667),
)  # fmt: skip
# 200 pixels are too few and a ratio of 3 is too wide: the paper's bounds are strict.
SMALL_SIZES = ((200, 200), (150, 150), (200, 133), (120, 90), (100, 75), (64, 64), (320, 180))
EXTREME_SIZES = ((900, 300), (1200, 300), (1600, 400), (970, 250), (300, 1050), (2000, 420))


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """All that decides the bytes of a world's shards, together with a shard's number.

    Parameters
    ----------
    seed : the seed of the world.
    noise : the part of all pairs that is noisy.
    image_size : pixels of each side of a picture.
    pairs : number of pairs in the whole world.
    shard_size : number of pairs in a shard; the last may have fewer.
    benchmark : the benchmark of which near-duplicates are hidden among the pairs.
    """

    seed: int
    noise: float
    image_size: int
    pairs: int
    shard_size: int
    benchmark: Path | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A raw pair.

    Parameters
    ----------
    text : the alt-text.
    jpeg : the picture's file.
    noise : "clean" or a kind of `NOISE`.
    scene : what the picture shows.
    original_size : width and height of the picture on the web, in pixels.
    url : its address.
    """

    text: str
    jpeg: bytes
    noise: str
    scene: Scene
    original_size: tuple[int, int]
    url: str


def popular_images(settings: WorldSettings) -> int:
    """How many images have over 1,000 alt-texts: none in a world too small for one.

    >>> popular_images(WorldSettings(0, DEFAULT_NOISE, 58, 250_000, 5_000))
    2
    """
    share = NOISE["popular_image"].share * settings.noise / DEFAULT_NOISE
    return int(settings.pairs * share / TEXTS_PER_POPULAR_IMAGE)


@lru_cache(maxsize=4)
def noise_edges(settings: WorldSettings) -> tuple[tuple[str, float], ...]:
    """Cut the interval 0..noise among the kinds of noise that this world can have.

    Parameters
    ----------
    settings : the world.

    Returns
    -------
    tuple of (kind, upper edge)
        The shares of kinds that this world cannot have go to the others in proportion.
    """
    impossible = set() if settings.benchmark else {"near_duplicate"}
    impossible |= set() if popular_images(settings) else {"popular_image"}
    kinds = [kind for name, kind in NOISE.items() if name not in impossible]
    edges = list(accumulate(kind.share for kind in kinds))
    return tuple((k.name, edge / edges[-1] * settings.noise) for k, edge in zip(kinds, edges))


def _noise_kind(settings: WorldSettings, u: float) -> str:
    if u >= settings.noise:
        return "clean"
    return next((name for name, edge in noise_edges(settings) if u < edge), "clean")


def jpeg_bytes(image: Image.Image, quality: int = JPEG_QUALITY) -> bytes:
    """Encode a picture as JPEG with colour at full resolution.

    Parameters
    ----------
    image : RGB picture.
    quality : Pillow's JPEG quality.

    Returns
    -------
    bytes

    >>> jpeg_bytes(Image.new("RGB", (8, 8)))[:2]
    b'\\xff\\xd8'
    """
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _original_size(noise: str, rng: np.random.Generator) -> tuple[int, int]:
    sizes = {"too_small": SMALL_SIZES, "extreme_aspect": EXTREME_SIZES}.get(noise, USUAL_SIZES)
    return sizes[int(rng.random() * len(sizes))]


def _url(rng: np.random.Generator) -> str:
    host = ("example.org", "example.com", "example.net")[int(rng.random() * 3)]
    return f"https://{host}/images/{int(rng.random() * 2**48):012x}.jpg"


@lru_cache(maxsize=2)
def benchmark_scenes(folder: Path) -> tuple[tuple[Path, Scene], ...]:
    """Read the pictures and scenes of a benchmark of ours.

    Parameters
    ----------
    folder : the folder that `World.write_benchmark` made.

    Returns
    -------
    tuple of (picture file, scene)

    Raises
    ------
    InputError
        If the folder is not such a benchmark.
    """
    path = folder / "dataset_toy.json"
    try:
        images = read_json(path)["images"]
        found = [
            (folder / "images" / Path(row["filename"]).name, scene_from_facts(row["scene"]))
            for row in images
        ]
    except (KeyError, TypeError):
        found = []
    if not found:
        raise InputError(f"{path}: has no images with scenes; give a benchmark made by this world")
    return tuple(found)


@lru_cache(maxsize=64)
def _popular_pair(settings: WorldSettings, number: int) -> Pair:
    rng = child_rng(settings.seed, POPULAR_STREAM, number)
    return _drawn(settings, "popular_image", sample_scene(rng), rng)


def _near_duplicate(settings: WorldSettings, rng: np.random.Generator) -> Pair:
    """A benchmark picture, resized, recompressed and a little lighter or darker."""
    assert settings.benchmark is not None
    choices = benchmark_scenes(settings.benchmark)
    path, scene = choices[int(rng.random() * len(choices))]
    with Image.open(path) as picture:
        side = settings.image_size
        image = picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    image = ImageEnhance.Brightness(image).enhance(0.9 + 0.2 * rng.random())
    jpeg = jpeg_bytes(image, quality=70 + int(rng.random() * 25))
    text = caption(scene, rng)
    return Pair(text, jpeg, "near_duplicate", scene, _original_size("clean", rng), _url(rng))


def _drawn(settings: WorldSettings, noise: str, scene: Scene, rng: np.random.Generator) -> Pair:
    make: Callable[[Scene, np.random.Generator], str] = caption
    if noise != "clean":
        make = NOISE[noise].text or caption
    text, size, url = make(scene, rng), _original_size(noise, rng), _url(rng)
    jpeg = jpeg_bytes(draw(scene, rng, settings.image_size))
    return Pair(text, jpeg, noise, scene, size, url)


def make_pair(settings: WorldSettings, shard: int, index: int) -> Pair:
    """Make one pair of the world, whatever else has been made before.

    Parameters
    ----------
    settings : the world.
    shard, index : the number of the shard and of the pair in it.

    Returns
    -------
    Pair
        Its scene has no held-out composition, unless it is a near-duplicate of a benchmark
        picture.

    >>> settings = WorldSettings(seed=1, noise=0.0, image_size=58, pairs=10, shard_size=10)
    >>> make_pair(settings, 0, 3) == make_pair(settings, 0, 3)
    True
    """
    rng = child_rng(settings.seed, TRAINING_STREAM, shard, index)
    noise = _noise_kind(settings, rng.random())
    if noise == "near_duplicate":
        return _near_duplicate(settings, rng)
    if noise == "popular_image":
        pair = _popular_pair(settings, int(rng.random() * popular_images(settings)))
        text = caption(pair.scene, rng)
        return Pair(text, pair.jpeg, noise, pair.scene, pair.original_size, pair.url)
    return _drawn(settings, noise, sample_scene(rng), rng)


def sha256(data: bytes) -> str:
    """The SHA-256 of a picture's file, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
