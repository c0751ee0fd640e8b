"""Pictures with classes: folders of class folders, and published data sets on disk."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from align_edu.evaluation.embed import Encoder, embed_pictures
from align_edu.io import InputError
from align_edu.pairs.images import SUFFIXES, BrokenImage, decode_image, find_every_image
from align_edu.pairs.splits import is_benchmark

# The class in torchvision, its names of our splits, and its attribute that lists the labels.
_TORCHVISION: dict[str, tuple[str, dict[str, str], str]] = {
    "flowers102": ("Flowers102", {"train": "train", "val": "val", "test": "test"}, "_labels"),
    "oxford_pets": ("OxfordIIITPet", {"train": "trainval", "test": "test"}, "_labels"),
    "food101": ("Food101", {"train": "train", "test": "test"}, "_labels"),
    "stanford_cars": ("StanfordCars", {"train": "train", "test": "test"}, "_samples"),
}
# CIFAR's binary version: its folder, its files by split, its names of the classes, and the
# number of bytes of labels before a picture, of which the last is the class.
_CIFAR: dict[str, tuple[str, dict[str, list[str]], str, int]] = {
    "cifar10": (
        "cifar-10-batches-bin",
        {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
        "batches.meta.txt",
        1,
    ),
    "cifar100": (
        "cifar-100-binary",
        {"train": ["train.bin"], "test": ["test.bin"]},
        "fine_label_names.txt",
        2,
    ),
}
_HOME = dict.fromkeys(_CIFAR, "https://www.cs.toronto.edu/~kriz/cifar.html (binary version)") | {
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
        data = _from_folder(Path(path), split)
    elif kind not in _HOME:
        raise InputError(f"{path}: no such folder or data set; choose {', '.join(_HOME)}")
    else:
        splits = (_TORCHVISION.get(kind) or _CIFAR[kind])[1]
        if split not in splits:
            raise InputError(f"{kind}: no split {split!r}; it has {', '.join(splits)}")
        read = _from_torchvision if kind in _TORCHVISION else _from_cifar
        data = read(kind, Path(place), split)
    if len(data.labels.unique()) < 2:
        raise InputError(f"{path}: all its pictures are of one class; give two classes or more")
    return data


def read_pair(path: str | Path, split: str) -> tuple[LabelledImages, LabelledImages]:
    """Return the training split and another one, both read by `read_labelled`.

    Raises InputError as `read_labelled`, and for a class without training pictures.
    """
    train, test = read_labelled(path, "train"), read_labelled(path, split)
    if train.classes != test.classes:
        raise InputError(f"{path}: train and {split} have different classes; name them alike")
    unknown = ~torch.isin(test.labels, train.labels)
    if unknown.any():
        name = test.classes[int(test.labels[unknown][0])]
        raise InputError(f"{path}: class {name!r} of {split} has no training picture")
    return train, test


def read_templates(path: str | Path) -> list[str]:
    """Return the templates of a text file: one per line, each with one ``{}``; ``#`` is a comment.

    Raises InputError for a file that cannot be read, has no template, or has a line without
    exactly one ``{}``.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: not a readable text file; give one template per line") from None
    templates = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith("#"):
            templates.append(line)
            if line.count("{}") != 1:
                raise InputError(
                    f"{path}, line {number}: a template holds {{}} once, as in: a photo of a {{}}"
                )
    if not templates:
        raise InputError(f"{path}: no template in it; write one per line, as in: a photo of a {{}}")
    return templates


def embed_labelled(run: Encoder, data: LabelledImages, *, progress: bool = False) -> Tensor:
    """Return the embeddings of all pictures, (N, D); raise InputError for a broken one."""
    files, label = [Path(data.name)] * len(data), f"embedding {data.name}"
    return embed_pictures(run, files, data.open, label=label, progress=progress).embeddings


