"""Tables of image-text pairs: parquet, CC-3M's TSV, and shards; whole or a chunk at a time."""

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet

from align_edu.io import InputError, lfs_remedy, written_whole
from align_edu.pairs.files import our_names, read_tar, read_text_table

SHARD = "shard"  # column with the name of a row's shard: keys are unique in a shard
SOURCE = b"align_edu.source"  # schema metadata of a filter's output: where its shards are
KEPT_PAIRS = "pairs.parquet"
BROKEN_PARQUET = "not a whole parquet file; write it again, or delete it if its tar is beside it"
TEXTS = (pa.string(), pa.large_string(), pa.string_view())


def read_pairs(path: str | Path) -> pa.Table:
    """Read a table of image-text pairs, toy or real.

    path: a parquet; a TSV, CSV or JSON lines with a header, or with caption and url in either
    order; a folder of shards (their parquets, or KEY.txt and KEY.json in a tar that has none); or
    the output folder of `filter_pairs`. The column names of columns.toml become ours.

    Returns a table with at least the column `caption` (string); rows follow the files' names, and
    those of a folder of tars have a column `shard`, the name of the tar without its ending.
    Raises InputError if the path is missing, empty, unreadable, or holds no captions.

    Paper: Section 3 (raw alt-text and image pairs). CC-3M's form: Sharma et al., 2018.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.tsv"
    >>> _ = path.write_text("a red cat on a beach\\thttp://example.org/1.jpg\\n")
    >>> read_pairs(path).to_pylist()
    [{'caption': 'a red cat on a beach', 'url': 'http://example.org/1.jpg'}]
    """
    path = Path(path)
    tables = [_with_shard(_read_file(file), _shard(path, file)) for file in table_files(path)]
    with _arrow_errors(str(path), "its tables do not fit together"):
        # Permissive: a column that is all null in one shard may be text in another.
        table = pa.concat_tables(tables, promote_options="permissive")
    if "caption" not in table.column_names:
        raise InputError(f"{path}: no texts; give a column `caption`, or KEY.txt in the shards")
    return table


def table_files(path: str | Path) -> list[Path]:
    """List the files of a table of pairs: parquets, tars without a parquet, or one file."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give a parquet, a TSV or shards")
    if not path.is_dir():
        return [path]
    if (path / KEPT_PAIRS).is_file():
        return [path / KEPT_PAIRS]
    files = {file.stem: file for end in (".tar", ".parquet") for file in path.glob(f"*{end}")}
    if not files:
        raise InputError(f"{path}: no shard in it; it must hold .parquet or .tar files")
    return [files[stem] for stem in sorted(files)]


def _shard(path: Path, file: Path) -> str | None:
    """Return the shard of a table's file; None if the keys of the whole table are of one shard."""
    return file.stem if path.is_dir() and any(path.glob("*.tar")) else None


def _with_shard(table: pa.Table, shard: str | None) -> pa.Table:
    if shard is None or SHARD in table.column_names:
        return table
    return table.append_column(SHARD, pa.repeat(shard, len(table)))


def _read_file(path: Path) -> pa.Table:
    ending = path.suffix.lower()
    if ending == ".parquet":
        with _arrow_errors(path, BROKEN_PARQUET):
            return tidy(pa.parquet.read_table(path, partitioning=None), path)
    return tidy(
        read_tar(path) if ending == ".tar" else read_text_table(path, "url", r"^[a-z]+://"), path
    )


def tidy(table: pa.Table, path: Path) -> pa.Table:
    """Give columns our names, and texts the type string; raise InputError for other captions."""
    names, metadata = our_names(tuple(table.column_names)), table.schema.metadata
    table = table.rename_columns(names).replace_schema_metadata(metadata)
    for number, field in enumerate(table.schema):
        column = table.column(number)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if field.name == "caption" or column.type in TEXTS:
            column = _as_text(column, f"{path}: the column `{field.name}`")
        table = table.set_column(number, field.with_type(column.type), column)
    return table


