"""Web noise by named kind: alt-text and pictures as careless as on the real web.

`NOISE` is the one table of kinds. Its `share` is the part of all pairs that has this noise at
the default rate of 25 %; another rate scales all shares alike. `rules` names the rules of the
paper's Section 3 that are made to catch the kind; where it is empty, no rule can see the noise
and the model must live with it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from align_edu.world.alt_text import MOST_WORDS, caption, plain_words
from align_edu.world.foreign_words import FOREIGN_NAMES, FOREIGN_SENTENCES, FOREIGN_TEMPLATES
from align_edu.world.scene import Scene, sample_scene
from align_edu.world.words import MONTHS, NOUNS

DEFAULT_NOISE = 0.25

BOILERPLATE = (
    "click to enlarge this image",
    "image may contain one or more people",
    "no image available at this time",
    "picture from our photo gallery",
    "related image from the web",
    "welcome to our home page",
)
_CAMERAS = (
    "canon eos 5d mark iii",
    "nikon d750",
    "sony ilce-7m3",
    "fujifilm x-t2",
    "samsung sm-g930",
)
_SCREENS = ("1920x1080", "1280x720", "800x600", "1024x768", "640x480", "2560x1440", "1600x1200")
_ADJECTIVES = ("new", "classic", "premium", "modern", "handmade", "vintage", "luxury", "basic")
_PRODUCTS = (
    "phone case", "sofa set", "dinner plates", "wall sticker", "yoga mat", "wedding invitation",
    "leather wallet", "gift card", "kids puzzle", "throw pillow", "bath towel", "garden bench",
    "silver necklace", "running jacket", "shower curtain", "travel bag",
)  # fmt: skip
_CITIES = ("london", "paris", "chicago", "berlin", "sydney", "toronto", "mumbai", "dublin")
_ADVERTS = (
    "buy {adjective} {product} online at the best price in {city}",
    "{adjective} {product} only ${price} with free shipping",
    "{product} sale up to {percent}% off this week only",
    "{adjective} {product} for men and women, {year} collection",
    "shop our {adjective} {product} from ${price} - free returns in {city}",
    "{city} {product} store: {adjective} designs from ${price}",
)
_KEYWORDS = (
    "travel", "holiday", "nature", "background", "wallpaper", "design", "summer", "winter",
    "isolated", "vector", "free", "download", "best", "ideas", "diy", "home decor", "outdoor",
    "cute", "beautiful", "art", "color", "hd", "royalty free", "concept", "season",
)  # fmt: skip
_ONE_WORD = ("image", "picture", "photo", "logo", "banner", "untitled", "cristina", "home")
_FILLER = (
    "we spent the whole week here with our friends and took far too many pictures",
    "read more about it on the blog and do not forget to subscribe for new posts",
    "this was one of the best days of the year and everybody had a wonderful time",
    "all rights reserved and no part of this page may be used without permission",
)
_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz0123456789"))


def _one_of(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.random() * len(options))]


def _between(low: int, high: int, rng: np.random.Generator) -> int:
    """A whole number from low to high, both included."""
    return low + int(rng.random() * (high - low + 1))


def _random_token(length: int, rng: np.random.Generator) -> str:
    return "".join(_LETTERS[rng.integers(0, len(_LETTERS), length)])


def file_name(scene: Scene, rng: np.random.Generator) -> str:
    """The name of an image file, such as "IMG_20140812_104512.jpg"."""
    number = _between(1, 99_999, rng)
    forms = (
        f"IMG_{number:04d}.jpg",
        f"IMG_20{_between(5, 23, rng):02d}{_between(1, 12, rng):02d}{_between(1, 28, rng):02d}_"
        f"{_between(0, 23, rng):02d}{_between(0, 59, rng):02d}{_between(0, 59, rng):02d}.jpg",
        f"untitled-{number}.png",
        f"photo-{_random_token(10, rng)}.jpeg",
        f"file {_random_token(8, rng)} {number} jpg",
    )
    return _one_of(forms, rng)


def camera_id(scene: Scene, rng: np.random.Generator) -> str:
    """What a camera writes into the description field."""
    if rng.random() < 0.3:
        return "OLYMPUS DIGITAL CAMERA"
    if rng.random() < 0.5:
        return f"{_one_of(('DSC', 'DSCF', 'DSCN', 'P'), rng)}{_between(1, 99_999, rng):05d}"
    return f"{_one_of(_CAMERAS, rng)} {_between(10_000, 9_999_999, rng)}"


def thumbnail_version(scene: Scene, rng: np.random.Generator) -> str:
    """A wiki's note under an old version of a picture (Figure 2 of the paper shows one)."""
    clock = f"{_between(0, 23, rng):02d} {_between(0, 59, rng):02d}"
    month = MONTHS[_between(0, 11, rng)]
    day, year = _between(1, 28, rng), _between(2004, 2020, rng)
    return f"thumbnail for version as of {clock} {day} {month} {year}"


