"""Exercises of notebook 07: the loss's derivative in σ, and the best σ."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.lab.exercises import Answer, Cases, exercise


def temperature_gradient(cosines: Tensor, sigma: float) -> Tensor:
    """Return the derivative in σ of eq. (1) + eq. (2), without label smoothing.

    cosines: (N, N), image i in row i, its text in column i; the logits are cosines / σ.

    For each row and each column: the pair's cosine, minus the mean cosine that the softmax
    expects, over σ². It is above zero where the pairs stand out, and σ falls.

    Paper: Section 4.1, eq. (1) and eq. (2).

    >>> cosines = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(temperature_gradient(cosines, 0.5).item(), 4)  # 8 / (1 + e²)
    0.9536
    """
    logits = cosines / sigma  # (N, N)
    by_row = (logits.softmax(dim=1) * cosines).sum(dim=1)  # (N,)
    by_column = (logits.softmax(dim=0) * cosines).sum(dim=0)  # (N,)
    return (2 * cosines.diagonal() - by_row - by_column).mean() / sigma**2


def best_temperature(n: int, label_smoothing: float, gap: float) -> float:
    """Return the σ that makes the softmax equal to its smoothed target; 0 without smoothing.

    n: texts to choose from. gap: the pair's cosine minus that of every other text.

    Paper: Section 5 (label smoothing 0.1, σ converges to about 1/64).

    >>> round(1 / best_temperature(16_384, 0.1, 0.19))
    63
    """
    import math

    if label_smoothing == 0:
        return 0.0
    ratio = 1 + n * (1 - label_smoothing) / label_smoothing  # of the pair's target to another's
    return gap / math.log(ratio)


def _gradient_cases(g: torch.Generator) -> Cases:
    sizes = ((4, 1.0), (6, 0.2), (9, 1 / 64))
    return [(2 * torch.rand(n, n, generator=g, dtype=torch.float64) - 1, s) for n, s in sizes]


def _rows(cosines: Tensor, sigma: float) -> Tensor:
    """Return one direction of the derivative."""
    expected = ((cosines / sigma).softmax(dim=1) * cosines).sum(dim=1)  # (N,)
    return (cosines.diagonal() - expected).mean() / sigma**2


def _both(one: Callable[[Tensor, float], Tensor]) -> Answer:
    return lambda cosines, sigma: one(cosines, sigma) + one(cosines.T, sigma)


def _weighted(weights: Callable[[Tensor, float], Tensor]) -> Answer:
    """Return the derivative with these weights in place of the softmax."""
    return _both(lambda c, s: (c.diagonal() - (weights(c, s) * c).sum(dim=1)).mean() / s**2)


def _of_negatives(cosines: Tensor, sigma: float) -> Tensor:
    pairs = torch.eye(len(cosines), dtype=torch.bool)
    return (cosines / sigma).masked_fill(pairs, -torch.inf).softmax(dim=1)


def _misses(cosines: Tensor, sigma: float) -> Tensor:
    wrong = 1 - (cosines / sigma).softmax(dim=1).diagonal()
    return (wrong * cosines.diagonal()).mean() / sigma**2


def _smoothed(cosines: Tensor, sigma: float) -> Tensor:
    less = 0.1 * (cosines.mean(dim=1) - cosines.diagonal())
    return _rows(cosines, sigma) + less.mean() / sigma**2


def _ratio(n: int, e: float) -> float:
    return 1 + n * (1 - e) / e


def _formula(sigma: Callable[[int, float, float], float]) -> Answer:
    """Return a wrong formula that gives 0 without smoothing, as it should."""
    return lambda n, e, gap: sigma(n, e, gap) if e else 0.0


exercise(
    temperature_gradient,
    _gradient_cases,
    times={"sign": -1, "averaged": 1 / 2},
    in_log_sigma=lambda c, s: s * temperature_gradient(c, s),
    no_chain_rule=lambda c, s: s**2 * temperature_gradient(c, s),
    in_scale=lambda c, s: -(s**2) * temperature_gradient(c, s),
    one_sigma_too_many=lambda c, s: temperature_gradient(c, s) / s,
    only_rows=_rows,
    only_columns=lambda c, s: _rows(c.T, s),
    rows_twice=lambda c, s: 2 * _rows(c, s),
    summed=lambda c, s: temperature_gradient(c, s) * len(c),
    plain_mean=_weighted(lambda c, s: torch.full_like(c, 1 / len(c))),
    softmax_of_cosines=_weighted(lambda c, s: c.softmax(dim=1)),
    softmax_multiplied=_weighted(lambda c, s: (c * s).softmax(dim=1)),
    without_pair=_weighted(_of_negatives),
    hardest=_weighted(lambda c, s: F.one_hot(c.argmax(dim=1), len(c)).double()),
    pair_only=lambda c, s: 2 * c.diagonal().mean() / s**2,
    misses=_both(_misses),
    smoothed=_both(_smoothed),
    loss=_both(lambda c, s: F.cross_entropy(c / s, torch.arange(len(c)))),
)

exercise(
    best_temperature,
    lambda g: [
        (3 + int(500 * a), 0.02 + 0.4 * b, 0.1 + 1.4 * c)
        for a, b, c in torch.rand(4, 3, generator=g, dtype=torch.float64).tolist()
    ],
    times={"ratio_turned": -1, "both_directions": 1 / 2},
    zero_division=lambda n, e, gap: gap / math.log(_ratio(n, e)),
    no_own_share=_formula(lambda n, e, gap: gap / math.log(n * (1 - e) / e)),
    others_only=_formula(lambda n, e, gap: gap / math.log((n - 1) * (1 - e) / e)),
    others_in_ratio=_formula(lambda n, e, gap: gap / math.log(_ratio(n - 1, e))),
    no_n=_formula(lambda n, e, gap: gap / math.log(_ratio(1, e))),
    whole_pair=_formula(lambda n, e, gap: gap / math.log(1 + n / e)),
    scale=_formula(lambda n, e, gap: math.log(_ratio(n, e)) / gap),
    logit_gap=_formula(lambda n, e, gap: math.log(_ratio(n, e))),
    multiplied=_formula(lambda n, e, gap: gap * math.log(_ratio(n, e))),
    no_log=_formula(lambda n, e, gap: gap / _ratio(n, e)),
    base_2=_formula(lambda n, e, gap: gap / math.log2(_ratio(n, e))),
    base_10=_formula(lambda n, e, gap: gap / math.log10(_ratio(n, e))),
    no_gap=lambda n, e, gap: best_temperature(n, e, 1.0),
    constant=lambda n, e, gap: 1 / 64,
)