def _as_text(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return a column of texts as strings, with bytes that are not UTF-8 replaced."""
    kind = column.type
    if kind not in (*TEXTS, pa.null(), pa.binary(), pa.large_binary()):
        raise InputError(f"{name} holds {kind}, it must hold strings: one text in each row")
    wanted = kind if kind == pa.large_string() else pa.string()
    with suppress(pa.ArrowInvalid):
        column.validate(full=True)
        return column.cast(wanted)
    texts = [raw and raw.decode("utf-8", "replace") for raw in column.cast(pa.binary()).to_pylist()]
    return pa.chunked_array([texts], wanted)


@contextmanager
def _arrow_errors(path: object, fault: str) -> Iterator[None]:
    """Raise InputError for what Arrow cannot read or join, with the first line of its reason."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: of a name
        remedy = lfs_remedy(path) if isinstance(path, Path) else None
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: {remedy or f'{fault} ({reason})'}") from None


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


def is_filtered(path: Path) -> bool:
    """Return True for the output of `filter_pairs`: its folder or its pairs.parquet."""
    return (path / KEPT_PAIRS).is_file() or (path.name == KEPT_PAIRS and path.is_file())


def shards_folder(path: Path) -> Path:
    """Return the folder of shards from which a filter's output was made."""
    folder = path if path.is_dir() else path.parent
    metadata = pa.parquet.read_schema(folder / KEPT_PAIRS).metadata or {}
    if SOURCE not in metadata:
        raise InputError(f"{folder}: made from a table without shards, so it has no images")
    places = json.loads(metadata[SOURCE])
    relative = folder / places["relative"]
    for place in (relative, Path(places["absolute"])):
        if place.exists():
            return place.resolve()
    raise InputError(f"{folder}: its shards are gone from {relative}; put them back there")


def shards_of(pairs: str | Path | pa.Table) -> Path | None:
    """Find the images of a table of pairs: a folder of shards or one tar; None without."""
    if isinstance(pairs, pa.Table):
        return None
    path = Path(pairs)
    if is_filtered(path):
        with suppress(InputError):  # made from a table without shards, or they are gone
            return shards_folder(path)
        return None
    if (tar := path.with_suffix(".tar")).is_file():
        return tar.resolve()
    folder = path if path.is_dir() else path.parent
    return folder.resolve() if any(folder.glob("*.tar")) else None


@dataclass(frozen=True)
class Chunk:
    """Rows of a parquet file: `rows` of them from row `first` on."""

    path: Path
    first: int
    rows: int
    shard: str | None = None
    tar: Path | None = None  # whose pictures they are, in the first chunk of a shard

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the rows, with our column names; if `columns` are given, those that exist."""
        with _arrow_errors(self.path, BROKEN_PARQUET):
            file = pa.parquet.ParquetFile(self.path)
            names = file.schema_arrow.names
            ours = zip(names, our_names(tuple(names)))
            chosen = [name for name, our in ours if columns is None or our in columns]
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            starts = [0, *accumulate(sizes)]
            group = bisect_right(starts, self.first) - 1
            end = bisect_left(starts, self.first + self.rows)
            table = file.read_row_groups(list(range(group, end)), columns=chosen)
        table = tidy(table.slice(self.first - starts[group], self.rows), self.path)
        return _with_shard(table, self.shard if columns is None or SHARD in columns else None)


class Chunks(NamedTuple):
    """A table of pairs that may exceed memory: its chunks in order, joint columns and rows."""

    chunks: list[Chunk]
    schema: pa.Schema
    rows: int


def open_chunks(pairs: str | Path | pa.Table, spare: Path, rows: int) -> Chunks:
    """Divide a table into chunks of at most `rows`; what is no parquet is copied to `spare`."""
    schemas, chunks = [], []
    for source in [pairs] if isinstance(pairs, pa.Table) else table_files(pairs):
        path = _as_parquet(source, spare)
        with _arrow_errors(path, BROKEN_PARQUET):
            metadata = pa.parquet.read_metadata(path)
            count, schema = metadata.num_rows, metadata.schema.to_arrow_schema()
        shard = tar = None
        if not isinstance(pairs, pa.Table):
            shard, tar = _shard(Path(pairs), source), source.with_suffix(".tar")
            tar = tar if shard is not None or tar.is_file() else None
        schemas.append(_with_shard(tidy(schema.empty_table(), path), shard).schema)
        for first in range(0, count, rows):
            chunks.append(Chunk(path, first, min(rows, count - first), shard, tar))
            tar = None
    with _arrow_errors(str(pairs), "its tables do not fit together"):
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    return Chunks(chunks, schema, sum(chunk.rows for chunk in chunks))


def _as_parquet(source: Path | pa.Table, spare: Path) -> Path:
    if isinstance(source, Path) and source.suffix == ".parquet":
        return source
    copy = spare / f"{source.stem if isinstance(source, Path) else 'table'}.parquet"
    with written_whole(copy) as beside:
        table = read_pairs(source) if isinstance(source, Path) else source
        for i in reversed(range(table.num_columns)):
            if table.schema.field(i).type == pa.struct([]):  # `{}` in each row; parquet has no such
                table = table.remove_column(i)
        with _arrow_errors(source if isinstance(source, Path) else "the table", "not kept"):
            pa.parquet.write_table(table, beside)
    return copy
