"""Exercises of notebook 01."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import polars as pl
import torch

from align_edu.filters.text import images_per_text, normalised, word_count
from align_edu.lab.exercise import Exercise, Hint, WrongAnswer


def count_words(text: str) -> int:
    """Return the number of words of an alt-text, its unigrams.

    The text is brought into Unicode NFKC first. Letters, digits and the marks on letters then
    make words; everything else parts them.

    Paper: Section 3 (alt-texts of fewer than 3 or more than 20 unigrams are dropped).

    >>> count_words("alt_img"), count_words("1920x1080"), count_words("A  cat - red!")
    (2, 1, 3)
    """
    table = pl.DataFrame({"text": [text]}).select(normalised(pl.col("text")))
    return int(table.select(word_count()).item())


def shared_texts(texts: Sequence[str], images: Sequence[str], most: int) -> set[str]:
    """Return the normalised texts that more than `most` different images have.

    texts[i] is an alt-text of images[i]; an image may come more than once.

    Paper: Section 3 (there the bound is 10).

    >>> shared_texts(["Home", "home!", "a cat"], ["1.jpg", "2.jpg", "3.jpg"], most=1)
    {'home'}
    """
    pairs = pl.DataFrame({"text": texts, "image": images}, {"text": pl.String, "image": pl.String})
    by_text = pairs.group_by(normalised(pl.col("text")))
    counts = by_text.agg(pl.col("image").n_unique().alias("images"))
    return set(counts.filter(images_per_text(most))["text"])


def _word_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        "a red cat",
        "alt_img",
        "1920x1080",
        "A  cat - (red)!",
        "the cat and the dog",
        "red\u00a0cat",
        "the cat isn't red",
        "crème brûlée",
        "5 ㎏ bag",
        "हिन्दी फ़िल्म",
        "!!!",
        "",
        "image_tid 25&id mggqpuwe-qdpd&cache 0&lan_code 0",
    ]
    pieces = ("cat", "Red", "IMG", "crème", "हिन्दी", "1080", "2nd", "ａ", "it's")
    gaps = (" ", " ", "  ", "-", ", ", "_", "&", "\u00a0")
    random = []
    for length in (4, 9, 25):
        chosen = torch.randint(len(pieces) * len(gaps), (length,), generator=generator).tolist()
        random.append("".join(pieces[n % len(pieces)] + gaps[n // len(pieces)] for n in chosen))
    return [(text,) for text in by_hand + random]


def _shared_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        (["Red cat", "red cat!", "a dog"], "abc", 1),
        (["a dog", "a dog", "a cat", "a cat"], "aabc", 1),
        (["home", "home", "home", "sea", "sea"], "abcde", 2),
        (["alt_img", "Alt img", "ALT-IMG", "sky"], "abcd", 2),
        (["one", "two", "three"], "aaa", 1),
        (["ｌｏｇｏ", "logo", "sky"], "abc", 1),
        (["sun", "rain"], "ab", 1),
    ]
    spellings = ("home", "Home", "HOME!", "a_cat", "a cat", "A cat.", "a dog", "1920x1080", "logo")
    random = []
    for length, most in ((12, 1), (24, 2), (40, 3)):
        rows = torch.randint(len(spellings), (length,), generator=generator).tolist()
        owners = torch.randint(length // 2, (length,), generator=generator).tolist()
        random.append(([spellings[n] for n in rows], [f"{n}.jpg" for n in owners], most))
    return [(texts, list(images), most) for texts, images, most in by_hand] + random


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()


def _found(pattern: str, text: str) -> int:
    return len(re.findall(pattern, text))


def _spaced(text: str, gap: str = " ") -> str:
    """What is no letter, digit or mark becomes the gap."""
    return "".join(c if unicodedata.category(c)[0] in "LNM" or c == " " else gap for c in text)


def _normal(text: str) -> str:
    return " ".join(_spaced(_compatible(text)).split())


def _sharing(
    texts: Sequence[str],
    images: Iterable[Any],
    enough: Callable[[int], bool],
    form: Callable[[str], str] = _normal,
) -> set[str]:
    """Texts in that form whose number of different images is enough."""
    counts = Counter(text for text, _ in {(form(t), i) for t, i in zip(texts, images, strict=True)})
    return {text for text, count in counts.items() if enough(count)}


def _owners(texts: Sequence[str], images: Sequence[str], most: int) -> list[bool]:
    """Whether each pair has a text that more than `most` images share."""
    shared = _sharing(texts, images, lambda n: n > most)
    return [_normal(text) in shared for text in texts]


COUNT_WORDS = (
    WrongAnswer(
        lambda text: len(text.split()),
        'You split at white space only. Everything but letters, digits and marks parts words: "'
        'alt_img" is two, and a dash alone is none.',
    ),
    WrongAnswer(
        lambda text: len(text.split(" ")),
        "You split at single spaces: two spaces in a row then give an empty word, and a comma "
        "stays part of its word.",
    ),
    WrongAnswer(
        lambda text: _found(r"\w+", text.lower()),
        "\\w counts the underscore as a letter, and the text is not in NFKC yet.",
    ),
    WrongAnswer(
        lambda text: _found(r"\w+", _compatible(text)),
        '\\w counts the underscore as a letter: "alt_img" is two words.',
    ),
    WrongAnswer(
        lambda text: _found(r"[a-z0-9]+", _compatible(text)),
        'You know English letters only: "crème" is one word, not two.',
    ),
    WrongAnswer(
        lambda text: _found(r"[^\W_]+", _compatible(text)),
        "You leave out the marks: Hindi writes vowels as marks on letters, and without them one "
        "word falls into pieces. Keep Unicode's categories L, N and M.",
    ),
    WrongAnswer(
        lambda text: _found(r"[^\W_]+", text.lower()),
        "Two things are missing: NFKC before all else, and the marks on letters, without which "
        "Hindi words fall into pieces.",
    ),
    WrongAnswer(
        lambda text: _found(r"[^\W\d_]+", _compatible(text)),
        'You throw digits away: they make words as letters do, and "1920x1080" is one.',
    ),
    WrongAnswer(
        lambda text: len(_spaced(text.lower()).split()),
        'You forgot NFKC: it turns the one sign "㎏" into the two letters "kg".',
    ),
    WrongAnswer(
        lambda text: len(_spaced(_compatible(text), gap="").split()),
        'You delete what is no letter, and so join words: put a space there, then "alt_img" is '
        "two words.",
    ),
    WrongAnswer(
        lambda text: len(_spaced(_compatible(text).replace("'", "")).split()),
        'You take the apostrophe as part of the word. Here it parts words too: "isn\'t" counts as '
        "two.",
    ),
    WrongAnswer(
        lambda text: len(set(_normal(text).split())),
        "You count different words. A word that comes twice counts twice.",
    ),
    WrongAnswer(
        lambda text: len(_normal(text)),
        "You count letters. Split the text into words first.",
    ),
    WrongAnswer(
        lambda text: _normal(text).count(" "),
        "You count the gaps between the words: there is one word more than gaps.",
    ),
    WrongAnswer(
        lambda text: len(_normal(text).split(" ")),
        "An empty text has no word, but ''.split(' ') gives one empty word: use .split().",
    ),
)

SHARED_TEXTS = (
    WrongAnswer(
        lambda texts, images, most: _sharing(texts, images, lambda n: n > most, str),
        'You compare texts as they are written. Normalise first: "Red cat" and "red cat!" are one '
        "text.",
    ),
    WrongAnswer(
        lambda texts, images, most: _sharing(texts, images, lambda n: n > most, str.lower),
        "Lower case is not enough: punctuation and Unicode's many forms of one letter hide equal "
        "texts too. Use the whole normalisation.",
    ),
    WrongAnswer(
        lambda texts, images, most: _sharing(texts, range(len(texts)), lambda n: n > most),
        "You count pairs. An image that comes twice with one text is one image: count different "
        "images.",
    ),
    WrongAnswer(
        lambda texts, images, most: _sharing(texts, images, lambda n: n >= most),
        "The bound is strict: a text of exactly `most` images is not shared by more than `most`.",
    ),
    WrongAnswer(
        lambda texts, images, most: _sharing(texts, images, lambda n: n > 10),
        "You compare with 10, the paper's number. The bound is the argument `most`.",
    ),
    WrongAnswer(
        lambda texts, images, most: _sharing(texts, images, lambda n: n <= most),
        "You return the texts that may stay. Asked for are those that too many images share.",
    ),
    WrongAnswer(
        lambda texts, images, most: set(_sharing(images, texts, lambda n: n > most, str)),
        "You count the texts of an image. Here it is the other way round: the images of a text.",
    ),
    WrongAnswer(
        lambda texts, images, most: {
            t for t, shared in zip(texts, _owners(texts, images, most), strict=True) if shared
        },
        "The right texts, but as they were written. Return them in their normalised form.",
    ),
    WrongAnswer(
        lambda texts, images, most: {
            i for i, shared in zip(images, _owners(texts, images, most), strict=True) if shared
        },
        "You return the images. Asked for are the texts that they share.",
    ),
    WrongAnswer(
        lambda texts, images, most: {
            n for n, shared in enumerate(_owners(texts, images, most)) if shared
        },
        "You return the places of the pairs in the list. Asked for are the texts.",
    ),
)

EXERCISES = (
    Exercise(
        "01",
        count_words,
        _word_cases,
        COUNT_WORDS,
        (
            Hint("Which form first?", 'unicodedata.normalize("NFKC", text), before all else.'),
            Hint("What belongs to a word?", 'unicodedata.category(c)[0] is "L", "N" or "M".'),
            Hint("And the rest?", "Put a space in its place; .split() then ignores empty words."),
        ),
        builds_on=("align_edu.filters.text:normalised", "align_edu.filters.text:word_count"),
    ),
    Exercise(
        "01",
        shared_texts,
        _shared_cases,
        SHARED_TEXTS,
        (
            Hint("When are two texts equal?", "When their normalised forms are: normal(texts)."),
            Hint("What is counted?", "Different images: collect a set of images for each text."),
            Hint("Is `most` itself too many?", "No: more than `most`, so `>`."),
        ),
        builds_on=("align_edu.filters.text:normalised", "align_edu.filters.text:images_per_text"),
    ),
)
