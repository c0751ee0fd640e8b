"""Classifiers on a trained image tower: a linear probe, and all layers fine-tuned."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2
from tqdm import tqdm

from align_edu.evaluation.datasets import LabelledImages
from align_edu.evaluation.embed import read_ahead
from align_edu.io import InputError
from align_edu.model.image_tower import ImageTower
from align_edu.pairs.pixels import scale_pixels
from align_edu.training.run import Run

# Paper: Section 5.2, frozen features.
LEARNING_RATE, MOMENTUM, EPOCHS, DECAY_EPOCHS, DECAY = 0.1, 0.9, 100, 30, 0.2
LARGEST_BATCH = 1_024
SMALLEST_BATCH = 32  # in fine-tuning; smaller batches are so noisy that a run can fall to chance
_STEPS = 16  # per epoch, at least: small data sets get smaller batches
_PICTURES = 64  # at a time, outside of training


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


class Probe(nn.Module):
    """A linear layer on features (N, D), which it first scales to mean 0 and variance 1."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: Tensor, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", features.mean(dim=0))
        self.register_buffer("scale", features.std(dim=0).clamp(min=1e-6))
        self.weight = nn.Parameter(torch.zeros(classes, features.shape[1]))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits: (N, D) → (N, K)."""
        return F.linear((features - self.mean) / self.scale, self.weight, self.bias)

    @torch.no_grad()
    def predict(self, features: Tensor) -> Tensor:
        """Return the class of each row of features (N, D): (N,)."""
        return self(features).argmax(dim=1)


class Classifier(nn.Module):
    """An image tower with a probe on its unit vectors."""

    def __init__(self, tower: ImageTower, probe: Probe, crop: int) -> None:
        super().__init__()
        self.device = next(tower.parameters()).device
        self.tower, self.probe, self.crop = tower, probe.to(self.device), crop

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits: (B, 3, H, W) → (B, K)."""
        return self.probe(F.normalize(self.tower(pixels.to(self.device)), dim=1))

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

        def crop(i: int) -> Tensor:
            return evaluation_crop(data.open(i), self.crop)

        label = f"classifying {data.name}"
        batches = read_ahead(crop, range(len(data)), _PICTURES, label, progress)
        logits = [self(scale_pixels(torch.stack(crops))) for crops in batches]
        return torch.cat(logits).argmax(dim=1).cpu()


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
    Features are scaled, so that one rate suits all models.
    Raises InputError where only one class is present.

    Paper: Section 5.2 (frozen visual features, Table 4).

    >>> x = torch.tensor([[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.2]])
    >>> train_probe(x, torch.tensor([0, 0, 1, 1]), 2).predict(x).tolist()
    [0, 0, 1, 1]
    """
    if len(labels.unique()) < 2:
        raise InputError("a probe needs pictures of at least two classes; give more classes")
    probe = Probe(features, classes)
    optimizer = torch.optim.SGD(
        probe.parameters(), lr=learning_rate, momentum=MOMENTUM, weight_decay=weight_decay
    )
    every = max(1, DECAY_EPOCHS * epochs // EPOCHS)
    size = max(1, min(LARGEST_BATCH, len(features) // _STEPS))

    def loss(rows: Tensor) -> Tensor:
        return F.cross_entropy(probe(features[rows]), labels[rows])

    _descend(loss, optimizer, len(labels), size, epochs, range(every, epochs, every), seed)
    return probe


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
    device, crop, views = next(tower.parameters()).device, run.preset.image.crop, []
    batches = torch.arange(len(data)).split(_PICTURES) * settings.views
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for rows in tqdm(batches, desc="features", disable=not progress):
            pixels = _random_views(data, rows, crop, settings).to(device)
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
    model, rate, epochs = copy.deepcopy(head), settings.learning_rate, settings.epochs
    groups: list[dict[str, Any]] = [
        {"params": list(model.probe.parameters())},
        {"params": list(model.tower.parameters()), "lr": rate * settings.backbone},
    ]
    decay = settings.weight_decay
    optimizer = torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, weight_decay=decay)
    falls = [round(epochs * share) for share in (0.3, 0.6, 0.9)]
    size = min(settings.batch_size, max(SMALLEST_BATCH, len(data) // _STEPS))
    bar = tqdm(total=epochs * len(data), desc="fine-tuning", unit=" pictures", disable=not progress)

    def loss(rows: Tensor) -> Tensor:
        pixels = _random_views(data, rows, model.crop, settings)
        bar.update(len(rows))
        return F.cross_entropy(model(pixels), data.labels[rows].to(model.device))

    with torch.random.fork_rng(), bar:
        torch.manual_seed(seed)
        model.train()
        _descend(loss, optimizer, len(data), size, epochs, falls, seed)
    return model.eval()


def evaluation_crop(picture: Image.Image, crop: int) -> Tensor:
    """Return the central 0.875 of a picture, each side 1/0.8 of the training crop: (3, S, S) uint8.

    Paper: Section 5.2 (289 pixels in training are 360 in evaluation).
    """
    x, y, side = picture.width / 16, picture.height / 16, round(crop / 0.8)
    box = (x, y, picture.width - x, picture.height - y)
    part = picture.resize((side, side), Image.Resampling.BILINEAR, box)
    return torch.from_numpy(np.array(part)).permute(2, 0, 1)


def _random_views(data: LabelledImages, rows: Tensor, crop: int, settings: FineTuning) -> Tensor:
    """Return a random part of each picture, mirrored or not: (B, 3, C, C) in [-1, 1].

    Paper: Section 5.2 (random cropping, same as in Szegedy et al., 2015).
    """
    area = (settings.smallest_area, 1.0)
    change = [v2.RandomResizedCrop(crop, area), v2.RandomHorizontalFlip(settings.flip / 2)]
    view = v2.Compose([*change, v2.PILToTensor()])
    return scale_pixels(torch.stack([view(data.open(i)) for i in rows.tolist()]))


def _descend(
    loss_of: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    rows: int,
    batch: int,
    epochs: int,
    falls: Iterable[int],
    seed: int,
) -> None:
    """Minimise the loss of shuffled batches of rows; the rate falls to a fifth at ``falls``."""
    generator = torch.Generator().manual_seed(seed)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(falls), DECAY)
    for _ in range(epochs):
        for some in torch.randperm(rows, generator=generator).split(batch):
            loss = loss_of(some)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
