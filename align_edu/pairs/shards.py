"""Image-text pairs in shards of img2dataset's webdataset layout, read at random by offset."""

import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from align_edu.io import InputError
from align_edu.pairs.splits import is_benchmark, read_training_split
from align_edu.pairs.table import filtered_keys, filtered_source, is_filtered
from align_edu.pairs.tar_index import is_safe_name, tar_members

IMAGES = (".jpg", ".jpeg", ".png", ".webp")
TEXT = ".txt"
Place = tuple[Path, int, int]  # a part of a file: path, offset and size in bytes
_Part = tuple[int, int]  # offset and size in bytes inside a shard


@dataclass
class PairSource:
    """Pairs in tar shards: captions in memory, images read one at a time from disk.

    Holds no open file, so threads and forked or spawned processes may share it.

    Attributes
    ----------
    captions : N alt-texts.
    keys : N keys, as in the shards' tables.
    skipped : reason -> number of members or shards that could not be used.
    names : N names of the images in their shards.
    """

    captions: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    shards: list[Path] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    places: np.ndarray = field(default_factory=lambda: np.empty((0, 3), np.int64))

    def __len__(self) -> int:
        return len(self.captions)

    def image_bytes(self, i: int) -> bytes:
        """Read the i-th image's file, still encoded."""
        return read_part(*self.place(i))

    def place(self, i: int) -> Place:
        """Return the shard of the i-th image, and its offset and size in bytes."""
        shard, offset, size = self.places[i].tolist()
        return self.shards[shard], offset, size


def read_part(path: Path, offset: int, size: int) -> bytes:
    """Read `size` bytes of a file from `offset` on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.pread(handle, size, offset)
    finally:
        os.close(handle)


def open_pairs(paths: Sequence[str | Path]) -> PairSource:
    """Index the pairs of shards, so that each can be read at random.

    A pair is an image (.jpg, .jpeg, .png, .webp) and a non-empty UTF-8 text (.txt) that share
    a key. Everything else is counted in `skipped`: "missing text", "missing image", "empty
    text", "text is not UTF-8", "repeated key", "unsafe name" (absolute, or with ".."),
    "unreadable shard" (pairs before the damage are kept), "kept pair not in the shards".

    Parameters
    ----------
    paths : folders of .tar shards, single .tar files, the output of `filter_pairs` (its
        folder or its pairs.parquet; it reads the images from its source shards), or benchmarks
        in Karpathy's form, of which each text of the train and restval splits is a pair. Pairs
        follow the order of the paths, then of the shards' names.

    Raises
    ------
    InputError if a path is missing, holds no shard, or has no pair.

    >>> import io, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with tarfile.open(folder / "00000.tar", "w") as tar:
    ...     for name, data in [("7.jpg", b"..."), ("7.txt", b"a red cat"), ("8.jpg", b"...")]:
    ...         member = tarfile.TarInfo(name)
    ...         member.size = len(data)
    ...         tar.addfile(member, io.BytesIO(data))
    >>> pairs = open_pairs([folder])
    >>> pairs.captions, pairs.names, dict(pairs.skipped)
    (['a red cat'], ['7.jpg'], {'missing text': 1})
    """
    if isinstance(paths, (str, Path)):
        paths = [paths]
    source = PairSource()
    places: list[tuple[int, int, int]] = []
    for path in map(Path, paths):
        pairs, skipped = len(places), source.skipped.copy()
        if is_benchmark(path):
            _add_benchmark(source, places, path)
            continue
        filtered = is_filtered(path)
        shards = _shards(filtered_source(path) if filtered else path)
        keep = filtered_keys(path) if filtered else None
        unseen = set(keep or ())
        for shard in shards:
            unseen -= _add_shard(source, places, shard, keep)
        if unseen:
            source.skipped["kept pair not in the shards"] += len(unseen)
        if len(places) == pairs:
            raise InputError(_nothing(path, source.skipped - skipped))
    source.places = np.array(places, np.int64).reshape(-1, 3)
    return source


def _shards(path: Path) -> list[Path]:
    if path.is_file() and path.suffix == ".tar":
        return [path]
    if not path.exists():
        raise InputError(f"{path}: no such folder or shard; give a folder of .tar shards")
    shards = sorted(path.glob("*.tar")) if path.is_dir() else []
    if not shards:
        raise InputError(f"{path}: no .tar shard in it; give a folder of .tar shards")
    return shards


def _add_benchmark(source: PairSource, places: list[tuple[int, int, int]], path: Path) -> None:
    """Add the training pairs of a benchmark; each image file counts as a shard of one image."""
    split = read_training_split(path)
    first = len(source.shards)
    sizes = [image.stat().st_size for image in split.images]
    source.shards += split.images
    for number, (image, text) in enumerate(zip(split.text_to_image, split.texts, strict=True)):
        source.captions.append(text)
        source.keys.append(f"{split.images[image].stem}#{number}")
        source.names.append(split.images[image].name)
        places.append((first + image, 0, sizes[image]))


def _nothing(path: Path, skipped: Counter[str]) -> str:
    if skipped and set(skipped) == {"missing text"}:
        return f"{path}: its shards have images but no texts; each KEY.jpg needs a KEY.txt"
    reasons = ", ".join(f"{count} x {reason}" for reason, count in skipped.items())
    return f"{path}: no image-text pair in its shards ({reasons or 'they are empty'})"


def _add_shard(
    source: PairSource, places: list[tuple[int, int, int]], shard: Path, keep: set[str] | None
) -> set[str]:
    """Add one shard's pairs to the source; return the keys that it holds."""
    images, texts = _group(shard, source.skipped, keep)
    if not images and not texts:
        return set()
    source.shards.append(shard)
    number = len(source.shards) - 1
    with shard.open("rb") as file:
        for key in {**images, **texts}:
            caption = _caption(file.fileno(), images.get(key), texts.get(key), source.skipped)
            if caption is not None:
                name, place = images[key]
                source.captions.append(caption)
                source.keys.append(key)
                source.names.append(name)
                places.append((number, *place))
    return images.keys() | texts.keys()


