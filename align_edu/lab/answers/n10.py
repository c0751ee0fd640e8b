"""Exercises of notebook 10: prompt ensembles, and top-k accuracy."""

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.lab.exercises import Cases, exercise


def ensemble(prompts: Tensor) -> Tensor:
    """Return one unit vector for each class: the mean direction of its prompts.

    prompts: (K, P, D), P vectors of any length for each of K classes. Returns (K, D).

    Paper: arXiv v2, Section 5.3, with the prompts of Radford et al. (2021).

    >>> ensemble(torch.tensor([[[2.0, 0.0], [0.0, 6.0]]]))
    tensor([[0.7071, 0.7071]])
    """
    from torch.nn import functional as F

    directions = F.normalize(prompts, dim=2)  # (K, P, D)
    return F.normalize(directions.mean(dim=1), dim=1)  # (K, D)


def top_k_accuracy(similarity: Tensor, labels: Tensor, k: int) -> float:
    """Return the share of images whose right class is among the k most similar ones.

    similarity: (N, K), image i in row i, class c in column c. labels: (N,) the right classes.
    A wrong class with the same similarity as the right one counts as more similar.

    Paper: Section 5.2, Table 4 (top-1 and top-5).

    >>> similarity = torch.tensor([[0.9, 0.1, 0.5], [0.4, 0.2, 0.7]])
    >>> top_k_accuracy(similarity, torch.tensor([0, 1]), 1)
    0.5
    """
    right = similarity.gather(1, labels[:, None])  # (N, 1)
    rank = (similarity >= right).sum(dim=1)  # (N,), the right one counts itself
    return (rank <= k).double().mean().item()


def _ensemble_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for k, p, d in ((2, 7, 3), (3, 4, 5), (4, 3, 8), (5, 5, 5)):
        directions = torch.randn(k, p, d, generator=g)
        cases.append((directions * (1 + 5 * torch.rand(k, p, 1, generator=g)) + 0.4,))
    return cases


def _accuracy_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for n, classes, k in ((40, 6, 1), (30, 9, 3), (50, 12, 5)):
        labels = torch.randint(classes, (n,), generator=g) // 2
        scores = torch.randn(n, classes, generator=g) + 1.2 * F.one_hot(labels, classes)
        cases += [(scores, labels, k), (scores.round(), labels, k)]  # the second has many ties
    return cases


exercise(ensemble, _ensemble_cases)
exercise(top_k_accuracy, _accuracy_cases)
