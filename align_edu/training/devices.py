"""Where a run computes: one process on a CPU or GPU, or one of several that share a batch."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from align_edu.io import InputError, TrainingStopped
from align_edu.loss.gather import gather_replicated

# A process that says nothing for so long counts as lost.
PATIENCE = timedelta(seconds=55)


@dataclass(frozen=True)
class Machine:
    """One process on one device. With a group it is one of several that train one model.

    Every process holds the whole model and its own rows of each batch. ``XlaMesh`` is the same
    for many XLA devices.

    Paper: Section 5 (1,024 cores, 16 pairs on each).

    >>> Machine(torch.device("cpu")).rows(128)
    range(0, 128)
    """

    device: torch.device
    group: dist.ProcessGroup | None = None

    fixed_shapes: ClassVar[bool] = False  # texts of any length are welcome

    @property
    def rank(self) -> int:
        """Number of this process, from 0; process 0 writes the files."""
        return 0 if self.group is None else dist.get_rank(self.group)

    @property
    def processes(self) -> int:
        """How many processes share a batch."""
        return 1 if self.group is None else dist.get_world_size(self.group)

    def rows(self, batch_size: int) -> range:
        """Return which rows of the global batch are this process's.

        Raises InputError when the batch cannot be shared out evenly.
        """
        if batch_size % self.processes:
            raise InputError(
                f"a batch of {batch_size} pairs cannot be shared by {self.processes} processes;"
                " set recipe.batch_size to a multiple of their number"
            )
        here = batch_size // self.processes
        return range(self.rank * here, (self.rank + 1) * here)

    def place(self, tensor: Tensor) -> Tensor:
        """Return this process's rows on its device."""
        return tensor.to(self.device, non_blocking=True)

    @property
    def low_precision(self) -> bool:
        """Whether the towers compute in bfloat16: on a CPU that is slower."""
        return self.device.type == "cuda"

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Let dropout and stochastic depth draw from ``seed``; the global generator stays."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    def whole_batch(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings of all processes' pairs: two (B, D) become two (N, D).

        Each process then computes the same loss of the whole batch, and backwards takes the
        rows that are its own: one message where the loss's ``group`` needs several.
        """
        if self.group is None:
            return image, text
        pairs = gather_replicated(torch.cat([image, text], dim=1), self.group)  # (N, 2 D)
        width = image.shape[1]
        return pairs[:, :width], pairs[:, width:]

    def average_gradients(self, model: nn.Module, seconds: float) -> float:
        """Replace each gradient by its mean over the processes, in one message.

        seconds: the clock of this process. Returns that of process 0, which travels with the
        gradients, so that all processes stop at the same step.
        """
        if self.group is None:
            return seconds
        clock = torch.tensor([seconds * self.processes if self.rank == 0 else 0.0])
        clock = clock.to(self.device)
        self._average([*(p.grad for p in model.parameters() if p.grad is not None), clock])
        return clock.item()

    def average_statistics(self, model: nn.Module) -> None:
        """Replace BatchNorm's running statistics by their mean over the processes.

        They move in proportion, so that the mean is what one process would have got that took
        each group of the batch by itself; once before they are used is enough.
        """
        self._average([b for b in model.buffers() if b.is_floating_point()])

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.group is not None:
            dist.barrier(self.group)

    def replicate(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Say, before the first step, that weights are whole everywhere: nothing to do here."""

    def finish_step(self) -> None:
        """Start what the step has asked for: here it has been done at once."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Tell in one sentence that another process of the run has ended.

        Raises TrainingStopped instead of whatever the lost connection raises.
        """
        try:
            yield
        except RuntimeError as error:
            lost = self.group is not None and not isinstance(error, TrainingStopped)
            if lost and (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise TrainingStopped(_LOST) from error
            raise

    def _average(self, tensors: list[Tensor]) -> None:
        """Mean over the processes, in place, in one message."""
        if self.group is None or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat, group=self.group)
        flat /= self.processes
        means = flat.split([tensor.numel() for tensor in tensors])
        views = [mean.view(tensor.shape) for mean, tensor in zip(means, tensors, strict=True)]
        torch._foreach_copy_(tensors, views)


_LOST = (
    "another process of the run has ended; the last checkpoint is kept: start the same command"
    " again with --resume, on as many processes as you like"
)


def best_device(name: str | None) -> torch.device:
    """Return the device called ``name``, or the best one that is there.

    >>> best_device("cpu")
    device(type='cpu')
    """
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def open_machine(name: str | None = None) -> Machine:
    """Return the machine to train on: "cpu", "cuda", "xla", or None for the best CPU or GPU.

    Under ``torchrun`` the process joins the others, over NCCL on GPUs and gloo on CPUs.
    Raises InputError for a device that is not there.

    >>> open_machine("cpu").processes
    1
    """
    if name == "xla":
        from align_edu.training.xla import open_mesh

        return open_mesh()
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: no GPU is there; leave --device out or give cpu")
    device = best_device(name)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 and not dist.is_initialized():
        return Machine(device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)  # torchrun's word that another process has failed
    return Machine(device, dist.group.WORLD)


def _stop(number: int, frame: Any) -> None:
    raise TrainingStopped(_LOST)
