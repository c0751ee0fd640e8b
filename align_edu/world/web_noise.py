"""One raw pair of the toy web: picture, alt-text and the truth; noise of many named kinds.

A rate other than the default of 25 % scales the shares of all kinds of `NOISE` alike. Where no rule
of the paper's Section 3 can see a kind of noise, the model must live with it.
"""

import io
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance

from align_edu.io import InputError, read_json
from align_edu.world.alt_text import MOST_WORDS, caption, plain_words
from align_edu.world.catalog import NOUNS, WEB, one_of
from align_edu.world.draw import draw
from align_edu.world.scene import Scene, Wheel, child_rng, sample_scene, scene_from_facts

DEFAULT_NOISE = 0.25
# A popular image needs over 1,000 alt-texts; this mean makes fewer practically impossible.
TEXTS_PER_POPULAR_IMAGE = 1_150
JPEG_QUALITY, CLEAN_QUALITY = 90, 92  # of the shards; of benchmarks and tasks
_ALPHABET = np.array(list(string.ascii_lowercase + string.digits))
TextMaker = Callable[[Scene, np.random.Generator], str]


@dataclass(frozen=True, slots=True)
class Noise:
    """One kind of noise."""

    name: str  # its name in the column "noise" of the shards
    share: float  # the part of all pairs that has it at the default rate
    rules: tuple[str, ...]  # the rules of Section 3 that should catch it
    text: TextMaker | None = None  # writes the alt-text; None if the image is what is noisy

    @property
    def side(self) -> str:
        """Return "text" or "image", whichever is noisy."""
        return "image" if self.text is None else "text"


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
    """
    rng = child_rng(settings.seed, "training", shard, index)
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
    """Return how many images have over 1,000 alt-texts: none in a world too small for one."""
    share = NOISE["popular_image"].share * settings.noise / DEFAULT_NOISE
    return int(settings.pairs * share / TEXTS_PER_POPULAR_IMAGE)


@lru_cache(maxsize=4)
def _noise_wheel(settings: WorldSettings) -> Wheel:
    """The kinds of noise that this world can have, by their shares."""
    impossible = set() if settings.benchmark else {"near_duplicate"}
    impossible |= set() if popular_images(settings) else {"popular_image"}
    return Wheel({name: kind.share for name, kind in NOISE.items() if name not in impossible})


def _drawn(settings: WorldSettings, noise: str, scene: Scene, rng: np.random.Generator) -> Pair:
    text = ((noise in NOISE and NOISE[noise].text) or caption)(scene, rng)
    size, url = _origin(noise, scene, rng)
    jpeg = jpeg_bytes(draw(scene, rng, settings.image_size))
    return Pair(text, jpeg, noise, scene, size, url)


@lru_cache(maxsize=64)
def _popular_pair(settings: WorldSettings, number: int) -> Pair:
    rng = child_rng(settings.seed, "popular", number)
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
    return Pair(caption(scene, rng), jpeg, "near_duplicate", scene, *_origin("usual", scene, rng))


@lru_cache(maxsize=2)
def benchmark_scenes(folder: Path) -> tuple[tuple[Path, Scene], ...]:
    """Read (picture file, scene) of a folder of `World.write_benchmark`; refuse other folders."""
    path = folder / "dataset_toy.json"
    record = read_json(path)
    try:
        names = [Path(row["filename"]).name for row in record["images"]]
        scenes = [scene_from_facts(row["scene"]) for row in record["images"]]
    except (AttributeError, KeyError, TypeError):
        names, scenes = [], []
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not names:
        raise InputError(f"{path}: has no images with scenes; give a benchmark made by this world")
    return tuple((folder / "images" / name, scene) for name, scene in zip(names, scenes))


def _origin(noise: str, scene: Scene, rng: np.random.Generator) -> tuple[tuple[int, int], str]:
    """Draw the size and the address that a picture has on the web."""
    size = one_of(WEB["sizes"].get(noise, WEB["sizes"]["usual"]), rng)
    return size, _written("url", scene, rng)


def jpeg_bytes(image: Image.Image, quality: int = JPEG_QUALITY) -> bytes:
    """Encode an RGB picture as JPEG with colour at full resolution."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _between(low: int, high: int, rng: np.random.Generator) -> int:
    """Draw a whole number from low to high, both included."""
    return low + int(rng.random() * (high - low + 1))


def _letters(n: int, rng: np.random.Generator) -> str:
    return "".join(_ALPHABET[rng.integers(0, len(_ALPHABET), n)])


def _written(name: str, scene: Scene, rng: np.random.Generator) -> str:
    """Write a text of web.toml in its format, whatever the picture shows."""
    fields = {key: _field(options, rng) for key, options in WEB["formats"][name].items()}
    return fields.pop("format").format(**fields)


def _field(options: Any, rng: np.random.Generator) -> Any:
    """Draw one field of a format: a number, random letters, or one of the options."""
    if isinstance(options, str):
        return options
    if not isinstance(options, dict):
        return one_of(options, rng)
    if "letters" in options:
        return _letters(options["letters"], rng)
    return _between(options["least"], options["greatest"], rng)


def _camera_id(scene: Scene, rng: np.random.Generator) -> str:
    if rng.random() < 0.3:
        return "OLYMPUS DIGITAL CAMERA"
    return _written("camera_number" if rng.random() < 0.5 else "camera_name", scene, rng)


def _keyword_list(scene: Scene, rng: np.random.Generator) -> str:
    """Write search words, of which only the name of the object is about the picture."""
    n = _between(4, 9, rng)
    words = rng.permutation(WEB["texts"]["keywords"])[:n].tolist()
    words.insert(_between(0, n, rng), NOUNS[scene.thing.kind][0][0])
    return (", " if rng.random() < 0.7 else " ").join(words)


def _one_word(scene: Scene, rng: np.random.Generator) -> str:
    usual = rng.random() < 0.6
    return one_of(WEB["texts"]["one_word"], rng) if usual else scene.thing.kind.split()[-1]


def _over_long(scene: Scene, rng: np.random.Generator) -> str:
    text = caption(scene, rng)
    while len(plain_words(text)) <= MOST_WORDS:
        text = f"{text} {one_of(WEB['texts']['filler'], rng)}"
    return text


def _rare_junk(scene: Scene, rng: np.random.Generator) -> str:
    """Write product codes and identifiers around the name of the object."""
    codes = [_letters(_between(5, 10, rng), rng) for _ in range(_between(2, 4, rng))]
    return " ".join([codes[0], NOUNS[scene.thing.kind][0][0], "ref", *codes[1:]])


def _other_language(scene: Scene, rng: np.random.Generator) -> str:
    texts = WEB["foreign_texts"]
    if rng.random() < 0.25:
        return one_of(texts["sentences"], rng)
    name, forms = one_of([*zip(WEB["foreign_nouns"][scene.thing.kind], texts["languages"])], rng)
    return one_of(forms, rng).format(name)


_WRITERS: dict[str, TextMaker] = {name: partial(_written, name) for name in WEB["formats"]} | {
    "camera_id": _camera_id, "keyword_list": _keyword_list, "one_word": _one_word,
    "other_caption": lambda scene, rng: caption(sample_scene(rng), rng),
    "other_language": _other_language, "over_long": _over_long, "rare_junk": _rare_junk,
}  # fmt: skip
NOISE: dict[str, Noise] = {
    name: Noise(name, **facts, text=_WRITERS.get(name)) for name, facts in WEB["noise"].items()
}
