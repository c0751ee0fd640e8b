"""Notebooks 03 to 05: right answers pass however they are written, and each mistake is named."""

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from tokenizers import models
from torch.nn import functional as F

from align_edu.lab.checks import find_mistake
from align_edu.lab.exercises import find_exercise
from align_edu.model.text_tower import TextTower
from align_edu.presets import TextSettings

Answer = Callable[..., Any]


# Right answers, written in unusual ways.


def pieces_by_recursion(word: str, vocabulary: list[str], mark: str = "") -> tuple[str, ...]:
    if not word:
        return ()
    fits = [n for n in range(1, len(word) + 1) if mark + word[:n] in vocabulary]
    if not fits:
        return ("[UNK]",)
    rest = pieces_by_recursion(word[fits[-1] :], vocabulary, "##")
    return ("[UNK]",) if "[UNK]" in rest else (mark + word[: fits[-1]], *rest)


def pieces_by_the_library(word: str, vocabulary: list[str]) -> list[str]:
    numbers = {piece: n for n, piece in enumerate(["[UNK]", *vocabulary])}
    cut = models.WordPiece(numbers, unk_token="[UNK]").tokenize(word)
    return [piece.value for piece in cut]


def share_by_building_bert(vocabulary: int, width: int, layers: int, positions: int) -> float:
    settings = TextSettings(
        layers=layers, width=width, heads=1, max_length=positions, positions=positions
    )
    with torch.device("meta"):
        bert = TextTower(settings, vocabulary, width=4).bert
    total = sum(weight.numel() for weight in bert.parameters())
    return bert.embeddings.word_embeddings.weight.numel() / total


def share_of_one_column(vocabulary: int, width: int, layers: int, positions: int) -> Fraction:
    return Fraction(vocabulary, vocabulary + positions + 4 + layers * (12 * width + 13))


def channels_by_trying_multiples(channels: int, multiplier: float) -> int:
    wanted = channels * multiplier
    near = min(range(8, 8 * channels * 8, 8), key=lambda n: (abs(n - wanted), -n))
    return near if 10 * near >= 9 * wanted else near + 8


def channels_by_floor_of_halves(channels: int, multiplier: float) -> float:
    eighths = channels * multiplier / 8
    rounded = 8 * max(1, math.floor(eighths + 0.5))
    return rounded + 8 * (rounded < 0.9 * 8 * eighths)


def side_by_torch(side: int, kernel: int, stride: int, before: int, after: int) -> int:
    padded = F.pad(torch.zeros(1, 1, side), (before, after))
    return F.conv1d(padded, torch.zeros(1, 1, kernel), stride=stride).shape[-1]


def side_by_walking(side: int, kernel: int, stride: int, before: int, after: int) -> int:
    return len(range(-before, side + after - kernel + 1, stride))


def cosine_by_torch(x: list[float], y: list[float]) -> torch.Tensor:
    return F.cosine_similarity(torch.tensor(x), torch.tensor(y), dim=0)


def cosine_by_the_law_of_cosines(x: list[float], y: list[float]) -> float:
    u, v = ([a / math.dist(some, [0] * len(some)) for a in some] for some in (x, y))
    return 1 - math.dist(u, v) ** 2 / 2


