"""Transfer to classification: the protocols of the probe, of fine-tuning and of few pictures."""

import functools
import itertools
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align_edu.evaluation import Row, text_table
from align_edu.evaluation.classifier import (
    TUNING_EPOCHS,
    Classifier,
    train_all,
    train_head,
    train_probe,
)
from align_edu.evaluation.datasets import LabelledImages, embed_labelled, read_with_train
from align_edu.evaluation.embed import Encoder
from align_edu.evaluation.retrieval import bootstrap_interval
from align_edu.io import InputError
from align_edu.training.run import Run

# Few-shot transfer tries all combinations of these values, for a probe and for all layers.
PROBE_SWEEP = {"learning_rate": (0.01, 0.1, 0.5), "weight_decay": (0.0, 1e-3, 1e-2)}
TUNING_SWEEP = {"learning_rate": (0.003, 0.01, 0.03), "backbone": (0.1, 1.0)}
RUNS = 3


def evaluate_probe(
    run: Encoder, data: str | Path, *, split: str = "test", seed: int = 0, progress: bool = False
) -> dict[str, Any]:
    """Measure the frozen image tower by a linear probe on its vectors.

    data: what `read_labelled` takes. seed: of the order of the pictures. "chance" is the accuracy
    of always naming the most frequent class. Raises InputError as `read_labelled`.
    Paper: Section 5.2, Table 4.
    """
    train, test = read_with_train(data, split)
    features, tested = (embed_labelled(run, part, progress=progress) for part in (train, test))
    probe = train_probe(features, train.labels, len(train.classes), seed=seed)
    right = probe.predict(tested) == test.labels
    training = _share(probe.predict(features) == train.labels)
    more = {"training_accuracy": training, **_counts(train, test), "seed": seed}
    return {"accuracy": _share(right), "interval": bootstrap_interval(right), **more}


def evaluate_fine_tune(
    run: Run,
    data: str | Path,
    *,
    split: str = "test",
    epochs: int = TUNING_EPOCHS,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure the image tower by fine-tuning a copy of it.

    data: what `read_labelled` takes. epochs: of the second stage. seed: of the order and crops of
    pictures. "accuracy" is that after both stages, "frozen" that after the first.
    Raises InputError as `read_labelled`, and for fewer than one epoch.
    Paper: Section 5.2, Tables 4 and 6.
    """
    if epochs < 1:
        raise InputError(f"epochs {epochs}: train at least one")
    train, test = read_with_train(data, split)
    head = train_head(run, train, seed=seed, progress=progress)
    model = train_all(head, train, epochs=epochs, seed=seed, progress=progress)
    frozen, right = (m.predict(test, progress=progress) == test.labels for m in (head, model))
    first = {"frozen": _share(frozen), "frozen_interval": bootstrap_interval(frozen)}
    more = {**first, **_counts(train, test), "epochs": epochs, "seed": seed}
    return {"accuracy": _share(right), "interval": bootstrap_interval(right), **more}


def evaluate_few_shot(
    run: Run,
    data: str | Path,
    *,
    split: str = "test",
    epochs: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure transfer from few pictures, in VTAB's manner.

    data: what `read_labelled` takes, with the splits train and val, of 800 and 200 pictures in
    VTAB. epochs: of fine-tuning all layers; a linear probe when None. Each setting of the "sweep"
    trains on train and is compared on val; three "runs" with different seeds then train on both
    with the "chosen" one, and are tested.
    Raises InputError as `read_labelled`, and for fewer than one epoch.
    Paper: Section 5.2, Table 5 (VTAB: mean and standard deviation of three runs).
    """
    if epochs is not None and epochs < 1:
        raise InputError(f"epochs {epochs}: train at least one, or leave it out for a probe")
    train, test, val = read_with_train(data, split, "val")
    splits = {"train": train, "val": val, "both": train + val, "test": test}
    accuracy = _trainer(run, splits, epochs, progress)
    sweep, tried = PROBE_SWEEP if epochs is None else TUNING_SWEEP, []
    for values in itertools.product(*sweep.values()):
        settings = dict(zip(sweep, values, strict=True))
        tried.append(settings | {"accuracy": accuracy("train", "val", 0, settings)})
    best = max(tried, key=lambda settings: settings["accuracy"])  # the first of equals
    chosen = {name: best[name] for name in sweep}
    runs = [accuracy("both", "test", seed, chosen) for seed in range(RUNS)]
    measured = {"mean": statistics.mean(runs), "sd": statistics.stdev(runs), "runs": runs}
    swept = {"chosen": chosen, "sweep": tried, "epochs": epochs}
    return {**measured, **swept, **_counts(train, test), "val": len(val)}


def accuracy_table(result: Mapping[str, Any]) -> str:
    """Return the result of `evaluate_probe` or `evaluate_fine_tune` as a table, in percent."""
    if "frozen" in result:
        trained = f"{result['epochs']} epochs of"
        frozen = ("frozen features", [result["frozen"]], result["frozen_interval"])
        rows: list[Row] = [frozen, ("all layers", [result["accuracy"]], result["interval"])]
    else:
        trained, training = "trained on", ("on its training", [result["training_accuracy"]], "")
        rows = [("accuracy", [result["accuracy"]], result["interval"]), training]
    note = (
        f"{trained} {result['train']:,} pictures, {result['test']:,} tested;"
        f" {result['classes']} classes; percent, with 95 % intervals"
    )
    return text_table([*rows, ("most frequent", [result["chance"]], "")], note)


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


def _trainer(
    run: Run, splits: Mapping[str, LabelledImages], epochs: int | None, progress: bool
) -> Callable[[str, str, int, Mapping[str, Any]], float]:
    """Return a function: splits to train on and to test, a seed, settings → accuracy."""

    @functools.cache
    def vectors(name: str) -> Tensor:
        if name == "both":
            return torch.cat([vectors("train"), vectors("val")])
        return embed_labelled(run, splits[name], progress=progress)

    @functools.cache  # settings share the first stage
    def head(fit: str, seed: int) -> Classifier:
        return train_head(run, splits[fit], seed=seed, progress=progress)

    def accuracy(fit: str, tested: str, seed: int, settings: Mapping[str, Any]) -> float:
        data, test, options = splits[fit], splits[tested], {"seed": seed, **settings}
        if epochs is None:
            probe = train_probe(vectors(fit), data.labels, len(data.classes), **options)
            found = probe.predict(vectors(tested))
        else:
            model = train_all(head(fit, seed), data, epochs=epochs, progress=progress, **options)
            found = model.predict(test, progress=progress)
        return _share(found == test.labels)

    return accuracy


def _share(right: Tensor) -> float:
    return right.double().mean().item()


def _counts(train: LabelledImages, test: LabelledImages) -> dict[str, Any]:
    """Return the numbers of pictures and classes, and the accuracy of the most frequent class."""
    most = torch.bincount(train.labels, minlength=len(train.classes)).argmax()
    counts = {"train": len(train), "test": len(test), "classes": len(train.classes)}
    return {"chance": _share(test.labels == most), **counts}
