"""Processes of this machine that share each batch, with one thread on one core each."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from align_edu.cores import usable_cores
from align_edu.files import write_json
from align_edu.presets import Preset

MOST_PROCESSES = 4
FEWEST_PAIRS = 60_000  # a shorter run is over before a second process has started
MOST_WEIGHTS = 10_000_000  # the matrices of larger models keep many threads busy
PATIENCE = timedelta(minutes=5)  # a process that is silent for so long is lost


def best_processes(preset: Preset, weights: int, pairs: float) -> int:
    """Return how many processes of this machine should share each batch.

    weights: learned numbers of the model. pairs: how many the run will see. A short run and a
    large model stay in one process; otherwise each core gets one, as far as the batch divides
    into whole groups of ``image.ghost_batch``.

    Several processes with one thread each are faster than one with several threads: the toy's
    operations are too small to share, and threads that wait for each other collapse when
    another program runs beside them (tests/benchmarks/both_cores.py measures it).

    >>> from align_edu.presets import get_preset
    >>> best_processes(get_preset("toy"), 400_000, pairs=1_000)
    1
    """
    if pairs < FEWEST_PAIRS or weights > MOST_WEIGHTS:
        return 1
    whole = preset.image.ghost_batch or 1
    counts = range(1, min(usable_cores(), MOST_PROCESSES) + 1)
    return max(n for n in counts if n == 1 or preset.recipe.batch_size % (n * whole) == 0)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def peers(
    module: str, job: dict[str, Any], folder: Path, count: int
) -> Iterator[dist.ProcessGroup]:
    """Start ``count`` processes and yield the gloo group of them and this process, its rank 0.

    module: what they run, as ``python -m module JOB.json RANK``; it calls :func:`join`. job: what
    they read there, plain JSON values. folder: an empty one, for the job and for meeting. None of
    them outlives the block.
    """
    path, meet = folder / "job.json", folder / "meet"
    write_json(path, {**job, "meet": str(meet), "processes": count + 1})
    started = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(path), str(rank)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
        )
        for rank in range(1, count + 1)
    ]
    try:
        yield join(meet, 0, count + 1)
        for process in started:
            process.wait(timeout=60)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        for process in started:
            process.kill()
            process.wait()


def join(meet: Path, rank: int, processes: int) -> dist.ProcessGroup:
    """Enter the group of processes that meets at a file, and wait until all have."""
    dist.init_process_group(
        "gloo", f"file://{meet}", rank=rank, world_size=processes, timeout=PATIENCE
    )
    group = dist.group.WORLD
    assert group is not None
    dist.barrier(group)
    return group
