"""Tables of image-text pairs: parquet, CC-3M's TSV, and folders of shards."""

import json
import os
import re
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from align_edu.io import InputError, written_whole
from align_edu.pairs.tar_index import tar_members

# Other names of our columns: LAION's and COYO's tables.
OTHER_NAMES = {"TEXT": "caption", "text": "caption", "URL": "url"}
SOURCE = b"align_edu.source"  # schema metadata of a filter's output: where its shards are
KEPT_PAIRS = "pairs.parquet"


def read_pairs(path: str | Path) -> pa.Table:
    """Read a table of image-text pairs, toy or real.

    Parameters
    ----------
    path : one of
        a parquet file (img2dataset's columns; LAION's TEXT and URL become caption and url);
        a TSV in CC-3M's form: no header, caption and url separated by a tab;
        a folder of img2dataset shards: their parquets, or a tar's JSON where it has none;
        the output folder of `filter_pairs`.

    Returns
    -------
    Table with at least the column `caption` (string). Rows follow the files' names.

    Raises
    ------
    InputError if the path is missing, empty, unreadable, or holds no captions.

    Paper: Section 3 (raw alt-text and image pairs). CC-3M's form: Sharma et al., 2018.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.tsv"
    >>> _ = path.write_text("a red cat on a beach\\thttp://example.org/1.jpg\\n")
    >>> read_pairs(path).to_pylist()
    [{'caption': 'a red cat on a beach', 'url': 'http://example.org/1.jpg'}]
    """
    path = Path(path)
    table = _read_files(path)
    names = our_names(table.column_names)
    table = table.rename_columns(names).replace_schema_metadata(table.schema.metadata)
    if "caption" not in table.column_names:
        raise InputError(f"{path}: no texts, the column `caption` is missing")
    kind = table.schema.field("caption").type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(f"{path}: the column `caption` holds {kind}, it must hold strings")
    return table


def write_tsv(pairs: pa.Table, path: str | Path) -> int:
    """Write pairs as CC-3M is published: caption, tab, url, no header; return their number.

    As in CC-3M, captions are in lower case with spaces around punctuation. Pairs with a label
    other than "clean" in a column `noise` are left out, as CC-3M was cleaned heavily.

    Raises InputError when the columns caption and url are missing or the file cannot be written.

    Paper: Section 6.2 (Conceptual Captions).

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.tsv"
    >>> write_tsv(pa.table({"caption": ["Two cats, asleep."], "url": ["http://x/1"]}), path)
    1
    >>> path.read_text()
    'two cats , asleep .\\thttp://x/1\\n'
    """
    if not {"caption", "url"} <= set(pairs.column_names):
        raise InputError("the pairs have no columns caption and url; a CC-3M TSV needs both")
    columns = [pairs["caption"].to_pylist(), pairs["url"].to_pylist(), ["clean"] * len(pairs)]
    if "noise" in pairs.column_names:
        columns[2] = pairs["noise"].to_pylist()
    lines = [
        " ".join(re.findall(r"\w+|[^\w\s]", caption.lower())) + f"\t{url}\n"
        for caption, url, noise in zip(*columns, strict=True)
        if caption and url and noise == "clean"
    ]
    with written_whole(Path(path)) as beside:
        beside.write_text("".join(lines), encoding="utf-8")
    return len(lines)


def our_names(names: list[str]) -> list[str]:
    """Give the columns of other tables (LAION's, COYO's) our names.

    >>> our_names(["URL", "TEXT", "similarity"])
    ['url', 'caption', 'similarity']
    """
    ours = [OTHER_NAMES.get(name, name) for name in names]
    return ours if len(set(ours)) == len(ours) else names


def damaged(path: Path, error: Exception) -> InputError:
    """Return the error for a parquet file that cannot be read."""
    reason = (str(error).splitlines() or [""])[0]
    return InputError(f"{path}: not a whole parquet file ({reason}); write it again")


