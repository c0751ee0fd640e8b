"""Few-shot transfer: settings chosen on 800 + 200 pictures, then three runs on all 1,000."""

import functools
import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align_edu.evaluation.classifier import FineTuning, train_all, train_head, train_probe
from align_edu.evaluation.datasets import LabelledImages, embed_labelled, read_labelled
from align_edu.evaluation.embed import Encoder
from align_edu.evaluation.transfer import counts_of, read_pair
from align_edu.io import InputError
from align_edu.training.run import Run

Settings = Mapping[str, Any]
Sweep = Mapping[str, tuple[float, ...]]
# (training splits, split to classify, settings, seed) -> (N,) classes
Learner = Callable[[Sequence[str], str, Settings, int], Tensor]

# All combinations of these values are tried, for a probe and for all layers.
PROBE_SWEEP: Sweep = {"learning_rate": (0.01, 0.1, 0.5), "weight_decay": (0.0, 1e-3, 1e-2)}
TUNING_SWEEP: Sweep = {"learning_rate": (0.003, 0.01, 0.03), "backbone": (0.1, 1.0)}
RUNS = 3


def choose_settings(
    learn: Learner, labels: Tensor, sweep: Sweep
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Return the first settings with the best accuracy on "val", and the accuracy of all."""
    tried = []
    for values in itertools.product(*sweep.values()):
        settings = dict(zip(sweep, values, strict=True))
        hits = learn(("train",), "val", settings, 0) == labels
        tried.append(settings | {"accuracy": hits.double().mean().item()})
    best = max(tried, key=lambda settings: settings["accuracy"])
    return {name: best[name] for name in sweep}, tried


def probe_learner(
    run: Encoder, splits: Mapping[str, LabelledImages], *, progress: bool = False
) -> Learner:
    """Return a learner that trains a linear probe; each picture is embedded once."""
    features = {name: embed_labelled(run, part, progress=progress) for name, part in splits.items()}

    def learn(training: Sequence[str], tested: str, settings: Settings, seed: int) -> Tensor:
        x = torch.cat([features[name] for name in training])
        labels = torch.cat([splits[name].labels for name in training])
        classes = len(splits[tested].classes)
        return train_probe(x, labels, classes, seed=seed, **settings).predict(features[tested])

    return learn


def tuning_learner(
    run: Run, splits: Mapping[str, LabelledImages], epochs: int, *, progress: bool = False
) -> Learner:
    """Return a learner that fine-tunes all layers for some epochs, see `train_all`."""

    @functools.cache
    def head(training: Sequence[str], seed: int) -> Any:
        data = joined([splits[name] for name in training])
        return train_head(run, data, FineTuning(epochs=epochs), seed=seed, progress=progress)

    def learn(training: Sequence[str], tested: str, settings: Settings, seed: int) -> Tensor:
        data = joined([splits[name] for name in training])
        recipe = FineTuning(epochs=epochs, **settings)
        model = train_all(head(training, seed), data, recipe, seed=seed, progress=progress)
        return model.predict(splits[tested], progress=progress)

    return learn


def joined(parts: Sequence[LabelledImages]) -> LabelledImages:
    """Return the pictures of several splits of the same classes as one."""
    rows = [(part, i) for part in parts for i in range(len(part))]

    def picture(number: int) -> Any:
        part, row = rows[number]
        return part.open(row)

    labels = torch.cat([part.labels for part in parts])
    return LabelledImages(parts[0].name, parts[0].classes, labels, picture)


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
    Raises InputError for data that cannot be read, for test classes that lack training, for
    fewer than one epoch, and for fine-tuning a model without an image tower.

    Paper: Section 5.2, Table 5 (VTAB: mean and standard deviation of three runs).
    """
    if epochs is not None and epochs < 1:
        raise InputError(f"epochs {epochs}: train at least one, or leave it out for a probe")
    train, test = read_pair(data, split)
    val = read_labelled(data, "val")
    if val.classes != train.classes:
        raise InputError(f"{data}: train and val have different classes; name them alike")
    splits, sweep = {"train": train, "val": val, "test": test}, PROBE_SWEEP
    if epochs is None:
        learn = probe_learner(run, splits, progress=progress)
    elif isinstance(run, Run):
        learn, sweep = tuning_learner(run, splits, epochs, progress=progress), TUNING_SWEEP
    else:
        raise InputError("fine-tuning needs a run with an image tower, see load_run")
    chosen, tried = choose_settings(learn, val.labels, sweep)
    hits = [learn(("train", "val"), "test", chosen, seed) == test.labels for seed in range(RUNS)]
    runs = [hit.double().mean().item() for hit in hits]
    return {
        "mean": statistics.mean(runs),
        "sd": statistics.stdev(runs),
        "runs": runs,
        "chosen": chosen,
        "sweep": tried,
        "epochs": epochs,
        **counts_of(train, test),
        "val": len(val),
    }


def few_shot_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`evaluate_few_shot` as lines for the terminal, in percent."""
    runs = ", ".join(f"{100 * value:.1f}" for value in result["runs"])
    chosen = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in result["chosen"].items())
    epochs = result.get("epochs")
    tuned = "a classifier on frozen features" if epochs is None else f"all layers, {epochs} epochs"
    return (
        f"accuracy  {100 * result['mean']:.1f} ± {100 * result['sd']:.1f}   ({runs}), {tuned}\n"
        f"chance    {100 * result['chance']:.1f}\n"
        f"{chosen}: the best of {len(result['sweep'])} on {result['val']} pictures;"
        f" {result['train']} + {result['val']} trained, {result['test']} tested"
    )
