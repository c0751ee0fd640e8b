"""Nearest neighbours: does any of the k most similar training pictures have the label?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.evaluation.embed import Encoder
from align_edu.evaluation.labelled import embed_labelled, read_labelled
from align_edu.evaluation.record import bootstrap_interval
from align_edu.evaluation.retrieval import best_ranks
from align_edu.io import InputError

KS = (1, 5, 10)  # paper: Table 7 to 9 give R@1
_CELLS = 2**24  # similarities held at a time


def neighbour_ranks(train: Tensor, train_labels: Tensor, test: Tensor, labels: Tensor) -> Tensor:
    """Return for each test picture the rank of the nearest training picture of its class.

    train: (M, D) and its train_labels: (M,). test: (N, D) and its labels: (N,). Compared by
    cosine, exactly. A picture of another class that is as similar counts as nearer. A class
    without training pictures gets rank M + 1.

    Paper: Section 6.1, footnote 3 on ImageNet KNN.

    >>> train = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> test = torch.tensor([[2.0, 0.1], [0.1, 3.0]])
    >>> neighbour_ranks(train, torch.tensor([0, 1, 1]), test, torch.tensor([1, 1])).tolist()
    [2, 1]
    """
    gallery = F.normalize(train.double(), dim=1)
    rows = max(1, _CELLS // len(train))
    parts = []
    for some, own in zip(test.split(rows), labels.split(rows), strict=True):
        # float64, then rounded: equal vectors must give equal similarities (see retrieval.py)
        similarity = (F.normalize(some.double(), dim=1) @ gallery.T).float()  # (C, M)
        right = train_labels == own[:, None]
        parts.append(best_ranks(similarity, right))
    ranks = torch.cat(parts)
    known = torch.isin(labels, train_labels)
    return torch.where(known, ranks, len(train) + 1)


def neighbour_recall(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    labels: Tensor,
    ks: Sequence[int] = KS,
) -> dict[str, float]:
    """Return the share of test pictures that have their class among the k nearest.

    Arguments are those of :func:`neighbour_ranks`; ks: each 1 to M.
    Returns {"R@1": ..., ...}. Raises InputError for another k.

    Paper: Section 6.1, footnote 3.

    >>> eye = torch.eye(3)
    >>> neighbour_recall(eye, torch.arange(3), eye, torch.tensor([0, 1, 0]), ks=(1,))
    {'R@1': 0.6666666666666666}
    """
    _check_ks(ks, len(train))
    ranks = neighbour_ranks(train, train_labels, test, labels)
    return {f"R@{k}": int((ranks <= k).sum()) / len(ranks) for k in ks}


def evaluate_neighbours(
    run: Encoder, data: str | Path, *, split: str = "test", progress: bool = False
) -> dict[str, Any]:
    """Measure the image tower by its nearest neighbours, without training anything.

    run: a trained run. data: what `read_labelled` takes, with a training split.
    Returns "neighbours" (R@1, R@5, R@10) with their 95 % "interval", the numbers of "train"
    and "test" pictures, of "classes", and "chance": R@1 of random neighbours.
    Raises InputError for data that cannot be read, or with fewer training pictures than k.

    Paper: Section 6.1, Tables 7 to 9 (ImageNet KNN).
    """
    train, test = read_labelled(data, "train"), read_labelled(data, split)
    _check_ks(KS, len(train))
    vectors = embed_labelled(run, train, progress=progress)
    queries = embed_labelled(run, test, progress=progress)
    ranks = neighbour_ranks(vectors, train.labels, queries, test.labels)
    hits = {f"R@{k}": ranks <= k for k in KS}
    shares = torch.bincount(train.labels, minlength=len(train.classes)) / len(train)
    return {
        "neighbours": {name: int(hit.sum()) / len(hit) for name, hit in hits.items()},
        "interval": {name: bootstrap_interval(hit) for name, hit in hits.items()},
        "chance": shares[test.labels].double().mean().item(),
        "train": len(train),
        "test": len(test),
        "classes": len(test.classes),
    }


def neighbours_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`evaluate_neighbours` as a table for the terminal, in percent.

    >>> part = {"neighbours": {"R@1": 0.5}, "interval": {"R@1": [0.4, 0.6]}, "chance": 0.25}
    >>> print(neighbours_table(part | {"train": 800, "test": 90, "classes": 4}))
    R@1       50.0   (40.0 to 60.0)
    chance    25.0
    nearest of 800 training pictures for 90; 4 classes; percent, with 95 % intervals
    """
    lines = []
    for name, value in result["neighbours"].items():
        low, high = result["interval"][name]
        lines.append(f"{name:<8}{100 * value:6.1f}   ({100 * low:.1f} to {100 * high:.1f})")
    lines.append(f"{'chance':<8}{100 * result['chance']:6.1f}")
    lines.append(
        f"nearest of {result['train']:,} training pictures for {result['test']:,};"
        f" {result['classes']} classes; percent, with 95 % intervals"
    )
    return "\n".join(lines)


def _check_ks(ks: Sequence[int], pictures: int) -> None:
    if any(not 1 <= k <= pictures for k in ks):
        raise InputError(
            f"k {', '.join(map(str, ks))}: only {pictures} training pictures; give more of them"
        )
