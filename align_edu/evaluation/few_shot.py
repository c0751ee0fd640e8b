"""Few-shot transfer: hyper-parameters chosen on 800 + 200 pictures, three runs on all 1,000."""

import functools
import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align_edu.evaluation.embed import Encoder
from align_edu.evaluation.fine_tune import Classifier, FineTuning, train_all, train_head
from align_edu.evaluation.labelled import LabelledImages, embed_labelled, read_labelled
from align_edu.evaluation.probe import counts_of, read_pair, train_probe
from align_edu.io import InputError
from align_edu.training.run import Run

Settings = Mapping[str, Any]
Sweep = Mapping[str, tuple[float, ...]]
# Learns from the pictures of some splits and names those of another: (N,) classes.
Learner = Callable[[Sequence[str], str, Settings, int], Tensor]

# The bounded sweeps: every combination of these. Of a probe, and of all layers.
PROBE_SWEEP: Sweep = {"learning_rate": (0.01, 0.1, 0.5), "weight_decay": (0.0, 1e-3, 1e-2)}
TUNING_SWEEP: Sweep = {"learning_rate": (0.003, 0.01, 0.03), "backbone": (0.1, 1.0)}
RUNS = 3


def choose_settings(
    learn: Learner, right: Tensor, sweep: Sweep
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Return the settings that are best on held-back pictures, and all that were tried.

    learn: trains on "train" and names the pictures of "val". right: their classes. sweep: the
    values of each setting. Of equally good settings the first counts.
    """
    tried = []
    for values in itertools.product(*sweep.values()):
        settings = dict(zip(sweep, values, strict=True))
        hits = learn(("train",), "val", settings, 0) == right
        tried.append(settings | {"accuracy": hits.double().mean().item()})
    best = max(tried, key=lambda settings: settings["accuracy"])
    return {name: best[name] for name in sweep}, tried


def probe_learner(
    run: Encoder, splits: Mapping[str, LabelledImages], *, progress: bool = False
) -> Learner:
    """Return a learner that trains a classifier on frozen features; each picture is read once."""
    features = {name: embed_labelled(run, part, progress=progress) for name, part in splits.items()}

    def learn(known: Sequence[str], asked: str, settings: Settings, seed: int) -> Tensor:
        x = torch.cat([features[name] for name in known])
        labels = torch.cat([splits[name].labels for name in known])
        classes = len(splits[asked].classes)
        return train_probe(x, labels, classes, seed=seed, **settings).predict(features[asked])

    return learn


def tuning_learner(
    run: Run, splits: Mapping[str, LabelledImages], epochs: int, *, progress: bool = False
) -> Learner:
    """Return a learner that trains all layers for some epochs, see `train_all`."""

    @functools.cache
    def start(known: Sequence[str], seed: int) -> Classifier:
        data = joined([splits[name] for name in known])
        return train_head(run, data, FineTuning(epochs=epochs), seed=seed, progress=progress)

    def learn(known: Sequence[str], asked: str, settings: Settings, seed: int) -> Tensor:
        data = joined([splits[name] for name in known])
        recipe = FineTuning(epochs=epochs, **settings)
        model = train_all(start(known, seed), data, recipe, seed=seed, progress=progress)
        return model.predict(splits[asked], progress=progress)

    return learn


def joined(parts: Sequence[LabelledImages]) -> LabelledImages:
    """Return the pictures of several splits of the same classes, one after the other."""
    places = [(part, i) for part in parts for i in range(len(part))]

    def picture(i: int) -> Any:
        part, row = places[i]
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
    """Measure transfer with few pictures, in VTAB's manner.

    run: a trained run. data: what `read_labelled` takes, with the splits train and val, of
    800 and 200 pictures in VTAB. epochs: fine-tune all layers for so many; a classifier on
    frozen features when None. Each setting of the sweep trains on the first split and is judged
    on the second; three runs, of three seeds, then train on both and are tested.
    Returns "mean" and "sd" of the accuracy, each run's under "runs", the "chosen" settings, the
    "sweep", "epochs", and the counts of :func:`evaluate_probe`.
    Raises InputError for data that cannot be read, for test classes that lack training, for no
    epoch, and for fine-tuning what has no towers.

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
    """Return the result of :func:`evaluate_few_shot` as lines for the terminal, in percent.

    >>> part = {"mean": 0.5, "sd": 0.01, "runs": [0.49, 0.5, 0.51], "chance": 0.25}
    >>> chosen = {"chosen": {"learning_rate": 0.1, "weight_decay": 0.0}, "sweep": [{}] * 9}
    >>> print(few_shot_table(part | chosen | {"train": 800, "val": 200, "test": 90}))
    accuracy  50.0 ± 1.0   (49.0, 50.0, 51.0), a classifier on frozen features
    chance    25.0
    learning rate 0.1, weight decay 0.0: the best of 9 on 200 pictures; 800 + 200 trained, 90 tested
    """
    runs = ", ".join(f"{100 * value:.1f}" for value in result["runs"])
    chosen = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in result["chosen"].items())
    epochs = result.get("epochs")
    way = "a classifier on frozen features" if epochs is None else f"all layers, {epochs} epochs"
    return (
        f"accuracy  {100 * result['mean']:.1f} ± {100 * result['sd']:.1f}   ({runs}), {way}\n"
        f"chance    {100 * result['chance']:.1f}\n"
        f"{chosen}:"
        f" the best of {len(result['sweep'])} on {result['val']} pictures;"
        f" {result['train']} + {result['val']} trained, {result['test']} tested"
    )