def dimensions(scene: Scene, rng: np.random.Generator) -> str:
    """The size of the picture in place of its content."""
    return _one_of(_SCREENS, rng)


def query_string(scene: Scene, rng: np.random.Generator) -> str:
    """The tail of an address, as in the paper's Section 3."""
    return (
        f"image_tid {_between(1, 99, rng)}&id {_random_token(8, rng)}-{_random_token(4, rng)}"
        f"&cache {_between(0, 1, rng)}&lan_code {_between(0, 9, rng)}"
    )


def boilerplate(scene: Scene, rng: np.random.Generator) -> str:
    """A text that a site puts beside each of its pictures."""
    return _one_of(BOILERPLATE, rng)


def marketing(scene: Scene, rng: np.random.Generator) -> str:
    """Copy that sells something which the picture does not show."""
    return _one_of(_ADVERTS, rng).format(
        adjective=_one_of(_ADJECTIVES, rng),
        product=_one_of(_PRODUCTS, rng),
        city=_one_of(_CITIES, rng),
        price=_between(5, 199, rng),
        percent=_between(1, 9, rng) * 10,
        year=_between(2008, 2021, rng),
    )


def keyword_list(scene: Scene, rng: np.random.Generator) -> str:
    """Search words, of which only the name of the object is about the picture."""
    n = _between(4, 9, rng)
    words = [_KEYWORDS[i] for i in rng.permutation(len(_KEYWORDS))[:n]]
    words.insert(_between(0, n, rng), NOUNS[scene.thing.kind][0][0])
    return (", " if rng.random() < 0.7 else " ").join(words)


def other_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A good caption of another picture; no rule on texts or pictures can see it."""
    return caption(sample_scene(rng), rng)


def one_word(scene: Scene, rng: np.random.Generator) -> str:
    """A single word, right or not."""
    return _one_of(_ONE_WORD, rng) if rng.random() < 0.6 else scene.thing.kind.split()[-1]


def over_long(scene: Scene, rng: np.random.Generator) -> str:
    """A caption lost in more than 20 words."""
    text = caption(scene, rng)
    while len(plain_words(text)) <= MOST_WORDS:
        text = f"{text} {_one_of(_FILLER, rng)}"
    return text


def rare_junk(scene: Scene, rng: np.random.Generator) -> str:
    """Product codes and identifiers around the name of the object."""
    codes = [_random_token(_between(5, 10, rng), rng) for _ in range(_between(2, 4, rng))]
    return " ".join([codes[0], NOUNS[scene.thing.kind][0][0], "ref", *codes[1:]])


def other_language(scene: Scene, rng: np.random.Generator) -> str:
    """German, French, Spanish or Italian."""
    if rng.random() < 0.25:
        return _one_of(FOREIGN_SENTENCES, rng)
    language = _between(0, 3, rng)
    name = FOREIGN_NAMES[scene.thing.kind][language]
    return _one_of(FOREIGN_TEMPLATES[language], rng).format(name)


TextMaker = Callable[[Scene, np.random.Generator], str]


@dataclass(frozen=True, slots=True)
class Noise:
    """One kind of noise.

    Parameters
    ----------
    name : its name in the truth column `noise` of the shards.
    share : the part of all pairs that has it at the default rate.
    rules : the rules of Section 3 that are made to catch it.
    text : writes the alt-text; None where the noise is on the side of the image and the
        alt-text is a clean caption.
    """

    name: str
    share: float
    rules: tuple[str, ...]
    text: TextMaker | None = None

    @property
    def side(self) -> str:
        """Where the noise is: "text" or "image"."""
        return "image" if self.text is None else "text"


NOISE: dict[str, Noise] = {
    noise.name: noise
    for noise in (
        Noise("file_name", 0.030, ("length", "rare_words"), file_name),
        Noise("camera_id", 0.015, ("length", "rare_words", "images_per_text"), camera_id),
        Noise("thumbnail_version", 0.006, (), thumbnail_version),
        Noise("dimensions", 0.012, ("length", "images_per_text"), dimensions),
        Noise("query_string", 0.010, ("rare_words",), query_string),
        Noise("boilerplate", 0.038, ("images_per_text",), boilerplate),
        Noise("marketing", 0.012, (), marketing),
        Noise("keyword_list", 0.022, (), keyword_list),
        Noise("other_caption", 0.012, (), other_caption),
        Noise("one_word", 0.014, ("length", "images_per_text"), one_word),
        Noise("over_long", 0.012, ("length",), over_long),
        Noise("rare_junk", 0.017, ("rare_words",), rare_junk),
        Noise("other_language", 0.012, (), other_language),
        Noise("too_small", 0.014, ("short_side",)),
        Noise("extreme_aspect", 0.008, ("aspect_ratio",)),
        Noise("popular_image", 0.012, ("texts_per_image",)),
        Noise("near_duplicate", 0.004, ("near_duplicate",)),
    )
}
