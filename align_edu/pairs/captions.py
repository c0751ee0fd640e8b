"""Shards made of pictures and their captions, and CC-3M's table of captions."""

import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from tqdm import tqdm

from align_edu.io import InputError, only_writer, write_json, written_whole
from align_edu.pairs.images import SUFFIXES, BrokenImage, decode_image, find_images
from align_edu.pairs.text_table import read_text_table, table_of

SHARD_PAIRS = 10_000
Pair = tuple[dict[str, Any], str, bytes]  # a row of a table, and the ending and bytes of a file


def write_shards(
    folder: Path, captions: Path, out: Path, *, progress: bool = False
) -> tuple[int, Counter[str]]:
    """Write a folder of pictures with their captions as shards that img2dataset could have made.

    captions: what `read_text_table` reads, with the names of files in the folder; a picture with
    several captions becomes several pairs. Returns the number of pairs, and reason -> number of
    captions and files that are in none. Raises InputError if `out` is in use or there is no pair.
    """
    table = read_text_table(captions, "file", f"({'|'.join(map(re.escape, SUFFIXES))})$")
    if not {"file", "caption"} <= set(table.column_names):
        raise InputError(f"{captions}: needs the columns file and caption; name them in a header")
    rows = [(folder / str(row["file"]), row["caption"]) for row in table.to_pylist()]
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of the pictures")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not empty; give a new folder for the shards")
    skipped, done = Counter[str](), 0
    unnamed = {file.resolve() for file in find_images(folder, skipped)}
    skipped["picture without a caption"] += len(unnamed - {file.resolve() for file, _ in rows})
    pairs = _pairs(tqdm(rows, disable=not progress), skipped)
    with only_writer(out):
        for number in range(len(rows) // SHARD_PAIRS + 1):
            done += _write_shard(out / f"{number:05d}.tar", islice(pairs, SHARD_PAIRS))
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
        yield row, file.suffix.lower(), data


def _write_shard(tar: Path, pairs: Iterable[Pair]) -> int:
    """Write pairs as tar, stats and table, if there are any; return their number."""
    if not (rows := write_tar(tar, pairs)):
        tar.unlink()
        return 0
    write_json(tar.with_name(f"{tar.stem}_stats.json"), {"successes": len(rows)})
    with written_whole(tar.with_suffix(".parquet")) as beside:
        pa.parquet.write_table(table_of(rows), beside)
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


def write_tsv(pairs: pa.Table, path: str | Path) -> int:
    """Write pairs as CC-3M is published: caption, tab, url, no header; return their number.

    Captions are in lower case with spaces around punctuation. Pairs with a label other than
    "clean" in a column `noise` are left out, as CC-3M was cleaned heavily. Raises InputError when
    a column is missing or the file cannot be written. Paper: Section 6.2 (Conceptual Captions).

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.tsv"
    >>> write_tsv(pa.table({"caption": ["Two cats, asleep."], "url": ["http://x/1"]}), path)
    1
    >>> path.read_text()
    'two cats , asleep .\\thttp://x/1\\n'
    """
    if not {"caption", "url"} <= set(pairs.column_names):
        raise InputError("the pairs have no columns caption and url; a CC-3M TSV needs both")
    lines = [
        " ".join(re.findall(r"\w+|[^\w\s]", row["caption"].lower())) + f"\t{row['url']}\n"
        for row in pairs.to_pylist()
        if row["caption"] and row["url"] and row.get("noise", "clean") == "clean"
    ]
    with written_whole(Path(path)) as beside:
        beside.write_text("".join(lines), encoding="utf-8")
    return len(lines)
