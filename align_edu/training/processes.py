"""Helper processes on this machine: each takes a share of every batch, on one core."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from align_edu.cores import usable_cores
from align_edu.io import TrainingStopped, read_json, write_json
from align_edu.presets import Preset
from align_edu.training.machine import PATIENCE

MOST_PROCESSES = 4
FEWEST_PAIRS = 60_000  # a shorter run ends before a second process has started
MOST_WEIGHTS = 10_000_000  # the matrices of larger models keep many threads busy
MEETING = timedelta(minutes=5)  # from the end of the imports until all processes are connected


def best_processes(preset: Preset, weights: int, pairs: float) -> int:
    """Return how many one-thread processes should share each batch; 0 means one with all threads.

    weights: learned numbers of the model. pairs: how many the run will see. A large model uses
    all threads and a short run one process; otherwise each core gets a process, as long as the
    batch divides into whole groups of ``image.ghost_batch``.

    Several processes with one thread each are faster than one with several threads: the toy's
    operations are too small to share, and threads that wait for each other collapse when
    another program runs beside them (tests/benchmarks/both_cores.py measures it).

    >>> from align_edu.presets import get_preset
    >>> best_processes(get_preset("toy"), 400_000, pairs=1_000)
    1
    """
    if weights > MOST_WEIGHTS:
        return 0
    if pairs < FEWEST_PAIRS:
        return 1
    group = preset.image.ghost_batch or 1
    counts = range(1, min(usable_cores(), MOST_PROCESSES) + 1)
    return max(n for n in counts if n == 1 or preset.recipe.batch_size % (n * group) == 0)


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
    """Return a block in which a small model on a CPU computes with one thread.

    >>> with threads_for(nn.Linear(2, 2)):
    ...     torch.get_num_threads()
    1
    """
    parameters = list(model.parameters())
    small = sum(p.numel() for p in parameters) <= MOST_WEIGHTS
    on_cpu = all(p.device.type == "cpu" for p in parameters)
    return one_thread() if small and on_cpu else nullcontext()


@contextmanager
def helpers(
    code: str, job: dict[str, Any], folder: Path, count: int
) -> Iterator[dist.ProcessGroup]:
    """Start ``count`` helpers and yield their gloo group, in which this process has rank 0.

    code: the Python program of a helper, which calls :func:`join_as_helper`. job: JSON values for
    it. folder: for meeting. No helper outlives the block or this process.
    """
    write_json(folder / "job.json", {**job, "processes": count + 1})
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder), str(rank)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,  # closes when this process ends, so that the helper ends too
            start_new_session=True,  # Ctrl-C reaches process 0 alone, which ends the helpers
        )
        for rank in range(1, count + 1)
    ]
    try:
        while len(list(folder.glob("ready-*"))) < count:
            if any(process.poll() is not None for process in started):
                raise TrainingStopped("a helper process could not start; train with --processes 1")
            time.sleep(0.05)
        yield _meet(folder, 0, count + 1)
        for process in started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        for process in started:
            process.kill()
            process.communicate()


def join_as_helper() -> tuple[dict[str, Any], Path, dist.ProcessGroup]:
    """Return this helper's job, folder and group; end the process when its parent ends."""
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    job = read_json(folder / "job.json")
    (folder / f"ready-{rank}").touch()
    return job, folder, _meet(folder, rank, job["processes"])


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when the parent, the only writer, is gone
    os._exit(1)


def _meet(folder: Path, rank: int, processes: int) -> dist.ProcessGroup:
    """Connect the processes; drop gloo's messages, since standard output is for answers."""
    sys.stdout.flush()
    before, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    try:
        store = f"file://{folder / 'meet'}"
        dist.init_process_group("gloo", store, rank=rank, world_size=processes, timeout=MEETING)
        dist.barrier()
        group = dist.new_group(timeout=PATIENCE)
        assert isinstance(group, dist.ProcessGroup)
        return group
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(null)
