"""Files of captions (TSV, CSV, JSON lines), and the column names of published data sets."""

import csv
import json
import re
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from align_edu.io import InputError, lfs_remedy
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
# What JSON and tables of any content raise, nested too deeply or with numbers too large included.
BROKEN_ROWS = (
    *(pa.ArrowException, OSError, ValueError, TypeError, AttributeError, OverflowError),
    *(RecursionError, csv.Error),
)
_AT_ONCE = 100_000  # lines of JSON


@lru_cache(maxsize=1000)
def our_names(names: tuple[str, ...], files: bool = False) -> list[str]:
    """Give columns those of our names (`NAMES`; "file" only if `files`) that are free."""
    plain = [name.strip().removeprefix("\ufeff").lower() for name in names]
    ours = list(names)
    for name, others in NAMES.items():
        first = next((other for other in others if other in plain), None)
        if first is not None and name not in names and (files or name != "file"):
            ours[plain.index(first)] = name
    return ours


def read_text_table(path: Path, other: str, looks: str) -> pa.Table:
    """Read a TSV, CSV (.csv) or JSON lines (.jsonl) of captions and their `other` column.

    A first line of names known for both is a header. Without one there are two columns, of which
    `other` is the second, unless only the first matches `looks`. Raises InputError with the row.
    """
    try:
        lines = path.suffix in (".jsonl", ".ndjson")
        table = _read_json_lines(path) if lines else _read_cells(path, other, looks)
        return table.rename_columns(our_names(tuple(table.column_names), other == "file"))
    except BROKEN_ROWS as error:
        reason = " ".join(str(error).split(":", 1)[-1].split()).removeprefix("CSV parse error: ")
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
    tab = path.suffix != ".csv"
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        form: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tab else {}
        names = next(csv.reader(file, **form), [])
    plain = [name.strip().lower() for name in names]
    header = all(not set(NAMES[name]).isdisjoint(plain) for name in ("caption", other))
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
        except UnicodeEncodeError:
            columns[whole_text(name)] = pa.array([v and whole_text(v) for v in values])
    return pa.table(columns)
