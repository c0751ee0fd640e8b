"""Exercises of notebook 12: how many negatives are left, and the interval of a difference."""

import torch
from torch import Tensor

from align_edu.lab.exercises import Cases, exercise


def negatives_left(n: int, share: float) -> int:
    """Return with how many wrong texts each image is compared in a batch of n pairs.

    share: of the in-batch negatives that count; rounded to the nearest whole number.

    Paper: Section 6.1, Table 8 (50 % and 25 % of the in-batch negatives).

    >>> negatives_left(16_384, 0.25)
    4096
    """
    return round((n - 1) * share)


def paired_interval(one: Tensor, two: Tensor, draws: Tensor) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of run one's mean minus run two's.

    one, two: (Q,) 1.0 where a run answers the query, else 0.0; the same queries in both.
    draws: (R, Q) integers, for each of R resamples the queries that were drawn.

    >>> one, two = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 1.0])
    >>> low, high = paired_interval(one, two, torch.tensor([[0, 0], [0, 1], [1, 1]]))
    >>> round(low, 3), round(high, 3)
    (0.025, 0.975)
    """
    differences = (one - two)[draws].mean(dim=1)  # (R,)
    ends = differences.new_tensor([0.025, 0.975])
    low, high = differences.quantile(ends).tolist()
    return low, high


def _negatives_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    while len(cases) < 6:
        n, share = int(torch.randint(20, 2_000, (1,), generator=g)), torch.rand(1, generator=g)
        kept = (n - 1) * share.item()
        if 0.05 < kept % 0.5 < 0.45:  # away from halves, which people round differently
            cases.append((n, share.item()))
    return cases


def _interval_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for queries, resamples in ((9, 40), (30, 60), (80, 100)):
        easy = torch.rand(queries, generator=g)
        one, two = ((torch.rand(queries, generator=g) < p * easy).float() for p in (1.4, 0.8))
        cases.append((one, two, torch.randint(queries, (resamples, queries), generator=g)))
    return cases


exercise(negatives_left, _negatives_cases)
exercise(paired_interval, _interval_cases)
