"""Few-shot transfer: hyper-parameters chosen on 800 + 200 pictures, three runs on all 1,000."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align_edu.errors import InputError
from align_edu.evaluation.embed import Encoder
from align_edu.evaluation.labelled import embed_labelled, read_labelled
from align_edu.evaluation.probe import counts_of, read_pair, train_probe

# The bounded sweep: every pair of a learning rate and a weight decay.
LEARNING_RATES = (0.01, 0.1, 0.5)
WEIGHT_DECAYS = (0.0, 1e-3, 1e-2)
RUNS = 3


def choose_settings(
    train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor], classes: int
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Return the settings that are best on held-back pictures, and all that were tried.

    train, val: features (N, D) and labels (N,). Of equally good settings the first counts.
    """
    tried = []
    for rate in LEARNING_RATES:
        for decay in WEIGHT_DECAYS:
            probe = train_probe(*train, classes, learning_rate=rate, weight_decay=decay)
            right = (probe.predict(val[0]) == val[1]).double().mean().item()
            tried.append({"learning_rate": rate, "weight_decay": decay, "accuracy": right})
    best = max(tried, key=lambda settings: settings["accuracy"])
    return {name: best[name] for name in ("learning_rate", "weight_decay")}, tried


def evaluate_few_shot(
    run: Encoder, data: str | Path, *, split: str = "test", progress: bool = False
) -> dict[str, Any]:
    """Measure transfer with few pictures, in VTAB's manner, on frozen features.

    run: a trained run. data: what `read_labelled` takes, with the splits train and val, of
    800 and 200 pictures in VTAB. The sweep of nine settings trains on the first and chooses on
    the second; three runs, of three seeds, then train on both and are tested.
    Returns "mean" and "sd" of the accuracy, each run's under "runs", the "chosen" settings, the
    "sweep", and the counts of :func:`evaluate_probe`.
    Raises InputError for data that cannot be read, and for test classes that lack training.

    Paper: Section 5.2, Table 5 (VTAB: mean and standard deviation of three runs).
    """
    train, test = read_pair(data, split)
    val = read_labelled(data, "val")
    if val.classes != train.classes:
        raise InputError(f"{data}: train and val have different classes; name them alike")
    features, held_back, queries = (
        embed_labelled(run, part, progress=progress) for part in (train, val, test)
    )
    classes = len(train.classes)
    chosen, tried = choose_settings((features, train.labels), (held_back, val.labels), classes)
    both = torch.cat([features, held_back]), torch.cat([train.labels, val.labels])
    runs = []
    for seed in range(RUNS):
        probe = train_probe(
            *both,
            classes,
            learning_rate=chosen["learning_rate"],
            weight_decay=chosen["weight_decay"],
            seed=seed,
        )
        runs.append((probe.predict(queries) == test.labels).double().mean().item())
    return {
        "mean": statistics.mean(runs),
        "sd": statistics.stdev(runs),
        "runs": runs,
        "chosen": chosen,
        "sweep": tried,
        **counts_of(train, test),
        "val": len(val),
    }


def few_shot_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`evaluate_few_shot` as lines for the terminal, in percent.

    >>> part = {"mean": 0.5, "sd": 0.01, "runs": [0.49, 0.5, 0.51], "chance": 0.25}
    >>> chosen = {"chosen": {"learning_rate": 0.1, "weight_decay": 0.0}, "sweep": [{}] * 9}
    >>> print(few_shot_table(part | chosen | {"train": 800, "val": 200, "test": 90}))
    accuracy  50.0 ± 1.0   (49.0, 50.0, 51.0)
    chance    25.0
    learning rate 0.1, weight decay 0.0: the best of 9 on 200 pictures; 800 + 200 trained, 90 tested
    """
    runs = ", ".join(f"{100 * value:.1f}" for value in result["runs"])
    chosen = result["chosen"]
    return (
        f"accuracy  {100 * result['mean']:.1f} ± {100 * result['sd']:.1f}   ({runs})\n"
        f"chance    {100 * result['chance']:.1f}\n"
        f"learning rate {chosen['learning_rate']}, weight decay {chosen['weight_decay']}:"
        f" the best of {len(result['sweep'])} on {result['val']} pictures;"
        f" {result['train']} + {result['val']} trained, {result['test']} tested"
    )
