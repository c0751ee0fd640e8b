"""The rules of Section 3 in their order, and their bounds; the defaults are the paper's."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import polars as pl

from align_edu.filters import image, text
from align_edu.io import InputError


@dataclass(frozen=True)
class Rules:
    """Bounds of Section 3's filters; `None` turns a rule off.

    Attributes
    ----------
    max_unsafe : an image with a larger score in a column `nsfw` or `punsafe`, or from a
        classifier, goes (the paper gives no bound; 0.5 is ours). In a column of words, "NSFW"
        goes.
    min_side : pixels; an image stays if its shorter side is larger than this.
    max_aspect : an image stays if its longer / shorter side is smaller than this.
    max_texts_per_image : an image with more alt-texts than this goes, with all its pairs.
    max_distance : bits; an image goes if its perceptual hash of 256 bits differs from that of
        an evaluation image in at most this many (the paper gives no number, see
        `filters.near_duplicates` for ours).
    max_images_per_text : an alt-text that more images share than this goes.
    vocabulary_size : an alt-text goes if one of its unigrams or bigrams is not among this many
        most frequent ones of the raw data; the paper's number is 100 million. "auto" is for
        data too small for that number, see `filters.vocabulary`.
    min_words, max_words : an alt-text with fewer or with more unigrams than these goes.

    Paper: Section 3. Bounds are strict, as there.

    >>> Rules().min_side, Rules(min_side=None).min_side
    (200, None)
    """

    max_unsafe: float | None = 0.5
    min_side: float | None = 200
    max_aspect: float | None = 3.0
    max_texts_per_image: int | None = 1000
    max_distance: int | None = 66
    max_images_per_text: int | None = 10
    vocabulary_size: int | Literal["auto"] | None = "auto"
    min_words: int | None = 3
    max_words: int | None = 20

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value == "auto" and name == "vocabulary_size":
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (number and value >= 0):
                raise InputError(f"rule {name}: {value!r} is no bound; give a number of 0 or more")
        if self.vocabulary_size == 0:
            raise InputError("rule vocabulary_size: 0 would drop every pair; give 1 or more")

    @property
    def words(self) -> tuple[int | None, int | None] | None:
        """Both bounds on the number of words, None if both are off."""
        bounds = (self.min_words, self.max_words)
        return None if bounds == (None, None) else bounds


def rules_from_text(changes: Sequence[str]) -> Rules:
    """Return the paper's rules with some bounds changed, given as ``name=number``.

    ``none`` turns a rule off. Raises InputError for an unknown name or a bad number.

    >>> rules_from_text(["min_side=100", "max_aspect=none"]).max_aspect is None
    True
    """
    bounds: dict[str, Any] = {}
    known = [field.name for field in fields(Rules)]
    for change in changes:
        name, _, value = change.partition("=")
        if name not in known:
            raise InputError(f"--rule {change}: no such rule; choose one of {', '.join(known)}")
        try:
            bounds[name] = value if value == "auto" else json.loads(value.replace("none", "null"))
        except json.JSONDecodeError:
            raise InputError(
                f"--rule {change}: write it as name=number, or name=none to turn the rule off"
            ) from None
    return Rules(**bounds)


class Rule(NamedTuple):
    """One filter: a name, an expression, and what the expression looks at.

    Attributes
    ----------
    name : as in the funnel.
    of : what its expression judges: one pair by itself, or the total that all raw pairs give
        for an image, for a text, or for a token (a unigram or a bigram).
    bound : its bound among `Rules`; None where it is off.
    drops : bound -> expression, true for what the rule drops.
    needs : the columns without which it cannot be applied.
    says : the rule in words.
    """

    name: str
    of: Literal["pair", "image", "text", "token"]
    bound: Callable[[Rules], Any]
    drops: Callable[[Any], pl.Expr]
    needs: tuple[str, ...]
    says: Callable[[Any], str]


def _length(words: tuple[int | None, int | None]) -> str:
    bounds = zip("<>", words)
    return " or ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None) + " words"


_OR_BIGRAM = " or bigram"

# The funnel's order: the paper's, images before texts.
RULES = (
    Rule(
        "pornographic", "pair", lambda r: r.max_unsafe, image.pornographic, ("unsafe",),
        lambda bound: f"score > {bound}",
    ),
    Rule(
        "short_side", "pair", lambda r: r.min_side, image.short_side, image.SIZE,
        lambda bound: f"shorter side <= {bound} px",
    ),
    Rule(
        "aspect_ratio", "pair", lambda r: r.max_aspect, image.aspect_ratio, image.SIZE,
        lambda bound: f"longer / shorter side >= {bound}",
    ),
    Rule(
        "texts_per_image", "image", lambda r: r.max_texts_per_image, image.texts_per_image,
        ("image",), lambda bound: f"image with > {bound} alt-texts",
    ),
    Rule(
        "near_duplicate", "image", lambda r: r.max_distance, image.near_duplicate, ("distance",),
        lambda bound: f"hash within {bound} bits of an evaluation image",
    ),
    Rule(
        "images_per_text", "text", lambda r: r.max_images_per_text, text.images_per_text,
        ("image",), lambda bound: f"alt-text of > {bound} images",
    ),
    Rule(
        "rare_words", "token", lambda r: r.vocabulary_size, lambda edge: text.rare_words(*edge),
        (), lambda size: f"a unigram{_OR_BIGRAM * (size != 'auto')} that is rare in the raw data",
    ),
    Rule("length", "pair", lambda r: r.words, lambda words: text.length(*words), (), _length),
)  # fmt: skip
