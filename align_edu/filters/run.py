"""From raw pairs to kept pairs: three passes, on this machine or on a cluster."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet
from tqdm import tqdm

from align_edu.filters import counts, text
from align_edu.filters.counts import Job
from align_edu.filters.funnel import Funnel, add_up
from align_edu.filters.image import evaluation_hashes, load_classifier
from align_edu.filters.rules import Rules, in_words, not_applied
from align_edu.io import InputError, only_writer, read_json, usable_cores, write_json, written_whole
from align_edu.pairs.table import KEPT_PAIRS, SOURCE, open_chunks, shards_of, table_files

Pairs: TypeAlias = str | Path | pa.Table
Task = Callable[[Job, int], Any]
Map = Callable[..., Iterable[Any]]
CHUNK_ROWS = 500_000  # pairs that are described or judged in memory at a time
SHARE_ROWS = 20_000_000  # rows of counts that are added up in memory at a time
WORK = ".filtering"  # folder in the output, while it is made


def filter_pairs(
    pairs: Pairs, out: str | Path, *, rules: Rules | None = None,
    vocabulary_size: int | None = None, against: Sequence[str | Path] = (),
    unsafe_model: str | Path | None = None, engine: Literal["local", "cluster"] = "local",
    workers: int | None = None, progress: bool = False,
) -> Funnel:  # fmt: skip
    """Drop noisy pairs by the paper's minimal, frequency-based rules; return the funnel.

    Counts frequencies (alt-texts of an image, images of an alt-text, words) over all raw pairs,
    whatever other rules drop. The pairs may be larger than memory. A run that was stopped resumes
    when it is called again with the same arguments.

    pairs: what `read_pairs` reads, or its table. out: folder for pairs.parquet (the kept rows,
    their columns unchanged) and funnel.json. rules: bounds, by default those of `Rules()`;
    vocabulary_size replaces theirs. against: benchmarks or folders of images whose near-duplicates
    are dropped; needs shards. unsafe_model: folder of a transformers image classifier, for shards
    without a column of scores. engine: "local", or "cluster": the workers of the Dask scheduler at
    DASK_SCHEDULER_ADDRESS, or of a new one on this machine, which must see the same files.
    workers: processes that hash images; one per core if None. progress: show progress bars.

    Raises InputError if the pairs cannot be read, lack captions, or have a column of a wrong
    type; if `out` is a file or the pairs' folder, or if another filter is writing to it.

    Paper: Section 3.

    >>> import tempfile
    >>> rows = {"caption": ["a red cat on a beach", "1920x1080"], "url": ["x/1", "x/2"]}
    >>> funnel = filter_pairs(pa.table(rows), tempfile.mkdtemp())
    >>> funnel.raw, funnel.kept, [step.rule for step in funnel.steps if step.dropped]
    (2, 1, ['length'])
    """
    out, rules = Path(out), _checked_rules(rules or Rules(), vocabulary_size, against, unsafe_model)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the filter's output")
    raw = None if isinstance(pairs, pa.Table) else Path(pairs).resolve()
    if raw in (out.resolve(), out.resolve() / KEPT_PAIRS):
        raise InputError(f"{out}: holds the raw pairs; give another folder for the output")
    model = None if unsafe_model is None else Path(unsafe_model).absolute()
    # A worker of a cluster must not start processes itself.
    processes = 1 if engine == "cluster" else workers or usable_cores()
    new, work = not out.exists(), out.absolute() / WORK
    with only_writer(out):
        try:
            job = _open(pairs, work, rules, list(map(Path, against)), model, processes)
        except InputError:
            shutil.rmtree(out if new else work, ignore_errors=True)
            raise
        with _engine(engine) as run:
            funnel, job = _passes(partial(_each, run, progress), job, out)
        _write(job, funnel, out)
        shutil.rmtree(work, ignore_errors=True)
    return funnel


def _checked_rules(rules: Rules, size: int | None, against: object, model: object) -> Rules:
    """Return the rules with this vocabulary size; refuse an option that would be ignored."""
    given = {"max_distance": ("against", against), "max_unsafe": ("unsafe_model", model)}
    for bound, (option, value) in given.items():
        if value and getattr(rules, bound) is None:
            raise InputError(f"rule {bound}: turned off, so {option} has no effect; leave out one")
    if size is not None and rules.vocabulary_size not in ("auto", size):
        raise InputError("vocabulary_size: given twice, as an option and in the rules")
    return rules if size is None else replace(rules, vocabulary_size=size)


def _open(
    pairs: Pairs, work: Path, rules: Rules, against: list[Path], model: Path | None, processes: int
) -> Job:
    """Prepare a run; remove unfinished work of other pairs, rules, evaluation sets or models."""
    settings = _settings(pairs, rules, [*against, *([model] if model else [])])
    note = work / "settings.json"
    if isinstance(pairs, pa.Table) or not note.exists() or read_json(note) != settings:
        shutil.rmtree(work, ignore_errors=True)
    raw = open_chunks(pairs, work / "raw", CHUNK_ROWS)
    columns = _checked_columns(pairs, raw.schema, raw.rows)
    absent = not_applied(rules, columns, bool(against), model is not None)
    bigrams = rules.vocabulary_size != "auto" or raw.rows >= text.BIGRAMS_FROM
    hashes = None if "near_duplicate" in absent else work / "against.npz"
    model = None if "pornographic" in absent else model
    shards = shards_of(pairs)
    if shards is None and (hashes or model):
        what = "near-duplicates" if hashes else "unsafe images"
        raise InputError(f"{what} can be found only in shards: these pairs have no images")
    write_json(note, settings)
    if hashes and not hashes.exists():
        found, flat = evaluation_hashes(against, processes)
        with written_whole(hashes) as beside, beside.open("wb") as file:
            np.savez(file, hashes=found, flat=flat)
    if model:
        load_classifier(model)  # fails now rather than in the middle of the run
    return Job(work, raw, rules, absent, bigrams, shards, hashes, model, processes)


def _checked_columns(pairs: Pairs, schema: pa.Schema, rows: int) -> set[str]:
    """Return the columns of the raw pairs; raise InputError for one that is missing or mistyped."""
    name, columns = "the table" if isinstance(pairs, pa.Table) else pairs, set(schema.names)
    try:
        if "caption" not in columns:
            raise InputError("no texts, the column `caption` is missing")
        if rows == 0:
            raise InputError("holds no pairs")
        counts.prepared(schema.empty_table().select([c for c in counts.COLUMNS if c in columns]))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return columns


def _settings(pairs: Pairs, rules: Rules, others: Sequence[Path]) -> dict[str, Any]:
    """Return what unfinished work must have been made with, so that it can be resumed."""
    files = [] if isinstance(pairs, pa.Table) else table_files(pairs)
    for path in others:
        files += sorted(path.rglob("*")) if path.is_dir() else [path]
    states = [(path.absolute(), path.stat()) for path in files if path.is_file()]
    found = [[str(path), state.st_size, state.st_mtime_ns] for path, state in states]
    return {"rules": asdict(rules), "others": list(map(str, others)), "files": found}


@contextmanager
def _engine(name: str) -> Iterator[Map]:
    """Yield `map` for "local" (Polars uses all cores for each task), Dask's for "cluster"."""
    if name == "local":
        yield map
        return
    if name != "cluster":
        raise InputError(f"engine {name!r}: choose local or cluster")
    try:
        import dask
        from dask.distributed import Client
    except ImportError:
        install = "pip install 'align-edu[scale]'"
        raise InputError(f"engine cluster needs Dask; install it with: {install}") from None
    address = dask.config.get("scheduler-address", None)
    # Without an address Dask starts a cluster on this machine, one worker per core.
    local = {} if address else {"threads_per_worker": 1, "dashboard_address": None}
    before = dict(os.environ)  # for its workers Dask sets OMP_NUM_THREADS=1, in this process too
    try:
        try:
            client = Client(**local)
        except (OSError, TimeoutError) as error:
            raise InputError(f"DASK_SCHEDULER_ADDRESS: no scheduler answers ({error})") from None
        with client:
            yield lambda *task: (future.result() for future in client.map(*task, pure=False))
    finally:
        os.environ.clear()
        os.environ.update(before)


