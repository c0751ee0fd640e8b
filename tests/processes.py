"""Runs a function in several processes that talk over gloo, as torchrun would start them."""

import tempfile
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing


def run_processes(count, function, *arguments):
    """Call ``function(rank, *arguments)`` in ``count`` processes; return what rank 0 gave."""
    folder = Path(tempfile.mkdtemp(prefix="processes_"))
    multiprocessing.spawn(_one, (count, folder, function, arguments), nprocs=count)
    return torch.load(folder / "result.pt", weights_only=True)


def _one(rank, count, folder, function, arguments):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/meet", rank=rank, world_size=count, timeout=timedelta(seconds=60)
    )
    result = function(rank, *arguments)
    if rank == 0:
        torch.save(result, folder / "result.pt")
    dist.barrier()
    dist.destroy_process_group()
