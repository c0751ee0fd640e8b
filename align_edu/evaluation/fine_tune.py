"""Full fine-tuning: a classifier on frozen features first, then all layers of the image tower."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from align_edu.evaluation.crops import evaluation_crop, random_area_crop
from align_edu.evaluation.labelled import LabelledImages
from align_edu.evaluation.probe import MOMENTUM, Probe, counts_of, read_pair, train_probe
from align_edu.evaluation.record import bootstrap_interval
from align_edu.io import InputError
from align_edu.model.image_tower import ImageTower
from align_edu.pairs.pixels import scale_pixels
from align_edu.training.run import Run

_BATCHES = 16  # at least so many steps an epoch, where there are few pictures
_SMALLEST_BATCH = 32  # of fewer the steps are so noisy that a run can fall to chance
_EVALUATED = 64  # pictures at a time


@dataclass(frozen=True)
class FineTuning:
    """The recipe; its numbers are the paper's, but for ``epochs``, ``views`` and the batch.

    Attributes
    ----------
    learning_rate : of the classifier in the second stage; it falls to a fifth at 30, 60 and
        90 % of the epochs.
    head_weight_decay : of the first stage. Without it a head on few pictures is sure of itself,
        and its first mistakes on new crops throw the tower off.
    backbone : the tower's learning rate as a share of that.
    epochs : of the second stage; 100 in the paper.
    batch_size : pictures; of few pictures a sixteenth, but 32 or more.
    views : random crops of each picture whose frozen features train the first classifier.
    smallest_area : of a random crop, as a share of the picture; the paper's 0.08 can cut away
        what the class is about, such as a number of things.
    flip : mirror half of the training pictures; not where left and right are the answer.
    """

    learning_rate: float = 0.01
    backbone: float = 0.1
    head_weight_decay: float = 0.03
    weight_decay: float = 0.0
    epochs: int = 10
    batch_size: int = 256
    views: int = 4
    smallest_area: float = 0.35
    flip: bool = True


class Classifier(nn.Module):
    """An image tower with a linear classifier on its unit vectors.

    tower: kept, and trained in place. probe: the classifier's start; the shift and scale of its
    features stay as they are. crop: pixels a side in training.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, tower: ImageTower, probe: Probe, crop: int) -> None:
        super().__init__()
        self.tower, self.crop = tower, crop
        device = next(tower.parameters()).device
        self.register_buffer("mean", probe.mean.to(device))
        self.register_buffer("scale", probe.scale.to(device))
        self.weight = nn.Parameter(probe.weight.to(device, copy=True))
        self.bias = nn.Parameter(probe.bias.to(device, copy=True))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits: (B, 3, H, W) → (B, K)."""
        features = F.normalize(self.tower(pixels.to(self.mean.device)), dim=1)
        return F.linear((features - self.mean) / self.scale, self.weight, self.bias)

    def train(self, mode: bool = True) -> "Classifier":
        """Set the mode; the statistics of BatchNorm stay frozen. Paper: Section 5.2."""
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        return self

    @torch.no_grad()
    def predict(self, data: LabelledImages, *, progress: bool = False) -> Tensor:
        """Return the class of each picture, by one central crop: (N,)."""
        self.eval()
        parts = []
        starts = range(0, len(data), _EVALUATED)
        for start in tqdm(starts, desc=f"classifying {data.name}", disable=not progress):
            rows = range(start, min(start + _EVALUATED, len(data)))
            pixels = [evaluation_crop(data.open(i), self.crop) for i in rows]
            parts.append(self(scale_pixels(torch.stack(pixels))).argmax(dim=1).cpu())
        return torch.cat(parts)


def train_head(
    run: Run,
    data: LabelledImages,
    settings: FineTuning | None = None,
    *,
    seed: int = 0,
    progress: bool = False,
) -> Classifier:
    """Return the first stage: a classifier on frozen features of random crops.

    run: a trained run; its model is copied. data: the training pictures. Raises InputError for
    fewer than two classes and for a broken picture.

    Paper: Section 5.2 (289 / 360 pixels with frozen visual features).
    """
    settings = settings or FineTuning()
    tower = copy.deepcopy(run.model.image_tower).eval()
    device = next(tower.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    crop, views = run.preset.image.crop, []
    with tqdm(total=settings.views * len(data), desc="features", disable=not progress) as bar:
        for _ in range(settings.views):
            for rows in torch.arange(len(data)).split(_EVALUATED):
                pixels = _training_pixels(data, rows, crop, settings, generator).to(device)
                with torch.no_grad():
                    views.append(F.normalize(tower(pixels), dim=1).float().cpu())
                bar.update(len(rows))
    labels = data.labels.repeat(settings.views)
    probe = train_probe(
        torch.cat(views),
        labels,
        len(data.classes),
        weight_decay=settings.head_weight_decay,
        seed=seed,
    )
    return Classifier(tower, probe, crop).eval()


def train_all(
    head: Classifier,
    data: LabelledImages,
    settings: FineTuning | None = None,
    *,
    seed: int = 0,
    progress: bool = False,
) -> Classifier:
    """Return the second stage: a copy of ``head``, all of whose layers were trained.

    head: what :func:`train_head` returned; it is left as it is. data: the training pictures.
    SGD with momentum 0.9; the statistics of BatchNorm stay frozen. The same seed gives the
    same classifier.

    Paper: Section 5.2 (fine-tuning; frozen statistics as for the fine-grained data sets).
    """
    settings = settings or FineTuning()
    model = copy.deepcopy(head)
    tower = list(model.tower.parameters())
    optimizer = torch.optim.SGD(
        [
            {"params": [model.weight, model.bias], "lr": settings.learning_rate},
            {"params": tower, "lr": settings.learning_rate * settings.backbone},
        ],
        lr=settings.learning_rate,
        momentum=MOMENTUM,
        weight_decay=settings.weight_decay,
    )
    steps = [round(settings.epochs * share) for share in (0.3, 0.6, 0.9)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, steps, 0.2)
    generator = torch.Generator().manual_seed(seed)
    size = min(settings.batch_size, max(_SMALLEST_BATCH, len(data) // _BATCHES))
    total = settings.epochs * len(data)
    bar = tqdm(total=total, desc="fine-tuning", unit=" pictures", disable=not progress)
    with torch.random.fork_rng(), bar:  # stochastic depth reads the global generator
        torch.manual_seed(seed)
        model.train()
        for _ in range(settings.epochs):
            for rows in torch.randperm(len(data), generator=generator).split(size):
                pixels = _training_pixels(data, rows, model.crop, settings, generator)
                labels = data.labels[rows].to(model.mean.device)
                loss = F.cross_entropy(model(pixels), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                bar.update(len(rows))
            schedule.step()
    return model.eval()


def evaluate_fine_tune(
    run: Run,
    data: str | Path,
    *,
    split: str = "test",
    epochs: int = FineTuning.epochs,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure the image tower by fine-tuning all of it; the run itself stays as it is.

    run: a trained run. data: what `read_labelled` takes, with a training split. epochs: of the
    second stage. seed: of the order of the pictures and of their crops.
    Returns "accuracy" with its 95 % "interval" after both stages, "frozen" (after the first
    alone, with "frozen_interval"), "chance" (always the most frequent class), and the numbers
    of "train" and "test" pictures, of "classes" and of "epochs".
    Raises InputError for data that cannot be read, test classes that lack training, and no epoch.

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


def fine_tune_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`evaluate_fine_tune` as lines for the terminal, in percent.

    >>> part = {"accuracy": 0.5, "interval": [0.4, 0.6], "frozen": 0.4, "chance": 0.25}
    >>> part |= {"frozen_interval": [0.3, 0.5], "epochs": 10}
    >>> print(fine_tune_table(part | {"train": 800, "test": 90, "classes": 4}))
    frozen features      40.0   (30.0 to 50.0)
    all layers           50.0   (40.0 to 60.0)
    most frequent        25.0
    10 epochs of 800 pictures, 90 tested; 4 classes; percent, with 95 % intervals
    """
    lines = []
    names = (
        ("frozen features", "frozen", "frozen_interval"),
        ("all layers", "accuracy", "interval"),
    )
    for name, value, interval in names:
        low, high = (100 * edge for edge in result[interval])
        lines.append(f"{name:<18}{100 * result[value]:7.1f}   ({low:.1f} to {high:.1f})")
    lines.append(f"{'most frequent':<18}{100 * result['chance']:7.1f}")
    lines.append(
        f"{result['epochs']} epochs of {result['train']:,} pictures, {result['test']:,} tested;"
        f" {result['classes']} classes; percent, with 95 % intervals"
    )
    return "\n".join(lines)


def _training_pixels(
    data: LabelledImages, rows: Tensor, crop: int, settings: FineTuning, generator: torch.Generator
) -> Tensor:
    """Random crops of some pictures, half of them mirrored: (B, 3, C, C) in [-1, 1]."""
    area = settings.smallest_area
    crops = [random_area_crop(data.open(i), crop, generator, area) for i in rows.tolist()]
    mirrored = (torch.rand(len(crops), generator=generator) < 0.5).tolist()
    if settings.flip:
        crops = [c.flip(2) if yes else c for c, yes in zip(crops, mirrored, strict=True)]
    return scale_pixels(torch.stack(crops))
