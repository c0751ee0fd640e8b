"""Writes a toy world as shards in img2dataset's webdataset layout.

Each shard depends on the settings and its own number only, so any number of workers writes the
same bytes. The file `00000.parquet` comes last: an interrupted writer resumes where it stopped.
"""

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

from tqdm import tqdm

from align_edu.io import (
    InputError,
    folder_written_whole,
    holds_already,
    only_writer,
    read_json,
    usable_cores,
    write_json,
    written_whole,
)
from align_edu.world.scene import scene_facts
from align_edu.world.web_noise import WorldSettings, benchmark_scenes, make_pair

SHARD_SIZE = 5_000
LARGEST_SHARD = 10_000  # a key has four digits for the pair's number in its shard
MOST_NOISE = 0.95


def write_world(
    settings: WorldSettings, out: Path, *, workers: int | None = None, progress: bool = False
) -> Path:
    """Write the missing shards of a world, see `World.write`; `world.json` holds the settings."""
    workers = usable_cores() if workers is None else workers
    check_drawing(settings.seed, settings.image_size)
    check_range("pairs", settings.pairs, 1)
    check_range("shard size", settings.shard_size, 1, LARGEST_SHARD)
    check_range("workers", workers, 1)
    if not 0 <= settings.noise <= MOST_NOISE:
        raise InputError(f"noise {settings.noise}: give a rate from 0 to {MOST_NOISE}")
    with only_writer(out):
        _claim_folder(settings, out)
        shards = range(-(-settings.pairs // settings.shard_size))
        missing = [s for s in shards if not all(path.exists() for path in _shard_files(out, s))]
        done = settings.pairs - sum(_pairs_in(settings, shard) for shard in missing)
        bar = tqdm(
            desc=f"writing {out.name}", total=settings.pairs, initial=done, unit=" pairs",
            disable=not progress,
        )  # fmt: skip
        with bar:
            for written in _written(settings, out, missing, workers):
                bar.update(written)
    return out


def write_once(
    out: Path, record: str, made_with: dict[str, Any], fill: Callable[[Path], None]
) -> Path:
    """Fill a new folder, whole or not at all, unless it already has the same content.

    record: the JSON file in the folder whose "made_with" identifies the content.
    Raises InputError if the folder holds something else, cannot be written or the disk is full.
    """
    with only_writer(out):
        if not holds_already(out, out / record, made_with):
            with folder_written_whole(out) as unfinished:
                unfinished.mkdir(parents=True)
                fill(unfinished)
    return out


def check_range(name: str, value: object, low: int, high: int | None = None) -> None:
    """Refuse a value that is not a whole number from `low` to `high`."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not (whole and low <= value and (high is None or value <= high)):  # type: ignore[operator]
        allowed = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name} {value}: give a whole number {allowed}")


def check_drawing(seed: int, image_size: int) -> None:
    """Refuse a seed that is not one 32-bit number, and sizes in pixels that cannot be drawn."""
    check_range("seed", seed, 0, 2**32 - 1)
    check_range("image size", image_size, 8, 4096)


def _claim_folder(settings: WorldSettings, out: Path) -> None:
    """Write the settings into the folder; raise InputError if it holds something else."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder to write the shards to")
    record, path = settings._asdict(), out / "world.json"
    if (benchmark := record.pop("benchmark")) is not None:
        benchmark_scenes(benchmark)  # refuses a folder that is no benchmark
        benchmark = hashlib.sha256((benchmark / "dataset_toy.json").read_bytes()).hexdigest()
    record["benchmark_sha256"] = benchmark
    if path.exists():
        old = read_json(path)
        old = old if isinstance(old, dict) else {}
        if old != record:
            differ = ", ".join(name for name in record if record[name] != old.get(name))
            raise InputError(
                f"{path}: the folder holds a world with other settings ({differ}); "
                "give another folder or delete this one"
            )
    elif any(out.glob("*.tar")) or any(out.glob("*.parquet")):
        raise InputError(f"{out}: holds shards of another origin; give another folder")
    else:
        write_json(path, record)


def _written(
    settings: WorldSettings, out: Path, shards: Sequence[int], workers: int
) -> Iterator[int]:
    """Write the shards, and yield the number of pairs of each as it is done."""
    write, workers = partial(_write_shard, settings, out), min(workers, len(shards))
    if workers <= 1:
        yield from map(write, shards)
        return
    # Forking a process that holds threads (torch, pyarrow) can hang, so workers start afresh.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            yield from pool.map(write, shards)
        except BrokenProcessPool:
            raise InputError(
                f"{out}: a worker process ended early; in a script, write worlds below "
                "`if __name__ == '__main__':`, or use one worker"
            ) from None


def _write_shard(settings: WorldSettings, out: Path, shard: int) -> int:
    """Write one shard, replacing what is left of an unfinished one; return its number of pairs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from align_edu.pairs.shards import write_tar

    tar, stats, parquet = _shard_files(out, shard)
    for left_over in [parquet, *out.glob(f".{shard:05d}*.part")]:
        left_over.unlink(missing_ok=True)
    rows = write_tar(tar, _drawn(settings, shard))
    counts = {"count": len(rows), "successes": len(rows)}
    counts |= {"failed_to_download": 0, "failed_to_resize": 0}
    write_json(stats, {**counts, "status_dict": {"success": len(rows)}})
    numbers = ("original_width", "original_height", "width", "height")
    schema = pa.schema([(name, pa.int32() if name in numbers else pa.string()) for name in rows[0]])
    with written_whole(parquet) as beside:
        pq.write_table(pa.Table.from_pylist(rows, schema), beside)
    return len(rows)


def _shard_files(out: Path, shard: int) -> list[Path]:
    """The shard's files in the order in which they are written."""
    return [out / f"{shard:05d}{end}" for end in (".tar", "_stats.json", ".parquet")]


def _pairs_in(settings: WorldSettings, shard: int) -> int:
    return min(settings.shard_size, settings.pairs - shard * settings.shard_size)


def _drawn(settings: WorldSettings, shard: int) -> Iterator[tuple[dict[str, Any], str, bytes]]:
    """Yield row, ending and picture of each pair: img2dataset's columns, then the truth."""
    for index in range(_pairs_in(settings, shard)):
        pair = make_pair(settings, shard, index)
        row = {
            "key": f"{shard:05d}{index:04d}",
            "caption": pair.text,
            "url": pair.url,
            "sha256": hashlib.sha256(pair.jpeg).hexdigest(),
            "original_width": pair.original_size[0],
            "original_height": pair.original_size[1],
            "width": settings.image_size,
            "height": settings.image_size,
            "status": "success",
            "error_message": None,
            "exif": "{}",
            "noise": pair.noise,
            "scene": json.dumps(scene_facts(pair.scene)),
        }
        yield row, ".jpg", pair.jpeg