def _group(
    shard: Path, skipped: Counter[str], keep: set[str] | None
) -> tuple[dict[str, tuple[str, _Part]], dict[str, _Part]]:
    """Find the shard's images and texts by key, which ends at the name's first dot."""
    images: dict[str, tuple[str, _Part]] = {}
    texts: dict[str, _Part] = {}
    try:
        for name, offset, size in tar_members(shard):
            folder, _, file = name.rpartition("/")
            stem, _, ending = file.partition(".")
            ending = "." + ending.lower()
            if ending != TEXT and ending not in IMAGES:
                continue
            key = stem if folder in ("", ".") else f"{folder}/{stem}"
            if not is_safe_name(name):
                skipped["unsafe name"] += 1
            elif keep is not None and key not in keep:
                continue
            elif key in (texts if ending == TEXT else images):
                skipped["repeated key"] += 1
            elif ending == TEXT:
                texts[key] = (offset, size)
            else:
                images[key] = (name, (offset, size))
    except (tarfile.TarError, OSError):
        skipped["unreadable shard"] += 1
    return images, texts


def _caption(
    handle: int, image: tuple[str, _Part] | None, text: _Part | None, skipped: Counter[str]
) -> str | None:
    """Read the text of a complete pair; count the reason and return None for any other."""
    if image is None or text is None:
        skipped["missing image" if image is None else "missing text"] += 1
        return None
    offset, size = text
    try:
        caption = os.pread(handle, size, offset).decode("utf-8").strip()
    except UnicodeDecodeError:
        skipped["text is not UTF-8"] += 1
        return None
    if not caption:
        skipped["empty text"] += 1
    return caption or None
