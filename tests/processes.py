"""Start, watch and await processes: functions over gloo, and `align-edu train`."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

# The server imports once what its forks need: imports take longer than the tests' steps.
multiprocessing.set_forkserver_preload(
    ["align_edu.training", "torch._dynamo", "transformers.models.bert.modeling_bert"]
)


def run_processes(count: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``function(rank, *arguments)`` in ``count`` processes; return the result of rank 0."""
    folder = Path(tempfile.mkdtemp(prefix="processes_"))
    # multiprocessing deletes its folder at exit, when that of the tests is already gone.
    with patch.object(tempfile, "tempdir", str(Path(tempfile.gettempdir()).parent)):
        get_temp_dir()
    multiprocessing.start_processes(
        _one, (count, folder, function, arguments), nprocs=count, start_method="forkserver"
    )
    return torch.load(folder / "result.pt", weights_only=True)


def _one(rank: int, count: int, folder: Path, function, arguments) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/meet", rank=rank, world_size=count, timeout=timedelta(seconds=60)
    )
    result = function(rank, *arguments)
    if rank == 0:
        torch.save(result, folder / "result.pt")
    dist.barrier()
    dist.destroy_process_group()


def start_training(settings, shards: Path, out: Path, steps: int, *more: str, torchrun: int = 0):
    """Start ``align-edu train``, under torchrun if a number of processes is given."""
    changes = [part for item in settings.items() for part in ("--set", "=".join(item))]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--no-python"]
    launcher += [f"--nproc-per-node={torchrun}", sys.executable]
    code = "import sys; from align_edu.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, *(launcher if torchrun else []), "-c", code, "train",
         "--data", str(shards), "--out", str(out), "--steps", str(steps), *changes, *more],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def newest_step(out: Path) -> int:
    return max((int(file.stem) for file in out.glob("checkpoints/0*.safetensors")), default=0)


def children_of(parent: int, command: str = "") -> list[int]:
    """Return the process ids of a process's children."""
    every = (each.info for each in psutil.process_iter(["pid", "ppid", "cmdline"]))
    own = (info for info in every if info["ppid"] == parent)
    return [info["pid"] for info in own if command in " ".join(info["cmdline"] or [])]


def alive(number: int) -> bool:
    running = psutil.process_iter(["status"])
    return any(p.pid == number and p.info["status"] != psutil.STATUS_ZOMBIE for p in running)


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
