"""Files of captions (TSV, CSV, JSON lines), and shards made of photographs with such a file."""

import csv
import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from tqdm import tqdm

from align_edu.io import InputError, only_writer, write_json, written_whole
from align_edu.pairs.images import SUFFIXES, BrokenImage, decode_image, find_images
from align_edu.pairs.tar_index import whole_text

# Our columns and what others call them, in any case: img2dataset, LAION, COYO, CC12M, DataComp.
NAMES = {
    "caption": ("caption", "text", "alt_text", "alt-text", "alt", "top_caption"),
    "url": ("url", "image_url", "img_url"),
    "original_width": ("original_width", "width"),
    "original_height": ("original_height", "height"),
    "nsfw": ("nsfw", "nsfw_score_opennsfw2", "nsfw_score"),
    "file": ("file", "filename", "file_name", "filepath", "image", "image_path", "path", "name"),
}
SHARD_PAIRS = 10_000
# What JSON and tables of any content raise, nested too deeply or with numbers too large included.
BROKEN_ROWS = (
    *(pa.ArrowException, OSError, ValueError, TypeError, AttributeError, OverflowError),
    *(RecursionError, csv.Error),
)


def our_names(names: list[str]) -> list[str]:
    """Give the columns of other tables our names (`NAMES`), where ours is not taken.

    >>> our_names(["URL", "TEXT", "WIDTH", "similarity"])
    ['url', 'caption', 'original_width', 'similarity']
    >>> our_names(["width", "original_width"])
    ['width', 'original_width']
    """
    return list(_our_names(tuple(names)))


@lru_cache(maxsize=1000)
def _our_names(names: tuple[str, ...]) -> list[str]:
    plain = [name.strip().removeprefix("\ufeff").lower() for name in names]
    ours = list(names)
    for name, others in NAMES.items():
        first = next((other for other in others if other in plain), None)
        if first is not None and name != "file" and name not in names:
            ours[plain.index(first)] = name
    return ours


def read_text_table(path: Path, other: str, looks: str) -> pa.Table:
    """Read a TSV, CSV (.csv) or JSON lines (.jsonl) of captions and their `other` column.

    A first line of names known for both is a header. Without one there are two columns, of which
    `other` is the second, unless only the first matches `looks`. Raises InputError with the row.
    """
    try:
        if path.suffix in (".jsonl", ".ndjson"):
            lines = path.read_text(encoding="utf-8-sig").split("\n")
            return table_of([json.loads(line) for line in lines if line.strip()])
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            tab = path.suffix != ".csv"
            form: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tab else {}
            first = next(csv.reader(file, **form), [])
        plain = [name.strip().lower() for name in first]
        header = all(not set(NAMES[name]).isdisjoint(plain) for name in ("caption", other))
        swap = len(first) == 2 and [bool(re.search(looks, cell)) for cell in plain] == [True, False]
        names = first if header else [other, "caption"] if swap else ["caption", other]
        types = dict.fromkeys(first, pa.string()) if header else dict.fromkeys(names, pa.string())
        quoted = {"quote_char": False, "double_quote": False} if tab else {}
        return pa.csv.read_csv(
            path,
            # One thread, so that errors name the row.
            pa.csv.ReadOptions(use_threads=False, column_names=None if header else names),
            pa.csv.ParseOptions(
                delimiter="\t" if tab else ",", newlines_in_values=not tab, **quoted
            ),
            pa.csv.ConvertOptions(
                column_types={n: types[n] for n in types if n}, strings_can_be_null=False
            ),
        )
    except BROKEN_ROWS as error:
        reason = " ".join(str(error).split(":", 1)[-1].split()).removeprefix("CSV parse error: ")
        raise InputError(
            f"{path}: {reason[:160]}; a table of texts is a TSV, .csv or .jsonl file in UTF-8 with "
            f"a header that names its columns, or with two columns, caption and {other}"
        ) from None


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """Make a table of JSON objects; characters that UTF-8 cannot hold are replaced."""
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            columns[whole_text(name)] = pa.array(values)
        except UnicodeEncodeError:
            columns[whole_text(name)] = pa.array([v and whole_text(v) for v in values])
    return pa.table(columns)


