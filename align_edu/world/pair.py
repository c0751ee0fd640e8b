"""One raw pair of the toy web: a picture, its alt-text, and the truth about both."""

import io
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance

from align_edu.io import InputError, read_json
from align_edu.world.alt_text import caption
from align_edu.world.catalog import WEB
from align_edu.world.draw import draw
from align_edu.world.scene import Scene, Wheel, child_rng, sample_scene, scene_from_facts
from align_edu.world.web_noise import DEFAULT_NOISE, NOISE
from align_edu.world.words import one_of

# The first number of each random stream: no two streams of one seed ever meet.
TRAINING_STREAM, BENCHMARK_STREAM, POPULAR_STREAM = 0, 1, 2
TASK_STREAM, RATING_STREAM, EDIT_STREAM = 3, 4, 5
# A popular image needs over 1,000 alt-texts; this mean makes fewer practically impossible.
TEXTS_PER_POPULAR_IMAGE = 1_150
JPEG_QUALITY = 90


class WorldSettings(NamedTuple):
    """All that decides the bytes of a world's shards, together with a shard's number."""

    seed: int
    noise: float  # the part of all pairs that is noisy
    image_size: int  # pixels of each side of a picture
    pairs: int  # in the whole world
    shard_size: int  # pairs in a shard; the last may have fewer
    benchmark: Path | None = None  # of which near-duplicates are hidden among the pairs


class Pair(NamedTuple):
    """A raw pair."""

    text: str  # the alt-text
    jpeg: bytes  # the picture's file
    noise: str  # "clean" or a kind of NOISE
    scene: Scene  # what the picture shows
    original_size: tuple[int, int]  # width and height of the picture on the web, in pixels
    url: str


def make_pair(settings: WorldSettings, shard: int, index: int) -> Pair:
    """Make pair number `index` of a shard, independently of all others.

    Its scene has no held-out composition, unless it is a near-duplicate of a benchmark picture.

    >>> settings = WorldSettings(seed=1, noise=0.0, image_size=58, pairs=10, shard_size=10)
    >>> make_pair(settings, 0, 3) == make_pair(settings, 0, 3)
    True
    """
    rng = child_rng(settings.seed, TRAINING_STREAM, shard, index)
    u, noise = rng.random(), "clean"
    if u < settings.noise:
        noise = _noise_wheel(settings).pick(u / settings.noise)
    if noise == "near_duplicate":
        return _near_duplicate(settings, rng)
    if noise == "popular_image":
        pair = _popular_pair(settings, int(rng.random() * popular_images(settings)))
        return pair._replace(text=caption(pair.scene, rng))
    return _drawn(settings, noise, sample_scene(rng), rng)


def popular_images(settings: WorldSettings) -> int:
    """Return how many images have over 1,000 alt-texts: none in a world too small for one.

    >>> popular_images(WorldSettings(0, DEFAULT_NOISE, 58, 250_000, 5_000))
    2
    """
    share = NOISE["popular_image"].share * settings.noise / DEFAULT_NOISE
    return int(settings.pairs * share / TEXTS_PER_POPULAR_IMAGE)


@lru_cache(maxsize=4)
def _noise_wheel(settings: WorldSettings) -> Wheel:
    """The kinds of noise that this world can have, by their shares."""
    impossible = set() if settings.benchmark else {"near_duplicate"}
    impossible |= set() if popular_images(settings) else {"popular_image"}
    return Wheel({name: kind.share for name, kind in NOISE.items() if name not in impossible})


def _drawn(settings: WorldSettings, noise: str, scene: Scene, rng: np.random.Generator) -> Pair:
    noisy_text = None if noise == "clean" else NOISE[noise].text
    text = noisy_text(scene, rng) if noisy_text else caption(scene, rng)
    size, url = _size(noise, rng), _url(rng)
    jpeg = jpeg_bytes(draw(scene, rng, settings.image_size))
    return Pair(text, jpeg, noise, scene, size, url)


@lru_cache(maxsize=64)
def _popular_pair(settings: WorldSettings, number: int) -> Pair:
    rng = child_rng(settings.seed, POPULAR_STREAM, number)
    return _drawn(settings, "popular_image", sample_scene(rng), rng)


def _near_duplicate(settings: WorldSettings, rng: np.random.Generator) -> Pair:
    """A benchmark picture, resized, recompressed and a little lighter or darker."""
    assert settings.benchmark is not None
    path, scene = one_of(benchmark_scenes(settings.benchmark), rng)
    with Image.open(path) as picture:
        side = settings.image_size
        image = picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    image = ImageEnhance.Brightness(image).enhance(0.9 + 0.2 * rng.random())
    jpeg = jpeg_bytes(image, quality=70 + int(rng.random() * 25))
    text = caption(scene, rng)
    return Pair(text, jpeg, "near_duplicate", scene, _size("usual", rng), _url(rng))


@lru_cache(maxsize=2)
def benchmark_scenes(folder: Path) -> tuple[tuple[Path, Scene], ...]:
    """Read (picture file, scene) of a benchmark that `World.write_benchmark` made.

    Raises InputError if the folder is not such a benchmark.
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


def _size(noise: str, rng: np.random.Generator) -> tuple[int, int]:
    return one_of(WEB["sizes"].get(noise, WEB["sizes"]["usual"]), rng)


def _url(rng: np.random.Generator) -> str:
    return f"https://{one_of(WEB['hosts'], rng)}/images/{int(rng.random() * 2**48):012x}.jpg"


def jpeg_bytes(image: Image.Image, quality: int = JPEG_QUALITY) -> bytes:
    """Encode an RGB picture as JPEG with colour at full resolution.

    >>> jpeg_bytes(Image.new("RGB", (8, 8)))[:2]
    b'\\xff\\xd8'
    """
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
