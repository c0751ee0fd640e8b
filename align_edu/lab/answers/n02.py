"""Exercises of notebook 02."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, pairwise
from typing import Any

import torch

from align_edu.lab.exercise import Exercise, Hint, WrongAnswer


def keeps_image(width: int, height: int) -> bool:
    """Tell whether an image of this size in pixels stays.

    Paper: Section 3 (shorter dimension larger than 200 pixels, aspect ratio smaller than 3).

    >>> keeps_image(201, 300), keeps_image(200, 300), keeps_image(900, 300)
    (True, False, False)
    """
    shorter, longer = sorted((width, height))
    return shorter > 200 and longer < 3 * shorter


def rare_texts(texts: Sequence[str], size: int) -> list[int]:
    """Return the indices of the texts that hold a rare token.

    texts: normalised, words apart by single spaces. size: the vocabulary holds so many most
    frequent unigrams and bigrams of all texts, ranked together; ties go by the alphabet.

    Paper: Section 3.

    >>> rare_texts(["a red cat", "a red dog"], size=6)
    [1]
    """
    words = [text.split() for text in texts]
    tokens = [[*found, *map(" ".join, pairwise(found))] for found in words]
    counts = Counter(chain.from_iterable(tokens))
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    known = set(ranked[:size])
    return [i for i, found in enumerate(tokens) if not known.issuperset(found)]


def _size_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        (640, 480),
        (200, 300),  # 200 is not larger than 200
        (300, 200),
        (201, 201),
        (900, 300),  # 3 is not smaller than 3
        (899, 300),
        (300, 900),
        (300, 1050),
        (150, 150),
        (180, 640),
        (640, 180),
        (210, 180),  # the longer side is large enough, the area is not
        (160, 400),  # the area is large enough, the shorter side is not
    ]
    sides = torch.randint(100, 1200, (40, 2), generator=generator).tolist()
    return by_hand + [(width, height) for width, height in sides]


def _text_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        (["a red cat", "a red dog"], 6),  # of four tokens seen once, "red dog" has no room
        (["a red cat", "a red cat", "cat red a"], 5),  # known words in a new order
        (["rain rain rain rain", "sun today", "sun today"], 3),  # rain is seen 4 times
        (["cat cat cat", "a"], 2),  # the rare "a" is a word, not a letter of "cat"
        (["", "fog", "mist"], 1),
        (["a dog", "a cat", "a dog"], 100),
        (["blue", "blue", "zoo", "ape"], 2),
    ]
    words = ["a", "the", "red", "blue", "cat", "dog", "fish", "boat", "rain", "sun", "hill"]
    weights = torch.arange(len(words), 0, -1).double() ** 2
    random = []
    for size in (4, 9, 16, 30):
        lengths = torch.randint(1, 5, (20,), generator=generator).tolist()
        picks = [
            torch.multinomial(weights, n, replacement=True, generator=generator) for n in lengths
        ]
        random.append(([" ".join(words[i] for i in pick) for pick in picks], size))
    return by_hand + random


def _tokens(text: str) -> list[str]:
    words = text.split()
    return [*words, *map(" ".join, pairwise(words))]


def _ranked(tokens: Iterable[str]) -> list[str]:
    counts = Counter(tokens)
    return sorted(counts, key=lambda token: (-counts[token], token))


def _counts(texts: Sequence[str]) -> Counter[str]:
    return Counter(chain.from_iterable(map(_tokens, texts)))


def _outside(texts: Sequence[str], known: Iterable[str]) -> list[int]:
    vocabulary = set(known)
    return [i for i, text in enumerate(texts) if set(_tokens(text)) - vocabulary]


def _part_only(part: Callable[[str], list[str]]) -> Callable[[Sequence[str], int], list[int]]:
    """The right answer to another question: with only a part of the tokens."""

    def answer(texts: Sequence[str], size: int) -> list[int]:
        known = set(_ranked(chain.from_iterable(map(part, texts)))[:size])
        return [i for i, text in enumerate(texts) if set(part(text)) - known]

    return answer


def _two_vocabularies(texts: Sequence[str], size: int) -> list[int]:
    ranked = _ranked(chain.from_iterable(map(_tokens, texts)))
    single = [token for token in ranked if " " not in token]
    double = [token for token in ranked if " " in token]
    return _outside(texts, single[:size] + double[:size])


def _tied(texts: Sequence[str], size: int, all_in: bool) -> list[int]:
    counts = _counts(texts)
    ranked = _ranked(chain.from_iterable(map(_tokens, texts)))
    if size >= len(ranked):
        return []
    edge = counts[ranked[size - 1]]
    if all_in:
        return _outside(texts, (t for t in ranked if counts[t] >= edge))
    next_one = counts[ranked[size]]
    return _outside(texts, (t for t in ranked[:size] if counts[t] > next_one))


KEEPS_IMAGE = (
    WrongAnswer(
        lambda w, h: min(w, h) >= 200 and max(w, h) < 3 * min(w, h),
        "You keep a shorter side of exactly 200 pixels. The bound is strict: larger than 200.",
    ),
    WrongAnswer(
        lambda w, h: min(w, h) > 200 and max(w, h) <= 3 * min(w, h),
        "You keep an aspect ratio of exactly 3. The bound is strict: smaller than 3.",
    ),
    WrongAnswer(
        lambda w, h: min(w, h) >= 200 and max(w, h) <= 3 * min(w, h),
        "Both bounds are strict: 200 pixels are too few, and a ratio of 3 is too large.",
    ),
    WrongAnswer(
        lambda w, h: max(w, h) > 200 and max(w, h) < 3 * min(w, h),
        "You look at the longer side. The shorter one must be larger than 200.",
    ),
    WrongAnswer(
        lambda w, h: w > 200 and max(w, h) < 3 * min(w, h),
        "You look at the width only. A wide image can have few rows: take the shorter side.",
    ),
    WrongAnswer(
        lambda w, h: min(w, h) > 200 and w < 3 * h,
        "You divide width by height, so a tall, narrow image passes. Divide the longer side by "
        "the shorter.",
    ),
    WrongAnswer(
        lambda w, h: min(w, h) > 200,
        "Your aspect ratio drops nothing. Divide the longer side by the shorter; it must be "
        "smaller than 3.",
    ),
    WrongAnswer(
        lambda w, h: max(w, h) < 3 * min(w, h),
        "You never look at the size: the shorter side must be larger than 200 pixels.",
    ),
    WrongAnswer(
        lambda w, h: min(w, h) > 200 or max(w, h) < 3 * min(w, h),
        "One good property is not enough: both rules must keep the image. Use and, not or.",
    ),
    WrongAnswer(
        lambda w, h: not (min(w, h) > 200 and max(w, h) < 3 * min(w, h)),
        "You return what is dropped. The function says True for an image that stays.",
    ),
    WrongAnswer(
        lambda w, h: w * h > 200 * 200 and max(w, h) < 3 * min(w, h),
        "You compare areas. A long side cannot make up for a short one: compare the shorter side.",
    ),
)

RARE_TEXTS = (
    WrongAnswer(
        _part_only(str.split),
        "You look at unigrams only. Two known words next to each other can be a rare bigram.",
    ),
    WrongAnswer(
        _part_only(lambda text: [token for token in _tokens(text) if " " in token]),
        "You look at bigrams only. Single words count too: unigrams and bigrams.",
    ),
    WrongAnswer(
        _two_vocabularies,
        "You keep two vocabularies. Unigrams and bigrams are ranked together, in one list.",
    ),
    WrongAnswer(
        _part_only(lambda text: sorted(set(_tokens(text)))),
        "You count a token once a text. Each place where it stands counts.",
    ),
    WrongAnswer(
        lambda texts, size: _outside(
            texts, (token for token, _ in _counts(texts).most_common(size))
        ),
        "Of tokens seen equally often you keep those that came first: Counter.most_common does "
        "so. The order of the pairs must not matter: sort ties by the alphabet.",
    ),
    WrongAnswer(
        lambda texts, size: _outside(
            texts, sorted(c := _counts(texts), key=lambda t: (c[t], t), reverse=True)[:size]
        ),
        "Your ties run from z to a, since reverse=True turns the alphabet around too. Sort by "
        "minus the count, then by the token.",
    ),
    WrongAnswer(
        lambda texts, size: _tied(texts, size, all_in=True),
        "You let all tokens in that are tied at the edge, so your vocabulary is larger than size.",
    ),
    WrongAnswer(
        lambda texts, size: _tied(texts, size, all_in=False),
        "You leave all tokens out that are tied at the edge, so your vocabulary is smaller than "
        "size. The first ones by the alphabet are in.",
    ),
    WrongAnswer(
        lambda texts, size: sorted(set(range(len(texts))) - set(rare_texts(texts, size))),
        "You return the texts that stay. Asked for are those that hold a rare token.",
    ),
    WrongAnswer(
        lambda texts, size: [
            i
            for i, text in enumerate(texts)
            if text
            and not set(_tokens(text))
            & set(_ranked(chain.from_iterable(map(_tokens, texts)))[:size])
        ],
        "You drop a text only when all its tokens are rare. One rare token is enough.",
    ),
    WrongAnswer(
        lambda texts, size: [texts[i] for i in rare_texts(texts, size)],
        "You return the texts. Asked for are their indices, 0 for the first.",
    ),
    WrongAnswer(
        lambda texts, size: set(rare_texts(texts, size)),
        "You return a set. Asked for is a list, the indices from small to large.",
    ),
    WrongAnswer(
        lambda texts, size: _outside(texts, (t for t, n in _counts(texts).items() if n >= size)),
        "You take size for a count. It is how many tokens are in the vocabulary.",
    ),
    WrongAnswer(
        lambda texts, size: [
            i
            for i, text in enumerate(texts)
            if any(
                token in text for token in _ranked(chain.from_iterable(map(_tokens, texts)))[size:]
            )
        ],
        "You look for letters: a rare word may stand inside a common one. Compare whole words.",
    ),
)

EXERCISES = (
    Exercise(
        "02",
        keeps_image,
        _size_cases,
        KEEPS_IMAGE,
        (
            Hint("Which side counts?", "The shorter one: min(width, height) must exceed 200."),
            Hint("What is the aspect ratio?", "The longer side divided by the shorter."),
            Hint("What happens at the bound?", "Exactly 200 pixels go, and so does exactly 3."),
        ),
    ),
    Exercise(
        "02",
        rare_texts,
        _text_cases,
        RARE_TEXTS,
        (
            Hint(
                "What are the tokens of a text?",
                "Its words, and each two neighbouring words: itertools.pairwise(words).",
            ),
            Hint(
                "Which tokens are known?",
                "Count all of all texts, sort by (-count, token), and take the first size.",
            ),
            Hint("Which texts go?", "Those with any token outside that set; give their indices."),
        ),
    ),
)
