"""The files that pairs come in: tables of captions (TSV, CSV, JSON lines), and tar shards."""

import csv
import json
import mmap
import os
import re
import tarfile
import tomllib
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from align_edu.io import InputError, lfs_remedy, read_json
from align_edu.pairs.images import OTHER_PICTURES, SUFFIXES

NAMES = tomllib.loads(Path(__file__).with_name("columns.toml").read_text(encoding="utf-8"))
# What JSON and tables of any content raise, nested too deeply or with numbers too large included.
BROKEN_ROWS = (
    pa.ArrowException, OSError, ValueError, TypeError, AttributeError, OverflowError,
    RecursionError, csv.Error,
)  # fmt: skip
_AT_ONCE = 100_000  # lines of JSON
BLOCK = 512
REGULAR = (b"0", b"\0", b"7")
KINDS = {"txt": "txt", "json": "json"} | {suffix[1:]: "image" for suffix in SUFFIXES}
# Records of a pax header that matter here; most hold only times.
_RENAMED = re.compile(rb" (path|size|GNU\.sparse\.\w+)=")
Member = tuple[str, int, int]  # name, offset and size in bytes
Members = dict[str, dict[str, Member]]  # key of a pair -> "image", "txt" or "json" -> member
TWO_TEXTS = "caption in KEY.json that differs from KEY.txt, which is used"


@lru_cache(maxsize=1000)
def our_names(names: tuple[str, ...], files: bool = False) -> list[str]:
    """Give columns those of our names (columns.toml; "file" only if `files`) that are free."""
    plain = [name.strip().removeprefix("\ufeff").lower() for name in names]
    ours = list(names)
    for name, others in NAMES.items():
        first = next((other for other in others if other in plain), None)
        if first is not None and name not in names and (files or name != "file"):
            ours[plain.index(first)] = name
    return ours


def read_text_table(path: Path, other: str, looks: str) -> pa.Table:
    """Read a TSV, CSV (.csv) or JSON lines (.jsonl) of captions and their `other` column.

    A first line that names the captions, and in which nothing matches `looks`, is a header. Without
    one there are two columns, of which `other` is the second, unless only the first matches
    `looks`. Raises InputError with the row.
    """
    if path.suffix.lower() in (".gz", ".bz2", ".xz", ".zst", ".zip"):
        raise InputError(f"{path}: is compressed; unpack it first")
    try:
        lines = path.suffix.lower() in (".jsonl", ".ndjson")
        table = _read_json_lines(path) if lines else _read_cells(path, other, looks)
        return table.rename_columns(our_names(tuple(table.column_names), other == "file"))
    except BROKEN_ROWS as error:
        cause = getattr(error, "strerror", None) or str(error).split(":", 1)[-1]
        reason = " ".join(cause.split()).removeprefix("CSV parse error: ")
        remedy = (
            f"{reason[:160]}; a table of texts is a TSV, .csv or .jsonl file in UTF-8 with "
            f"a header that names its columns, or with two columns, caption and {other}"
        )
        raise InputError(f"{path}: {lfs_remedy(path) or remedy}") from None


def _read_json_lines(path: Path) -> pa.Table:
    with path.open(encoding="utf-8-sig") as file:
        rows = (json.loads(line) for line in file if line.strip())
        tables = [table_of(some) for some in iter(lambda: list(islice(rows, _AT_ONCE)), [])]
    return pa.concat_tables(tables or [pa.table({})], promote_options="permissive")


def _read_cells(path: Path, other: str, looks: str) -> pa.Table:
    tab = path.suffix.lower() != ".csv"
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        form: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tab else {}
        names = next(csv.reader(file, **form), [])
    plain = [name.strip().lower() for name in names]
    found = any(re.search(looks, cell) for cell in plain)
    header = not found and not set(NAMES["caption"]).isdisjoint(plain)
    if not header:
        swap = [bool(re.search(looks, cell)) for cell in plain] == [True, False]
        names = [other, "caption"] if swap else ["caption", other]
    types = dict.fromkeys(filter(None, names), pa.string())
    quoted = {"quote_char": False, "double_quote": False} if tab else {}
    return pa.csv.read_csv(
        path,
        # One thread, so that errors name the row.
        pa.csv.ReadOptions(use_threads=False, column_names=None if header else names),
        pa.csv.ParseOptions(delimiter="\t" if tab else ",", newlines_in_values=not tab, **quoted),
        pa.csv.ConvertOptions(column_types=types, strings_can_be_null=False),
    )


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """Make a table of JSON objects; characters that UTF-8 cannot hold are replaced."""
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            columns[whole_text(name)] = pa.array(values)
        except (UnicodeEncodeError, pa.ArrowInvalid, pa.ArrowTypeError):
            if any(isinstance(v, list | dict) for v in values):
                raise
            texts = [v if v is None else whole_text(str(v)) for v in values]  # 640 and "640"
            columns[whole_text(name)] = pa.array(texts)
    return pa.table(columns)


