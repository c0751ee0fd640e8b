"""Shards in img2dataset's webdataset layout: read at random by offset, and written."""

import hashlib
import io
import json
import os
import re
import tarfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from tqdm import tqdm

from align_edu.io import InputError, only_writer, write_json, written_whole
from align_edu.pairs.files import Members, group_members, read_text_table, read_texts, table_of
from align_edu.pairs.images import SUFFIXES, BrokenImage, decode_image, find_images
from align_edu.pairs.splits import TRAINING, is_benchmark, read_split
from align_edu.pairs.table import SHARD, is_filtered, read_pairs, shards_folder, tidy

SHARD_PAIRS = 10_000
Pair = tuple[dict[str, Any], str, bytes]  # a row of a table, and the ending and bytes of a file
Place = tuple[Path, int, int]  # a part of a file: path, offset and size in bytes
_STRINGS, _NUMBERS = ("caption", "key", "name"), ("shard", "offset", "size")
_TYPES = dict.fromkeys(_STRINGS, pa.large_string()) | dict.fromkeys(_NUMBERS, pa.int64())
_SCHEMA = pa.schema(list(_TYPES.items()))


class Texts(Sequence[str]):
    """Strings in one Arrow array: a list of a million takes twice the memory, in each worker."""

    def __init__(self, array: pa.LargeStringArray) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, i: Any) -> Any:
        return self.array[i].to_pylist() if isinstance(i, slice) else self.array[i].as_py()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __arrow_array__(self, type: Any = None) -> pa.LargeStringArray:
        return self.array


@dataclass
class PairSource:
    """Pairs in tar shards: captions in memory, images read one at a time from disk.

    Holds no open file, so threads and forked or spawned processes may share it.
    captions, keys, names: of the N texts, pairs (as in the shards' tables) and image files.
    skipped: reason -> number of members or shards that could not be used.
    """

    captions: Sequence[str] = ()
    keys: Sequence[str] = ()
    names: Sequence[str] = ()
    skipped: Counter[str] = field(default_factory=Counter)
    shards: list[Path] = field(default_factory=list)
    places: np.ndarray = field(default_factory=lambda: np.empty((0, 3), np.int64))  # see `place`

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
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), size, offset)


def open_pairs(paths: Sequence[str | Path], *, texts: bool = True) -> PairSource:
    """Index the pairs of shards, so that each can be read at random.

    A pair is an image and a text that share a key. The text is KEY.txt, and where that is missing
    the caption in KEY.json; of a filter's output it is the text that the filter judged. All else
    is counted by reason in `skipped`, and what a damaged, short or missing shard lacks.

    paths: folders of .tar shards, single .tar files, the output of `filter_pairs` (its folder or
    its pairs.parquet; the images are read from its source shards), or benchmarks in Karpathy's
    form, of which each text of the train and restval splits is a pair. Pairs follow the order of
    the paths, then of the shards' names. texts: False takes all images, with empty captions.
    Raises InputError if a path is missing or has no pair.

    >>> import tempfile
    >>> from align_edu import World
    >>> folder = World(seed=1).write(Path(tempfile.mkdtemp()) / "raw", 2)
    >>> len(open_pairs([folder]))
    2
    """
    if isinstance(paths, (str, Path)):
        paths = [paths]
    source, tables = PairSource(), [_SCHEMA.empty_table()]
    for path in map(Path, paths):
        if is_benchmark(path):
            tables.append(_benchmark_pairs(source, path))
        else:
            tables += _shard_pairs(source, path, texts)
    pairs = pa.concat_tables(tables)
    columns = (Texts(pairs[name].combine_chunks()) for name in _STRINGS)
    source.captions, source.keys, source.names = columns
    source.places = np.stack([pairs[name].to_numpy() for name in _NUMBERS], axis=1)
    return source


