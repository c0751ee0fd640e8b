"""Exercises of notebook 01: the words of an alt-text, and texts that many images share."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from align_edu.lab.exercise import Cases, exercise


def count_words(text: str) -> int:
    """Return the number of words of an alt-text, its unigrams.

    Unicode NFKC comes first. Letters, digits and the marks on letters then make words;
    everything else separates them.

    Paper: Section 3 (alt-texts of fewer than 3 or more than 20 unigrams are dropped).

    >>> count_words("alt_img"), count_words("1920x1080"), count_words("A  cat - red!")
    (2, 1, 3)
    """
    import unicodedata

    text = unicodedata.normalize("NFKC", text)
    spaced = [c if unicodedata.category(c)[0] in "LNM" else " " for c in text]
    return len("".join(spaced).split())


def shared_texts(texts: Sequence[str], images: Sequence[str], most: int) -> set[str]:
    """Return the normalised texts that more than `most` different images have.

    texts[i] is an alt-text of images[i]; an image may occur more than once.

    Paper: Section 3 (with a bound of 10).

    >>> shared_texts(["Home", "home!", "a cat"], ["1.jpg", "2.jpg", "3.jpg"], most=1)
    {'home'}
    """
    import unicodedata

    images_of: dict[str, set[str]] = {}
    for text, image in zip(texts, images):
        text = unicodedata.normalize("NFKC", text).lower()
        spaced = [c if unicodedata.category(c)[0] in "LNM" else " " for c in text]
        normal = " ".join("".join(spaced).split())
        images_of.setdefault(normal, set()).add(image)
    return {text for text, owners in images_of.items() if len(owners) > most}


def _word_cases(generator: torch.Generator) -> Cases:
    pieces = ("cat", "Red", "IMG", "crème", "हिन्दी", "1080", "2nd", "ａ", "it's")
    gaps = (" ", " ", "  ", "-", ", ", "_", "&", "\u00a0")
    cases: Cases = []
    for length in (4, 9, 25):
        chosen = torch.randint(len(pieces) * len(gaps), (length,), generator=generator).tolist()
        cases.append(("".join(pieces[n % len(pieces)] + gaps[n // len(pieces)] for n in chosen),))
    return cases


def _shared_cases(generator: torch.Generator) -> Cases:
    spellings = ("home", "Home", "HOME!", "a_cat", "a cat", "A cat.", "a dog", "1920x1080", "logo")
    cases: Cases = []
    for length, most in ((12, 1), (24, 2), (40, 3)):
        rows = torch.randint(len(spellings), (length,), generator=generator).tolist()
        owners = torch.randint(length // 2, (length,), generator=generator).tolist()
        cases.append(([spellings[n] for n in rows], [f"{n}.jpg" for n in owners], most))
    return cases


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()


def _found(pattern: str, text: str) -> int:
    return len(re.findall(pattern, text))


def _spaced(text: str, gap: str = " ") -> str:
    return "".join(c if unicodedata.category(c)[0] in "LNM" or c == " " else gap for c in text)


def _normal(text: str) -> str:
    return " ".join(_spaced(_compatible(text)).split())


def _sharing(
    texts: Sequence[str],
    images: Iterable[Any],
    enough: Callable[[int], bool],
    form: Callable[[str], str] = _normal,
) -> set[str]:
    """Return the texts, in that form, whose number of different images is enough."""
    counts = Counter(text for text, _ in {(form(t), i) for t, i in zip(texts, images)})
    return {text for text, count in counts.items() if enough(count)}


def _of_shared(
    texts: Sequence[str], images: Sequence[str], most: int, values: Iterable[Any]
) -> set[Any]:
    """Return the values that belong to pairs with a shared text."""
    shared = _sharing(texts, images, lambda n: n > most)
    return {value for value, text in zip(values, texts) if _normal(text) in shared}


COUNT_WORDS = exercise(
    "01",
    count_words,
    _word_cases,
    white_space=lambda text: len(text.split()),
    single_spaces=lambda text: len(text.split(" ")),
    underscore_no_nfkc=lambda text: _found(r"\w+", text.lower()),
    underscore=lambda text: _found(r"\w+", _compatible(text)),
    english_letters=lambda text: _found(r"[a-z0-9]+", _compatible(text)),
    no_marks=lambda text: _found(r"[^\W_]+", _compatible(text)),
    no_marks_no_nfkc=lambda text: _found(r"[^\W_]+", text.lower()),
    no_digits=lambda text: _found(r"[^\W\d_]+", _compatible(text)),
    no_nfkc=lambda text: len(_spaced(text.lower()).split()),
    joins_words=lambda text: len(_spaced(_compatible(text), gap="").split()),
    apostrophe=lambda text: len(_spaced(_compatible(text).replace("'", "")).split()),
    different_words=lambda text: len(set(_normal(text).split())),
    letters=lambda text: len(_normal(text)),
    gaps=lambda text: _normal(text).count(" "),
    empty_text=lambda text: len(_normal(text).split(" ")),
)

SHARED_TEXTS = exercise(
    "01",
    shared_texts,
    _shared_cases,
    raw_texts=lambda t, i, k: _sharing(t, i, lambda n: n > k, str),
    lower_case=lambda t, i, k: _sharing(t, i, lambda n: n > k, str.lower),
    pairs=lambda t, i, k: _sharing(t, range(len(t)), lambda n: n > k),
    bound=lambda t, i, k: _sharing(t, i, lambda n: n >= k),
    always_10=lambda t, i, k: _sharing(t, i, lambda n: n > 10),
    what_stays=lambda t, i, k: _sharing(t, i, lambda n: n <= k),
    texts_of_images=lambda t, i, k: _sharing(i, t, lambda n: n > k, str),
    as_written=lambda t, i, k: _of_shared(t, i, k, t),
    images=lambda t, i, k: _of_shared(t, i, k, i),
    places=lambda t, i, k: _of_shared(t, i, k, range(len(t))),
)
