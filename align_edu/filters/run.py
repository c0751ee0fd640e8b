"""From raw pairs to kept pairs: three passes, on this machine or on a cluster."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet

from align_edu.cores import usable_cores
from align_edu.filters import image
from align_edu.filters.describe import COLUMNS, describe, prepared
from align_edu.filters.engine import Engine, open_engine
from align_edu.filters.funnel import Funnel, Said, add_up
from align_edu.filters.job import Job
from align_edu.filters.judge import judge
from align_edu.filters.near_duplicates import evaluation_hashes
from align_edu.filters.rules import RULES, Rule, Rules
from align_edu.filters.totals import (
    add_up_images,
    add_up_texts,
    add_up_tokens,
    find_edge,
    find_rare,
)
from align_edu.filters.unsafe import load_classifier
from align_edu.io import InputError, read_json, write_json, written_whole
from align_edu.pairs.chunks import CHUNK_ROWS, Chunks, open_chunks
from align_edu.pairs.table import KEPT_PAIRS, SOURCE, filtered_source, is_filtered, table_files

SHARE_ROWS = 20_000_000  # rows of counts that are added up in memory at a time
WORK = ".filtering"  # folder in the output, while it is made
# What a user can add to a table that lacks one of our own columns.
LACKING = {"unsafe": " or ".join(image.SCORES), "image": "sha256 or url"}


def filter_pairs(
    pairs: str | Path | pa.Table,
    out: str | Path,
    *,
    rules: Rules | None = None,
    vocabulary_size: int | None = None,
    against: Sequence[str | Path] = (),
    unsafe_model: str | Path | None = None,
    engine: Literal["local", "cluster"] = "local",
    workers: int | None = None,
    progress: bool = False,
) -> Funnel:
    """Drop noisy pairs by the paper's minimal, frequency-based rules.

    Frequencies (alt-texts of an image, images of an alt-text, words) are counted over all raw
    pairs, whatever other rules drop. The pairs may be larger than memory. A run that was
    broken off goes on where it stopped, if it is called again with the same arguments.

    Parameters
    ----------
    pairs : what `read_pairs` reads, or its table.
    out : folder for pairs.parquet (the kept rows, their columns unchanged) and funnel.json.
    rules : bounds, the paper's by default. A rule whose columns are missing is not applied,
        and the funnel says so.
    vocabulary_size : replaces the one in `rules`.
    against : evaluation sets whose near-duplicates go: benchmarks or folders of images. The
        pairs must then be shards, or the output of an earlier filter.
    unsafe_model : folder of a transformers image classifier, for shards without a column of
        scores; its labels must tell what is unsafe.
    engine : "local", or "cluster": the workers of the Dask scheduler whose address is in
        DASK_SCHEDULER_ADDRESS, or of a cluster on this machine. All must see the same files.
    workers : processes that hash images; as many as there are cores if None.
    progress : show progress bars.

    Returns
    -------
    Funnel: pairs in and out of each rule; prints as a table.

    Raises
    ------
    InputError if the pairs cannot be read, lack the column `caption`, or have a column of a
        wrong type; if `out` is a file or the folder of the pairs.

    Paper: Section 3.

    >>> import tempfile
    >>> rows = {"caption": ["a red cat on a beach", "1920x1080"], "url": ["x/1", "x/2"]}
    >>> funnel = filter_pairs(pa.table(rows), tempfile.mkdtemp())
    >>> funnel.raw, funnel.kept, [step.rule for step in funnel.steps if step.dropped]
    (2, 1, ['length'])
    """
    out, rules = Path(out), rules or Rules()
    if vocabulary_size is not None:
        rules = replace(rules, vocabulary_size=vocabulary_size)
    _check_place(pairs, out)
    new, work = not out.exists(), out.absolute() / WORK
    try:
        raw = _open(pairs, work, {"rules": asdict(rules), "against": list(map(str, against))})
        job = Job(work, raw.chunks, rules, _absent(raw, rules, against, unsafe_model))
        job = _with_pictures(job, pairs, against, unsafe_model, engine, workers)
    except InputError:
        shutil.rmtree(out if new else work, ignore_errors=True)
        raise
    with open_engine(engine, progress) as runs:
        said, tallies = _passes(runs, job, raw.rows)
    shards = _shards_of(pairs)
    source = None if shards is None else os.path.relpath(shards, out.resolve())
    funnel = add_up(said, tallies, source)
    _write(job, raw, funnel, shards, out)
    shutil.rmtree(work, ignore_errors=True)
    return funnel


def _check_place(pairs: str | Path | pa.Table, out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the filter's output")
    places = (out.resolve(), out.resolve() / KEPT_PAIRS)
    if not isinstance(pairs, pa.Table) and Path(pairs).resolve() in places:
        raise InputError(f"{out}: holds the raw pairs; give another folder for the output")


def _open(pairs: str | Path | pa.Table, work: Path, settings: dict[str, Any]) -> Chunks:
    """The raw pairs in chunks; unfinished work stays only if it was of the same pairs and rules."""
    name = "the table" if isinstance(pairs, pa.Table) else str(pairs)
    if not isinstance(pairs, pa.Table):
        states = [(path.absolute(), path.stat()) for path in table_files(pairs)]
        settings |= {"files": [[str(path), s.st_size, s.st_mtime_ns] for path, s in states]}
    note = work / "settings.json"
    if isinstance(pairs, pa.Table) or not note.exists() or read_json(note) != settings:
        shutil.rmtree(work, ignore_errors=True)
    raw = open_chunks(pairs, work / "raw", CHUNK_ROWS)
    if "caption" not in raw.schema.names:
        raise InputError(f"{name}: no texts, the column `caption` is missing")
    if raw.rows == 0:
        raise InputError(f"{name}: holds no pairs")
    known = [column for column in COLUMNS if column in raw.schema.names]
    prepared(pl.DataFrame(pl.from_arrow(raw.schema.empty_table().select(known))))
    write_json(note, settings)
    return raw


def _absent(
    raw: Chunks, rules: Rules, against: Sequence[object], unsafe_model: object
) -> dict[str, str]:
    """Why some rules cannot be applied."""
    columns = set(raw.schema.names)
    if {"sha256", "url"} & columns:
        columns.add("image")
    if set(image.SCORES) & columns or unsafe_model is not None:
        columns.add("unsafe")
    if against:
        columns.add("distance")
    absent = {}
    for rule in RULES:
        lacking = [LACKING.get(name, name) for name in rule.needs if name not in columns]
        if rule.bound(rules) is None:
            absent[rule.name] = "turned off"
        elif lacking == ["distance"]:
            absent[rule.name] = "no evaluation set given"
        elif lacking:
            absent[rule.name] = f"no column {' and '.join(lacking)}"
    return absent


def _with_pictures(
    job: Job,
    pairs: str | Path | pa.Table,
    against: Sequence[str | Path],
    unsafe_model: str | Path | None,
    engine: str,
    workers: int | None,
) -> Job:
    """Make ready what rules need that look at the pictures themselves."""
    hashed = "near_duplicate" not in job.absent
    scored = unsafe_model is not None and "pornographic" not in job.absent
    if not hashed and not scored:
        return job
    shards = _shards_of(pairs)
    if shards is None:
        what = "near-duplicates" if hashed else "unsafe images"
        raise InputError(f"{what} can be found only in shards: these pairs have no images")
    # A worker of a cluster may not start processes of its own.
    processes = 1 if engine == "cluster" else workers or usable_cores()
    hashes = job.work / "against.npy"
    if hashed and not hashes.exists():
        found = evaluation_hashes(against, processes)
        with written_whole(hashes) as beside, beside.open("wb") as file:
            np.save(file, found)
    model = None
    if scored:
        load_classifier(Path(str(unsafe_model)))  # complains at once, not in the middle
        model = Path(str(unsafe_model)).absolute()
    return replace(
        job,
        pictures=shards,
        against=hashes if hashed else None,
        unsafe_model=model,
        processes=processes,
    )


def _shards_of(pairs: str | Path | pa.Table) -> Path | None:
    """Where the images of a pairs table lie: a folder of shards, a single .tar, or nowhere."""
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
    return folder.resolve() if next(folder.glob("*.tar"), None) is not None else None


def _passes(engine: Engine, job: Job, pairs: int) -> tuple[list[Said], list[dict[str, Any]]]:
    """Describe each chunk, add up over all of them, and judge each chunk by the totals."""
    chunks = range(len(job.chunks))
    engine.each(describe, job, chunks, "reading the pairs")
    job = replace(job, shares=_shares(job))
    shares, notes = range(job.shares), {}
    if job.applied("image"):
        seen = engine.each(add_up_images, job, shares, "adding up images")
        absent = sum(counts["not looked at"] for counts in seen)
        if absent and job.against is not None:
            notes["near_duplicate"] = f"{absent:,} pairs without a readable image not checked"
    if job.applied("text"):
        engine.each(add_up_texts, job, shares, "adding up alt-texts")
    if job.applied("token"):
        counted = engine.each(add_up_tokens, job, shares, "adding up words")
        sizes = sum((Counter({int(n): m for n, m in c.items()}) for c in counted), Counter())
        edge, notes["rare_words"] = find_edge(job, sizes, pairs)
        if edge is None:
            job = replace(job, absent={**job.absent, "rare_words": notes["rare_words"]})
        else:
            job = replace(job, edge=edge)
            engine.each(find_rare, job, shares, "finding rare words")
    tallies = engine.each(judge, job, chunks, "filtering")
    return [_said(rule, job, notes.get(rule.name, "")) for rule in RULES], tallies


def _shares(job: Job) -> int:
    """Into how many shares the counts are divided, so that each fits into memory."""
    names = [name for name in ("images", "texts", "tokens") if (job.work / name).exists()]
    rows = [
        sum(
            pa.parquet.read_metadata(job.table(name, chunk)).num_rows
            for chunk in range(len(job.chunks))
        )
        for name in names
    ]
    return 1 + max(rows, default=0) // SHARE_ROWS


def _said(rule: Rule, job: Job, note: str) -> Said:
    bound = rule.bound(job.rules)
    says = "" if bound is None else rule.says(bound)
    return Said(rule.name, says, job.absent.get(rule.name), note)


def _write(job: Job, raw: Chunks, funnel: Funnel, shards: Path | None, out: Path) -> None:
    """Put the kept parts together; where pairs.parquet is, funnel.json is too."""
    metadata = {k: v for k, v in (raw.schema.metadata or {}).items() if k != SOURCE}
    if shards is not None:
        places = {"relative": funnel.source, "absolute": str(shards)}
        metadata[SOURCE] = json.dumps(places).encode()
    schema = raw.schema.with_metadata(metadata or None)
    with written_whole(out / KEPT_PAIRS) as beside:
        with pa.parquet.ParquetWriter(beside, schema) as writer:
            for chunk in range(len(job.chunks)):
                writer.write_table(_fitted(pa.parquet.read_table(job.table("kept", chunk)), schema))
        write_json(out / "funnel.json", funnel.to_dict())


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """One chunk with the columns and types of the whole table."""
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
