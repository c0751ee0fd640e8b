"""Processes of this machine that share each batch, with one thread on one core each."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from align_edu.cores import usable_cores
from align_edu.io import TrainingStopped, write_json
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


def threads_for(model: nn.Module) -> AbstractContextManager[None]:
    """Return a block for computing with ``model``: with one thread if it is small, on a CPU.

    >>> with threads_for(nn.Linear(2, 2)):
    ...     torch.get_num_threads()
    1
    """
    parameters = list(model.parameters())
    small = sum(p.numel() for p in parameters) <= MOST_WEIGHTS
    on_cpu = all(p.device.type == "cpu" for p in parameters)
    return one_thread() if small and on_cpu else nullcontext()


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
            start_new_session=True,  # Ctrl-C is for process 0, which ends the others
        )
        for rank in range(1, count + 1)
    ]
    try:
        _wait_until_ready(started, folder)
        yield join(meet, 0, count + 1)
        for process in started:
            process.wait(timeout=60)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        for process in started:
            process.kill()
            process.wait()


def _wait_until_ready(started: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait until every process has imported what it needs; raise TrainingStopped if one ends."""
    while len(list(folder.glob("ready-*"))) < len(started):
        if any(process.poll() is not None for process in started):
            raise TrainingStopped(
                "a process beside this one could not start; train with --processes 1"
            )
        time.sleep(0.05)


def join(meet: Path, rank: int, processes: int) -> dist.ProcessGroup:
    """Enter the group of processes that meets at a file, and wait until all have."""
    if rank > 0:
        (meet.parent / f"ready-{rank}").touch()
    with _standard_output_kept_clean():
        dist.init_process_group(
            "gloo", f"file://{meet}", rank=rank, world_size=processes, timeout=PATIENCE
        )
        group = dist.group.WORLD
        assert group is not None
        dist.barrier(group)
    return group


@contextmanager
def _standard_output_kept_clean() -> Iterator[None]:
    """Drop what gloo prints from C++ about its connections: answers are on standard output."""
    sys.stdout.flush()
    before, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)
