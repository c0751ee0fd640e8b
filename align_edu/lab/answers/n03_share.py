"""The second exercise of notebook 03: how much of BERT is its table of words."""

from collections.abc import Callable
from typing import Any

import torch

from align_edu.lab.exercise import Exercise, Hint, WrongAnswer


def embedding_share(vocabulary: int, width: int, layers: int, positions: int) -> float:
    """Return the fraction of BERT's parameters that its table of pieces holds.

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


def _share_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [(5, 2, 0, 3), (10, 4, 1, 8), (10, 4, 2, 8), (100, 8, 3, 16), (7, 1, 2, 5)]
    paper = [(100_000, 256, 4, 64), (100_000, 1024, 24, 64), (30_522, 768, 12, 512)]
    random = []
    for _ in range(4):
        sizes = torch.randint(2, 40, (4,), generator=generator).tolist()
        random.append((10 * sizes[0], sizes[1], sizes[2] % 5 + 1, sizes[3]))
    return by_hand + paper + random


def _rest(width: int, layers: int, positions: int, **changes: int) -> int:
    """All parameters but the table's, some parts changed."""
    squares, singles = changes.get("squares", 12), changes.get("singles", 13)
    embeddings = (positions + changes.get("small", 4)) * width
    return embeddings + layers * (squares * width * width + singles * width)


def _share(
    positions_count: bool = True, layers_count: bool = True, **changes: int
) -> Callable[[int, int, int, int], float]:
    def share(vocabulary: int, width: int, layers: int, positions: int) -> float:
        table = vocabulary * width
        positions, layers = positions * positions_count, layers if layers_count else 1
        return table / (table + _rest(width, layers, positions, **changes))

    return share


EMBEDDING_SHARE = (
    WrongAnswer(
        _share(squares=12, singles=4),
        "The biases of the linear layers are missing: 4 of the attention's, each as wide as "
        "BERT, and one of 4 times the width and one of the width in the feed-forward part.",
    ),
    WrongAnswer(
        _share(singles=9),
        "The two LayerNorms of each layer are missing: each has a weight and a bias, together 4 "
        "times the width a layer.",
    ),
    WrongAnswer(
        _share(singles=0),
        "Only matrices are counted in the layers: the biases and the two LayerNorms are missing.",
    ),
    WrongAnswer(
        _share(small=0),
        "Around the table you count the positions only: token types and a LayerNorm are missing, "
        "4 times the width.",
    ),
    WrongAnswer(
        _share(small=2),
        "2 times the width is missing around the table: both the two token types and the "
        "LayerNorm, a weight and a bias, belong there.",
    ),
    WrongAnswer(
        _share(positions_count=False),
        "The positions are missing: each has a row of the width.",
    ),
    WrongAnswer(
        _share(positions_count=False, small=0),
        "Beside the table of pieces there are others: positions, token types and a LayerNorm.",
    ),
    WrongAnswer(
        _share(layers_count=False),
        "You count one layer. There are `layers` of them, each with weights of its own.",
    ),
    WrongAnswer(
        _share(squares=4, singles=6),
        "The feed-forward part is missing: width to 4 times the width, and back.",
    ),
    WrongAnswer(
        _share(squares=8, singles=9),
        "The attention is missing: query, key, value and output, each width times width.",
    ),
    WrongAnswer(
        _share(squares=11, singles=12),
        "The attention has four linear layers: behind query, key and value comes the output.",
    ),
    WrongAnswer(
        _share(squares=8, singles=12),
        "The feed-forward part has two matrices: one up to 4 times the width, one back.",
    ),
    WrongAnswer(
        _share(squares=6, singles=10),
        "The feed-forward part is 4 times as wide as BERT: its matrices have 4 times the width "
        "squared.",
    ),
    WrongAnswer(
        lambda v, h, n, p: v * h / (v * h + _rest(h, n, p) + h * h + h),
        "You count a pooler. ALIGN's tower takes the last hidden state and has none.",
    ),
    WrongAnswer(
        lambda v, h, n, p: v * h / _rest(h, n, p),
        "You divide by all the others. A share is the part divided by the whole, the table "
        "included.",
    ),
    WrongAnswer(
        lambda v, h, n, p: (v + p + 4) * h / (v * h + _rest(h, n, p)),
        "You count all embeddings as the table. Only the rows of the pieces are asked for.",
    ),
    WrongAnswer(
        lambda v, h, n, p: _rest(h, n, p) / (v * h + _rest(h, n, p)),
        "That is the share of everything else. Asked for is the table's own.",
    ),
    WrongAnswer(
        lambda v, h, n, p: v * h,
        "That is the number of the table's parameters. Divide it by all parameters.",
    ),
    WrongAnswer(
        lambda v, h, n, p: 100 * v * h / (v * h + _rest(h, n, p)),
        "You give per cent. Asked for is a fraction between 0 and 1.",
    ),
)

EXERCISE = Exercise(
    "03",
    embedding_share,
    _share_cases,
    EMBEDDING_SHARE,
    (
        Hint("What has a linear layer?", "From m to n: m * n weights and n biases."),
        Hint("What has one layer of BERT?", "12 width² + 13 width, when all is added up."),
        Hint("What is beside the table?", "positions + 2 token types + 2 for the LayerNorm."),
    ),
)
