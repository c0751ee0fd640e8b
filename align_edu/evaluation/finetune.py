"""Full fine-tuning for classification: the head first, then all layers, the tower more slowly."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as v2
from tqdm import tqdm

from align_edu.errors import InputError
from align_edu.evaluation.labelled import LabelledImages
from align_edu.evaluation.probe import MOMENTUM, counts_of, read_pair, train_probe
from align_edu.evaluation.record import bootstrap_interval
from align_edu.pairs.pixels import central_crops, resize_picture, scale_pixels
from align_edu.presets import ImageSettings
from align_edu.training.run import Run

RESOLUTION_RATIO = 0.8  # of training to evaluation: 289 / 360, 475 / 600
CENTRAL = 0.875  # of the picture's side that evaluation sees
BACKBONE = 0.1  # the tower's learning rate, as a part of the head's
LEARNING_RATE, WEIGHT_DECAY = 0.01, 1e-5
EPOCHS, BATCH = 10, 64
LEAST_AREA = 0.35  # of the picture that a random crop shows; the paper's crops begin at 0.08
_CHUNK = 128  # pictures at a time in evaluation


@dataclass(frozen=True)
class Sizes:
    """Pixels a side: of the decoded picture, of evaluation, of training."""

    picture: int
    evaluation: int
    training: int


def sizes_of(training: int) -> Sizes:
    """Return the sizes that belong to a training resolution.

    Paper: Section 5.2.

    >>> sizes_of(289)
    Sizes(picture=413, evaluation=361, training=289)
    """
    evaluation = round(training / RESOLUTION_RATIO)
    return Sizes(round(evaluation / CENTRAL), evaluation, training)


def evaluate_fine_tuning(
    run: Run,
    data: str | Path,
    *,
    split: str = "test",
    epochs: int = EPOCHS,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Fine-tune the image tower and a linear head on labelled pictures, and measure them.

    run: a trained run; it is not changed. data: what `read_labelled` takes, with a training
    split. epochs: of the second stage. seed: of crops, flips and the order of pictures.
    First the head alone is trained on frozen features, then everything by SGD with momentum
    0.9 and a cosine decay, the tower at a tenth of the head's rate, with the statistics of
    BatchNorm frozen, as the paper does for small sets; training at 0.8 of the resolution of
    evaluation, with random crops and flips.
    Returns "accuracy" and its 95 % "interval", the same after the first stage under
    "head_only", and the counts of `evaluate_probe`.
    Raises InputError for data that cannot be read, and for test classes that lack training.

    Paper: Section 5.2, Tables 4 and 6.
    """
    if epochs < 1:
        raise InputError(f"epochs {epochs}: train at least one")
    train, test = read_pair(data, split)
    sizes = sizes_of(run.preset.image.crop)
    pictures, queries = (_decode(part, sizes.picture, progress) for part in (train, test))
    classifier = _start(run, pictures, train, sizes, seed)
    before = _predict(classifier, queries, sizes.evaluation) == test.labels
    _train(classifier, pictures, train.labels, sizes, epochs, seed, progress)
    after = _predict(classifier, queries, sizes.evaluation) == test.labels
    return {
        "accuracy": after.double().mean().item(),
        "interval": bootstrap_interval(after),
        "head_only": {
            "accuracy": before.double().mean().item(),
            "interval": bootstrap_interval(before),
        },
        **counts_of(train, test),
        "epochs": epochs,
        "seed": seed,
    }


