"""Transfer to classification: the protocols of the linear probe and of full fine-tuning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from align_edu.evaluation.classifier import FineTuning, train_all, train_head, train_probe
from align_edu.evaluation.datasets import LabelledImages, embed_labelled, read_labelled
from align_edu.evaluation.embed import Encoder
from align_edu.evaluation.record import bootstrap_interval, share_table
from align_edu.io import InputError
from align_edu.training.run import Run


def evaluate_probe(
    run: Encoder, data: str | Path, *, split: str = "test", seed: int = 0, progress: bool = False
) -> dict[str, Any]:
    """Measure the frozen image tower by a linear probe on its vectors.

    run: a trained model. data: what `read_labelled` takes, with a training split. seed: of the
    order of the pictures.
    Returns "accuracy" with its 95 % "interval", "training_accuracy", "chance" (always the most
    frequent class), and the numbers of "train" and "test" pictures and of "classes".
    Raises InputError for data that cannot be read, and for test classes that lack training.

    Paper: Section 5.2, Table 4.
    """
    train, test = read_pair(data, split)
    features = embed_labelled(run, train, progress=progress)
    probe = train_probe(features, train.labels, len(train.classes), seed=seed)
    right = probe.predict(embed_labelled(run, test, progress=progress)) == test.labels
    seen = probe.predict(features) == train.labels
    return {
        "accuracy": right.double().mean().item(),
        "interval": bootstrap_interval(right),
        "training_accuracy": seen.double().mean().item(),
        **counts_of(train, test),
        "seed": seed,
    }


def evaluate_fine_tune(
    run: Run,
    data: str | Path,
    *,
    split: str = "test",
    epochs: int = FineTuning.epochs,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure the image tower by fine-tuning a copy of it.

    run: a trained model. data: what `read_labelled` takes, with a training split. epochs: of
    the second stage. seed: of the order of the pictures and of their crops.
    Returns "accuracy" with its 95 % "interval" after both stages, "frozen" and
    "frozen_interval" after the first alone, and the counts of :func:`evaluate_probe`.
    Raises InputError for data that cannot be read, test classes that lack training, and fewer
    than one epoch.

    Paper: Section 5.2, Tables 4 and 6.
    """
    if epochs < 1:
        raise InputError(f"epochs {epochs}: train at least one")
    settings = FineTuning(epochs=epochs)
    train, test = read_pair(data, split)
    head = train_head(run, train, settings, seed=seed, progress=progress)
    model = train_all(head, train, settings, seed=seed, progress=progress)
    frozen = head.predict(test, progress=progress) == test.labels
    right = model.predict(test, progress=progress) == test.labels
    return {
        "accuracy": right.double().mean().item(),
        "interval": bootstrap_interval(right),
        "frozen": frozen.double().mean().item(),
        "frozen_interval": bootstrap_interval(frozen),
        **counts_of(train, test),
        "epochs": settings.epochs,
        "seed": seed,
    }


def read_pair(data: str | Path, split: str) -> tuple[LabelledImages, LabelledImages]:
    """Return the training split and another one, all of whose classes have training pictures.

    Raises InputError as `read_labelled`, and for a class without training pictures.
    """
    train, test = read_labelled(data, "train"), read_labelled(data, split)
    if train.classes != test.classes:
        raise InputError(f"{data}: train and {split} have different classes; name them alike")
    unknown = ~torch.isin(test.labels, train.labels)
    if unknown.any():
        name = test.classes[int(test.labels[unknown][0])]
        raise InputError(f"{data}: class {name!r} of {split} has no training picture")
    return train, test


def counts_of(train: LabelledImages, test: LabelledImages) -> dict[str, Any]:
    """Return the numbers of pictures and classes, and the accuracy of the most frequent class."""
    most = torch.bincount(train.labels, minlength=len(train.classes)).argmax()
    return {
        "chance": (test.labels == most).double().mean().item(),
        "train": len(train),
        "test": len(test),
        "classes": len(train.classes),
    }


def probe_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`evaluate_probe` as a table for the terminal, in percent."""
    rows = [
        ("accuracy", result["accuracy"], result["interval"]),
        ("on its training", result["training_accuracy"], None),
        ("most frequent", result["chance"], None),
    ]
    note = f"trained on {result['train']:,} pictures, {result['test']:,} tested"
    return share_table(rows, f"{note}; {result['classes']} classes; percent, with 95 % intervals")


def fine_tune_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`evaluate_fine_tune` as a table for the terminal, in percent."""
    rows = [
        ("frozen features", result["frozen"], result["frozen_interval"]),
        ("all layers", result["accuracy"], result["interval"]),
        ("most frequent", result["chance"], None),
    ]
    note = f"{result['epochs']} epochs of {result['train']:,} pictures, {result['test']:,} tested"
    return share_table(rows, f"{note}; {result['classes']} classes; percent, with 95 % intervals")
