"""Pictures with classes: folders of class folders, and known data sets that are on disk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from align_edu.evaluation.embed import PICTURES, Encoder
from align_edu.evaluation.prompts import read_templates
from align_edu.io import InputError
from align_edu.pairs.images import BrokenImage, decode_image, find_images


@dataclass(frozen=True)
class LabelledImages:
    """Pictures and the class of each.

    Attributes
    ----------
    name : what the data is called.
    classes : K names, as words of a prompt.
    labels : (N,) int64, below K.
    open : opens picture i, RGB.
    templates : prompts that fit the data; empty where it brings none.
    """

    name: str
    classes: list[str]
    labels: Tensor
    open: Callable[[int], Image.Image]
    templates: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)


def read_labelled(path: str | Path, split: str = "test") -> LabelledImages:
    """Read labelled pictures.

    Parameters
    ----------
    path : a folder PATH/SPLIT/CLASS/picture, or PATH/CLASS/picture where there are no splits.
        `classes.txt` in PATH (a line each: folder, tab, words) orders and words the classes;
        without it they are the sorted folder names, _ as a space. `templates.txt` holds prompts.
        Or NAME:FOLDER for a data set on disk: see `align_edu.evaluation.datasets`.
    split : "train", "val" or "test".

    Returns
    -------
    LabelledImages, class by class, files sorted.

    Raises
    ------
    InputError for a folder that is missing, has no such split, no class folder or no picture,
        and for a class folder that classes.txt does not name.

    Paper: Section 4.3.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("red_cat", "dog"):
    ...     (folder / "test" / name).mkdir(parents=True)
    ...     Image.new("RGB", (8, 8)).save(folder / "test" / name / "1.png")
    >>> data = read_labelled(folder)
    >>> data.classes, data.labels.tolist(), data.open(1).size
    (['dog', 'red cat'], [0, 1], (8, 8))
    """
    if ":" in str(path) and not Path(path).exists():
        from align_edu.evaluation.datasets import read_dataset

        return read_dataset(str(path), split)
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a folder of class folders")
    inside = _split_folder(folder, split)
    names = _class_names(folder, inside)
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = find_images(inside / name)
        files += found
        labels += [label] * len(found)
    if not files:
        raise InputError(
            f"{inside}: no picture in its class folders; files must end in .jpg, .png …"
        )
    templates = folder / "templates.txt"
    return LabelledImages(
        folder.resolve().name,
        list(names.values()),
        torch.tensor(labels),
        lambda i: _open(files[i]),
        read_templates(templates) if templates.is_file() else [],
    )


def embed_labelled(run: Encoder, data: LabelledImages, *, progress: bool = False) -> Tensor:
    """Return the embeddings of all pictures: (N, D) float32 on the CPU.

    run: a trained run, see `load_run`. Raises InputError for a broken picture.
    """
    parts = []
    with tqdm(total=len(data), desc=f"embedding {data.name}", disable=not progress) as bar:
        for start in range(0, len(data), PICTURES):
            rows = range(start, min(start + PICTURES, len(data)))
            pictures = [data.open(i) for i in rows]
            parts.append(run.encode_images(pictures).detach().float().cpu())
            bar.update(len(rows))
    return torch.cat(parts)  # (N, D)


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
    """Folder -> words, in the order of the labels."""
    there = sorted(f.name for f in inside.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not there:
        raise InputError(f"{inside}: no class folder in it; give one folder a class")
    listed = folder / "classes.txt"
    if not listed.is_file():
        return {name: name.replace("_", " ") for name in there}
    names = _listed(listed, listed.read_text(encoding="utf-8").splitlines())
    for name in there:
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