def _from_folder(folder: Path, split: str) -> LabelledImages:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a folder of class folders")
    if is_benchmark(folder):
        raise InputError(
            f"{folder}: holds captions (dataset_*.json), not class folders; measure it with"
            " --task retrieval, or give a folder of class folders"
        )
    inside = folder / split
    if not inside.is_dir():
        splits = [name for name in ("train", "val", "test") if (folder / name).is_dir()]
        if splits:
            raise InputError(f"{folder}: no split {split!r}; it has {', '.join(splits)}")
        inside = folder
    names = _class_names(folder, inside)
    found = [find_every_image(inside / name) for name in names]
    files = [file for some in found for file in some]
    if not files:
        endings = ", ".join(SUFFIXES)
        raise InputError(f"{inside}: no picture in its class folders; files must end in {endings}")

    def read(i: int) -> Image.Image:
        try:
            return decode_image(files[i].read_bytes())
        except (BrokenImage, OSError) as error:
            reason = getattr(error, "reason", "unreadable file")
        raise InputError(
            f"{files[i]}: not a readable image ({reason}); a test set must be whole,"
            " repair or remove it"
        )

    templates = folder / "templates.txt"
    return LabelledImages(
        folder.resolve().name,
        list(names.values()),
        torch.tensor([label for label, some in enumerate(found) for _ in some]),
        read,
        read_templates(templates) if templates.is_file() else [],
    )


def _class_names(folder: Path, inside: Path) -> dict[str, str]:
    """Return the words of each class folder, in the order of the labels."""
    found = sorted(f.name for f in inside.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not found:
        raise InputError(f"{inside}: no class folder in it; give one folder per class")
    if odd := [name for name in found if not name.isprintable()]:
        raise InputError(f"{inside}: the class folder {odd[0]!r} is not UTF-8 text; rename it")
    listed = folder / "classes.txt"
    if not listed.is_file():
        return {name: name.replace("_", " ") for name in found}
    names: dict[str, str] = {}
    for number, line in enumerate(listed.read_text(encoding="utf-8").splitlines(), start=1):
        name, _, words = line.partition("\t")
        if not line.strip():
            continue
        if not words.strip() or name in names or Path(name).name != name:
            raise InputError(f"{listed}, line {number}: write it as folder, tab, words, each once")
        names[name] = words.strip()
    if unknown := [name for name in found if name not in names]:
        raise InputError(f"{listed}: does not name the class folder {unknown[0]!r}; add its line")
    return names


def _from_torchvision(kind: str, folder: Path, split: str) -> LabelledImages:
    import torchvision.datasets

    class_name, splits, attribute = _TORCHVISION[kind]
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


def _from_cifar(kind: str, folder: Path, split: str) -> LabelledImages:
    """Read CIFAR's binary version: bytes of labels, then the picture by planes."""
    inner, files_of, listed, label_bytes = _CIFAR[kind]
    files = [folder / inner / name for name in files_of[split]]
    words = folder / inner / listed
    if not all(file.is_file() for file in (*files, words)):
        raise _missing(kind, folder / inner)
    width = label_bytes + 3 * _SIDE**2
    for file in files:
        if file.stat().st_size % width:
            raise InputError(f"{file}: not a whole number of pictures; get it again")
    data = np.concatenate([np.fromfile(file, np.uint8) for file in files]).reshape(-1, width)
    names = [line.replace("_", " ") for line in words.read_text().split("\n") if line.strip()]
    pixels = data[:, label_bytes:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    labels = torch.from_numpy(data[:, label_bytes - 1].astype(np.int64))
    if len(labels) and int(labels.max()) >= len(names):
        raise InputError(f"{words}: {len(names)} names for {int(labels.max()) + 1} classes")
    return LabelledImages(kind, names, labels, lambda i: Image.fromarray(pixels[i]))


def _missing(kind: str, folder: Path) -> InputError:
    return InputError(f"{folder}: no {kind} in it; get it from {_HOME[kind]} and unpack it there")
