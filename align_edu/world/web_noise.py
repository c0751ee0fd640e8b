"""One raw pair of the toy web: picture, alt-text and the truth; noise of many named kinds.

`NOISE` is the one table of kinds. A `share` is the part of all pairs that has this noise at
the default rate of 25 %; another rate scales all shares alike. `rules` names the rules of the
paper's Section 3 that should catch the kind; where it is empty, no rule can see the noise
and the model must live with it.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance

from align_edu.io import InputError, read_json
from align_edu.world.alt_text import MOST_WORDS, caption, plain_words
from align_edu.world.catalog import NOUNS, WEB, WORDS, one_of
from align_edu.world.draw import draw
from align_edu.world.scene import (
    POPULAR_STREAM,
    TRAINING_STREAM,
    Scene,
    Wheel,
    child_rng,
    sample_scene,
    scene_from_facts,
)

DEFAULT_NOISE = 0.25
# A popular image needs over 1,000 alt-texts; this mean makes fewer practically impossible.
TEXTS_PER_POPULAR_IMAGE = 1_150
JPEG_QUALITY = 90
_TEXTS: dict[str, tuple[str, ...]] = WEB["texts"]
_ADVERTS: dict[str, tuple[str, ...]] = WEB["adverts"]
_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz0123456789"))

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
    noisy_text = None if noise == "clean" else NOISE[noise].text
    text = (noisy_text or caption)(scene, rng)
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
    except (AttributeError, KeyError, TypeError):
        found = []
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    if not found:
        raise InputError(f"{path}: has no images with scenes; give a benchmark made by this world")
    return tuple(found)


def _size(noise: str, rng: np.random.Generator) -> tuple[int, int]:
    return one_of(WEB["sizes"].get(noise, WEB["sizes"]["usual"]), rng)


def _url(rng: np.random.Generator) -> str:
    return f"https://{one_of(WEB['hosts'], rng)}/images/{int(rng.random() * 2**48):012x}.jpg"


def jpeg_bytes(image: Image.Image, quality: int = JPEG_QUALITY) -> bytes:
    """Encode an RGB picture as JPEG with colour at full resolution."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _between(low: int, high: int, rng: np.random.Generator) -> int:
    """Draw a whole number from low to high, both included."""
    return low + int(rng.random() * (high - low + 1))


def _random_token(length: int, rng: np.random.Generator) -> str:
    return "".join(_LETTERS[rng.integers(0, len(_LETTERS), length)])


def _any_of(name: str) -> TextMaker:
    """Write one of these texts of web.toml, whatever the picture shows."""
    return lambda scene, rng: one_of(_TEXTS[name], rng)


def _other_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Write a good caption of another picture; no rule on texts or pictures can see it."""
    return caption(sample_scene(rng), rng)


def _file_name(scene: Scene, rng: np.random.Generator) -> str:
    """Write the name of an image file, such as "IMG_20140812_104512.jpg"."""
    number = _between(1, 99_999, rng)
    forms = (
        f"IMG_{number:04d}.jpg",
        f"IMG_20{_between(5, 23, rng):02d}{_between(1, 12, rng):02d}{_between(1, 28, rng):02d}_"
        f"{_between(0, 23, rng):02d}{_between(0, 59, rng):02d}{_between(0, 59, rng):02d}.jpg",
        f"untitled-{number}.png",
        f"photo-{_random_token(10, rng)}.jpeg",
        f"file {_random_token(8, rng)} {number} jpg",
    )
    return one_of(forms, rng)


def _camera_id(scene: Scene, rng: np.random.Generator) -> str:
    """Write what a camera puts into the description field."""
    if rng.random() < 0.3:
        return "OLYMPUS DIGITAL CAMERA"
    if rng.random() < 0.5:
        return f"{one_of(('DSC', 'DSCF', 'DSCN', 'P'), rng)}{_between(1, 99_999, rng):05d}"
    return f"{one_of(_TEXTS['cameras'], rng)} {_between(10_000, 9_999_999, rng)}"


def _thumbnail_version(scene: Scene, rng: np.random.Generator) -> str:
    """Write a wiki's note under an old version of a picture (Figure 2 of the paper shows one)."""
    clock = f"{_between(0, 23, rng):02d} {_between(0, 59, rng):02d}"
    month = WORDS["asides"]["months"][_between(0, 11, rng)]
    day, year = _between(1, 28, rng), _between(2004, 2020, rng)
    return f"thumbnail for version as of {clock} {day} {month} {year}"


def _query_string(scene: Scene, rng: np.random.Generator) -> str:
    """Write the tail of an address, as in the paper's Section 3."""
    return (
        f"image_tid {_between(1, 99, rng)}&id {_random_token(8, rng)}-{_random_token(4, rng)}"
        f"&cache {_between(0, 1, rng)}&lan_code {_between(0, 9, rng)}"
    )


def _marketing(scene: Scene, rng: np.random.Generator) -> str:
    """Write copy that sells something which the picture does not show."""
    return one_of(_ADVERTS["texts"], rng).format(
        adjective=one_of(_ADVERTS["adjective"], rng),
        product=one_of(_ADVERTS["product"], rng),
        city=one_of(_ADVERTS["city"], rng),
        price=_between(5, 199, rng),
        percent=_between(1, 9, rng) * 10,
        year=_between(2008, 2021, rng),
    )


def _keyword_list(scene: Scene, rng: np.random.Generator) -> str:
    """Write search words, of which only the name of the object is about the picture."""
    n = _between(4, 9, rng)
    words = rng.permutation(_TEXTS["keywords"])[:n].tolist()
    words.insert(_between(0, n, rng), NOUNS[scene.thing.kind][0][0])
    return (", " if rng.random() < 0.7 else " ").join(words)


def _one_word(scene: Scene, rng: np.random.Generator) -> str:
    """Write a single word, right or not."""
    return one_of(_TEXTS["one_word"], rng) if rng.random() < 0.6 else scene.thing.kind.split()[-1]


def _over_long(scene: Scene, rng: np.random.Generator) -> str:
    """Lose a caption in more than 20 words."""
    text = caption(scene, rng)
    while len(plain_words(text)) <= MOST_WORDS:
        text = f"{text} {one_of(_TEXTS['filler'], rng)}"
    return text


def _rare_junk(scene: Scene, rng: np.random.Generator) -> str:
    """Write product codes and identifiers around the name of the object."""
    codes = [_random_token(_between(5, 10, rng), rng) for _ in range(_between(2, 4, rng))]
    return " ".join([codes[0], NOUNS[scene.thing.kind][0][0], "ref", *codes[1:]])


def _other_language(scene: Scene, rng: np.random.Generator) -> str:
    """Write German, French, Spanish or Italian."""
    texts = WEB["foreign_texts"]
    if rng.random() < 0.25:
        return one_of(texts["sentences"], rng)
    language = _between(0, 3, rng)
    name = WEB["foreign_nouns"][scene.thing.kind][language]
    return one_of(texts[("german", "french", "spanish", "italian")[language]], rng).format(name)


_TEXT_MAKERS: dict[str, TextMaker] = {
    **{name: _any_of(name) for name in ("dimensions", "boilerplate")},
    **{
        make.__name__.removeprefix("_"): make
        for make in (
            _file_name, _camera_id, _thumbnail_version, _query_string, _marketing, _keyword_list,
            _other_caption, _one_word, _over_long, _rare_junk, _other_language,
        )
    },
}  # fmt: skip
NOISE: dict[str, Noise] = {
    name: Noise(name, **facts, text=_TEXT_MAKERS.get(name)) for name, facts in WEB["noise"].items()
}
