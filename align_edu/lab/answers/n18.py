"""Exercises of notebook 18: the sigmoid loss of a batch, and data balanced over concepts."""

import torch
from torch import Tensor

from align_edu.lab.exercises import Cases, exercise


def pairwise_loss(cosines: Tensor, sigma: float, bias: float) -> float:
    """Return SigLIP's loss of a batch: one yes-or-no question for each image and text.

    cosines: (N, N), image i in row i, text j in column j, the pairs on the diagonal. sigma: the
    temperature that divides them. bias: is added to every logit. The sum over all questions is
    divided by N.

    Not in the paper: Zhai et al. (2023), Section 3.2.

    >>> round(pairwise_loss(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), 0.1, -5.0), 4)
    0.0134
    """
    import torch

    logits = cosines.double() / sigma + bias  # (N, N)
    answers = 2 * torch.eye(len(cosines), dtype=torch.float64) - 1  # +1 for pairs, -1 for the rest
    return -torch.nn.functional.logsigmoid(answers * logits).sum().item() / len(cosines)


def balanced_share(counts: Tensor, most: int) -> Tensor:
    """Return which share of the pairs of each concept is kept, so that none has over ``most``.

    counts: (K,) pairs of each concept, whole numbers. Concepts with fewer pairs keep all of them.

    Not in the paper: Radford et al. (2021), Section 2.2, up to 20,000 pairs for each query.

    >>> balanced_share(torch.tensor([100, 20, 0]), 50)
    tensor([0.5000, 1.0000, 1.0000])
    """
    return (most / counts.clamp(min=1)).clamp(max=1.0)


def _loss_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for n, sigma, bias in ((2, 0.1, -10.0), (3, 0.5, -1.0), (5, 0.07, -4.0), (6, 1.0, 0.5)):
        cosines = 0.6 * torch.rand(n, n, generator=g) - 0.3 + 0.4 * torch.eye(n)
        cases.append((cosines, sigma, bias))
    return cases


def _share_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for kinds, most in ((4, 30), (7, 100), (9, 1)):
        cases.append((torch.randint(0, 4 * most, (kinds,), generator=g), most))
    return cases


exercise(pairwise_loss, _loss_cases)
exercise(balanced_share, _share_cases)
