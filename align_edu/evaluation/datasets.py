"""Pictures with classes: folders of class folders, and published data sets on disk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from align_edu.evaluation.embed import Encoder, embed_pictures
from align_edu.evaluation.prompts import read_templates
from align_edu.io import InputError
from align_edu.pairs.images import SUFFIXES, BrokenImage, decode_image, find_images

# The class in torchvision, its names of our splits, and its attribute that lists the labels.
_TORCHVISION: dict[str, tuple[str, dict[str, str], str]] = {
    "flowers102": ("Flowers102", {"train": "train", "val": "val", "test": "test"}, "_labels"),
    "oxford_pets": ("OxfordIIITPet", {"train": "trainval", "test": "test"}, "_labels"),
    "food101": ("Food101", {"train": "train", "test": "test"}, "_labels"),
    "stanford_cars": ("StanfordCars", {"train": "train", "test": "test"}, "_samples"),
}
_CIFAR = "https://www.cs.toronto.edu/~kriz/cifar.html (the binary version)"
_HOME = {
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    "flowers102": "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    "oxford_pets": "https://www.robots.ox.ac.uk/~vgg/data/pets/",
    "food101": "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    "stanford_cars": "https://github.com/pytorch/vision/issues/7545 (its first home is gone)",
}
_SIDE = 32  # pixels of a CIFAR picture


@dataclass(frozen=True)
class LabelledImages:
    """Pictures and the class of each."""

    name: str  # of the data
    classes: list[str]  # K names, as words of a prompt
    labels: Tensor  # (N,) int64, below K
    open: Callable[[int], Image.Image]  # opens picture i, RGB
    templates: list[str] = field(default_factory=list)  # prompts that fit the data; may be empty

    def __len__(self) -> int:
        return len(self.labels)


def read_labelled(path: str | Path, split: str = "test") -> LabelledImages:
    """Read labelled pictures.

    Parameters
    ----------
    path : a folder PATH/SPLIT/CLASS/picture, or PATH/CLASS/picture without splits, as of
        ImageNet. `classes.txt` in PATH (folder, tab, words on each line) orders and words the
        classes; without it they are the sorted folder names, _ as a space. `templates.txt`
        holds prompts. Or NAME:FOLDER for a published data set on disk, such as
        ``food101:/data``, where FOLDER is what torchvision calls the root. Nothing is
        downloaded, and CIFAR is read from its binary version, as the other one is pickled.
    split : "train", "val" or "test".

    Returns LabelledImages, class by class, files sorted. Raises InputError for a folder, split,
    class or picture that is missing, and for an unknown data set.

    Paper: Section 4.3 (ImageNet, Flowers-102, Pets, Cars, Food101).
    """
    kind, colon, place = str(path).partition(":")
    if not colon or Path(path).exists():
        return _from_folder(Path(path), split)
    if kind not in _HOME:
        raise InputError(f"{path}: no such folder or data set; choose {', '.join(_HOME)}")
    read = _from_torchvision if kind in _TORCHVISION else _cifar
    return read(kind, Path(place), split)


def embed_labelled(run: Encoder, data: LabelledImages, *, progress: bool = False) -> Tensor:
    """Return the embeddings of all pictures, (N, D); raise InputError for a broken one."""
    files, label = [Path(data.name)] * len(data), f"embedding {data.name}"
    return embed_pictures(run, files, data.open, label=label, progress=progress).embeddings


def _from_folder(folder: Path, split: str) -> LabelledImages:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a folder of class folders")
    inside = _split_folder(folder, split)
    names = _class_names(folder, inside)
    found = [find_images(inside / name) for name in names]
    files = [file for some in found for file in some]
    labels = [label for label, some in enumerate(found) for _ in some]
    if not files:
        endings = ", ".join(SUFFIXES)
        raise InputError(f"{inside}: no picture in its class folders; files must end in {endings}")
    templates = folder / "templates.txt"
    return LabelledImages(
        folder.resolve().name,
        list(names.values()),
        torch.tensor(labels),
        lambda i: _open(files[i]),
        read_templates(templates) if templates.is_file() else [],
    )


def _open(file: Path) -> Image.Image:
    try:
        return decode_image(file.read_bytes())
    except BrokenImage as error:
        raise InputError(
            f"{file}: not a readable image ({error.reason}); a test set must be whole,"
            " repair or remove it"
        ) from None
    except OSError:
        raise InputError(f"{file}: cannot be read; a test set must be whole") from None


def _split_folder(folder: Path, split: str) -> Path:
    if (folder / split).is_dir():
        return folder / split
    splits = [name for name in ("train", "val", "test") if (folder / name).is_dir()]
    if splits:
        raise InputError(f"{folder}: no split {split!r}; it has {', '.join(splits)}")
    return folder


def _class_names(folder: Path, inside: Path) -> dict[str, str]:
    """Return folder -> words, in the order of the labels."""
    found = sorted(f.name for f in inside.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not found:
        raise InputError(f"{inside}: no class folder in it; give one folder per class")
    listed = folder / "classes.txt"
    if not listed.is_file():
        return {name: name.replace("_", " ") for name in found}
    names = _listed(listed, listed.read_text(encoding="utf-8").splitlines())
    for name in found:
        if name not in names:
            raise InputError(f"{listed}: does not name the class folder {name!r}; add its line")
    return names


def _listed(path: Path, lines: Sequence[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        name, _, words = line.partition("\t")
        if not line.strip():
            continue
        if not words.strip() or name in names or Path(name).name != name:
            raise InputError(f"{path}, line {number}: write it as folder, tab, words, each once")
        names[name] = words.strip()
    return names


def _from_torchvision(kind: str, folder: Path, split: str) -> LabelledImages:
    import torchvision.datasets

    class_name, splits, attribute = _TORCHVISION[kind]
    if split not in splits:
        raise InputError(f"{kind}: no split {split!r}; it has {', '.join(splits)}")
    make = getattr(torchvision.datasets, class_name)
    try:
        data = make(str(folder), split=splits[split], download=False)
    except (RuntimeError, FileNotFoundError):
        raise _missing(kind, folder) from None
    except ImportError:
        raise InputError(f"{kind}: reading its labels needs scipy; pip install scipy") from None
    listed = getattr(data, attribute)  # opening each picture for its label would take minutes
    labels = torch.tensor([row[-1] if isinstance(row, tuple) else row for row in listed])
    names = [str(name).replace("_", " ") for name in data.classes]
    return LabelledImages(kind, names, labels, lambda i: data[i][0].convert("RGB"))


def _cifar(kind: str, folder: Path, split: str) -> LabelledImages:
    """Read CIFAR's binary version: one or two bytes of labels, then the picture by planes."""
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
    return LabelledImages(kind, names, labels, lambda i: Image.fromarray(pixels[i]))


def _records(file: Path, width: int) -> np.ndarray:
    data = np.fromfile(file, np.uint8)
    if len(data) % width:
        raise InputError(f"{file}: {len(data)} bytes, not a whole number of pictures; get it again")
    return data.reshape(-1, width)


def _missing(kind: str, folder: Path) -> InputError:
    return InputError(f"{folder}: no {kind} in it; get it from {_HOME[kind]} and unpack it there")