def _each(run: Map, progress: bool, task: Task, job: Job, numbers: range) -> list[Any]:
    """Return `task(job, number)` for each number, without repeating what an earlier run did."""
    results, label = run(partial(_once, task, job), numbers), task.__name__.replace("_", " ")
    hidden = not progress or len(numbers) < 2
    return list(tqdm(results, desc=label, total=len(numbers), disable=hidden, leave=False))


def _once(task: Task, job: Job, number: int) -> Any:
    """Run a task and record its result once its tables are whole, or return the record."""
    record = job.work / task.__name__ / f"{number:05d}.json"
    if not record.exists():
        write_json(record, task(job, number))
    return read_json(record)


def _passes(each: Callable[..., list[Any]], job: Job, out: Path) -> tuple[Funnel, Job]:
    """Describe each chunk, add up over all of them, and judge each chunk by the totals."""
    chunks, notes, faults, pairs = range(len(job.raw.chunks)), dict[str, str](), Counter[str](), 0
    for described, lacking in each(counts.describe, job, chunks):
        pairs += described
        faults.update(lacking)
    warnings = [f"{count:,} {reason}" for reason, count in faults.items()]
    tables = [name for name in ("images", "texts", "tokens") if (job.work / name).exists()]
    rows = [job.scan(name, chunks).select(pl.len()).collect().item() for name in tables]
    job = replace(job, shares=1 + max(rows, default=0) // SHARE_ROWS)
    shares = range(job.shares)
    found = each(counts.total, job, shares)
    if job.hashes and (note := _unchecked(found, job.hashes)):
        notes["near_duplicate"] = note
        warnings.append(note)
    if job.applied("token"):
        edge, bigrams, note = counts.find_edge(job, pairs)
        job, notes["rare_words"] = replace(job, edge=edge, bigrams=bigrams), note
        if edge is None:
            job = replace(job, absent={**job.absent, "rare_words": note})
        else:
            each(counts.find_rare, job, shares)
    tallies = each(counts.judge, job, chunks)
    source = None if job.shards is None else os.path.relpath(job.shards, out.resolve())
    says = in_words(job.rules, job.bigrams)
    return add_up(says, job.absent, notes, tallies, source, warnings), job


def _unchecked(counts: Sequence[tuple[int, int]], hashes: Path) -> str:
    """Describe what was not compared with the evaluation images, by the counts of each share."""
    unread, flat = map(sum, zip(*counts))
    parts = {
        "pairs without a readable image not checked": unread,
        "pairs with a flat image not checked": flat,
        "flat evaluation images not looked for": int(np.load(hashes)["flat"]),
    }
    return ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)


def _write(job: Job, funnel: Funnel, out: Path) -> None:
    """Join the kept parts; where pairs.parquet exists, funnel.json does."""
    schema = job.raw.schema
    metadata = {k: v for k, v in (schema.metadata or {}).items() if k != SOURCE}
    if job.shards is not None:
        places = {"relative": funnel.source, "absolute": str(job.shards)}
        metadata[SOURCE] = json.dumps(places).encode()
    schema = schema.with_metadata(metadata or None)
    with written_whole(out / KEPT_PAIRS) as beside:
        with pa.parquet.ParquetWriter(beside, schema) as writer:
            for chunk in range(len(job.raw.chunks)):
                # A part may lack columns that others have, or hold them in narrower types.
                parts = [schema.empty_table(), pa.parquet.read_table(job.table("kept", chunk))]
                writer.write_table(pa.concat_tables(parts, promote_options="permissive"))
        write_json(out / "funnel.json", funnel.to_dict())
