"""Classifiers on a trained image tower: a linear probe, and all layers fine-tuned."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from align_edu.evaluation.datasets import LabelledImages
from align_edu.io import InputError
from align_edu.model.image_tower import ImageTower
from align_edu.pairs.pixels import scale_pixels
from align_edu.training.run import Run

LEARNING_RATE, MOMENTUM = 0.1, 0.9  # paper: Section 5.2, frozen features
EPOCHS, DECAY_EPOCHS, DECAY = 100, 30, 0.2
LARGEST_BATCH = 1_024
SMALLEST_BATCH = 32  # in fine-tuning; smaller batches are so noisy that a run can fall to chance
_STEPS = 16  # per epoch, at least: small data sets get smaller batches
_PICTURES = 64  # at a time, outside of training

TRAIN_TO_EVAL = 0.8  # paper: Section 5.2, 289 to 360 pixels a side
CENTRAL = 0.875  # paper: Section 5.2, the central crop in evaluation
_ASPECTS = (3 / 4, 4 / 3)  # Szegedy et al., 2015, Section 6
_TRIES = 10


@dataclass(frozen=True)
class Probe:
    """A linear layer on features that are shifted and scaled as in its training."""

    mean: Tensor  # (D,)
    scale: Tensor  # (D,)
    weight: Tensor  # (K, D)
    bias: Tensor  # (K,)

    def predict(self, features: Tensor) -> Tensor:
        """Return the class of each row of features (N, D): (N,)."""
        x = (features - self.mean) / self.scale
        return F.linear(x, self.weight, self.bias).argmax(dim=1)


@dataclass(frozen=True)
class FineTuning:
    """The recipe of fine-tuning; the paper's, except epochs, views, areas and small batches."""

    learning_rate: float = 0.01  # of the classifier; a fifth from 30, 60 and 90 % of the epochs on
    backbone: float = 0.1  # the tower's learning rate as a share of that
    # Of the first stage. Without it a classifier trained on few pictures is overconfident, and
    # its first mistakes on new crops damage the tower.
    head_weight_decay: float = 0.03
    weight_decay: float = 0.0  # of the second stage
    epochs: int = 10  # of the second stage; 100 in the paper
    batch_size: int = 256  # pictures; of small data sets a sixteenth, but 32 or more
    views: int = 4  # random crops of each picture that train the first classifier
    # Of a random crop, as a share of the picture; the paper's 0.08 can cut away what the class
    # depends on, such as a number of things.
    smallest_area: float = 0.35
    flip: bool = True  # mirror half of the pictures; not where left and right are the answer


