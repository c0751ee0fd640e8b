"""Known data sets that are on this machine's disk already: nothing is ever downloaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from align_edu.evaluation.labelled import LabelledImages
from align_edu.io import InputError

# torchvision's class, its words for our splits, and its own list of labels.
_TORCHVISION: dict[str, tuple[str, dict[str, str], str]] = {
    "flowers102": ("Flowers102", {"train": "train", "val": "val", "test": "test"}, "_labels"),
    "oxford_pets": ("OxfordIIITPet", {"train": "trainval", "test": "test"}, "_labels"),
    "food101": ("Food101", {"train": "train", "test": "test"}, "_labels"),
    "stanford_cars": ("StanfordCars", {"train": "train", "test": "test"}, "_samples"),
}
_HOME = {
    "cifar10": "https://www.cs.toronto.edu/~kriz/cifar.html (the binary version)",
    "cifar100": "https://www.cs.toronto.edu/~kriz/cifar.html (the binary version)",
    "flowers102": "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    "oxford_pets": "https://www.robots.ox.ac.uk/~vgg/data/pets/",
    "food101": "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    "stanford_cars": "https://github.com/pytorch/vision/issues/7545 (its first home is gone)",
}
_SIDE = 32  # pixels of a CIFAR picture


def read_dataset(name: str, split: str = "test") -> LabelledImages:
    """Read a known data set, given as NAME:FOLDER, such as ``food101:/data``.

    FOLDER is what torchvision calls the root. CIFAR is read from its binary version, because
    torchvision unpickles the other one. ImageNet needs no name: its validation set in class
    folders is a folder like any other.
    Raises InputError for an unknown name, a split that the set lacks, and files that are not
    there, with the address they come from.

    Paper: Section 4.3 (ImageNet, Flowers-102, Pets, Cars, Food101).
    """
    kind, _, folder = name.partition(":")
    if kind not in _HOME:
        raise InputError(f"{name}: no such folder or data set; known are {', '.join(_HOME)}")
    if kind in _TORCHVISION:
        return _from_torchvision(kind, Path(folder), split)
    return _cifar(kind, Path(folder), split)


def _from_torchvision(kind: str, folder: Path, split: str) -> LabelledImages:
    import torchvision.datasets

    class_name, splits, labels = _TORCHVISION[kind]
    if split not in splits:
        raise InputError(f"{kind}: no split {split!r}; it has {', '.join(splits)}")
    try:
        data = getattr(torchvision.datasets, class_name)(
            str(folder), split=splits[split], download=False
        )
    except (RuntimeError, FileNotFoundError):
        raise _missing(kind, folder) from None
    except ImportError:
        raise InputError(f"{kind}: reading its labels needs scipy; pip install scipy") from None
    return LabelledImages(
        kind, _words(data), _labels(data, labels), lambda i: data[i][0].convert("RGB")
    )


def _words(data: Any) -> list[str]:
    """The class names as words; Flowers102 of older torchvisions has only numbers."""
    names = getattr(data, "classes", None)
    if names is None:
        return [f"flower of class {number}" for number in range(1, 103)]
    return [str(name).replace("_", " ") for name in names]


def _labels(data: Any, attribute: str) -> Tensor:
    """Torchvision's own list of labels, or, where another version has none, all items' labels."""
    listed = getattr(data, attribute, None)
    if listed is None:
        listed = [data[i] for i in range(len(data))]
    return torch.tensor([row[-1] if isinstance(row, tuple) else row for row in listed])


def _cifar(kind: str, folder: Path, split: str) -> LabelledImages:
    """CIFAR's binary version: one or two bytes of labels, then the picture, plane by plane."""
    ten = kind == "cifar10"
    inner = folder / ("cifar-10-batches-bin" if ten else "cifar-100-binary")
    training = [f"data_batch_{i}.bin" for i in range(1, 6)] if ten else ["train.bin"]
    testing = ["test_batch.bin"] if ten else ["test.bin"]
    if split not in ("train", "test"):
        raise InputError(f"{kind}: no split {split!r}; it has train, test")
    files = [inner / name for name in (training if split == "train" else testing)]
    words = inner / ("batches.meta.txt" if ten else "fine_label_names.txt")
    if not all(file.is_file() for file in (*files, words)):
        raise _missing(kind, inner)
    width = (1 if ten else 2) + 3 * _SIDE**2
    data = np.concatenate([_records(file, width) for file in files])  # (N, width)
    names = [line.replace("_", " ") for line in words.read_text().split("\n") if line.strip()]
    pixels = data[:, -3 * _SIDE**2 :].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    labels = torch.from_numpy(data[:, 0 if ten else 1].astype(np.int64))
    if len(labels) and int(labels.max()) >= len(names):
        raise InputError(f"{words}: {len(names)} names for {int(labels.max()) + 1} classes")
    opened: Callable[[int], Image.Image] = lambda i: Image.fromarray(pixels[i])  # noqa: E731
    return LabelledImages(kind, names, labels, opened)


def _records(file: Path, width: int) -> np.ndarray:
    data = np.fromfile(file, np.uint8)
    if len(data) % width:
        raise InputError(f"{file}: {len(data)} bytes, not a whole number of pictures; get it again")
    return data.reshape(-1, width)


def _missing(kind: str, folder: Path) -> InputError:
    return InputError(
        f"{folder}: {kind} is not there; get it from {_HOME[kind]} and unpack it here"
    )
