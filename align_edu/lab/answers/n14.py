"""Exercises of notebook 14: towers worth their cost, and the best that a budget buys."""

import torch
from torch import Tensor

from align_edu.lab.exercises import Cases, exercise


def worth_their_cost(flops: Tensor, quality: Tensor) -> list[int]:
    """Return the choices that no other choice beats, the cheapest first.

    flops, quality: (K,) cost and quality of each choice. One choice beats another when it
    costs no more, is no worse, and is better in one of the two.

    Paper: Section 6.1, Figure 3 (which gives the quality of nine pairs of towers, not their cost).

    >>> worth_their_cost(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.5, 0.2, 0.1]))
    [1, 0]
    """
    kept = []
    for i in range(len(flops)):
        no_worse = (flops <= flops[i]) & (quality >= quality[i])
        better = (flops < flops[i]) | (quality > quality[i])
        if not (no_worse & better).any():
            kept.append(i)
    return sorted(kept, key=lambda i: (flops[i].item(), i))


def pairs_for_budget(budget: float, image_flops: float, text_flops: float) -> int:
    """Return how many pairs a budget of FLOPs trains on.

    budget: FLOPs of the whole run. image_flops, text_flops: FLOPs of one image and one text,
    forward. A training step costs three times the forward pass: the backward pass costs
    twice as much. Pairs that are not paid for whole do not count.

    Paper: Section 5 (16,384 pairs a step); the factor 3 is the usual count.

    >>> pairs_for_budget(100.0, 2.0, 3.0)
    6
    """
    return int(budget // (3 * (image_flops + text_flops)))


def _choices(g: torch.Generator) -> Cases:
    cases: Cases = []
    for count in (4, 9, 9):
        flops = torch.randint(1, 2 * count, (count,), generator=g).double()  # ties occur
        quality = (10 * torch.rand(count, generator=g, dtype=torch.float64)).round() / 10
        cases.append((flops, quality))
    return cases


def _budgets(g: torch.Generator) -> Cases:
    cases: Cases = []
    for scale in (1.0, 1e6, 1e9):
        image, text = (scale * (1 + 9 * torch.rand(2, generator=g))).tolist()
        cases.append((scale * (40 + 900 * torch.rand(1, generator=g).item()), image, text))
    return cases


exercise(worth_their_cost, _choices)
exercise(pairs_for_budget, _budgets)
