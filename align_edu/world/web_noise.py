"""Web noise by named kind: alt-text and pictures as careless as on the real web.

`NOISE` is the one table of kinds. A `share` is the part of all pairs that has this noise at
the default rate of 25 %; another rate scales all shares alike. `rules` names the rules of the
paper's Section 3 that should catch the kind; where it is empty, no rule can see the noise
and the model must live with it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from align_edu.world.alt_text import MOST_WORDS, caption, plain_words
from align_edu.world.catalog import WEB
from align_edu.world.scene import Scene, sample_scene
from align_edu.world.words import MONTHS, NOUNS, one_of

DEFAULT_NOISE = 0.25
_TEXTS: dict[str, tuple[str, ...]] = WEB["texts"]
_ADVERTS: dict[str, tuple[str, ...]] = WEB["adverts"]
_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz0123456789"))


TextMaker = Callable[[Scene, np.random.Generator], str]


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
    month = MONTHS[_between(0, 11, rng)]
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


NOISE: dict[str, Noise] = {
    noise.name: noise
    for noise in (
        Noise("file_name", 0.030, ("length", "rare_words"), _file_name),
        Noise("camera_id", 0.015, ("length", "rare_words", "images_per_text"), _camera_id),
        Noise("thumbnail_version", 0.006, (), _thumbnail_version),
        Noise("dimensions", 0.012, ("length", "images_per_text"), _any_of("screens")),
        Noise("query_string", 0.010, ("rare_words",), _query_string),
        Noise("boilerplate", 0.038, ("images_per_text",), _any_of("boilerplate")),
        Noise("marketing", 0.012, (), _marketing),
        Noise("keyword_list", 0.022, (), _keyword_list),
        Noise("other_caption", 0.012, (), _other_caption),
        Noise("one_word", 0.014, ("length", "images_per_text"), _one_word),
        Noise("over_long", 0.012, ("length",), _over_long),
        Noise("rare_junk", 0.017, ("rare_words",), _rare_junk),
        Noise("other_language", 0.012, (), _other_language),
        Noise("too_small", 0.014, ("short_side",)),
        Noise("extreme_aspect", 0.008, ("aspect_ratio",)),
        Noise("popular_image", 0.012, ("texts_per_image",)),
        Noise("near_duplicate", 0.004, ("near_duplicate",)),
    )
}
