"""Transfer to classification: a linear probe on the image tower, and all layers fine-tuned."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2
from tqdm import tqdm

from align_edu.evaluation.datasets import LabelledImages, embed_labelled, read_with_train
from align_edu.evaluation.embed import Encoder, read_ahead
from align_edu.evaluation.retrieval import bootstrap_interval
from align_edu.io import InputError
from align_edu.model.image_tower import ImageTower, scale_pixels
from align_edu.training.run import Run

# Paper: Section 5.2, but 100 epochs for both, batches of 1,024, and crops of 0.08 and more.
MOMENTUM, EPOCHS, TUNING_EPOCHS = 0.9, 100, 10
FALLS, DECAY = (0.3, 0.6, 0.9), 0.2  # shares of the epochs after which the rate falls to a fifth
PROBE_BATCH, TUNING_BATCH, STEPS = 1_024, 256, 16  # a sixteenth of few pictures
SMALLEST_BATCH = 32  # in fine-tuning; smaller batches are so noisy that a run can fall to chance
VIEWS = 4  # random crops of each picture that train the classifier of the first stage
SMALLEST_AREA = 0.35  # of a crop; a smaller one can cut away what the class depends on
HEAD_WEIGHT_DECAY = 0.03  # without it, the head's first mistakes on new crops damage the tower
_PICTURES = 64  # at a time, outside of training


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
        rows, label = range(len(data)), f"classifying {data.name}"
        crops = read_ahead(
            lambda i: evaluation_crop(data.open(i), self.crop), rows, _PICTURES, label, progress
        )
        logits = [self.eval()(scale_pixels(torch.stack(batch))) for batch in crops]
        return torch.cat(logits).argmax(dim=1).cpu()


def train_probe(
    features: Tensor, labels: Tensor, classes: int, *, learning_rate: float = 0.1,
    weight_decay: float = 0.0, epochs: int = EPOCHS, seed: int = 0,
) -> Probe:  # fmt: skip
    """Return a linear layer trained on frozen features.

    features: (N, D), scaled inside, so that one rate suits all models. labels: (N,) below
    ``classes``. seed: of the order of the rows. Raises InputError where only one class is present.
    Paper: Section 5.2 (frozen visual features, Table 4).

    >>> x = torch.tensor([[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.2]])
    >>> train_probe(x, torch.tensor([0, 0, 1, 1]), 2).predict(x).tolist()
    [0, 0, 1, 1]
    """
    if len(labels.unique()) < 2:
        raise InputError("a probe needs pictures of at least two classes; give more classes")
    probe = Probe(features, classes)
    groups = [{"params": list(probe.parameters())}]
    optimizer = torch.optim.SGD(groups, learning_rate, MOMENTUM, weight_decay=weight_decay)
    batch = max(1, min(PROBE_BATCH, len(features) // STEPS))
    for rows in _batches(optimizer, len(labels), batch, epochs, seed):
        F.cross_entropy(probe(features[rows]), labels[rows]).backward()
    return probe


def train_head(
    run: Run, data: LabelledImages, *, seed: int = 0, progress: bool = False
) -> Classifier:
    """Return the first stage: a frozen copy of the tower, and a probe trained on random crops.

    Paper: Section 5.2 (289 / 360 pixels with frozen visual features).
    """
    tower = copy.deepcopy(run.model.image_tower).eval()
    crop, features = run.preset.image.crop, []
    batches = torch.arange(len(data)).split(_PICTURES) * VIEWS
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for rows in tqdm(batches, desc="features", disable=not progress):
            pixels = random_views(data, rows, crop).to(run.device)
            features.append(F.normalize(tower(pixels), dim=1).float().cpu())
    labels, classes, decay = data.labels.repeat(VIEWS), len(data.classes), HEAD_WEIGHT_DECAY
    probe = train_probe(torch.cat(features), labels, classes, weight_decay=decay, seed=seed)
    return Classifier(tower, probe, crop).eval()


def train_all(
    head: Classifier, data: LabelledImages, *, learning_rate: float = 0.01, backbone: float = 0.1,
    epochs: int = TUNING_EPOCHS, seed: int = 0, progress: bool = False,
) -> Classifier:  # fmt: skip
    """Return the second stage: a copy of ``head``, from `train_head`, with all layers trained.

    learning_rate: of the classifier. backbone: the tower's rate as a share of that.
    Paper: Section 5.2 (fine-tuning; frozen statistics as for the fine-grained data sets).
    """
    model = copy.deepcopy(head)
    groups: list[dict[str, Any]] = [
        {"params": list(model.probe.parameters())},
        {"params": list(model.tower.parameters()), "lr": learning_rate * backbone},
    ]
    optimizer = torch.optim.SGD(groups, learning_rate, MOMENTUM)
    bar = tqdm(total=epochs * len(data), desc="fine-tuning", unit=" pictures", disable=not progress)
    batch = min(TUNING_BATCH, max(SMALLEST_BATCH, len(data) // STEPS))
    with torch.random.fork_rng(), bar:
        torch.manual_seed(seed)
        model.train()
        for rows in _batches(optimizer, len(data), batch, epochs, seed):
            logits = model(random_views(data, rows, model.crop))
            F.cross_entropy(logits, data.labels[rows].to(model.device)).backward()
            bar.update(len(rows))
    return model.eval()


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
    training = share(probe.predict(features) == train.labels)
    more = {"training_accuracy": training, **counts(train, test), "seed": seed}
    return {"accuracy": share(right), "interval": bootstrap_interval(right), **more}


def evaluate_fine_tune(
    run: Run, data: str | Path, *, split: str = "test",
    epochs: int = TUNING_EPOCHS, seed: int = 0, progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
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
    first = {"frozen": share(frozen), "frozen_interval": bootstrap_interval(frozen)}
    more = {**first, **counts(train, test), "epochs": epochs, "seed": seed}
    return {"accuracy": share(right), "interval": bootstrap_interval(right), **more}


def evaluation_crop(picture: Image.Image, crop: int) -> Tensor:
    """Return the central 0.875 of a picture, each side 1/0.8 of the training crop: (3, S, S) uint8.

    Paper: Section 5.2 (289 pixels in training are 360 in evaluation).
    """
    x, y, side = picture.width / 16, picture.height / 16, round(crop / 0.8)
    box = (x, y, picture.width - x, picture.height - y)
    part = picture.resize((side, side), Image.Resampling.BILINEAR, box)
    return torch.from_numpy(np.array(part)).permute(2, 0, 1)


def random_views(data: LabelledImages, rows: Tensor, crop: int) -> Tensor:
    """Return a random part of each picture, half of them mirrored: (B, 3, C, C) in [-1, 1].

    Paper: Section 5.2 (random cropping, same as in Szegedy et al., 2015).
    """
    change = [v2.RandomResizedCrop(crop, (SMALLEST_AREA, 1.0)), v2.RandomHorizontalFlip()]
    view = v2.Compose([*change, v2.PILToTensor()])
    return scale_pixels(torch.stack([view(data.open(i)) for i in rows.tolist()]))


def _batches(
    optimizer: torch.optim.Optimizer, rows: int, batch: int, epochs: int, seed: int
) -> Iterator[Tensor]:
    """Yield shuffled batches of rows, and step after each; the rate falls by ``FALLS``."""
    generator = torch.Generator().manual_seed(seed)
    falls = [round(epochs * share) for share in FALLS]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, falls, DECAY)
    for _ in range(epochs):
        for some in torch.randperm(rows, generator=generator).split(batch):
            optimizer.zero_grad()
            yield some
            optimizer.step()
        schedule.step()


def share(right: Tensor) -> float:
    """Return the share of rows that are True."""
    return right.double().mean().item()


def counts(train: LabelledImages, test: LabelledImages) -> dict[str, Any]:
    """Return the numbers of pictures and classes, and the accuracy of the most frequent class."""
    most = torch.bincount(train.labels, minlength=len(train.classes)).argmax()
    counts = {"train": len(train), "test": len(test), "classes": len(train.classes)}
    return {"chance": share(test.labels == most), **counts}
