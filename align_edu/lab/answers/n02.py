"""Exercises of notebook 02: the filter on image sizes, and the filter on rare tokens."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, pairwise

import torch

from align_edu.lab.exercise import Cases, exercise


def keeps_image(width: int, height: int) -> bool:
    """Return True if the filters keep an image of this size in pixels.

    Paper: Section 3 (shorter dimension larger than 200 pixels, aspect ratio smaller than 3).

    >>> keeps_image(201, 300), keeps_image(200, 300), keeps_image(900, 300)
    (True, False, False)
    """
    shorter, longer = sorted((width, height))
    return shorter > 200 and longer < 3 * shorter


def rare_texts(texts: Sequence[str], size: int) -> list[int]:
    """Return the indices of the texts that contain a rare token.

    texts: normalised, with single spaces between words. size: the vocabulary holds this many
    of the most frequent unigrams and bigrams, ranked together; ties are broken alphabetically.

    Paper: Section 3.

    >>> rare_texts(["a red cat", "a red dog"], size=6)
    [1]
    """
    from collections import Counter
    from itertools import pairwise

    words = [text.split() for text in texts]
    tokens = [[*found, *map(" ".join, pairwise(found))] for found in words]
    counts = Counter(token for found in tokens for token in found)
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    known = set(ranked[:size])
    return [i for i, found in enumerate(tokens) if not known.issuperset(found)]


def _text_cases(generator: torch.Generator) -> Cases:
    words = ["a", "the", "red", "blue", "cat", "dog", "fish", "boat", "rain", "sun", "hill"]
    weights = torch.arange(len(words), 0, -1).double() ** 2
    cases: Cases = []
    for size in (4, 9, 16, 30):
        lengths = torch.randint(1, 5, (20,), generator=generator).tolist()
        picks = [torch.multinomial(weights, n, True, generator=generator) for n in lengths]
        cases.append(([" ".join(words[i] for i in pick) for pick in picks], size))
    return cases


def _tokens(text: str) -> list[str]:
    words = text.split()
    return [*words, *map(" ".join, pairwise(words))]


def _counts(texts: Sequence[str]) -> Counter[str]:
    return Counter(chain.from_iterable(map(_tokens, texts)))


def _ranked(counts: Counter[str], reverse: bool = False) -> list[str]:
    """Return the tokens, frequent ones first; ties from a to z, or from z to a if reversed."""
    order = sorted(counts, reverse=reverse)
    return sorted(order, key=counts.__getitem__, reverse=True)


def _outside(texts: Sequence[str], known: Iterable[str]) -> list[int]:
    vocabulary = set(known)
    return [i for i, text in enumerate(texts) if set(_tokens(text)) - vocabulary]


def _with_tokens(tokens: Callable[[str], list[str]]) -> Callable[[Sequence[str], int], list[int]]:
    """Return the right answer for other tokens."""

    def answer(texts: Sequence[str], size: int) -> list[int]:
        known = set(_ranked(Counter(chain.from_iterable(map(tokens, texts))))[:size])
        return [i for i, text in enumerate(texts) if set(tokens(text)) - known]

    return answer


def _two_vocabularies(texts: Sequence[str], size: int) -> list[int]:
    ranked = _ranked(_counts(texts))
    bigrams = [token for token in ranked if " " in token]
    unigrams = [token for token in ranked if " " not in token]
    return _outside(texts, unigrams[:size] + bigrams[:size])


def _with_ties(texts: Sequence[str], size: int, kept: bool) -> list[int]:
    """Keep all tokens that are tied at the edge of the vocabulary, or none of them."""
    counts = _counts(texts)
    ranked = _ranked(counts)
    if size >= len(ranked):
        return []
    edge = counts[ranked[size - 1 if kept else size]]
    return _outside(texts, (t for t in ranked if counts[t] > edge or (kept and counts[t] == edge)))


KEEPS_IMAGE = exercise(
    "02",
    keeps_image,
    lambda g: torch.randint(100, 1200, (40, 2), generator=g).tolist(),
    bound_200=lambda w, h: min(w, h) >= 200 and max(w, h) < 3 * min(w, h),
    bound_3=lambda w, h: min(w, h) > 200 and max(w, h) <= 3 * min(w, h),
    both_bounds=lambda w, h: min(w, h) >= 200 and max(w, h) <= 3 * min(w, h),
    longer_side=lambda w, h: max(w, h) > 200 and max(w, h) < 3 * min(w, h),
    width_only=lambda w, h: w > 200 and max(w, h) < 3 * min(w, h),
    one_ratio=lambda w, h: min(w, h) > 200 and w < 3 * h,
    no_ratio=lambda w, h: min(w, h) > 200,
    no_size=lambda w, h: max(w, h) < 3 * min(w, h),
    either=lambda w, h: min(w, h) > 200 or max(w, h) < 3 * min(w, h),
    dropped=lambda w, h: not (min(w, h) > 200 and max(w, h) < 3 * min(w, h)),
    area=lambda w, h: w * h > 200 * 200 and max(w, h) < 3 * min(w, h),
)

RARE_TEXTS = exercise(
    "02",
    rare_texts,
    _text_cases,
    unigrams=_with_tokens(str.split),
    bigrams=_with_tokens(lambda text: [token for token in _tokens(text) if " " in token]),
    two_vocabularies=_two_vocabularies,
    once_a_text=_with_tokens(lambda text: sorted(set(_tokens(text)))),
    first_seen=lambda t, n: _outside(t, (token for token, _ in _counts(t).most_common(n))),
    ties_from_z=lambda t, n: _outside(t, _ranked(_counts(t), reverse=True)[:n]),
    ties_in=lambda t, n: _with_ties(t, n, kept=True),
    ties_out=lambda t, n: _with_ties(t, n, kept=False),
    what_stays=lambda t, n: sorted(set(range(len(t))) - set(rare_texts(t, n))),
    all_rare=lambda t, n: [
        i
        for i, text in enumerate(t)
        if text and not set(_tokens(text)) & set(_ranked(_counts(t))[:n])
    ],
    texts=lambda t, n: [t[i] for i in rare_texts(t, n)],
    as_set=lambda t, n: set(rare_texts(t, n)),
    size_as_count=lambda t, n: _outside(t, (k for k, seen in _counts(t).items() if seen >= n)),
    letters=lambda t, n: [
        i for i, text in enumerate(t) if any(token in text for token in _ranked(_counts(t))[n:])
    ],
)
