"""Exercises of notebook 03: WordPiece, and how much of BERT is its table of pieces."""

from collections.abc import Collection

import torch

from align_edu.lab.exercises import Cases, exercise

Vocabulary = Collection[str]


def wordpieces(word: str, vocabulary: Vocabulary) -> list[str]:
    """Return the pieces of one word, the longest known beginning first; else ["[UNK]"].

    A piece inside a word is marked with ## in the vocabulary and in the answer.

    Paper: Sections 4.1 and 5 (wordpieces).

    >>> wordpieces("cats", {"ca", "cat", "##s", "##ts"})
    ['cat', '##s']
    """
    pieces: list[str] = []
    start = 0
    while start < len(word):
        mark = "##" if start else ""
        ends = range(len(word), start, -1)  # the longest first
        end = next((end for end in ends if mark + word[start:end] in vocabulary), None)
        if end is None:
            return ["[UNK]"]
        pieces.append(mark + word[start:end])
        start = end
    return pieces


def embedding_share(vocabulary: int, width: int, layers: int, positions: int) -> float:
    """Return the fraction of BERT's parameters in its table of pieces.

    BERT without its pooler: each layer has attention, a feed-forward part four times as wide,
    and two LayerNorms, all with biases.

    Paper: Sections 4.1 and 6.1 (100k pieces, BERT-Mini to BERT-Large).

    >>> f"{embedding_share(30_522, 768, 12, 512):.1%}"
    '21.5%'
    """
    table = vocabulary * width
    others = positions * width + 2 * width + 2 * width  # positions, token types, LayerNorm
    attention = 4 * (width * width + width)  # query, key, value, output
    feed_forward = (width * 4 * width + 4 * width) + (4 * width * width + width)
    norms = 2 * 2 * width
    return table / (table + others + layers * (attention + feed_forward + norms))


def _word_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for length in range(2, 10):
        letters = torch.randint(2, (length + 24,), generator=g).tolist()
        text = "".join("ab"[n] for n in letters)
        pieces = ["a", "##a", "##b", text[:2], text[2:5], "##" + text[5:8], "##" + text[8:11]]
        cases.append((text[-length:], sorted(set(pieces))))
    return cases


exercise(wordpieces, _word_cases)
exercise(
    embedding_share,
    lambda g: [
        (10 * a, b, c % 5 + 1, d)
        for a, b, c, d in torch.randint(2, 40, (4, 4), generator=g).tolist()
    ],
)