class Classifier(nn.Module):
    """An image tower with a linear classifier on its unit vectors, which starts as a probe."""

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
        parts, rows = [], torch.arange(len(data)).split(_PICTURES)
        for some in tqdm(rows, desc=f"classifying {data.name}", disable=not progress):
            crops = [evaluation_crop(data.open(i), self.crop) for i in some.tolist()]
            parts.append(self(scale_pixels(torch.stack(crops))).argmax(dim=1).cpu())
        return torch.cat(parts)


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

    features: (N, D). labels: (N,) below classes. seed: of the order of the rows. The rate falls
    to a fifth every 30 of 100 epochs. The batch is 1,024, or a sixteenth of fewer pictures.
    Features are first scaled to mean 0 and variance 1, so that one rate suits all models.
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
    every = max(1, DECAY_EPOCHS * epochs // EPOCHS)
    size = max(1, min(LARGEST_BATCH, len(x) // _STEPS))
    generator = torch.Generator().manual_seed(seed)

    def loss(rows: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(x[rows], weight, bias), labels[rows])

    _descend(loss, optimizer, len(x), size, epochs, range(every, epochs, every), generator)
    return Probe(mean, scale, weight.detach(), bias.detach())


def train_head(
    run: Run,
    data: LabelledImages,
    settings: FineTuning | None = None,
    *,
    seed: int = 0,
    progress: bool = False,
) -> Classifier:
    """Return the first stage: a classifier on frozen features of random crops.

    run: a trained model; its tower is copied. data: the training pictures.
    Raises InputError for fewer than two classes and for a broken picture.

    Paper: Section 5.2 (289 / 360 pixels with frozen visual features).
    """
    settings = settings or FineTuning()
    tower = copy.deepcopy(run.model.image_tower).eval()
    device = next(tower.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    crop, views = run.preset.image.crop, []
    batches = torch.arange(len(data)).split(_PICTURES) * settings.views
    for rows in tqdm(batches, desc="features", disable=not progress):
        pixels = _training_pixels(data, rows, crop, settings, generator).to(device)
        with torch.no_grad():
            views.append(F.normalize(tower(pixels), dim=1).float().cpu())
    features, labels = torch.cat(views), data.labels.repeat(settings.views)
    decay = settings.head_weight_decay
    probe = train_probe(features, labels, len(data.classes), weight_decay=decay, seed=seed)
    return Classifier(tower, probe, crop).eval()


def train_all(
    head: Classifier,
    data: LabelledImages,
    settings: FineTuning | None = None,
    *,
    seed: int = 0,
    progress: bool = False,
) -> Classifier:
    """Return the second stage: a copy of ``head`` with all layers trained.

    head: returned by :func:`train_head`; it stays unchanged. data: the training pictures.
    SGD with momentum 0.9; the statistics of BatchNorm stay frozen. The same seed gives the
    same classifier.

    Paper: Section 5.2 (fine-tuning; frozen statistics as for the fine-grained data sets).
    """
    settings = settings or FineTuning()
    model = copy.deepcopy(head)
    rate, epochs = settings.learning_rate, settings.epochs
    groups: list[dict[str, Any]] = [
        {"params": [model.weight, model.bias]},
        {"params": list(model.tower.parameters()), "lr": rate * settings.backbone},
    ]
    optimizer = torch.optim.SGD(
        groups, lr=rate, momentum=MOMENTUM, weight_decay=settings.weight_decay
    )
    falls = [round(epochs * share) for share in (0.3, 0.6, 0.9)]
    size = min(settings.batch_size, max(SMALLEST_BATCH, len(data) // _STEPS))
    generator = torch.Generator().manual_seed(seed)
    bar = tqdm(total=epochs * len(data), desc="fine-tuning", unit=" pictures", disable=not progress)

    def loss(rows: Tensor) -> Tensor:
        pixels = _training_pixels(data, rows, model.crop, settings, generator)
        bar.update(len(rows))
        return F.cross_entropy(model(pixels), data.labels[rows].to(model.mean.device))

    with torch.random.fork_rng(), bar:  # stochastic depth reads the global generator
        torch.manual_seed(seed)
        model.train()
        _descend(loss, optimizer, len(data), size, epochs, falls, generator)
    return model.eval()


def random_area_crop(
    picture: Image.Image, side: int, generator: torch.Generator, smallest_area: float = 0.08
) -> Tensor:
    """Return a random part of a picture, resized: (3, S, S) uint8.

    The part has from ``smallest_area`` of the picture's area up to all of it, and an aspect
    from 3:4 to 4:3. Where none of ten draws fits into the picture, the whole picture is taken.

    Paper: Section 5.2 (random cropping, same as in Szegedy et al., 2015).
    """
    low, high = (float(np.log(aspect)) for aspect in _ASPECTS)
    box: tuple[float, float, float, float] = (0, 0, picture.width, picture.height)
    for area, aspect, x, y in torch.rand(_TRIES, 4, generator=generator).tolist():
        pixels = picture.width * picture.height * (smallest_area + (1 - smallest_area) * area)
        ratio = float(np.exp(low + (high - low) * aspect))
        width, height = (pixels * ratio) ** 0.5, (pixels / ratio) ** 0.5
        if width <= picture.width and height <= picture.height:
            left, top = x * (picture.width - width), y * (picture.height - height)
            # Rounding must not put an edge outside: Pillow refuses that.
            right, bottom = min(left + width, picture.width), min(top + height, picture.height)
            box = (left, top, right, bottom)
            break
    return _resized(picture, side, box)


def evaluation_crop(picture: Image.Image, crop: int) -> Tensor:
    """Return the central 0.875 of a picture, each side 1/0.8 of the training crop, as uint8.

    Paper: Section 5.2 (289 pixels in training are 360 in evaluation).
    """
    x, y = (picture.width * (1 - CENTRAL) / 2, picture.height * (1 - CENTRAL) / 2)
    box = (x, y, picture.width - x, picture.height - y)
    return _resized(picture, round(crop / TRAIN_TO_EVAL), box)


def _descend(
    loss_of: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    rows: int,
    batch: int,
    epochs: int,
    falls: Sequence[int],
    generator: torch.Generator,
) -> None:
    """Minimise the loss of shuffled batches of rows; the rate falls to a fifth at some epochs."""
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(falls), DECAY)
    for _ in range(epochs):
        for some in torch.randperm(rows, generator=generator).split(batch):
            loss = loss_of(some)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()


def _training_pixels(
    data: LabelledImages, rows: Tensor, crop: int, settings: FineTuning, generator: torch.Generator
) -> Tensor:
    """Return random crops of some pictures, half of them mirrored: (B, 3, C, C) in [-1, 1]."""
    area = settings.smallest_area
    crops = [random_area_crop(data.open(i), crop, generator, area) for i in rows.tolist()]
    mirrored = (torch.rand(len(crops), generator=generator) < 0.5).tolist()
    if settings.flip:
        crops = [c.flip(2) if yes else c for c, yes in zip(crops, mirrored, strict=True)]
    return scale_pixels(torch.stack(crops))


def _resized(picture: Image.Image, side: int, box: tuple[float, float, float, float]) -> Tensor:
    """Return a part of a picture as (3, side, side) uint8."""
    part = picture.resize((side, side), Image.Resampling.BILINEAR, box)
    return torch.from_numpy(np.array(part)).permute(2, 0, 1)
