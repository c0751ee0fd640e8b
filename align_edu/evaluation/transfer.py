"""Transfer to classification: the protocols of the probe, of fine-tuning and of few pictures."""

import dataclasses
import functools
import itertools
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align_edu.evaluation import datasets
from align_edu.evaluation.classifier import (
    FineTuning,
    train_all,
    train_head,
    train_probe,
)
from align_edu.evaluation.datasets import LabelledImages, embed_labelled, read_pair
from align_edu.evaluation.embed import Encoder
from align_edu.evaluation.protocols import share_table
from align_edu.evaluation.ranks import bootstrap_interval
from align_edu.io import InputError
from align_edu.training.run import Run

# Few-shot transfer tries all combinations of these values, for a probe and for all layers.
Settings = Mapping[str, Any]
Sweep = Mapping[str, tuple[float, ...]]
PROBE_SWEEP: Sweep = {"learning_rate": (0.01, 0.1, 0.5), "weight_decay": (0.0, 1e-3, 1e-2)}
TUNING_SWEEP: Sweep = {"learning_rate": (0.003, 0.01, 0.03), "backbone": (0.1, 1.0)}
RUNS = 3


def evaluate_probe(
    run: Encoder, data: str | Path, *, split: str = "test", seed: int = 0, progress: bool = False
) -> dict[str, Any]:
    """Measure the frozen image tower by a linear probe on its vectors.

    run: a trained model. data: what `read_pair` takes. seed: of the order of the pictures.
    Returns "accuracy" with its 95 % "interval", "training_accuracy", "chance" (always the most
    frequent class), and the numbers of "train" and "test" pictures and of "classes".
    Raises InputError as `read_pair`.

    Paper: Section 5.2, Table 4.
    """
    train, test = read_pair(data, split)
    features = embed_labelled(run, train, progress=progress)
    probe = train_probe(features, train.labels, len(train.classes), seed=seed)
    right = probe.predict(embed_labelled(run, test, progress=progress)) == test.labels
    return {
        "accuracy": _share(right),
        "interval": bootstrap_interval(right),
        "training_accuracy": _share(probe.predict(features) == train.labels),
        **_counts(train, test),
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

    run: a trained model. data: what `read_pair` takes. epochs: of the second stage. seed: of
    the order of the pictures and of their crops.
    Returns "accuracy" with its 95 % "interval" after both stages, "frozen" and
    "frozen_interval" after the first alone, and the counts of :func:`evaluate_probe`.
    Raises InputError as `read_pair`, and for fewer than one epoch.

    Paper: Section 5.2, Tables 4 and 6.
    """
    if epochs < 1:
        raise InputError(f"epochs {epochs}: train at least one")
    settings = FineTuning(epochs=epochs)
    train, test = read_pair(data, split)
    head = train_head(run, train, settings, seed=seed, progress=progress)
    model = train_all(head, train, settings, seed=seed, progress=progress)
    frozen, right = (m.predict(test, progress=progress) == test.labels for m in (head, model))
    return {
        "accuracy": _share(right),
        "interval": bootstrap_interval(right),
        "frozen": _share(frozen),
        "frozen_interval": bootstrap_interval(frozen),
        **_counts(train, test),
        "epochs": epochs,
        "seed": seed,
    }


def evaluate_few_shot(
    run: Encoder,
    data: str | Path,
    *,
    split: str = "test",
    epochs: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure transfer from few pictures, in VTAB's manner.

    run: a trained model. data: what `read_labelled` takes, with the splits train and val, of
    800 and 200 pictures in VTAB. epochs: of fine-tuning all layers; a linear probe when None.
    Each setting of the sweep trains on train and is compared on val; three runs with different
    seeds then train on both and are tested.
    Returns "mean" and "sd" of the accuracy, each run's under "runs", the "chosen" settings, the
    "sweep", "epochs", and the counts of :func:`evaluate_probe`.
    Raises InputError as `read_pair`, for fewer than one epoch, and for fine-tuning a model
    without an image tower.

    Paper: Section 5.2, Table 5 (VTAB: mean and standard deviation of three runs).
    """
    if epochs is not None and epochs < 1:
        raise InputError(f"epochs {epochs}: train at least one, or leave it out for a probe")
    train, test = read_pair(data, split)
    val = datasets.read_labelled(data, "val")
    if val.classes != train.classes:
        raise InputError(f"{data}: train and val have different classes; name them alike")
    learn = _learner(run, {"train": train, "val": val, "test": test}, epochs, progress)
    sweep, tried = PROBE_SWEEP if epochs is None else TUNING_SWEEP, []
    for values in itertools.product(*sweep.values()):
        settings = dict(zip(sweep, values, strict=True))
        tried.append(settings | {"accuracy": learn(("train",), "val", 0, settings)})
    best = max(tried, key=lambda settings: settings["accuracy"])  # the first of equals
    chosen = {name: best[name] for name in sweep}
    runs = [learn(("train", "val"), "test", seed, chosen) for seed in range(RUNS)]
    return {
        "mean": statistics.mean(runs),
        "sd": statistics.stdev(runs),
        "runs": runs,
        "chosen": chosen,
        "sweep": tried,
        "epochs": epochs,
        **_counts(train, test),
        "val": len(val),
    }


def accuracy_table(result: Mapping[str, Any]) -> str:
    """Return the result of `evaluate_probe` or `evaluate_fine_tune` as a table, in percent."""
    tuned, interval = "frozen" in result, result["interval"]
    rows = [("frozen features", result["frozen"], result["frozen_interval"])] if tuned else []
    rows.append(("all layers" if tuned else "accuracy", result["accuracy"], interval))
    if not tuned:
        rows.append(("on its training", result["training_accuracy"], None))
    trained = f"{result['epochs']} epochs of" if tuned else "trained on"
    return share_table(
        [*rows, ("most frequent", result["chance"], None)],
        f"{trained} {result['train']:,} pictures, {result['test']:,} tested;"
        f" {result['classes']} classes; percent, with 95 % intervals",
    )


def few_shot_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`evaluate_few_shot` as lines for the terminal, in percent."""
    runs = ", ".join(f"{100 * value:.1f}" for value in result["runs"])
    chosen = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in result["chosen"].items())
    epochs = result["epochs"]
    tuned = "a classifier on frozen features" if epochs is None else f"all layers, {epochs} epochs"
    return (
        f"accuracy  {100 * result['mean']:.1f} ± {100 * result['sd']:.1f}   ({runs}), {tuned}\n"
        f"chance    {100 * result['chance']:.1f}\n"
        f"{chosen}: the best of {len(result['sweep'])} on {result['val']} pictures;"
        f" {result['train']} + {result['val']} trained, {result['test']} tested"
    )


def _learner(
    run: Encoder, splits: Mapping[str, LabelledImages], epochs: int | None, progress: bool
) -> Callable[[tuple[str, ...], str, int, Settings], float]:
    """Return a function that trains on some splits and returns its accuracy on another.

    It takes the names of those splits, that of the other one, a seed, and settings of the sweep.
    """

    def joined(names: tuple[str, ...]) -> LabelledImages:
        rows = [(splits[name], i) for name in names for i in range(len(splits[name]))]
        labels = torch.cat([splits[name].labels for name in names])
        return dataclasses.replace(
            splits[names[0]], labels=labels, open=lambda row: rows[row][0].open(rows[row][1])
        )

    if epochs is None:
        vectors = {n: embed_labelled(run, part, progress=progress) for n, part in splits.items()}

        def probe(names: tuple[str, ...], tested: str, seed: int, settings: Settings) -> float:
            x, test = torch.cat([vectors[name] for name in names]), splits[tested]
            labels = joined(names).labels
            trained = train_probe(x, labels, len(test.classes), seed=seed, **settings)
            return _share(trained.predict(vectors[tested]) == test.labels)

        return probe
    if not isinstance(run, Run):
        raise InputError("fine-tuning needs a run with an image tower, see load_run")
    recipe = FineTuning(epochs=epochs)
    first_stage = functools.cache(
        lambda names, seed: train_head(run, joined(names), recipe, seed=seed, progress=progress)
    )

    def tune(names: tuple[str, ...], tested: str, seed: int, settings: Settings) -> float:
        data, changed = joined(names), dataclasses.replace(recipe, **settings)
        head = first_stage(names, seed)
        model = train_all(head, data, changed, seed=seed, progress=progress)
        return _share(model.predict(splits[tested], progress=progress) == splits[tested].labels)

    return tune


def _share(right: Tensor) -> float:
    return right.double().mean().item()


def _counts(train: LabelledImages, test: LabelledImages) -> dict[str, Any]:
    """Return the numbers of pictures and classes, and the accuracy of the most frequent class."""
    most = torch.bincount(train.labels, minlength=len(train.classes)).argmax()
    return {
        "chance": _share(test.labels == most),
        "train": len(train),
        "test": len(test),
        "classes": len(train.classes),
    }
