"""Notebooks 08 and 17: right answers pass however they are written, and each mistake is named."""

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms.v2.functional import normalize

from align_edu import contrastive_loss
from align_edu.lab.checks import find_mistake
from align_edu.lab.exercises import find_exercise
from align_edu.pairs.pixels import scale_pixels

Answer = Callable[..., Any]


# Right answers, written in unusual ways.


def rate_by_interpolation(step: int, total: int, warmup: int, peak: float) -> float:
    import numpy as np

    points, values = ([0, warmup, total], [0, peak, 0]) if warmup else ([0, total], [peak, 0])
    return float(np.interp(step, points, values))


def rate_by_two_lines(step: int, total: int, warmup: int, peak: float) -> float:
    up = step / warmup if warmup else math.inf
    return peak * min(up, (total - step) / (total - warmup))


def step_that_clears_afterwards(
    model: Any, optimizer: torch.optim.Optimizer, batch: Any, smoothing: float
) -> torch.Tensor:
    image, text = model(*batch)
    logits = image @ text.T / model.temperature()
    rows = torch.arange(len(logits))
    both = [F.cross_entropy(way, rows, label_smoothing=smoothing) for way in (logits, logits.T)]
    loss: torch.Tensor = torch.stack(both).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    for parameter in model.parameters():
        parameter.grad = None
    return loss


def step_by_autograd(
    model: Any, optimizer: torch.optim.Optimizer, batch: Any, smoothing: float
) -> float:
    weights = list(model.parameters())
    loss = contrastive_loss(*model(*batch), model.temperature(), label_smoothing=smoothing)
    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        weight.grad = gradient
    optimizer.step()
    return float(loss)


def scaled_by_the_library(value: int) -> torch.Tensor:
    return scale_pixels(torch.full((1, 1, 1, 1), value, dtype=torch.uint8))


def scaled_by_distance_from_the_ends(value: int) -> Fraction:
    return Fraction(value - (255 - value), 255)


def name_by_matrix_product(similarity: torch.Tensor) -> torch.Tensor:
    prompts = len(similarity)
    return (torch.full((prompts,), 1 / prompts, dtype=torch.float64) @ similarity.double()).argmax()


def name_by_loop(similarity: torch.Tensor) -> int:
    totals = [math.fsum(column) for column in similarity.T.tolist()]
    return totals.index(max(totals))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("learning_rate_at", rate_by_interpolation),
        ("learning_rate_at", rate_by_two_lines),
        ("training_step", step_that_clears_afterwards),
        ("training_step", step_by_autograd),
        ("scaled", scaled_by_the_library),
        ("scaled", scaled_by_distance_from_the_ends),
        ("name_index", name_by_matrix_product),
        ("name_index", name_by_loop),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_unusual_right_answer_passes(name: str, function: Answer, seed: int) -> None:
    assert find_mistake(find_exercise(name), function, seed) is None


# The same mistakes as ours, as other people would write them.


def starts_at_the_peak(step: int, total: int, warmup: int, peak: float) -> float:
    return peak - peak * step / total


def cosine(step: int, total: int, warmup: int, peak: float) -> float:
    if step < warmup:
        return peak * step / warmup
    return peak * math.cos(0.5 * math.pi * (step - warmup) / (total - warmup)) ** 2


def scales_to_one(value: int) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.uint8).double().div(255)


def normalises_as_a_classifier(value: int) -> torch.Tensor:
    mean, spread = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    pixel = torch.full((3, 1, 1), value / 255, dtype=torch.float64)
    return normalize(pixel, mean, spread)[0]


def trusts_one_prompt(similarity: torch.Tensor) -> int:
    rows = similarity.tolist()
    value, column = max((v, -k) for row in rows for k, v in enumerate(row))
    return -column


def counts_votes(similarity: torch.Tensor) -> int:
    votes = Counter(row.index(max(row)) for row in similarity.tolist())
    return min(votes, key=lambda column: (-votes[column], column))


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("learning_rate_at", starts_at_the_peak, "no warm-up"),
        ("learning_rate_at", cosine, "cosine decay"),
        ("scaled", scales_to_one, "from 0 to 1"),
        ("scaled", normalises_as_a_classifier, "ImageNet's mean"),
        ("name_index", trusts_one_prompt, "One lucky prompt"),
        ("name_index", counts_votes, "count the votes"),
    ],
)
def test_a_mistake_is_named_however_it_is_written(name: str, function: Answer, words: str) -> None:
    assert words in str(find_mistake(find_exercise(name), function))
