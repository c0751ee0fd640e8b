"""The toy CC-3M: scenes drawn by code, alt-text written by code, noise labelled with the truth.

Each shard depends on the settings and its own number only, so any number of workers writes the
same bytes. The file `00000.parquet` comes last: an interrupted writer resumes where it stopped.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from align_edu.io import InputError, only_writer, read_json, usable_cores, write_json
from align_edu.world.benchmark import write_benchmark
from align_edu.world.draw import check_drawing, check_range
from align_edu.world.scene import scene_facts
from align_edu.world.tasks import write_task
from align_edu.world.web_noise import DEFAULT_NOISE, WorldSettings, benchmark_scenes, make_pair

__all__ = ["World"]

SHARD_SIZE = 5_000
LARGEST_SHARD = 10_000  # a key has four digits for the pair's number in its shard
MOST_NOISE = 0.95


@dataclass(frozen=True)
class World:
    """A small web of pictures and alt-text that needs no download.

    seed: 0 to 4294967295; worlds of different seeds share no picture.
    noise: the part of all pairs that is noisy, 0 to 0.95. `web_noise.NOISE` holds the mix.
    image_size: pixels of each side of a picture in the shards.

    Each method returns the folder that it wrote, whose bytes depend on the arguments alone, and
    raises InputError if an argument is out of range, the folder holds something else, or the
    disk is full. With `progress` it shows a progress bar on standard error.

    >>> import tempfile
    >>> out = World(seed=7).write(Path(tempfile.mkdtemp()), pairs=12)
    >>> (out / "00000.tar").exists()
    True
    """

    seed: int = 0
    noise: float = DEFAULT_NOISE
    image_size: int = 58

    def write(
        self, out: str | Path, pairs: int, *, workers: int | None = None,
        benchmark: str | Path | None = None, shard_size: int = SHARD_SIZE, progress: bool = False,
    ) -> Path:  # fmt: skip
        """Write raw pairs as shards in img2dataset's webdataset layout.

        out: folder for the shards. A folder that an earlier call left unfinished is completed.
        pairs: number of pairs, noisy ones included; `shard_size` of them in each shard.
        workers: number of processes; None for one per CPU core. They do not change the bytes.
        benchmark: folder of a benchmark; near-duplicates of its pictures are then among the
        pairs, as test pictures are on the web.
        """
        out, near = Path(out), None if benchmark is None else Path(benchmark)
        workers = usable_cores() if workers is None else workers
        check_drawing(self.seed, self.image_size)
        check_range("pairs", pairs, 1)
        check_range("shard size", shard_size, 1, LARGEST_SHARD)
        check_range("workers", workers, 1)
        if not 0 <= self.noise <= MOST_NOISE:
            raise InputError(f"noise {self.noise}: give a rate from 0 to {MOST_NOISE}")
        settings = WorldSettings(self.seed, self.noise, self.image_size, pairs, shard_size, near)
        with only_writer(out):
            _claim_folder(settings, out)
            shards = range(-(-pairs // shard_size))
            missing = [s for s in shards if not all(file.exists() for file in _shard_files(out, s))]
            done = pairs - sum(_pairs_in(settings, shard) for shard in missing)
            label, shows = f"writing {out.name}", {"unit": " pairs", "disable": not progress}
            with tqdm(None, label, pairs, initial=done, **shows) as bar:
                for written in _written(settings, out, missing, workers):
                    bar.update(written)
        return out

    def write_benchmark(
        self, out: str | Path, scenes: int = 1_000, *, image_size: int = 128, train: int = 0,
        twins: int = 0, progress: bool = False,
    ) -> Path:  # fmt: skip
        """Write a clean retrieval benchmark: unique scenes with five captions each.

        out: folder for `dataset_toy.json` (Karpathy's format) and `images/`. Its pictures are in
        no shard of any world.
        train: number of further scenes, the split "train", for fine-tuning.
        twins: near twins after each scene, which differ from it in one fact.
        """
        made_with = {"seed": self.seed, "scenes": scenes, "image_size": image_size}
        made_with |= {name: n for name, n in (("train", train), ("twins", twins)) if n}
        return write_benchmark(Path(out), made_with, progress)

    def write_task(
        self, out: str | Path, task: str, *, train: int = 800, val: int = 200, test: int = 500,
        image_size: int = 128, held_out: bool = False, progress: bool = False,
    ) -> Path:  # fmt: skip
        """Write a classification task as class folders, with prompts for zero-shot.

        out: folder for `SPLIT/CLASS/NUMBER.jpg`, `classes.txt` and `templates.txt`. Its pictures
        are in no shard and no benchmark.
        task: a key of `align_edu.world.tasks.TASKS`, such as "object", "colour" or "count".
        train, val, test: pictures of each split, all classes alike.
        held_out: test on compositions that training never sees; for "object" and "colour".

        Paper: Section 5.2 (VTAB's natural, specialised and structured tasks).

        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "style"
        >>> out = World().write_task(folder, "style", train=3, val=0, test=3)
        >>> sorted(file.parent.name for file in out.glob("test/*/*.jpg"))
        ['photo', 'poster', 'sketch']
        """
        made_with = {"task": task, "seed": self.seed, "train": train, "val": val, "test": test}
        made_with |= {"image_size": image_size, "held_out": held_out}
        return write_task(Path(out), made_with, progress)


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
            raise InputError(f"{path}: a world of other settings ({differ}); give a new folder")
    elif any(out.glob("*.tar")) or any(out.glob("*.parquet")):
        raise InputError(f"{out}: holds shards of another origin; give another folder")
    else:
        write_json(path, record)


def _written(settings: WorldSettings, out: Path, shards: list[int], workers: int) -> Iterator[int]:
    """Write the shards, and yield the number of pairs of each as it is done."""
    write, workers = partial(_write_shard, settings, out), min(workers, len(shards))
    if workers <= 1:
        yield from map(write, shards)
        return
    # Forking a process that holds threads (torch, pyarrow) can hang, so workers start afresh.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(write, shards)
        except BrokenExecutor:
            guard = "in a script, write worlds below `if __name__ == '__main__':`"
            message = f"{out}: a worker process ended early; {guard}, or use one worker"
            raise InputError(message) from None


def _write_shard(settings: WorldSettings, out: Path, shard: int) -> int:
    """Write one shard, replacing what is left of an unfinished one; return its number of pairs."""
    import pyarrow as pa

    from align_edu.pairs.shards import write_shard

    *_, parquet = _shard_files(out, shard)
    for left_over in [parquet, *out.glob(f".{shard:05d}*.part")]:
        left_over.unlink(missing_ok=True)
    numbers = ("original_width", "original_height", "width", "height")
    types = dict.fromkeys(numbers, pa.int32()) | {"error_message": pa.string()}
    return write_shard(out / f"{shard:05d}.tar", _drawn(settings, shard), **types)


def _shard_files(out: Path, shard: int) -> list[Path]:
    """The shard's files in the order in which they are written."""
    return [out / f"{shard:05d}{end}" for end in (".tar", "_stats.json", ".parquet")]


def _pairs_in(settings: WorldSettings, shard: int) -> int:
    return min(settings.shard_size, settings.pairs - shard * settings.shard_size)


def _drawn(settings: WorldSettings, shard: int) -> Iterator[tuple[dict[str, Any], str, bytes]]:
    """Yield row, ending and picture of each pair: img2dataset's columns, then the truth."""
    for index in range(_pairs_in(settings, shard)):
        pair = make_pair(settings, shard, index)
        row: dict[str, Any] = {"key": f"{shard:05d}{index:04d}", "caption": pair.text}
        row |= {"url": pair.url, "sha256": hashlib.sha256(pair.jpeg).hexdigest()}
        row |= dict(zip(("original_width", "original_height"), pair.original_size))
        row |= dict.fromkeys(("width", "height"), settings.image_size)
        row |= {"status": "success", "error_message": None, "exif": "{}", "noise": pair.noise}
        yield row | {"scene": json.dumps(scene_facts(pair.scene))}, ".jpg", pair.jpeg
