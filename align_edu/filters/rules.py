"""The bounds of the filters, all in one place; the defaults are the paper's."""

from dataclasses import dataclass
from typing import Literal

from align_edu.errors import InputError


@dataclass(frozen=True)
class Rules:
    """Bounds of Section 3's filters; `None` turns a rule off.

    Attributes
    ----------
    max_unsafe : an image with a larger score in a column `nsfw` or `punsafe` goes (the paper
        gives no bound; 0.5 is ours). In a column of words, "NSFW" goes.
    min_side : pixels; an image stays if its shorter side is larger than this.
    max_aspect : an image stays if its longer / shorter side is smaller than this.
    max_texts_per_image : an image with more alt-texts than this goes, with all its pairs.
    max_distance : bits; an image goes if its perceptual hash of 256 bits differs from that of
        an evaluation image in at most this many (the paper gives no number, see
        `filters.near_duplicates` for ours).
    max_images_per_text : an alt-text that more images share than this goes.
    vocabulary_size : an alt-text goes if one of its unigrams or bigrams is not among this many
        most frequent ones of the raw data; the paper's number is 100 million. "auto" is for
        data too small for that number, see `filters.text.auto_vocabulary`.
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
            if value is not None and (isinstance(value, str) or not value >= 0):
                raise InputError(f"rule {name}: {value!r} is no bound; give a number of 0 or more")
        if self.vocabulary_size == 0:
            raise InputError("rule vocabulary_size: 0 would drop every pair; give 1 or more")