def group_members(path: Path, skipped: Counter[str], keep: Container[str] | None = None) -> Members:
    """Return the members of a shard's pairs, if `keep` is given of its keys; count the rest.

    A key is the name of the members up to the first dot of the file, folder included.
    """
    pairs: Members = {}
    images, damage = 0, ""
    try:
        for member in tar_members(path):
            folder, slash, file = member[0].removeprefix("./").rpartition("/")
            stem, _, ending = file.partition(".")
            kind = KINDS.get(ending) or KINDS.get(ending.lower())
            if kind is None:
                if Path(file).suffix.lower() in (*SUFFIXES, *OTHER_PICTURES):
                    skipped["picture of another format, or with two dots in its name"] += 1
                continue
            images += kind == "image"
            key = folder + slash + stem
            if keep is not None and key not in keep:
                continue
            if not is_safe_name(member[0]):
                skipped["unsafe name"] += 1
            elif pairs.setdefault(key, {}).setdefault(kind, member) is not member:
                skipped["repeated key"] += 1
    except (tarfile.TarError, ValueError, OSError, OverflowError, RecursionError) as error:
        damage = lfs_remedy(path) or str(error)
    if lost := max(0, _written_pairs(path) - images):
        skipped[f"missing in {path.name}, which holds {images} of its {images + lost}"] += lost
    elif damage:
        skipped[f"end of a shard lost, with unknown pairs: {path.name} ({damage})"] += 1
    return pairs


def _written_pairs(shard: Path) -> int:
    """Return how many pairs a shard had, by the JSON or parquet beside it; 0 without them."""
    parquet = shard.with_suffix(".parquet")
    with suppress(InputError, KeyError, TypeError, ValueError):
        return int(read_json(shard.with_name(f"{shard.stem}_stats.json"))["successes"])
    with suppress(pa.ArrowException, OSError, UnicodeDecodeError):
        if "status" not in pa.parquet.read_schema(parquet).names:
            return int(pa.parquet.read_metadata(parquet).num_rows)
        status = pa.parquet.read_table(parquet, columns=["status"])["status"]
        return status.to_pylist().count("success")
    return 0


def tar_members(path: Path) -> Iterator[Member]:
    """List the files in an uncompressed tar as (name, offset, size in bytes), in order.

    Reads plain headers itself, ten times faster than `tarfile`, which reads the others; joined
    tars are read as one. After the members before it, damage raises tarfile.TarError (for some
    headers ValueError, OverflowError or RecursionError).
    """
    length = path.stat().st_size
    if length == 0:
        raise tarfile.ReadError("empty file")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        tar, at, ended = None, 0, False
        while at + BLOCK <= length:
            header, start = whole[at : at + BLOCK], at + BLOCK
            ended = header[0] == 0 and not header.strip(b"\0")
            if ended:
                at = start
                continue
            kind, name, size = _plain_header(header)
            if kind == b"x" and _RENAMED.search(whole[start : start + size]):
                kind = b""
            at = start + -(-size // BLOCK) * BLOCK
            if not kind:
                tar = tar or tarfile.TarFile(fileobj=whole, encoding="utf-8", errors="replace")
                whole.seek(start - BLOCK)
                info = tarfile.TarInfo.fromtarfile(tar)
                kind, name, start = info.type, info.name, info.offset_data
                size, at = info.size, tar.offset
            if kind in REGULAR:
                if start + size > length:
                    break
                yield name, start, size
    if not ended:
        raise tarfile.ReadError("unexpected end of data")


def _plain_header(header: bytes) -> tuple[bytes, str, int]:
    """Return kind, name and size of a file with a short name or of a pax header; else no kind."""
    kind = header[156:157]
    if kind not in (b"0", b"x") or header[257:262] != b"ustar" or header[345:346] != b"\0":
        return b"", "", 0
    try:
        checksum = int(header[148:156].strip(b" \0"), 8)
        size = int(header[124:136].strip(b" \0"), 8)
    except ValueError:
        return b"", "", 0
    # The checksum counts its own eight bytes as spaces (8 x 32); zeros add nothing.
    if checksum != sum(header.translate(None, b"\0")) - sum(header[148:156]) + 256:
        return b"", "", 0
    return kind, header[:100].partition(b"\0")[0].decode("utf-8", "replace"), size


def read_tar(path: Path) -> pa.Table:
    """Read the table that img2dataset would have written beside this tar."""
    members = group_members(path, Counter())
    described = {key: parts for key, parts in members.items() if parts.keys() - {"image"}}
    try:
        return table_of([row for _, row, _ in read_texts(path, described, Counter())])
    except BROKEN_ROWS as error:
        raise InputError(f"{path}: unreadable shard ({error}); fetch it again") from None


def read_texts(
    path: Path, members: Members, faults: Counter[str]
) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield each pair's key, its row of KEY.json and KEY.txt, and why it has no text."""
    with path.open("rb") as file:
        for key, parts in members.items():
            texts = [(kind, where) for kind, where in parts.items() if kind != "image"]
            data = {kind: os.pread(file.fileno(), size, at) for kind, (_, at, size) in texts}
            row, other, why = {"key": key}, "", "missing text"
            try:
                values = json.loads(data.get("json", "{}"))
                row |= dict(zip(our_names(tuple(values)), values.values())) | row
                if row.get("caption"):
                    row["caption"] = other = whole_text(row["caption"])
            except BROKEN_ROWS:
                why = "unreadable JSON"
            if "txt" in data:
                row["caption"], why = data["txt"].decode("utf-8", "replace"), "empty text"
                text = row["caption"].strip()
                if text and other.strip() not in ("", text):
                    faults[TWO_TEXTS] += 1
            yield key, row, why


def whole_text(text: str) -> str:
    """Return a text in which a character without its second half (a lone surrogate) is replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def is_safe_name(name: str) -> bool:
    """Return True if a member's or image's name stays inside its folder."""
    parts = name.replace("\\", "/").split("/")
    return parts[0] != "" and ".." not in parts and ":" not in parts[0]
