"""The rules of Section 3 in their order, with their bounds."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import polars as pl

from align_edu.filters import image, text
from align_edu.io import InputError


@dataclass(frozen=True)
class Rules:
    """Bounds of Section 3's filters, strict as in the paper; `None` turns a rule off.

    The defaults are the paper's, but it gives no number for `max_unsafe` and `max_distance`, and
    its `vocabulary_size` is 100_000_000, which keeps every word of smaller data. Paper: Section 3.
    """

    # Drop an image with a larger score, 0 to 1, in a column `nsfw` or `punsafe` or from a
    # classifier; in a column of words, drop "NSFW".
    max_unsafe: float | None = 0.5
    min_side: float | None = 200  # pixels; keep an image if its shorter side is larger
    max_aspect: float | None = 3.0  # keep an image if its longer / shorter side is smaller
    max_texts_per_image: int | None = 1000  # drop all pairs of an image with more alt-texts
    # Drop an image whose hash differs from an evaluation image's in at most this many of 256 bits.
    max_distance: int | None = 66
    max_images_per_text: int | None = 10  # drop an alt-text that more images share
    # Drop an alt-text with a unigram or bigram outside this many most frequent ones of the raw
    # data. "auto" drops words seen fewer than 3 times, and judges bigrams only from 1,000,000
    # pairs on (see `filters.text.auto_edge`).
    vocabulary_size: int | Literal["auto"] | None = "auto"
    min_words: int | None = 3  # drop an alt-text with fewer unigrams
    max_words: int | None = 20  # drop an alt-text with more
    # Leave out a pair with another value in a column `status`, as img2dataset writes it.
    status: str | None = "success"

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            words = {"vocabulary_size": "auto", "status": "success"}.get(name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
            if value not in (None, words) and (name == "status" or not number):
                allowed = "success" if name == "status" else "a number of 0 or more"
                raise InputError(f"rule {name}: {value!r} is no bound; give {allowed}")
        size = self.vocabulary_size
        if size == 0 or isinstance(size, float):
            raise InputError(f"rule vocabulary_size: {size}; give a whole number of 1 or more")

    @property
    def words(self) -> tuple[int | None, int | None] | None:
        """Both bounds on the number of words, None if both are off."""
        bounds = (self.min_words, self.max_words)
        return None if bounds == (None, None) else bounds


def rules_from_text(changes: Sequence[str]) -> Rules:
    """Return the default rules with some bounds changed, given as ``name=number``.

    ``none`` turns a rule off. Raises InputError for an unknown name or a bad number.

    >>> rules_from_text(["min_side=100", "max_aspect=none"]).max_aspect is None
    True
    """
    bounds: dict[str, Any] = {}
    names = [field.name for field in fields(Rules)]
    for change in changes:
        name, _, value = change.partition("=")
        if name not in names:
            raise InputError(f"--rule {change}: no such rule; choose one of {', '.join(names)}")
        if name in bounds:
            raise InputError(f"--rule {change}: {name} is given twice; give it once")
        try:
            bounds[name] = value if value == "auto" else json.loads(value.replace("none", "null"))
        except json.JSONDecodeError:
            form = "write it as name=number, or name=none to turn the rule off"
            raise InputError(f"--rule {change}: {form}") from None
    return Rules(**bounds)


class Rule(NamedTuple):
    """One filter: a name, an expression, and what the expression judges."""

    name: str  # as in the funnel
    # A pair, or its totals over all raw pairs; other rules see no pair that fails a download.
    of: Literal["download", "pair", "image", "text", "token"]
    bound: str  # the attribute of `Rules`
    drops: Callable[[Any], pl.Expr]  # bound -> expression, true for what the rule drops
    needs: tuple[str, ...]  # the columns without which it cannot be applied
    says: Callable[[Any], str]  # bound -> the rule in words
    optional: bool = False  # looks for missing values: not in the funnel where none is missing


def _length(words: tuple[int | None, int | None]) -> str:
    bounds = zip("<>", words)
    return " or ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None) + " words"


_MISSING = pl.col("caption").is_null()
_IMAGE = " or ".join(image.IDENTITY)
# The funnel's order: missing values first, then the paper's, images before texts.
RULES = (
    Rule("failed_download", "download", "status", image.failed_download, (image.STATUS,),
         "status other than {}".format, True),
    Rule("no_size", "pair", "min_side", image.no_size, image.SIZE,
         lambda bound: "unknown width or height", True),
    Rule("no_text", "pair", "words", lambda bounds: _MISSING & text.length(*bounds), (),
         lambda bounds: "missing alt-text", True),
    Rule("pornographic", "pair", "max_unsafe", image.pornographic, (" or ".join(image.SCORES),),
         "score > {}".format),
    Rule("short_side", "pair", "min_side", image.short_side, image.SIZE,
         "shorter side <= {} px".format),
    Rule("aspect_ratio", "pair", "max_aspect", image.aspect_ratio, image.SIZE,
         "longer / shorter side >= {}".format),
    Rule("texts_per_image", "image", "max_texts_per_image", image.texts_per_image, (_IMAGE,),
         "image with > {} alt-texts".format),
    Rule("near_duplicate", "image", "max_distance", image.near_duplicate, ("distance",),
         "hash within {} bits of an evaluation image".format),
    Rule("images_per_text", "text", "max_images_per_text", text.images_per_text, (_IMAGE,),
         "alt-text of > {} images".format),
    Rule("rare_words", "token", "vocabulary_size", lambda edge: text.rare_words(*edge), (),
         lambda size: "a unigram or bigram that is rare in the raw data"),
    Rule("length", "pair", "words", lambda bounds: ~_MISSING & text.length(*bounds), (), _length),
)  # fmt: skip


def not_applied(rules: Rules, columns: set[str], hashed: bool, scored: bool) -> dict[str, str]:
    """Return rule -> why it cannot be applied; hashed, scored: whether pictures are measured."""
    columns = columns | ({"distance"} if hashed else set()) | ({"nsfw"} if scored else set())
    absent = {}
    for rule in RULES:
        lacking = [need for need in rule.needs if columns.isdisjoint(need.split(" or "))]
        if getattr(rules, rule.bound) is None:
            absent[rule.name] = "turned off"
        elif lacking == ["distance"]:
            absent[rule.name] = "no evaluation set given"
        elif lacking:
            absent[rule.name] = f"no column {' and '.join(lacking)}"
    return absent


def in_words(rules: Rules, bigrams: bool) -> dict[str, str]:
    """Return rule -> its bound in words; bigrams: whether the rule on tokens judges them too."""
    bounds = [(rule, getattr(rules, rule.bound)) for rule in RULES]
    words = {rule.name: "" if bound is None else rule.says(bound) for rule, bound in bounds}
    return words if bigrams else {name: w.replace(" or bigram", "") for name, w in words.items()}
