"""Where a run computes: one process on a CPU or GPU, or one of several that share each batch."""

import copy
import ctypes
import os
import platform
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from align_edu.io import InputError, TrainingStopped
from align_edu.loss.gather import gather_replicated
from align_edu.presets import Preset

Tower = Callable[[Tensor], Tensor]

# How long a process waits for another one, which may be decoding or writing a checkpoint. A
# process that ends closes its connections, and torchrun ends the others: that is noticed at once.
PATIENCE = timedelta(hours=1)
_LOST = (
    "another process of the run has ended; the last checkpoint is kept: start the same command"
    " again with --resume, on as many processes as you like"
)
# glibc's names for mallopt (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


@dataclass(frozen=True)
class Machine:
    """One process on one device; with a process group, one of several that train one model.

    Every process holds the whole model and its share of each batch.

    Paper: Section 5 (1,024 cores, 16 pairs on each).

    >>> Machine(torch.device("cpu")).rows(128)
    range(0, 128)
    """

    device: torch.device
    group: dist.ProcessGroup | None = None

    fixed_shapes: ClassVar[bool] = False  # batches of texts may differ in length

    @property
    def rank(self) -> int:
        """Rank of this process, from 0; process 0 writes the files."""
        return 0 if self.group is None else dist.get_rank(self.group)

    @property
    def processes(self) -> int:
        """Number of processes that share each batch."""
        return 1 if self.group is None else dist.get_world_size(self.group)

    def rows(self, batch_size: int) -> range:
        """Return this process's rows of the global batch; InputError if it does not divide."""
        if batch_size % self.processes:
            raise InputError(
                f"a batch of {batch_size} pairs cannot be shared by {self.processes} processes;"
                " set recipe.batch_size to a multiple of their number"
            )
        share = batch_size // self.processes
        return range(self.rank * share, (self.rank + 1) * share)

    def place(self, tensor: Tensor) -> Tensor:
        """Return this process's rows on its device."""
        return tensor.to(self.device, non_blocking=True)

    @property
    def low_precision(self) -> bool:
        """Whether the towers compute in bfloat16, which is slower on a CPU."""
        return self.device.type == "cuda"

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Draw dropout and stochastic depth from ``seed``; leave the global generator as it was."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    def whole_batch(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Gather the embeddings of all processes in one message: two (B, D) become two (N, D)."""
        if self.group is None:
            return image, text
        pairs = gather_replicated(torch.cat([image, text], dim=1), self.group)  # (N, 2 D)
        width = image.shape[1]
        return pairs[:, :width], pairs[:, width:]

    def average_gradients(self, model: nn.Module, seconds: float) -> float:
        """Average the gradients over the processes and return process 0's ``seconds``.

        Both travel in one message, so that all processes stop at the same step.
        """
        if self.group is None:
            return seconds
        clock = torch.tensor([seconds * self.processes if self.rank == 0 else 0.0]).to(self.device)
        self._average([*(p.grad for p in model.parameters() if p.grad is not None), clock])
        return clock.item()

    def average_statistics(self, model: nn.Module) -> None:
        """Average BatchNorm's running statistics; they are linear, so before each use is enough."""
        self._average([b for b in model.buffers() if b.is_floating_point()])

    def wait(self) -> None:
        """Wait until every process arrives."""
        if self.group is not None:
            dist.barrier(self.group)

    def replicate(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Mark weights and moments as replicated; a no-op without XLA."""

    def finish_step(self) -> None:
        """Run the step's program; a no-op without XLA."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise TrainingStopped, in one sentence, when another process of the run ends."""
        try:
            yield
        except RuntimeError as error:
            lost = self.group is not None and not isinstance(error, TrainingStopped)
            if lost and (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise TrainingStopped(_LOST) from error
            raise

    def _average(self, tensors: list[Tensor]) -> None:
        if self.group is None or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat, group=self.group)
        flat /= self.processes
        means = flat.split([tensor.numel() for tensor in tensors])
        views = [mean.view(tensor.shape) for mean, tensor in zip(means, tensors, strict=True)]
        torch._foreach_copy_(tensors, views)


def best_device(name: str | None) -> torch.device:
    """Return the device called ``name``; without a name, a GPU if one exists, else the CPU."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def open_machine(name: str | None = None) -> Machine:
    """Return the machine to train on: "cpu", "cuda", "xla", or None for a GPU if one exists.

    Under ``torchrun`` the process joins the others, over NCCL on GPUs and gloo on CPUs.
    Raises InputError for a missing device.
    """
    if name == "xla":
        from align_edu.training.xla import open_mesh

        return open_mesh()
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: this machine has no GPU; leave --device out or give cpu")
    device = best_device(name)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 and not dist.is_initialized():
        return Machine(device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)  # torchrun sends it when another process has failed
    return Machine(device, dist.group.WORLD)


def _stop(number: int, frame: Any) -> None:
    raise TrainingStopped(_LOST)


def keep_freed_memory() -> bool:
    """Keep freed memory in the process; return True if the C library allows it.

    On Linux the C library returns large blocks to the system at once, and getting them back
    costs a page fault every 4 kB: about a fifth of a toy training step.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 64 * 2**20))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)


def compiled_or_same(tower: nn.Module, preset: Preset, device: torch.device, pairs: int) -> Tower:
    """Return the image tower compiled for batches of ``pairs``; unchanged where that fails.

    Compiling needs a C++ compiler and Python's headers; it changes the speed, not the result.
    """
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        return tower
    before = copy.deepcopy(tower.state_dict())
    shape = (pairs, 3, preset.image.crop, preset.image.crop)
    sample = torch.zeros(shape, device=device).to(memory_format=torch.channels_last)
    compiled: Tower = torch.compile(tower)
    try:
        compiled(sample).sum().backward()
    except Exception as error:  # the compiler's exceptions have no common type
        note = f"note: the image tower is not compiled ({type(error).__name__}); see doctor"
        tqdm.write(note, file=sys.stderr)
        compiled = tower
    tower.load_state_dict(before)  # the trial changed BatchNorm's running statistics
    tower.zero_grad(set_to_none=True)
    return compiled