def _benchmark_pairs(source: PairSource, path: Path) -> pa.Table:
    """Return the training pairs of a benchmark; each image file counts as a shard of one image."""
    split, rows = read_split(path, TRAINING), []
    for number, (text, image) in enumerate(zip(split.texts, split.text_to_image, strict=True)):
        file, shard = split.images[image], len(source.shards) + image
        name = os.fsencode(file.name).decode("utf-8", "replace")
        rows.append((text, f"{Path(name).stem}#{number}", name, shard, 0, file.stat().st_size))
    source.shards += split.images
    return _table(rows)


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(_SCHEMA.names, row)) for row in rows], _SCHEMA)


def _shard_pairs(source: PairSource, path: Path, texts: bool) -> list[pa.Table]:
    """Return the pairs of a folder of shards, of one shard, or of a filter's output."""
    before, tables = source.skipped.copy(), []
    kept, folder = _kept_texts(path) if is_filtered(path) else (None, path)
    shards = {folder} if folder.suffix == ".tar" and folder.is_file() else {*folder.glob("*.tar")}
    if texts and kept is None and folder.is_dir():  # a shard of which only the table is left
        shards |= {table.with_suffix(".tar") for table in folder.glob("*.parquet")}
    if not shards:
        what = "no .tar shard in it" if folder.exists() else "no such folder or shard"
        raise InputError(f"{folder}: {what}; give a folder of .tar shards")
    no_texts = pa.table({"key": [], "caption": []})
    unseen = sum(map(len, (kept or {}).values()))
    for shard in sorted(shards):
        keep = None
        if kept is not None:
            some = kept.get(shard.stem, kept.get(None, no_texts))
            keep = dict(zip(map(str, some["key"].to_pylist()), some["caption"].to_pylist()))
        members = group_members(shard, source.skipped, keep)
        tables.append(_table(_rows(source, shard, members, keep, texts) if members else []))
        source.shards.append(shard)
        unseen -= len(members)
    if unseen > 0:
        source.skipped["kept pair not in the shards"] += unseen
    if any(map(len, tables)):
        return tables
    skipped = source.skipped - before
    if set(skipped) == {"missing text"}:
        raise InputError(f"{path}: its shards have no texts; each KEY.jpg needs a KEY.txt")
    reasons = ", ".join(f"{count} x {reason}" for reason, count in skipped.items())
    raise InputError(f"{path}: no image-text pair in its shards ({reasons or 'they are empty'})")


def _rows(
    source: PairSource, shard: Path, members: Members, keep: dict[str, str] | None, texts: bool
) -> list[tuple[Any, ...]]:
    """Return the pairs of a shard; count the others."""
    found = read_texts(shard, members, source.skipped)
    if keep is not None or not texts:
        found = ((key, {"caption": (keep or {}).get(key)}, "empty text") for key in members)
    rows = []
    for key, row, why in found:
        text, image = row.get("caption"), members[key].get("image")
        text = text.strip() if isinstance(text, str) else ""
        if image and (text or not texts):
            rows.append((text, key, image[0], len(source.shards), *image[1:]))
        else:
            source.skipped[why if image else "missing image"] += 1
    return rows


def shard_faults(shard: Path) -> Counter[str]:
    """Count by reason what a shard lacks and, if its table was read from the tar, two texts."""
    faults = Counter[str]()
    members = group_members(shard, faults)
    if members and not shard.with_suffix(".parquet").is_file():
        deque(read_texts(shard, members, faults), maxlen=0)
    return faults


def _kept_texts(path: Path) -> tuple[dict[str | None, pa.Table], Path]:
    """Return shard (None: the table names none) -> kept keys and texts; and the shards' folder."""
    table, folder = read_pairs(path), shards_folder(path)
    if "key" not in table.column_names:
        raise InputError(f"{path}: no column `key`, so its images cannot be found in shards")
    texts = table.select(["key", "caption"])
    if SHARD not in table.column_names:
        return {None: texts}, folder
    shards = table[SHARD].combine_chunks().dictionary_encode()
    rows = shards.indices.to_numpy()
    names = enumerate(shards.dictionary.to_pylist())
    return {name: texts.take(np.flatnonzero(rows == number)) for number, name in names}, folder


