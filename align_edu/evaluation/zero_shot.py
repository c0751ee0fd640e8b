"""Classification from no pictures or few: prompts, nearest neighbours, few-shot transfer."""

import functools
import itertools
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.evaluation import datasets, transfer
from align_edu.evaluation.datasets import LabelledImages, embed_labelled
from align_edu.evaluation.embed import Encoder, embed_texts
from align_edu.evaluation.retrieval import chunked_ranks, exact_vectors, recall_at, recall_intervals
from align_edu.io import InputError
from align_edu.training.run import Run

CLASS_KS = (1, 5)
NEIGHBOUR_KS = (1, 5, 10)  # paper: Table 7 to 9 give R@1
TEMPLATES = Path(__file__).with_name("templates.txt")
# Few-shot transfer tries all combinations of these values, for a probe and for all layers.
PROBE_SWEEP = {"learning_rate": (0.01, 0.1, 0.5), "weight_decay": (0.0, 1e-3, 1e-2)}
TUNING_SWEEP = {"learning_rate": (0.003, 0.01, 0.03), "backbone": (0.1, 1.0)}
RUNS = 3


def fill_templates(templates: Sequence[str], name: str) -> list[str]:
    """Return the templates with a class name in place of ``{}``; "a" becomes "an" before vowels.

    >>> fill_templates(["a photo of a {}", "two {}"], "apple")
    ['a photo of an apple', 'two apple']
    """
    article = "an" if re.match("(?!uni|use|eu|one)[aeiou]", name.lower()) else "a"
    agreed = [re.sub(r"(?<!\S)an? (?={})", f"{article} ", template) for template in templates]
    return [template.replace("{}", name) for template in agreed]


