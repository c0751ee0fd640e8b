"""A table of pairs that may be larger than memory, read a chunk at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from align_edu.io import InputError, written_whole
from align_edu.pairs.table import damaged, our_names, read_pairs, table_files

CHUNK_ROWS = 500_000


@dataclass(frozen=True)
class Chunk:
    """Rows of a parquet file: `rows` of them from row `first` on."""

    path: Path
    first: int
    rows: int

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the rows, with our column names; if `columns` are given, those that exist.

        Raises InputError when the file is damaged.
        """
        try:
            file = pa.parquet.ParquetFile(self.path)
            names = file.schema_arrow.names
            ours = zip(names, our_names(names))
            chosen = [name for name, our in ours if columns is None or our in columns]
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            starts, last = [0, *accumulate(sizes)], self.first + self.rows
            groups = [
                i for i in range(len(sizes)) if starts[i + 1] > self.first and starts[i] < last
            ]
            table = file.read_row_groups(groups, columns=chosen)
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.path, error) from None
        table = table.slice(self.first - starts[groups[0]] if groups else 0, self.rows)
        return table.rename_columns(our_names(table.column_names))


@dataclass(frozen=True)
class Chunks:
    """A whole table of pairs: its chunks in order, and their joint columns by our names."""

    chunks: tuple[Chunk, ...]
    schema: pa.Schema

    @property
    def rows(self) -> int:
        """Number of pairs in all."""
        return sum(chunk.rows for chunk in self.chunks)


def open_chunks(pairs: str | Path | pa.Table, spare: Path, rows: int = CHUNK_ROWS) -> Chunks:
    """Divide a table of pairs into chunks without reading it.

    Parameters
    ----------
    pairs : what `read_pairs` reads, or its table.
    spare : folder for parquet copies of other tables (TSV, tar, a table in memory); the chunks
        read them.
    rows : the most rows of a chunk; a chunk never spans two files.

    Raises
    ------
    InputError if a file is missing or damaged, or if the files do not fit together.

    >>> import tempfile
    >>> table = pa.table({"caption": ["a red cat", "a blue dog", "rain"]})
    >>> chunks = open_chunks(table, Path(tempfile.mkdtemp()), rows=2)
    >>> [chunk.rows for chunk in chunks.chunks], chunks.rows
    ([2, 1], 3)
    """
    schemas, chunks = [], []
    for path in _parquet_files(pairs, spare):
        try:
            metadata = pa.parquet.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, error) from None
        schema, count = metadata.schema.to_arrow_schema(), metadata.num_rows
        fields = [field.with_name(name) for field, name in zip(schema, our_names(schema.names))]
        schemas.append(pa.schema(fields, schema.metadata))
        chunks += [Chunk(path, first, min(rows, count - first)) for first in range(0, count, rows)]
    try:
        # Permissive: a column that is all null in one shard may be text in another.
        together = pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(f"{pairs}: its tables do not fit together ({error})") from None
    return Chunks(tuple(chunks), together)


def _parquet_files(pairs: str | Path | pa.Table, spare: Path) -> list[Path]:
    if isinstance(pairs, pa.Table):
        return [_as_parquet(pairs, spare / "table.parquet")]
    files = table_files(pairs)
    return [
        file
        if file.suffix == ".parquet"
        else _as_parquet(read_pairs(file), spare / f"{file.stem}.parquet")
        for file in files
    ]


def _as_parquet(table: pa.Table, path: Path) -> Path:
    with written_whole(path) as beside:
        pa.parquet.write_table(table, beside)
    return path
