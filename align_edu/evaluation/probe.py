"""Linear probe: one linear layer trained on frozen features."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from align_edu.evaluation.embed import Encoder
from align_edu.evaluation.labelled import LabelledImages, embed_labelled, read_labelled
from align_edu.evaluation.record import bootstrap_interval
from align_edu.io import InputError

LEARNING_RATE, MOMENTUM = 0.1, 0.9  # paper: Section 5.2, frozen features
EPOCHS, DECAY_EPOCHS, DECAY = 100, 30, 0.2
LARGEST_BATCH = 1_024
_BATCHES = 16  # at least so many steps an epoch, where there are few pictures


@dataclass(frozen=True)
class Probe:
    """A linear layer on features that were shifted and scaled as in its training.

    Attributes
    ----------
    mean, scale : (D,) of the training features.
    weight : (K, D).
    bias : (K,).
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Return the logits of features (N, D): (N, K)."""
        return F.linear((features - self.mean) / self.scale, self.weight, self.bias)

    def predict(self, features: Tensor) -> Tensor:
        """Return the class of each row of features (N, D): (N,)."""
        return self.scores(features).argmax(dim=1)


def train_probe(
    features: Tensor,
    labels: Tensor,
    classes: int,
    *,
    learning_rate: float = LEARNING_RATE,
    weight_decay: float = 0.0,
    epochs: int = EPOCHS,
    seed: int = 0,
) -> Probe:
    """Return a linear layer trained on frozen features by SGD with momentum 0.9.

    features: (N, D). labels: (N,) below classes. The rate falls to a fifth every 30 of 100
    epochs. The batch is 1,024, or a sixteenth of few pictures. Features are first brought to
    mean 0 and variance 1, so that one rate suits all models. seed: of the order of the rows.
    Raises InputError where only one class is present.

    Paper: Section 5.2 (frozen visual features, Table 4).

    >>> x = torch.tensor([[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.2]])
    >>> train_probe(x, torch.tensor([0, 0, 1, 1]), 2).predict(x).tolist()
    [0, 0, 1, 1]
    """
    if len(labels.unique()) < 2:
        raise InputError("a probe needs pictures of at least two classes; give more classes")
    mean, scale = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    x = (features - mean) / scale
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.SGD(
        [weight, bias], lr=learning_rate, momentum=MOMENTUM, weight_decay=weight_decay
    )
    decay = max(1, DECAY_EPOCHS * epochs // EPOCHS)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, decay, DECAY)
    generator = torch.Generator().manual_seed(seed)
    size = max(1, min(LARGEST_BATCH, len(x) // _BATCHES))
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(size):
            loss = nn.functional.cross_entropy(F.linear(x[rows], weight, bias), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return Probe(mean, scale, weight.detach(), bias.detach())


def evaluate_probe(
    run: Encoder, data: str | Path, *, split: str = "test", seed: int = 0, progress: bool = False
) -> dict[str, Any]:
    """Measure the frozen image tower by a linear probe on its vectors.

    run: a trained run. data: what `read_labelled` takes, with a training split. seed: of the
    probe's order of pictures.
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


def read_pair(data: str | Path, split: str) -> tuple[LabelledImages, LabelledImages]:
    """Return the training split and another one, whose classes training must show.

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
    """Return the numbers of pictures and classes, and what the most frequent class would get."""
    most = torch.bincount(train.labels, minlength=len(train.classes)).argmax()
    return {
        "chance": (test.labels == most).double().mean().item(),
        "train": len(train),
        "test": len(test),
        "classes": len(train.classes),
    }


def probe_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`evaluate_probe` as lines for the terminal, in percent.

    >>> part = {"accuracy": 0.5, "interval": [0.4, 0.6], "training_accuracy": 0.9, "chance": 0.25}
    >>> print(probe_table(part | {"train": 800, "test": 90, "classes": 4}))
    accuracy             50.0   (40.0 to 60.0)
    on its training      90.0
    most frequent        25.0
    trained on 800 pictures, 90 tested; 4 classes; percent, with the 95 % interval
    """
    low, high = (100 * edge for edge in result["interval"])
    return (
        f"{'accuracy':<18}{100 * result['accuracy']:7.1f}   ({low:.1f} to {high:.1f})\n"
        f"{'on its training':<18}{100 * result['training_accuracy']:7.1f}\n"
        f"{'most frequent':<18}{100 * result['chance']:7.1f}\n"
        f"trained on {result['train']:,} pictures, {result['test']:,} tested;"
        f" {result['classes']} classes; percent, with the 95 % interval"
    )
