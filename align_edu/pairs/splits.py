"""Retrieval benchmarks in Karpathy's JSON: COCO, Flickr30K and the toy world's."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align_edu.io import InputError, read_json
from align_edu.pairs.files import is_safe_name, whole_text

TRAINING = ("train", "restval")  # paper: Section 5.1; COCO keeps restval for training


@dataclass(frozen=True)
class Benchmark:
    """I images, their T texts, and which belongs to which."""

    images: list[Path]
    texts: list[str]  # image by image
    text_to_image: list[int]  # text t describes images[text_to_image[t]]
    held_out: list[bool]  # of each image: what it shows is never trained on
    text_ids: list[int] = field(default_factory=list)  # `sentid`; counted from 0 where missing


def read_split(path: str | Path, split: str | Sequence[str] = "test") -> Benchmark:
    """Read one split of a retrieval benchmark in Karpathy's JSON form.

    path: a folder that holds one dataset_*.json, or that file. The images lie beside it, in
    `images/`, or in COCO's `filepath` folder (train2014, val2014) in either. split: "train",
    "restval" (COCO), "val" or "test", or several of them.

    Raises InputError if the JSON is missing or broken, the split is unknown, an image file is
    missing, or an image has no text.

    Paper: Section 4.2; the Karpathy splits are those of Table 1.

    >>> import json, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "1.jpg").write_bytes(b"")
    >>> entry = {"filename": "1.jpg", "split": "test", "sentences": [{"raw": "a red cat"}]}
    >>> _ = (folder / "dataset_toy.json").write_text(json.dumps({"images": [entry]}))
    >>> read_split(folder).texts
    ['a red cat']
    """
    path, splits = _json_file(Path(path)), [split] if isinstance(split, str) else split
    whole = read_json(path)
    entries = whole.get("images") if isinstance(whole, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path}: not Karpathy's form, which has a list `images` of objects")
    chosen = [entry for name in splits for entry in entries if entry.get("split") == name]
    if not chosen:
        found = ", ".join(sorted({str(entry.get("split")) for entry in entries})) or "none"
        raise InputError(f"{path}: no image of split {splits[0]!r}; it has these splits: {found}")
    read = Benchmark([], [], [], [bool(entry.get("held_out", False)) for entry in chosen])
    for number, entry in enumerate(chosen):
        read.images.append(_image_file(path, entry))
        for text, sentence in _texts(path, entry):
            read.text_ids.append(sentence.get("sentid", len(read.texts)))
            read.texts.append(text)
            read.text_to_image.append(number)
    if missing := [image for image in read.images if not image.is_file()]:
        count = f"{len(missing)} of {len(read.images)}"
        raise InputError(f"{path}: {count} images are missing, such as {missing[0]}; add them")
    return read


def is_benchmark(path: Path) -> bool:
    """Return True for a path that has the name of a benchmark in Karpathy's form."""
    return any(path.glob("dataset*.json")) if path.is_dir() else path.suffix == ".json"


def _json_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{path}: no such benchmark; give a folder with a dataset_*.json")
    found = sorted(path.glob("dataset*.json"))
    if len(found) != 1:
        raise InputError(f"{path}: needs one dataset_*.json in it, found {len(found)}")
    return found[0]


def _image_file(path: Path, entry: dict[str, Any]) -> Path:
    name = entry.get("filename")
    if not isinstance(name, str) or not name:
        raise InputError(f"{path}: an image without `filename`")
    inner = f"{entry['filepath']}/{name}" if entry.get("filepath") else name
    if not is_safe_name(inner):
        raise InputError(f"{path}: the file name {inner!r} points outside the benchmark")
    places = [path.parent / place / of for of in (name, inner) for place in ("images", "")]
    exists = os.path.isfile  # False for a name that is too long, too
    return next(filter(exists, places), places[0])


def _texts(path: Path, entry: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the text of each sentence, or its words where it has no text; and the sentence."""
    texts = []
    with suppress(AttributeError, KeyError, TypeError):
        for sentence in entry["sentences"]:
            raw = sentence.get("raw")
            text = " ".join(sentence["tokens"]) if raw is None else str(raw)
            texts.append((whole_text(text).strip(), sentence))
        if texts and all(text for text, _ in texts):
            return texts
    raise InputError(f"{path}: {entry['filename']} has no sentences or an empty one")
