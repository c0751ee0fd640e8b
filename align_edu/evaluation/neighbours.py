"""Nearest neighbours: does any of the k most similar training pictures have the label?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align_edu.evaluation.datasets import embed_labelled, read_pair
from align_edu.evaluation.embed import Encoder
from align_edu.evaluation.protocols import share_table
from align_edu.evaluation.ranks import chunked_ranks, exact_vectors, recall_at, recall_intervals
from align_edu.io import InputError

KS = (1, 5, 10)  # paper: Table 7 to 9 give R@1


def neighbour_ranks(train: Tensor, train_labels: Tensor, test: Tensor, labels: Tensor) -> Tensor:
    """Return for each test picture the rank of the nearest training picture of its class: (N,).

    Arguments are those of :func:`neighbour_recall`. A picture of another class that is as similar
    counts as nearer. A class without training pictures gets rank M + 1.
    """
    query = exact_vectors("test", test, unit=True)
    gallery = exact_vectors("training", train, unit=True)
    ranks = chunked_ranks(query, gallery, lambda rows: train_labels == labels[rows, None])
    return torch.where(torch.isin(labels, train_labels), ranks, len(train) + 1)


def neighbour_recall(
    train: Tensor, train_labels: Tensor, test: Tensor, labels: Tensor, ks: Sequence[int] = KS
) -> dict[str, float]:
    """Return the share of test pictures that have their class among the k nearest.

    train: (M, D) and its train_labels: (M,). test: (N, D) and its labels: (N,). Compared by
    cosine, exactly. ks: each 1 to M. Returns {"R@1": ..., ...}. Raises InputError for another k.

    Paper: Section 6.1, footnote 3 on ImageNet KNN.

    >>> eye = torch.eye(3)
    >>> neighbour_recall(eye, torch.arange(3), eye, torch.tensor([0, 1, 0]), ks=(1,))
    {'R@1': 0.6666666666666666}
    """
    _check_ks(ks, len(train))
    return recall_at(neighbour_ranks(train, train_labels, test, labels), ks)


def evaluate_neighbours(
    run: Encoder, data: str | Path, *, split: str = "test", progress: bool = False
) -> dict[str, Any]:
    """Measure the image tower by its nearest neighbours, without training anything.

    run: a trained model. data: what `read_pair` takes.
    Returns "neighbours" (R@1, R@5, R@10) with their 95 % "interval", the numbers of "train"
    and "test" pictures, of "classes", and "chance": R@1 of random neighbours.
    Raises InputError as `read_pair`, and for fewer training pictures than k.

    Paper: Section 6.1, Tables 7 to 9 (ImageNet KNN).
    """
    train, test = read_pair(data, split)
    _check_ks(KS, len(train))
    vectors, queries = (embed_labelled(run, part, progress=progress) for part in (train, test))
    ranks = neighbour_ranks(vectors, train.labels, queries, test.labels)
    shares = torch.bincount(train.labels, minlength=len(train.classes)) / len(train)
    return {
        "neighbours": recall_at(ranks, KS),
        "interval": recall_intervals(ranks, KS),
        "chance": shares[test.labels].double().mean().item(),
        "train": len(train),
        "test": len(test),
        "classes": len(test.classes),
    }


def neighbours_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`evaluate_neighbours` as a table for the terminal, in percent."""
    rows = [(name, share, result["interval"][name]) for name, share in result["neighbours"].items()]
    return share_table(
        [*rows, ("chance", result["chance"], None)],
        f"nearest of {result['train']:,} training pictures for {result['test']:,};"
        f" {result['classes']} classes; percent, with 95 % intervals",
    )


def _check_ks(ks: Sequence[int], pictures: int) -> None:
    if any(not 1 <= k <= pictures for k in ks):
        raise InputError(
            f"k {', '.join(map(str, ks))}: only {pictures} training pictures; give more of them"
        )