def write_shards(
    folder: Path, captions: Path, out: Path, *, progress: bool = False
) -> tuple[int, Counter[str]]:
    """Write a folder of pictures with their captions as shards that img2dataset could have made.

    captions: what `read_text_table` reads, with the names of files in the folder; a picture with
    several captions becomes several pairs. Returns the number of pairs, and reason -> number of
    captions and files that are in none. Raises InputError if `out` is in use or there is no pair.
    """
    endings = f"({'|'.join(map(re.escape, SUFFIXES))})$"
    table = tidy(read_text_table(captions, "file", endings), captions)
    if not {"file", "caption"} <= set(table.column_names):
        raise InputError(f"{captions}: needs the columns file and caption; name them in a header")
    rows = [(folder / str(row["file"]), row["caption"]) for row in table.to_pylist()]
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of the pictures")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not empty; give a new folder for the shards")
    skipped, done = Counter[str](), 0
    unnamed = {file.resolve() for file in find_images(folder, skipped)}
    skipped["picture without a caption"] += len(
        unnamed - {file.resolve() for file, _ in rows if "\0" not in str(file)}
    )
    pairs = _pairs(tqdm(rows, disable=not progress), skipped)
    with only_writer(out):
        for number in range(len(rows) // SHARD_PAIRS + 1):
            done += write_shard(out / f"{number:05d}.tar", islice(pairs, SHARD_PAIRS))
    if not done:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in (+skipped).items())
        raise InputError(f"{captions}: no caption of a picture in {folder} ({reasons})")
    return done, +skipped


def _pairs(rows: Iterable[tuple[Path, object]], skipped: Counter[str]) -> Iterator[Pair]:
    """Yield the pairs of a caption and a picture that can be decoded; count the others."""
    done = count()
    for file, text in rows:
        caption = str(text or "").strip()
        try:
            data = file.read_bytes()
            width, height = decode_image(data).size
        except (OSError, ValueError) as error:
            broken = isinstance(error, BrokenImage)
            skipped[f"broken picture ({error})" if broken else "caption of a missing file"] += 1
            continue
        if not caption:
            skipped["empty caption"] += 1
            continue
        shard, number = divmod(next(done), SHARD_PAIRS)
        row: dict[str, Any] = {"key": f"{shard:05d}{number:04d}", "caption": caption}
        row |= {"url": file.as_posix(), "original_width": width, "original_height": height}
        row |= {"sha256": hashlib.sha256(data).hexdigest(), "status": "success"}
        ending = file.suffix.lower()
        yield row, ending if ending in SUFFIXES else ".jpg", data  # read by its content


def write_shard(tar: Path, pairs: Iterable[Pair], **types: pa.DataType) -> int:
    """Write pairs as tar, stats and table, if there are any; return their number.

    types: of those columns of the table that Arrow would give another type.
    """
    if not (rows := write_tar(tar, pairs)):
        tar.unlink()
        return 0
    counts = {"count": len(rows), "successes": len(rows), "failed_to_download": 0}
    more = {"failed_to_resize": 0, "status_dict": {"success": len(rows)}}
    write_json(tar.with_name(f"{tar.stem}_stats.json"), counts | more)
    table = table_of(rows)
    schema = pa.schema([(f.name, types.get(f.name, f.type)) for f in table.schema])
    with written_whole(tar.with_suffix(".parquet")) as beside:
        pa.parquet.write_table(table.cast(schema), beside)
    return len(rows)


def write_tar(path: Path, pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """Write pairs as a tar of KEY.jpg, KEY.txt and KEY.json for each; return the rows."""
    rows = []
    with (
        written_whole(path) as beside,
        tarfile.open(beside, "w", format=tarfile.USTAR_FORMAT) as tar,  # twice the default's speed
    ):
        for row, ending, picture in pairs:
            text, values = row["caption"].encode(), json.dumps(row).encode()
            for suffix, content in ((ending, picture), (".txt", text), (".json", values)):
                member = tarfile.TarInfo(row["key"] + suffix)  # time, owner and group stay 0
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            rows.append(row)
    return rows