def matrix_by_broadcasting(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cosine_similarity(x[:, None], y[None], dim=2)


def matrix_by_einsum(x: torch.Tensor, y: torch.Tensor) -> Any:
    products = torch.einsum("id,td->it", x.double(), y.double())
    return (products / torch.outer(x.norm(dim=1), y.norm(dim=1))).numpy()


def matches_by_loop(similarity: torch.Tensor) -> tuple[int, ...]:
    rows = similarity.tolist()
    return tuple(max(range(len(row)), key=row.__getitem__) for row in rows)


def matches_by_sorting(similarity: torch.Tensor) -> list[torch.Tensor]:
    order = similarity.argsort(dim=1, descending=True, stable=True)
    return [row[0] for row in order]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("wordpieces", pieces_by_recursion),
        ("wordpieces", pieces_by_the_library),
        ("embedding_share", share_by_building_bert),
        ("embedding_share", share_of_one_column),
        ("round_channels", channels_by_trying_multiples),
        ("round_channels", channels_by_floor_of_halves),
        ("output_side", side_by_torch),
        ("output_side", side_by_walking),
        ("cosine", cosine_by_torch),
        ("cosine", cosine_by_the_law_of_cosines),
        ("cosine_matrix", matrix_by_broadcasting),
        ("cosine_matrix", matrix_by_einsum),
        ("best_matches", matches_by_loop),
        ("best_matches", matches_by_sorting),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_unusual_right_answer_passes(name: str, function: Answer, seed: int) -> None:
    assert find_mistake(find_exercise(name), function, seed) is None


# The same mistakes as ours, as other people would write them.


def forgets_the_mark(word: str, vocabulary: list[str]) -> list[str]:
    found = re.match("|".join(sorted(map(re.escape, vocabulary), key=len, reverse=True)), word)
    if found is None:
        return ["[UNK]"]
    rest = word[found.end() :]
    others = forgets_the_mark(rest, vocabulary) if rest else []
    return ["[UNK]"] if "[UNK]" in others else [found[0], *others]


def goes_back(word: str, vocabulary: list[str]) -> list[str]:
    begins = sorted((p for p in vocabulary if "#" not in p), key=len, reverse=True)
    inside = sorted((p[2:] for p in vocabulary if "#" in p), key=len, reverse=True)

    def cut(rest: str, parts: list[str]) -> list[str] | None:
        if not rest:
            return []
        for part in parts:
            if rest.startswith(part) and (tail := cut(rest[len(part) :], inside)) is not None:
                return [part, *tail]
        return None

    parts = cut(word, begins)
    return ["[UNK]"] if parts is None else [parts[0], *("##" + part for part in parts[1:])]


def adds_a_pooler(vocabulary: int, width: int, layers: int, positions: int) -> float:
    share = share_by_building_bert(vocabulary, width, layers, positions)
    total = vocabulary * width / share
    return vocabulary * width / (total + width * (width + 1))


def forgets_the_way_back(vocabulary: int, width: int, layers: int, positions: int) -> float:
    layer = 4 * (width**2 + width) + 4 * (width**2 + width) + 4 * width
    total = (vocabulary + positions + 4) * width + layers * layer
    return vocabulary * width / total


def forgets_the_tenth(channels: int, multiplier: float) -> int:
    return 8 * max(1, math.floor(channels * multiplier / 8 + 0.5))


def takes_halves_to_even(channels: int, multiplier: float) -> int:
    rounded = max(1, round(channels * multiplier / 8))
    return 8 * (rounded + (rounded * 8 < 0.9 * channels * multiplier))


def counts_steps(side: int, kernel: int, stride: int, before: int, after: int) -> int:
    return side_by_walking(side, kernel, stride, before, after) - 1


def hangs_over_the_edge(side: int, kernel: int, stride: int, before: int, after: int) -> int:
    way = side + before + after - kernel
    return len([place for place in range(0, way + stride, stride) if place < way + stride])


def correlates(x: list[float], y: list[float]) -> torch.Tensor:
    return torch.corrcoef(torch.tensor([x, y]))[0, 1]


def forgets_the_root(x: list[float], y: list[float]) -> float:
    u, v = torch.tensor(x), torch.tensor(y)
    return (u @ v / (u.square().sum() * v.square().sum())).item()


def searches_from_zero(similarity: torch.Tensor) -> list[int]:
    found = []
    for row in similarity.tolist():
        best, place = 0.0, 0
        for t, value in enumerate(row):
            if value > best:
                best, place = value, t
        found.append(place)
    return found


def finds_images(similarity: torch.Tensor) -> list[int]:
    return list(matches_by_loop(similarity.T))


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("wordpieces", forgets_the_mark, "The mark ## is missing"),
        ("wordpieces", goes_back, "You go back"),
        ("embedding_share", adds_a_pooler, "You count a pooler"),
        ("embedding_share", forgets_the_way_back, "two matrices"),
        ("round_channels", forgets_the_tenth, "one rule is missing"),
        ("round_channels", takes_halves_to_even, "to the even number"),
        ("output_side", counts_steps, "You count the steps"),
        ("output_side", hangs_over_the_edge, "hangs over the edge"),
        ("cosine", correlates, "a correlation"),
        ("cosine", forgets_the_root, "The square root is missing"),
        ("best_matches", searches_from_zero, "begins at 0"),
        ("best_matches", finds_images, "down the columns"),
    ],
)
def test_a_mistake_is_named_however_it_is_written(name: str, function: Answer, words: str) -> None:
    assert words in str(find_mistake(find_exercise(name), function))