def fine_tuning_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`evaluate_fine_tuning` as lines for the terminal, in percent.

    >>> head = {"accuracy": 0.4, "interval": [0.3, 0.5]}
    >>> part = {"accuracy": 0.5, "interval": [0.4, 0.6], "head_only": head, "chance": 0.25}
    >>> counts = {"train": 800, "test": 90, "classes": 4, "epochs": 10}
    >>> print(fine_tuning_table(part | counts))
    head only         40.0   (30.0 to 50.0)
    all layers        50.0   (40.0 to 60.0)
    most frequent     25.0
    10 epochs on 800 pictures, 90 tested; 4 classes; percent, with 95 % intervals
    """
    lines = []
    for name, part in (("head only", result["head_only"]), ("all layers", result)):
        low, high = (100 * edge for edge in part["interval"])
        lines.append(f"{name:<15}{100 * part['accuracy']:7.1f}   ({low:.1f} to {high:.1f})")
    lines.append(f"{'most frequent':<15}{100 * result['chance']:7.1f}")
    lines.append(
        f"{result['epochs']} epochs on {result['train']:,} pictures, {result['test']:,} tested;"
        f" {result['classes']} classes; percent, with 95 % intervals"
    )
    return "\n".join(lines)


def random_resized_crops(pictures: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Return a random part of each picture, of random area and aspect, flipped half of the time.

    pictures: (B, 3, R, R) uint8. Returns (B, 3, side, side) uint8.

    Paper: Section 5.2 ("random cropping (same as in Szegedy et al. (2015)) and flip").

    >>> pictures = torch.zeros(2, 3, 70, 70, dtype=torch.uint8)
    >>> random_resized_crops(pictures, 48, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 48, 48])
    """
    whole = pictures.shape[-1]
    crops = []
    for picture, u in zip(pictures, torch.rand(len(pictures), 5, generator=generator), strict=True):
        area = whole**2 * (LEAST_AREA + (1 - LEAST_AREA) * u[0].item())
        aspect = math.exp(math.log(4 / 3) * (2 * u[1].item() - 1))
        height, width = (
            min(whole, max(1, round(math.sqrt(area * ratio)))) for ratio in (1 / aspect, aspect)
        )
        top, left = (int(v * (whole - n + 1)) for v, n in ((u[2], height), (u[3], width)))
        crop = v2.resized_crop(picture, top, left, height, width, [side, side])
        crops.append(v2.horizontal_flip_image(crop) if u[4] < 0.5 else crop)
    return torch.stack(crops)


def _decode(data: LabelledImages, side: int, progress: bool) -> Tensor:
    """All pictures, squashed to squares: (N, 3, side, side) uint8."""
    settings = ImageSettings(resize=side)
    bar = tqdm(range(len(data)), f"reading {data.name}", disable=not progress)
    return torch.stack([resize_picture(data.open(i), settings) for i in bar])


def _start(
    run: Run, pictures: Tensor, train: LabelledImages, sizes: Sizes, seed: int
) -> nn.Sequential:
    """A copy of the tower, and a head trained on its frozen features."""
    tower = copy.deepcopy(run.model.image_tower).eval()
    features = _features(tower, pictures, sizes.evaluation)
    probe = train_probe(features, train.labels, len(train.classes), seed=seed)
    head = nn.Linear(features.shape[1], len(train.classes))
    with torch.no_grad():  # the probe's own shift and scale become part of the layer
        head.weight.copy_(probe.weight / probe.scale)
        head.bias.copy_(probe.bias - head.weight @ probe.mean)
    return nn.Sequential(tower, head)


@torch.no_grad()
def _features(tower: nn.Module, pictures: Tensor, side: int) -> Tensor:
    settings = replace(ImageSettings(), crop=side)
    return torch.cat([tower(central_crops(part, settings)) for part in pictures.split(_CHUNK)])


def _predict(classifier: nn.Sequential, pictures: Tensor, side: int) -> Tensor:
    return _features(classifier.eval(), pictures, side).argmax(dim=1)


def _train(
    classifier: nn.Sequential,
    pictures: Tensor,
    labels: Tensor,
    sizes: Sizes,
    epochs: int,
    seed: int,
    progress: bool,
) -> None:
    """The second stage. The modules stay in evaluation mode: BatchNorm's statistics are frozen."""
    tower, head = classifier
    classifier.eval()
    optimizer = torch.optim.SGD(
        [
            {"params": head.parameters(), "lr": LEARNING_RATE},
            {"params": tower.parameters(), "lr": BACKBONE * LEARNING_RATE},
        ],
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
    )
    size = min(BATCH, len(pictures))
    steps = epochs * -(-len(pictures) // size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    with tqdm(total=steps, desc="fine-tuning", disable=not progress) as bar:
        for _ in range(epochs):
            for rows in torch.randperm(len(pictures), generator=generator).split(size):
                crops = random_resized_crops(pictures[rows], sizes.training, generator)
                loss = F.cross_entropy(classifier(scale_pixels(crops)), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