def write_shards(
    folder: Path, captions: Path, out: Path, *, progress: bool = False
) -> tuple[int, Counter[str]]:
    """Write a folder of pictures with their captions as shards that img2dataset could have made.

    captions: what `read_text_table` reads, with the names of files in the folder; a picture with
    several captions becomes several pairs. Returns the number of pairs, and reason -> number of
    captions and files that are in none. Raises InputError if `out` is in use or there is no pair.
    """
    looks = f"({'|'.join(map(re.escape, SUFFIXES))})$"
    table = read_text_table(captions, "file", looks)
    names = our_names(table.column_names)
    plain = [name.strip().lower() for name in names]
    column = next((name for name in NAMES["file"] if name in plain), None)
    if column is None or "caption" not in names:
        raise InputError(f"{captions}: needs the columns file and caption; name them in a header")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of the pictures")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not empty; give a new folder for the shards")
    listed = table.column(plain.index(column)).to_pylist()
    rows = list(zip(listed, table.column(names.index("caption")).to_pylist(), strict=True))
    skipped = Counter[str]()
    files = find_images(folder, skipped)
    unnamed = {file.resolve() for file in files} - {(folder / str(n)).resolve() for n in listed}
    skipped["picture without a caption"] += len(unnamed)
    pairs, done = _pairs(folder, tqdm(rows, disable=not progress), skipped), 0
    with only_writer(out):
        for number in range(len(rows) // SHARD_PAIRS + 1):
            done += _write_shard(out, number, pairs)
    if not done:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in (+skipped).items())
        raise InputError(f"{captions}: no caption of a picture in {folder} ({reasons})")
    return done, +skipped


def _pairs(
    folder: Path, rows: Any, skipped: Counter[str]
) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield a table's row and the file of each picture that can be decoded."""
    for name, caption in rows:
        file, text = folder / str(name), str(caption or "").strip()
        try:
            data = file.read_bytes()
            width, height = decode_image(data).size
        except (OSError, ValueError) as error:
            broken = isinstance(error, BrokenImage)
            skipped[f"broken picture ({error})" if broken else "caption of a missing file"] += 1
            continue
        if not text:
            skipped["empty caption"] += 1
            continue
        row = {"caption": text, "url": file.as_posix(), "original_width": width}
        row |= {"original_height": height, "sha256": hashlib.sha256(data).hexdigest()}
        yield row | {"status": "success"}, data


def _write_shard(out: Path, number: int, pairs: Iterator[tuple[dict[str, Any], bytes]]) -> int:
    """Write up to `SHARD_PAIRS` pairs as tar, stats and table; return their number."""
    first = next(pairs, None)
    if first is None:
        return 0
    shard = out / f"{number:05d}.tar"
    chosen = enumerate(chain([first], islice(pairs, SHARD_PAIRS - 1)))
    rows = write_tar(
        shard,
        (
            ({"key": f"{number:05d}{i:04d}"} | row, Path(row["url"]).suffix.lower(), data)
            for i, (row, data) in chosen
        ),
    )
    write_json(shard.with_name(f"{shard.stem}_stats.json"), {"successes": len(rows)})
    with written_whole(shard.with_suffix(".parquet")) as beside:
        pa.parquet.write_table(table_of(rows), beside)
    return len(rows)


def write_tar(
    path: Path, pairs: Iterable[tuple[dict[str, Any], str, bytes]]
) -> list[dict[str, Any]]:
    """Write pairs as a tar of KEY.jpg, KEY.txt and KEY.json for each; return the rows.

    pairs: each a row of the shard's table, with `key` and `caption`; the ending of its picture's
    file; and that file.
    """
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
