"""What the toy world holds, how often, and what it is called, read from this folder's TOML files.

Kinds, colours and places follow Zipf's law in their order: web data is long-tailed.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
Colour = tuple[int, int, int]
Hues = dict[str, Any]  # names of colours, or of several to choose from
Phrases = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object."""

    family: str  # that it belongs to, such as "animal"


@dataclass(frozen=True, slots=True)
class Place:
    """A place where a scene happens."""

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


_CATALOG = _read("catalog.toml")
WORDS = _read("words.toml")
WEB = _read("web.toml")
PICTURES = _read("pictures.toml")

KIND_EXPONENT, COLOUR_EXPONENT, PLACE_EXPONENT = _CATALOG["exponents"].values()
SECOND_OBJECT_RATE, HELD_OUT_ONE_IN = _CATALOG["rates"].values()
_FAMILIES = {name: family for family, names in WORDS["families"].items() for name in names}
KINDS: dict[str, Kind] = {name: Kind(_FAMILIES[name]) for name in WORDS["nouns"]}
COLOURS: dict[str, Colour] = PICTURES["objects"]
PLACES: dict[str, Place] = {n: Place(**facts) for n, facts in _CATALOG["places"].items()}
WEATHER: dict[str, float] = _CATALOG["weather"]
DAYLIGHT_WEATHER = ("sunset", "night")
SIZES: dict[str, float] = _CATALOG["sizes"]
STYLES: dict[str, float] = _CATALOG["styles"]
COUNTS: dict[int, float] = {int(n): rate for n, rate in _CATALOG["counts"].items()}
RELATIONS: dict[str, float] = _CATALOG["relations"]
INVERSE_RELATIONS = {"above": "below", "below": "above", "beside": "beside"}

# The names of each kind as (one, several).
NOUNS: dict[str, tuple[tuple[str, ...], ...]] = {
    kind: tuple(tuple(name.split("/")) for name in names) for kind, names in WORDS["nouns"].items()
}
COLOUR_WORDS: Phrases = WORDS["colours"]
COUNT_WORDS: dict[int, tuple[str, ...]] = {int(n): each for n, each in WORDS["counts"].items()}
PLACE_PHRASES: Phrases = WORDS["places"]
WEATHER_PHRASES: Phrases = WORDS["weather"]
MAIN_WORD_SHARE = 0.85


def one_of(options: Sequence[T], rng: np.random.Generator) -> T:
    """Pick one of the options, all equally likely."""
    return options[int(rng.random() * len(options))]


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Pick the first option most of the time (`MAIN_WORD_SHARE`), else one of the others."""
    u = rng.random()
    if u < MAIN_WORD_SHARE or len(options) == 1:
        return options[0]
    return options[1 + int((u - MAIN_WORD_SHARE) / (1 - MAIN_WORD_SHARE) * (len(options) - 1))]


def with_article(words: str) -> str:
    """Put "a" or "an" before words, by their first letter: none here has a silent h."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
