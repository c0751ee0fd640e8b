"""Exercises of notebook 02: the filter on image sizes, and the filter on rare tokens."""

from collections.abc import Sequence

import torch

from align_edu.lab.exercises import Cases, exercise


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


exercise(keeps_image, lambda g: torch.randint(100, 1200, (40, 2), generator=g).tolist())
exercise(rare_texts, _text_cases)
