"""Exercises of notebook 20: the best constant for a loss, and when to stop a training."""

import torch
from torch import Tensor

from align_edu.lab.exercises import Cases, exercise


def best_constant(values: Tensor, loss: str) -> float:
    """Return the one guess for all values with the lowest mean error.

    values: (N,), N odd. loss: "mse", the squared error, or "mae", the absolute error.

    >>> [best_constant(torch.tensor([1.0, 2.0, 9.0]), loss) for loss in ("mse", "mae")]
    [4.0, 2.0]
    """
    return (values.mean() if loss == "mse" else values.median()).item()


def best_epoch(validation: Tensor, patience: int) -> int:
    """Return the epoch whose weights early stopping keeps, counted from 0.

    validation: (E,) losses. Training stops once `patience` epochs in a row brought no loss below
    the lowest so far; of equal losses the earlier epoch counts. What comes later is never seen.

    >>> best_epoch(torch.tensor([3.0, 2.0, 2.5, 2.2, 1.0]), patience=2)
    1
    """
    best = 0
    for epoch, loss in enumerate(validation.tolist()):
        if loss < validation[best]:
            best = epoch
        if epoch - best >= patience:
            break
    return best


exercise(
    best_constant,
    lambda g: [
        (10 * torch.rand(n, generator=g) ** 3, loss) for n in (5, 9, 21) for loss in ("mse", "mae")
    ],
)


def _epoch_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for epochs, patience in ((12, 1), (20, 2), (30, 3), (30, 4)):
        fall = 3 / torch.arange(1, epochs + 1) ** 0.5
        cases.append((fall + 0.8 * torch.rand(epochs, generator=g), patience))
    return cases


exercise(best_epoch, _epoch_cases)
