"""Pictures with classes: folders of class folders, and published data sets on disk."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from align_edu.evaluation.embed import Encoder, embed_images
from align_edu.io import InputError, read_lines
from align_edu.pairs.images import SUFFIXES, find_every_image, open_image
from align_edu.pairs.splits import is_benchmark

_PUBLISHED = tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))
_SIDE = 32  # pixels of a CIFAR picture
SPLITS = ("train", "val", "test")


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

    def __add__(self, other: "LabelledImages") -> "LabelledImages":
        """Return these pictures and then those of ``other``, which has the same classes."""
        return replace(
            self,
            labels=torch.cat([self.labels, other.labels]),
            open=lambda i: self.open(i) if i < len(self) else other.open(i - len(self)),
        )


def read_labelled(path: str | Path, split: str = "test") -> LabelledImages:
    """Read labelled pictures, class by class, files sorted.

    path: a folder PATH/SPLIT/CLASS/picture, or PATH/CLASS/picture without splits. `classes.txt`
    in PATH (folder, tab, words on each line) orders and words the classes; without it they are
    the sorted folder names, _ as a space. `templates.txt` holds prompts. Or NAME:FOLDER for a
    published data set on disk, such as ``food101:/data``, where FOLDER is torchvision's root.
    split: "train", "val" or "test".
    Raises InputError for a folder, split, class or data set that is missing or unknown.
    Paper: Section 4.3 (ImageNet, Flowers-102, Pets, Cars, Food101).
    """
    kind, colon, place = str(path).partition(":")
    if not colon or Path(path).exists():
        data = _from_folder(Path(path), split)
    elif kind in _PUBLISHED:
        data = _published(kind, Path(place), split)
    else:
        raise InputError(f"{path}: no such folder or data set; choose {', '.join(_PUBLISHED)}")
    if len(data.labels.unique()) < 2:
        raise InputError(f"{path}: all its pictures are of one class; give two classes or more")
    return data


def read_with_train(path: str | Path, *splits: str) -> list[LabelledImages]:
    """Return the training split and others; each of their classes needs training pictures."""
    train = read_labelled(path, "train")
    others = [read_labelled(path, split) for split in splits]
    for split, other in zip(splits, others, strict=True):
        if train.classes != other.classes:
            raise InputError(f"{path}: train and {split} have different classes; name them alike")
        for label in other.labels[~torch.isin(other.labels, train.labels)].tolist():
            name = other.classes[label]
            raise InputError(f"{path}: class {name!r} of {split} has no training picture")
    return [train, *others]


def read_templates(path: str | Path) -> list[str]:
    """Return the templates of a text file: one per line, each with one ``{}``; ``#`` is a comment.

    Raises InputError for a file that cannot be read, and for one without such lines.
    """
    form = "write one template per line, with {} once, as in: a photo of a {}"
    templates = [line for line in read_lines(Path(path)) if line and not line.startswith("#")]
    if wrong := [line for line in templates if line.count("{}") != 1]:
        raise InputError(f"{path}: {wrong[0]!r} is no template; {form}")
    if not templates:
        raise InputError(f"{path}: no template in it; {form}")
    return templates


def embed_labelled(run: Encoder, data: LabelledImages, *, progress: bool = False) -> Tensor:
    """Return the embeddings of all pictures, (N, D); raise InputError for a broken one."""
    files, label = [Path(data.name)] * len(data), f"embedding {data.name}"
    return embed_images(run, files, data.open, label=label, progress=progress).embeddings


def _from_folder(folder: Path, split: str) -> LabelledImages:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a folder of class folders")
    if is_benchmark(folder):
        raise InputError(f"{folder}: holds captions (JSON); measure it with --task retrieval")
    splits = [name for name in SPLITS if (folder / name).is_dir()]
    if splits and not (folder / split).is_dir():
        raise InputError(f"{folder}: no split {split!r}; it has {', '.join(splits)}")
    inside = folder / split if (folder / split).is_dir() else folder
    names = _class_names(folder, inside)
    found = [find_every_image(inside / name) for name in names]
    files = [file for some in found for file in some]
    if not files:
        endings = ", ".join(SUFFIXES)
        raise InputError(f"{inside}: no picture in its class folders; files must end in {endings}")
    if [] in found and not (folder / "classes.txt").is_file():
        empty = inside / list(names)[found.index([])]
        raise InputError(f"{empty}: no picture in it; remove the folder, or name it in classes.txt")
    labels = torch.tensor([label for label, some in enumerate(found) for _ in some])
    templates = folder / "templates.txt"
    prompts, words = read_templates(templates) if templates.is_file() else [], [*names.values()]
    name = folder.resolve().name
    return LabelledImages(name, words, labels, lambda i: open_image(files[i]), prompts)


def _class_names(folder: Path, inside: Path) -> dict[str, str]:
    """Return the words of each class folder, in the order of the labels."""
    found = sorted(f.name for f in inside.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not found:
        raise InputError(f"{inside}: no class folder in it; give one folder per class")
    if odd := [name for name in found if not name.isprintable()]:
        raise InputError(f"{inside}: the class folder {odd[0]!r} is not UTF-8 text; rename it")
    listed = folder / "classes.txt"
    if not listed.is_file():
        if odd := [name for name in found if name.lower() in ("annotations", *SPLITS)]:
            remedy = f"name the splits {', '.join(SPLITS)}, with a folder for each class in them"
            raise InputError(f"{inside / odd[0]}: is no class; {remedy}")
        return {name: name.replace("_", " ") for name in found}
    names: dict[str, str] = {}
    for line in filter(None, read_lines(listed)):
        name, _, words = line.partition("\t")
        if not words.strip() or name in names or Path(name).name != name:
            raise InputError(f"{listed}, {line!r}: write it as folder, tab, words, each once")
        names[name] = words.strip()
    if unknown := [name for name in found if name not in names]:
        raise InputError(f"{listed}: does not name the class folder {unknown[0]!r}; add its line")
    return names


def _published(kind: str, folder: Path, split: str) -> LabelledImages:
    form = _PUBLISHED[kind]
    if split not in form["splits"]:
        raise InputError(f"{kind}: no split {split!r}; it has {', '.join(form['splits'])}")
    try:
        read = _from_torchvision if "class" in form else _from_cifar
        return LabelledImages(kind, *read(form, folder, form["splits"][split]))
    except (RuntimeError, FileNotFoundError):
        source = f"get it from {form['home']} and unpack it there"
        raise InputError(f"{folder}: no {kind} in it; {source}") from None
    except ImportError:
        raise InputError(f"{kind}: reading its labels needs scipy; pip install scipy") from None


Parts = tuple[list[str], Tensor, Callable[[int], Image.Image]]  # classes, labels, open


def _from_torchvision(form: dict[str, Any], folder: Path, split: str) -> Parts:
    import torchvision.datasets

    data = getattr(torchvision.datasets, form["class"])(str(folder), split=split)
    listed = getattr(data, form["labels"])  # opening each picture for its label would take minutes
    labels = torch.tensor([row[-1] if isinstance(row, tuple) else row for row in listed])
    names = [str(name).replace("_", " ") for name in data.classes]
    return names, labels, lambda i: data[i][0].convert("RGB")


def _from_cifar(form: dict[str, Any], folder: Path, split: list[str]) -> Parts:
    """Read CIFAR's binary version: bytes of labels, then the picture by planes."""
    place, first = folder / form["folder"], form["label_bytes"]
    names = (place / form["names"]).read_text().replace("_", " ").split("\n")
    data = np.concatenate([np.fromfile(place / name, np.uint8) for name in split])
    if len(data) % (width := first + 3 * _SIDE**2):
        raise InputError(f"{place}: not a whole number of pictures; get it again")
    rows = data.reshape(-1, width)
    labels = torch.from_numpy(rows[:, first - 1].astype(np.int64))
    pixels = rows[:, first:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    return list(filter(str.strip, names)), labels, lambda i: Image.fromarray(pixels[i])
