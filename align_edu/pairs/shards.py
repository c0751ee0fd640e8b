"""Image-text pairs in shards of img2dataset's webdataset layout, read at random by offset."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from align_edu.io import InputError
from align_edu.pairs.captions import BROKEN_ROWS, our_names
from align_edu.pairs.splits import TRAINING, is_benchmark, read_split
from align_edu.pairs.table import KEPT_PAIRS, SHARD, SOURCE, read_pairs
from align_edu.pairs.tar_index import Member, group_members, whole_text

TWO_TEXTS = "caption in KEY.json that differs from KEY.txt, which is used"
Place = tuple[Path, int, int]  # a part of a file: path, offset and size in bytes


@dataclass
class PairSource:
    """Pairs in tar shards: captions in memory, images read one at a time from disk.

    Holds no open file, so threads and forked or spawned processes may share it.
    captions, keys, names: of the N texts, pairs (as in the shards' tables) and image files.
    skipped: reason -> number of members or shards that could not be used.
    """

    captions: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    shards: list[Path] = field(default_factory=list)
    places: np.ndarray = field(default_factory=lambda: np.empty((0, 3), np.int64))  # see `place`

    def __len__(self) -> int:
        return len(self.captions)

    def image_bytes(self, i: int) -> bytes:
        """Read the i-th image's file, still encoded."""
        return read_part(*self.place(i))

    def numbers(self) -> dict[str, int]:
        """Return SHARD/KEY -> i; the name of the shard makes each key unique."""
        shards = [self.shards[shard].stem for shard in self.places[:, 0]]
        return {f"{shard}/{key}": i for i, (shard, key) in enumerate(zip(shards, self.keys))}

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


def open_pairs(paths: Sequence[str | Path], *, texts: bool = True) -> PairSource:
    """Index the pairs of shards, so that each can be read at random.

    A pair is an image (with an ending of `SUFFIXES`) and a text that share a key. The text is
    KEY.txt, and where that is missing the caption in KEY.json; of a filter's output it is the
    text that the filter judged. Everything else is counted in `skipped`: "missing text", "missing
    image", "empty text", "text is not UTF-8", "repeated key", "unsafe name" (absolute, or with
    ".."), "kept pair not in the shards", `TWO_TEXTS` (the pair is used), and what each damaged or
    short shard lacks.

    paths: folders of .tar shards, single .tar files, the output of `filter_pairs` (its folder or
    its pairs.parquet; the images are read from its source shards), or benchmarks in Karpathy's
    form, of which each text of the train and restval splits is a pair. Pairs follow the order of
    the paths, then of the shards' names. texts: False also takes images without a text, with an
    empty caption. Raises InputError if a path is missing or has no pair.

    >>> import io, tarfile, tempfile
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
    source, places = PairSource(), list[tuple[int, int, int]]()
    for path in map(Path, paths):
        benchmark = is_benchmark(path)
        places += _add_benchmark(source, path) if benchmark else _add_shards(source, path, texts)
    source.places = np.array(places, np.int64)
    return source


def _add_benchmark(source: PairSource, path: Path) -> list[tuple[int, int, int]]:
    """Add the training pairs of a benchmark; each image file counts as a shard of one image."""
    split = read_split(path, TRAINING)
    first, sizes = len(source.shards), [image.stat().st_size for image in split.images]
    files = [split.images[image] for image in split.text_to_image]
    source.shards += split.images
    source.captions += split.texts
    source.keys += [f"{file.stem}#{number}" for number, file in enumerate(files)]
    source.names += [file.name for file in files]
    return [(first + image, 0, sizes[image]) for image in split.text_to_image]


def _add_shards(source: PairSource, path: Path, texts: bool) -> list[tuple[int, int, int]]:
    """Add the pairs of a folder of shards, of one shard, or of a filter's output."""
    before, places = source.skipped.copy(), list[tuple[int, int, int]]()
    kept, folder = _kept_texts(path) if is_filtered(path) else (None, path)
    one = folder.suffix == ".tar" and folder.is_file()
    shards = [folder] if one else sorted(folder.glob("*.tar"))
    if not shards:
        what = "no .tar shard in it" if folder.exists() else "no such folder or shard"
        raise InputError(f"{folder}: {what}; give a folder of .tar shards")
    unseen = 0 if kept is None else sum(map(len, kept.values()))
    for shard in shards:
        keep = None if kept is None else kept.get(shard.stem, kept.get(None, {}))
        members = group_members(shard, source.skipped, keep)
        if texts and keep is None:
            _count_two_texts(shard, members, source.skipped)
        places += _add_shard(source, shard, members, keep, texts)
        unseen -= 0 if keep is None else len(members)
    if unseen > 0:
        source.skipped["kept pair not in the shards"] += unseen
    if places:
        return places
    skipped = source.skipped - before
    if set(skipped) == {"missing text"}:
        raise InputError(f"{path}: its shards have no texts; each KEY.jpg needs a KEY.txt")
    reasons = ", ".join(f"{count} x {reason}" for reason, count in skipped.items())
    raise InputError(f"{path}: no image-text pair in its shards ({reasons or 'they are empty'})")


def _add_shard(
    source: PairSource,
    shard: Path,
    members: dict[str, dict[str, Member]],
    keep: Mapping[str, str] | None,
    texts: bool,
) -> list[tuple[int, int, int]]:
    places = []
    with shard.open("rb") as file:
        for key, parts in members.items():
            caption, reason = "", "missing image"
            if "image" in parts and keep is not None:
                caption, reason = keep[key], "empty text"
            elif "image" in parts:
                caption, reason = _text(file.fileno(), parts)
            if not caption and (texts or "image" not in parts):
                source.skipped[reason] += 1
                continue
            name, offset, size = parts["image"]
            source.captions.append(caption)
            source.keys.append(key)
            source.names.append(name)
            places.append((len(source.shards), offset, size))
    source.shards.append(shard)
    return places


def _text(handle: int, parts: dict[str, Member]) -> tuple[str, str]:
    """Return a pair's text, and why it is empty if it is."""
    kind = "txt" if "txt" in parts else "json"
    if kind not in parts:
        return "", "missing text"
    _, offset, size = parts[kind]
    data = os.pread(handle, size, offset)
    try:
        if kind == "txt":
            return data.decode("utf-8").strip(), "empty text"
        values = json.loads(data)
        text = dict(zip(our_names(list(values)), values.values())).get("caption")
        return whole_text(text or "").strip(), "missing text"
    except BROKEN_ROWS:
        return "", "text is not UTF-8" if kind == "txt" else "unreadable JSON"


def _count_two_texts(
    shard: Path, members: dict[str, dict[str, Member]], faults: Counter[str]
) -> None:
    """Count the pairs of a shard whose KEY.txt and KEY.json hold different texts."""
    with shard.open("rb") as file:
        for parts in members.values():
            if {"txt", "json"} <= parts.keys():
                txt, other = (_text(file.fileno(), {k: parts[k]})[0] for k in ("txt", "json"))
                faults.update([TWO_TEXTS] if txt and other and txt != other else [])


def shard_faults(shard: Path) -> Counter[str]:
    """Count by reason what a shard lacks and, if its table was read from the tar, two texts."""
    faults = Counter[str]()
    members = group_members(shard, faults)
    if shard.is_file() and not shard.with_suffix(".parquet").is_file():
        _count_two_texts(shard, members, faults)
    return faults


def is_filtered(path: Path) -> bool:
    """Return True for the output of `filter_pairs`: its folder or its pairs.parquet."""
    return (path / KEPT_PAIRS).is_file() or (path.name == KEPT_PAIRS and path.is_file())


def _kept_texts(path: Path) -> tuple[dict[str | None, dict[str, str]], Path]:
    """Return shard -> key -> text of a filter's output, and where its shards are.

    The shard is None where the table does not name it: all its keys are of one shard.
    """
    table, folder = read_pairs(path), _source(path)
    if "key" not in table.column_names:
        raise InputError(f"{path}: no column `key`, so its images cannot be found in shards")
    shards = table[SHARD].to_pylist() if SHARD in table.column_names else [None] * len(table)
    kept: dict[str | None, dict[str, str]] = {}
    for shard, key, text in zip(shards, table["key"].to_pylist(), table["caption"].to_pylist()):
        kept.setdefault(shard, {})[str(key)] = (text or "").strip()
    return kept, folder


def _source(path: Path) -> Path:
    """Return the folder of shards from which a filter's output was made."""
    folder = path if path.is_dir() else path.parent
    metadata = pa.parquet.read_schema(folder / KEPT_PAIRS).metadata or {}
    if SOURCE not in metadata:
        raise InputError(f"{folder}: made from a table without shards, so it has no images")
    places = json.loads(metadata[SOURCE])
    for place in (folder / places["relative"], Path(places["absolute"])):
        if place.exists():
            return place.resolve()
    raise InputError(
        f"{folder}: its shards are gone from {folder / places['relative']}; put them back there"
    )


def shards_of(pairs: str | Path | pa.Table) -> Path | None:
    """Find the images of a table of pairs: a folder of shards or one tar; None without."""
    if isinstance(pairs, pa.Table):
        return None
    path = Path(pairs)
    if is_filtered(path):
        with suppress(InputError):  # made from a table without shards, or they are gone
            return _source(path)
        return None
    if path.with_suffix(".tar").is_file():
        return path.with_suffix(".tar").resolve()
    folder = path if path.is_dir() else path.parent
    return folder.resolve() if any(folder.glob("*.tar")) else None
