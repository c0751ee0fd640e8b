"""Exercises of notebook 01: the words of an alt-text, and texts that many images share."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from align_edu.lab.exercises import Cases, exercise


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


def _word_cases(g: torch.Generator) -> Cases:
    pieces = ("cat", "Red", "IMG", "crème", "हिन्दी", "1080", "2nd", "ａ", "it's")
    gaps = (" ", " ", "  ", "-", ", ", "_", "&", "\u00a0")
    every = [piece + gap for gap in gaps for piece in pieces]
    drawn = [torch.randint(len(every), (n,), generator=g).tolist() for n in (4, 9, 25)]
    return [("".join(every[n] for n in some),) for some in drawn]


def _shared_cases(g: torch.Generator) -> Cases:
    spellings = ("home", "Home", "HOME!", "a_cat", "a cat", "A cat.", "a dog", "1920x1080", "logo")
    cases: Cases = []
    for length, most in ((12, 1), (24, 2), (40, 3)):
        rows = torch.randint(len(spellings), (length,), generator=g).tolist()
        owners = torch.randint(length // 2, (length,), generator=g).tolist()
        cases.append(([spellings[n] for n in rows], [f"{n}.jpg" for n in owners], most))
    return cases


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()


def _spaced(text: str, gap: str = " ") -> str:
    return "".join(c if unicodedata.category(c)[0] in "LNM" or c == " " else gap for c in text)


def _normal(text: str) -> str:
    return " ".join(_spaced(_nfkc(text)).split())


def _sharing(
    texts: Sequence[str],
    images: Iterable[Any],
    enough: Callable[[int], bool],
    form: Callable[[str], str] = _normal,
) -> set[str]:
    """Return the texts, in that form, whose number of different images is enough."""
    counts = Counter(text for text, _ in {(form(t), i) for t, i in zip(texts, images)})
    return {text for text, count in counts.items() if enough(count)}


exercise(
    count_words,
    _word_cases,
    white_space=lambda text: len(text.split()),
    single_spaces=lambda text: len(text.split(" ")),
    underscore_no_nfkc=lambda text: len(re.findall(r"\w+", text.lower())),
    underscore=lambda text: len(re.findall(r"\w+", _nfkc(text))),
    english_letters=lambda text: len(re.findall(r"[a-z0-9]+", _nfkc(text))),
    no_marks=lambda text: len(re.findall(r"[^\W_]+", _nfkc(text))),
    no_marks_no_nfkc=lambda text: len(re.findall(r"[^\W_]+", text.lower())),
    no_digits=lambda text: len(re.findall(r"[^\W\d_]+", _nfkc(text))),
    no_nfkc=lambda text: len(_spaced(text.lower()).split()),
    joins_words=lambda text: len(_spaced(_nfkc(text), gap="").split()),
    apostrophe=lambda text: len(_spaced(_nfkc(text).replace("'", "")).split()),
    different_words=lambda text: len(set(_normal(text).split())),
    letters=lambda text: len(_normal(text)),
    gaps=lambda text: _normal(text).count(" "),
    empty_text=lambda text: len(_normal(text).split(" ")),
)

exercise(
    shared_texts,
    _shared_cases,
    raw_texts=lambda t, i, k: _sharing(t, i, lambda n: n > k, str),
    lower_case=lambda t, i, k: _sharing(t, i, lambda n: n > k, str.lower),
    pairs=lambda t, i, k: _sharing(t, range(len(t)), lambda n: n > k),
    bound=lambda t, i, k: _sharing(t, i, lambda n: n >= k),
    always_10=lambda t, i, k: _sharing(t, i, lambda n: n > 10),
    what_stays=lambda t, i, k: _sharing(t, i, lambda n: n <= k),
    texts_of_images=lambda t, i, k: _sharing(i, t, lambda n: n > k, str),
    as_written=lambda t, i, k: {s for s in t if _normal(s) in shared_texts(t, i, k)},
    images=lambda t, i, k: {x for s, x in zip(t, i) if _normal(s) in shared_texts(t, i, k)},
    places=lambda t, i, k: {n for n, s in enumerate(t) if _normal(s) in shared_texts(t, i, k)},
)
