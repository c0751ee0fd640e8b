"""The words of the toy world's alt-text, read from words.toml; the main word comes first."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from align_edu.world.catalog import WORDS

MAIN_WORD_SHARE = 0.85
T = TypeVar("T")
Phrases = dict[str, tuple[str, ...]]

# The names of each kind as (one, several).
NOUNS: dict[str, tuple[tuple[str, ...], ...]] = {
    kind: tuple(tuple(name.split("/")) for name in names) for kind, names in WORDS["nouns"].items()
}
COLOUR_WORDS: Phrases = WORDS["colours"]
SIZE_WORDS: Phrases = WORDS["sizes"]
COUNT_WORDS: dict[int, tuple[str, ...]] = {int(n): each for n, each in WORDS["counts"].items()}
PLACE_PHRASES: Phrases = WORDS["places"]
WEATHER_PHRASES: Phrases = WORDS["weather"]
STYLE_PREFIXES: Phrases = WORDS["style_prefixes"]
STYLE_SUFFIXES: Phrases = WORDS["style_suffixes"]
PLAIN_PREFIXES: tuple[str, ...] = WORDS["plain_prefixes"]
RELATION_WORDS: Phrases = WORDS["relations"]
INVERSE_RELATIONS = {"above": "below", "below": "above", "beside": "beside"}
FAMILY_VERBS: Phrases = WORDS["verbs"]
FIRST_NAMES: tuple[str, ...] = WORDS["asides"]["first_names"]
LAST_NAMES: tuple[str, ...] = WORDS["asides"]["last_names"]
MONTHS: tuple[str, ...] = WORDS["asides"]["months"]
YEARS = tuple(str(year) for year in range(2004, 2021))


def one_of(options: Sequence[T], rng: np.random.Generator) -> T:
    """Pick one of the options, all equally likely."""
    return options[int(rng.random() * len(options))]


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Pick the first option most of the time (`MAIN_WORD_SHARE`), else one of the others.

    >>> pick(np.random.default_rng(0), ["cat"])
    'cat'
    """
    u = rng.random()
    if u < MAIN_WORD_SHARE or len(options) == 1:
        return options[0]
    return options[1 + int((u - MAIN_WORD_SHARE) / (1 - MAIN_WORD_SHARE) * (len(options) - 1))]


def with_article(words: str) -> str:
    """Put "a" or "an" before words, by their first letter.

    No word of the toy world has a silent h or begins like "unicorn".

    >>> with_article("orange cat"), with_article("red umbrella")
    ('an orange cat', 'a red umbrella')
    """
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
