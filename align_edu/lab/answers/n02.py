"""Exercises of notebook 02: the filter on image sizes, and the filter on rare tokens."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, pairwise

import torch

from align_edu.lab.exercises import Answer, Cases, exercise


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


def _text_cases(g: torch.Generator) -> Cases:
    words = ["a", "the", "red", "blue", "cat", "dog", "fish", "boat", "rain", "sun", "hill"]
    weights = torch.arange(len(words), 0, -1).double() ** 2
    cases: Cases = []
    for size in (4, 9, 16, 30):
        lengths = torch.randint(1, 5, (20,), generator=g).tolist()
        picks = [torch.multinomial(weights, n, True, generator=g) for n in lengths]
        cases.append(([" ".join(words[i] for i in pick) for pick in picks], size))
    return cases


def _tokens(text: str) -> list[str]:
    words = text.split()
    return [*words, *map(" ".join, pairwise(words))]


def _ranked(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda token: (-counts[token], token))


def _top_of_each(counts: Counter[str], size: int) -> list[str]:
    bigrams = [token for token in _ranked(counts) if " " in token]
    return bigrams[:size] + [token for token in _ranked(counts) if " " not in token][:size]


def _rare(
    known: Callable[[Counter[str], int], Sequence[str]] = lambda c, size: _ranked(c)[:size],
    tokens: Callable[[str], list[str]] = _tokens,
    rare: Callable[[set[str], set[str]], object] = set.difference,
) -> Answer:
    """Return an answer with another vocabulary, other tokens, or another test of a text."""

    def answer(texts: Sequence[str], size: int) -> list[int]:
        found = [tokens(text) for text in texts]
        vocabulary = set(known(Counter(chain.from_iterable(found)), size))
        return [i for i, some in enumerate(found) if rare(set(some), vocabulary)]

    return answer


exercise(
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
    dropped=lambda w, h: not keeps_image(w, h),
    area=lambda w, h: w * h > 200 * 200 and max(w, h) < 3 * min(w, h),
)

exercise(
    rare_texts,
    _text_cases,
    unigrams=_rare(tokens=str.split),
    bigrams=_rare(tokens=lambda text: [*map(" ".join, pairwise(text.split()))]),
    two_vocabularies=_rare(_top_of_each),
    once_a_text=_rare(tokens=lambda text: sorted(set(_tokens(text)))),
    first_seen=_rare(lambda c, n: [token for token, _ in c.most_common(n)]),
    ties_from_z=_rare(lambda c, n: sorted(sorted(c, reverse=True), key=lambda t: -c[t])[:n]),
    ties_in=_rare(lambda c, n: [t for t in c if c[t] >= c[_ranked(c)[:n][-1]]]),
    ties_out=_rare(lambda c, n: [t for t in c if n >= len(c) or c[t] > c[_ranked(c)[n]]]),
    what_stays=lambda t, n: sorted(set(range(len(t))) - set(rare_texts(t, n))),
    all_rare=_rare(rare=lambda some, known: some and not some & known),
    texts=lambda t, n: [t[i] for i in rare_texts(t, n)],
    as_set=lambda t, n: set(rare_texts(t, n)),
    size_as_count=_rare(lambda c, n: [token for token in c if c[token] >= n]),
    letters=lambda t, n: [
        i
        for i, text in enumerate(t)
        if any(token in text for token in _ranked(Counter(chain(*map(_tokens, t))))[n:])
    ],
)
