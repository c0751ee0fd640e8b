"""What the toy world holds: kinds of object, colours, places, weather, sizes and styles.

The order inside each table is the order of frequency. Web data is long-tailed, so kinds
follow Zipf's law (the frequency of rank r is proportional to r ** -KIND_EXPONENT), and
colours and places follow a milder form of it. Weather, size, style, count and relation have
their frequency written beside them.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KIND_EXPONENT = 0.55
COLOUR_EXPONENT = 0.25
PLACE_EXPONENT = 0.3
# Scenes with two objects of one kind are drawn again, which leaves 0.16 with a second object.
SECOND_OBJECT_RATE = 0.165
HELD_OUT_ONE_IN = 16

Colour = tuple[int, int, int]
Hues = dict[str, Any]  # names of colours, or of several to choose from


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object and the family it belongs to, such as "animal"."""

    name: str
    family: str


@dataclass(frozen=True, slots=True)
class Place:
    """A place where a scene happens."""

    name: str
    outdoor: bool  # shows weather; otherwise it is always "clear"
    daylight: bool  # can turn to "sunset" or "night"


def _read(name: str) -> dict[str, Any]:
    """Read a TOML file of this folder, with its lists as tuples."""
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    return {key: _frozen(value) for key, value in tomllib.loads(text).items()}


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _frozen(inner) for key, inner in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


WORDS = _read("words.toml")
WEB = _read("web.toml")
PICTURES = _read("pictures.toml")

_FAMILIES = {name: family for family, names in WORDS["families"].items() for name in names}
KINDS: dict[str, Kind] = {name: Kind(name, _FAMILIES[name]) for name in WORDS["nouns"]}

COLOURS: dict[str, Colour] = PICTURES["objects"]

_INDOOR = ("room", "kitchen", "library", "stage", "underwater", "space")
PLACES: dict[str, Place] = {
    name: Place(name, name not in _INDOOR, name not in (*_INDOOR, "night city"))
    for name in (
        "beach", "street", "park", "forest", "snow", "meadow", "room", "mountains", "farm",
        "desert", "night city", "kitchen", "library", "stage", "underwater", "space",
    )
}  # fmt: skip

# Frequencies of weather are those of an outdoor place with daylight; where "sunset" and
# "night" cannot be, the others share their part.
WEATHER: dict[str, float] = {
    "clear": 0.80,
    "rain": 0.045,
    "sunset": 0.045,
    "snowfall": 0.04,
    "fog": 0.035,
    "night": 0.035,
}
DAYLIGHT_WEATHER = ("sunset", "night")

SIZES: dict[str, float] = {"medium": 0.50, "large": 0.28, "small": 0.22}
STYLES: dict[str, float] = {"photo": 0.80, "poster": 0.10, "sketch": 0.10}
COUNTS: dict[int, float] = {1: 0.80, 2: 0.10, 3: 0.06, 4: 0.04}
RELATIONS: dict[str, float] = {"beside": 0.40, "above": 0.30, "below": 0.30}


def zipf_frequencies(n: int, exponent: float) -> list[float]:
    """Return the frequencies of n ranks under Zipf's law, highest first; they add up to one.

    >>> [round(f, 3) for f in zipf_frequencies(3, 1.0)]
    [0.545, 0.273, 0.182]
    """
    weights = [(rank + 1) ** -exponent for rank in range(n)]
    total = sum(weights)
    return [weight / total for weight in weights]