def _read_parquet(path: Path) -> pa.Table:
    try:
        return pa.parquet.read_table(path, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from None


def _read_tsv(path: Path) -> pa.Table:
    csv = pa.csv
    try:
        return csv.read_csv(
            path,
            # One thread, so that errors name the row.
            read_options=csv.ReadOptions(use_threads=False, column_names=["caption", "url"]),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False, double_quote=False),
            convert_options=csv.ConvertOptions(
                column_types={"caption": pa.string(), "url": pa.string()},
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split(":", 1)[-1].split()).removeprefix("CSV parse error: ")
        raise InputError(
            f"{path}: {reason[:160]}; a pairs TSV has two columns, caption and url, "
            "separated by a tab, without header"
        ) from None


def table_files(path: str | Path) -> list[Path]:
    """List the files of a table of pairs: parquets, tars without a parquet, or one file.

    Raises InputError if the path is missing or a folder without shards.

    >>> table_files("no/pairs")
    Traceback (most recent call last):
    align_edu.io.InputError: no/pairs: no such file or folder; give a parquet, a TSV or shards
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give a parquet, a TSV or shards")
    if not path.is_dir():
        return [path]
    if (path / KEPT_PAIRS).is_file():
        return [path / KEPT_PAIRS]
    tars = {file.stem: file for file in path.glob("*.tar")}
    parquets = {file.stem: file for file in path.glob("*.parquet")}
    files = tars | parquets
    if not files:
        raise InputError(f"{path}: no shard in it; it must hold .parquet or .tar files")
    return [files[stem] for stem in sorted(files)]


def _read_files(path: Path) -> pa.Table:
    readers = {".tar": _read_tar, ".parquet": _read_parquet}
    tables = [readers.get(file.suffix, _read_tsv)(file) for file in table_files(path)]
    if len(tables) == 1:
        return tables[0]
    try:
        # Permissive: a column that is all null in one shard may be text in another.
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(f"{path}: its tables do not fit together ({error})") from None


def _read_tar(path: Path) -> pa.Table:
    """Read the table that img2dataset would have written beside this tar."""
    rows: dict[str, dict[str, object]] = {}
    try:
        with path.open("rb") as file:
            for name, offset, size in tar_members(path):
                key, _, ending = name.rpartition("/")[2].partition(".")
                if ending == "json":
                    values = json.loads(os.pread(file.fileno(), size, offset))
                    rows.setdefault(key, {}).update({"key": key} | values)
                elif ending == "txt":
                    text = os.pread(file.fileno(), size, offset).decode("utf-8", "replace")
                    rows.setdefault(key, {"key": key}).setdefault("caption", text)
        table = pa.Table.from_pylist(list(rows.values()))
    except (tarfile.TarError, OSError, ValueError, TypeError, pa.ArrowException) as error:
        raise InputError(f"{path}: unreadable shard ({error}); fetch it again") from None
    if "caption" not in {name for row in rows.values() for name in row}:
        raise InputError(f"{path}: shard without texts; its images need KEY.txt or KEY.json")
    return table


def is_filtered(path: Path) -> bool:
    """Return True for the output of `filter_pairs`: its folder or its pairs.parquet."""
    return (path / KEPT_PAIRS).is_file() or (path.name == KEPT_PAIRS and path.is_file())


def filtered_keys(path: Path) -> set[str]:
    """Read the keys of the pairs that a filter kept; raises InputError if it has none."""
    table = read_pairs(path)
    if "key" not in table.column_names:
        raise InputError(f"{path}: no column `key`, so its images cannot be found in shards")
    return set(table["key"].to_pylist())


def filtered_source(path: Path) -> Path:
    """Find the folder of shards from which a filter's output was made.

    Raises InputError if the output names none (it was made from a TSV, say) or if it is gone.
    """
    folder = path if path.is_dir() else path.parent
    try:
        metadata = pa.parquet.read_schema(folder / KEPT_PAIRS).metadata or {}
    except (pa.ArrowException, OSError):
        metadata = {}
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
        try:
            return filtered_source(path)
        except InputError:  # made from a table without shards, or they are gone
            return None
    if path.with_suffix(".tar").is_file():
        return path.with_suffix(".tar").resolve()
    folder = path if path.is_dir() else path.parent
    return folder.resolve() if any(folder.glob("*.tar")) else None