def class_vectors(run: Encoder, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Return one unit vector per class: the mean of its prompts' vectors, normalised: (K, D).

    Paper: arXiv v1 has no zero-shot ImageNet; the ensemble of prompts is that of Radford et
    al. (2021), Section 3.1.4, which ALIGN's later version uses.
    """
    prompts = [prompt for name in classes for prompt in fill_templates(templates, name)]
    vectors = F.normalize(embed_texts(run, prompts), dim=1)  # (K * P, D)
    return F.normalize(vectors.view(len(classes), len(templates), -1).mean(dim=1), dim=1)


def class_ranks(images: Tensor, vectors: Tensor, labels: Tensor) -> Tensor:
    """Return the rank of the right class of each image: (N,); 1 is the best, ties count as wrong.

    images: (N, D). vectors: (K, D), one per class. labels: (N,) whole numbers below K.

    >>> eye = torch.eye(3)
    >>> class_ranks(eye, eye, torch.tensor([0, 1, 0])).tolist()
    [1, 1, 3]
    """
    x, y = exact_vectors("image", images), exact_vectors("class", vectors)
    return chunked_ranks(x, y, lambda rows: F.one_hot(labels[rows], len(y)).bool())


def evaluate_zero_shot(
    run: Encoder, data: LabelledImages | str | Path, *, split: str = "test",
    templates: str | Path | None = None, progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Measure zero-shot classification, with one prompt per class and with all of them.

    data: labelled images, or what `read_labelled` takes. templates: a file; by default those of
    the data, or a dozen for photographs. The first one is the single prompt. "top-5" needs more
    than five classes. Raises InputError for data or templates that cannot be read.
    Paper: Section 1 of arXiv v2; v1 measures retrieval and transfer only.
    """
    if not isinstance(data, LabelledImages):
        data = datasets.read_labelled(data, split)
    prompts = data.templates if templates is None else datasets.read_templates(templates)
    prompts = prompts or datasets.read_templates(TEMPLATES)
    images = embed_labelled(run, data, progress=progress)
    ks = [k for k in CLASS_KS if k < len(data.classes)]
    result: dict[str, Any] = {}
    for name, some in (("single", prompts[:1]), ("ensemble", prompts)):
        ranks = class_ranks(images, class_vectors(run, data.classes, some), data.labels)
        intervals = recall_intervals(ranks, ks, "top-")
        result[name] = recall_at(ranks, ks, "top-") | {"interval": intervals}
    of_class = {word: ranks[data.labels == i] for i, word in enumerate(data.classes)}
    classes = {word: recall_at(r, (1,))["R@1"] for word, r in of_class.items() if len(r)}
    numbers = {"chance": 1 / len(data.classes), "images": len(data), "prompts": len(prompts)}
    return {**result, "classes": classes, **numbers}


def neighbour_ranks(train: Tensor, train_labels: Tensor, test: Tensor, labels: Tensor) -> Tensor:
    """Return the rank of the nearest training picture of each test picture's class: (N,).

    A class without pictures gets rank M + 1.
    """
    query = exact_vectors("test", test, unit=True)
    gallery = exact_vectors("training", train, unit=True)
    ranks = chunked_ranks(query, gallery, lambda rows: train_labels == labels[rows, None])
    return torch.where(torch.isin(labels, train_labels), ranks, len(train) + 1)


def neighbour_recall(
    train: Tensor, train_labels: Tensor, test: Tensor, labels: Tensor,
    ks: Sequence[int] = NEIGHBOUR_KS,
) -> dict[str, float]:  # fmt: skip
    """Return the share of test pictures that have their class among the k nearest, for each k.

    train: (M, D), of train_labels (M,). test: (N, D), of labels (N,); compared by cosine.
    Paper: Section 6.1, footnote 3 on ImageNet KNN.

    >>> eye = torch.eye(3)
    >>> neighbour_recall(eye, torch.arange(3), eye, torch.tensor([0, 1, 0]), ks=(1,))
    {'R@1': 0.6666666666666666}
    """
    return recall_at(neighbour_ranks(train, train_labels, test, labels), ks)


def evaluate_neighbours(
    run: Encoder, data: str | Path, *, split: str = "test", progress: bool = False
) -> dict[str, Any]:
    """Measure the image tower by its nearest neighbours, without training anything.

    data: what `read_labelled` takes. "chance" is R@1 of random neighbours.
    Raises InputError as `read_labelled`, and for fewer training pictures than k.
    Paper: Section 6.1, Tables 7 to 9 (ImageNet KNN).
    """
    train, test = datasets.read_with_train(data, split)
    if len(train) < max(NEIGHBOUR_KS):
        raise InputError(f"{data}: only {len(train)} training pictures; give 10 or more")
    vectors, queries = (embed_labelled(run, part, progress=progress) for part in (train, test))
    ranks = neighbour_ranks(vectors, train.labels, queries, test.labels)
    shares = torch.bincount(train.labels, minlength=len(train.classes)) / len(train)
    sizes = {"train": len(train), "test": len(test), "classes": len(test.classes)}
    return {
        "neighbours": recall_at(ranks, NEIGHBOUR_KS),
        "interval": recall_intervals(ranks, NEIGHBOUR_KS),
        "chance": shares[test.labels].double().mean().item(),
        **sizes,
    }


def evaluate_few_shot(
    run: Run, data: str | Path, *, split: str = "test",
    epochs: int | None = None, progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Measure transfer from few pictures, in VTAB's manner.

    data: what `read_labelled` takes, with the splits train and val, of 800 and 200 pictures in
    VTAB. epochs: of fine-tuning all layers; a linear probe when None. Each setting of the "sweep"
    trains on train and is compared on val; three "runs" with different seeds then train on both
    with the "chosen" one, and are tested. Raises InputError as `read_labelled`.
    Paper: Section 5.2, Table 5 (VTAB: mean and standard deviation of three runs).
    """
    if epochs is not None and epochs < 1:
        raise InputError(f"epochs {epochs}: train at least one, or leave it out for a probe")
    train, test, val = datasets.read_with_train(data, split, "val")
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
    return {**measured, **swept, **transfer.counts(train, test), "val": len(val)}


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
    def head(fit: str, seed: int) -> transfer.Classifier:
        return transfer.train_head(run, splits[fit], seed=seed, progress=progress)

    def accuracy(fit: str, tested: str, seed: int, settings: Mapping[str, Any]) -> float:
        data, test, options = splits[fit], splits[tested], {"seed": seed, **settings}
        if epochs is None:
            classes = len(data.classes)
            probe = transfer.train_probe(vectors(fit), data.labels, classes, **options)
            return transfer.share(probe.predict(vectors(tested)) == test.labels)
        options |= {"epochs": epochs, "progress": progress}
        model = transfer.train_all(head(fit, seed), data, **options)
        return transfer.share(model.predict(test, progress=progress) == test.labels)

    return accuracy
