"""Where a run computes: one process on a CPU or GPU, or several that share each batch."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from align_edu.io import InputError, TrainingStopped, read_json, usable_cores, write_json
from align_edu.loss.gather import gather_replicated
from align_edu.model.align import Align
from align_edu.presets import Preset

MOST_PROCESSES = 4
FEWEST_PAIRS = 60_000  # a shorter run ends before a second process has started
MOST_WEIGHTS = 10_000_000  # the matrices of larger models keep many threads busy
MEETING = timedelta(minutes=5)  # from the end of the imports until all processes are connected
PATIENCE = timedelta(hours=1)  # for another one that decodes or writes; its end is noticed at once
_HELPER = "from align_edu.training.loop import help_training; help_training()"  # its program
_LOST = (
    "another process of the run has ended; the last checkpoint is kept: start the same command"
    " again with --resume, on as many processes as you like"
)


@dataclass(frozen=True)
class Machine:
    """One process on one device; with a process group, one of several that share each batch.

    Paper: Section 5 (1,024 cores, 16 pairs on each).
    """

    device: torch.device
    group: dist.ProcessGroup | None = None
    rank: int = 0  # of this process; process 0 writes the files
    processes: int = 1  # that share each batch
    devices: int = 1  # that share each batch, one per process without XLA

    def rows(self, batch_size: int) -> range:
        """Return this process's rows of the global batch; InputError if it does not divide."""
        if batch_size % self.devices:
            among = f"among {self.devices} processes or devices; make it a multiple of"
            raise InputError(
                f"recipe.batch_size {batch_size} does not divide {among} {self.devices}"
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
        """Gather the embeddings of all processes: two (B, D) become two (N, D)."""
        if self.group is None:
            return image, text
        pairs = gather_replicated(torch.cat([image, text], dim=1), self.group)  # (N, 2 D)
        return pairs[:, : image.shape[1]], pairs[:, image.shape[1] :]

    def average_gradients(self, model: nn.Module, seconds: float) -> float:
        """Average the gradients; return process 0's ``seconds``, by which all stop at one step."""
        if self.group is None:
            return seconds
        clock = torch.tensor([seconds * self.processes if self.rank == 0 else 0.0]).to(self.device)
        self._average([*(p.grad for p in model.parameters() if p.grad is not None), clock])
        return clock.item()

    def average_statistics(self, model: nn.Module) -> None:
        """Average BatchNorm's running statistics, before they are used."""
        if self.group is not None:
            self._average([b for b in model.buffers() if b.is_floating_point()])

    def _average(self, tensors: list[Tensor]) -> None:
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat, group=self.group)
        means = (flat / self.processes).split([tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view(tensor.shape))

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
        except RuntimeError as error:  # DistError is one
            if isinstance(error, dist.DistError) or "gloo" in str(error):
                raise TrainingStopped(_LOST) from error
            raise


def open_machine(name: str | None = None) -> Machine:
    """Return the machine to train on: "cpu", "cuda", "xla", or None for a GPU if one exists.

    Under ``torchrun`` the process joins the others, over NCCL on GPUs and gloo on CPUs.
    """
    if name == "xla":
        from align_edu.training.xla import open_mesh

        return open_mesh()
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: this machine has no GPU; leave --device out or give cpu")
    device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 and not dist.is_initialized():
        return Machine(device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)  # torchrun sends it when another process has failed
    return machine_of(device, dist.group.WORLD)


def machine_of(device: torch.device, group: dist.ProcessGroup | None) -> Machine:
    """Return this process of a group, whose processes share each batch."""
    size = dist.get_world_size(group)
    return Machine(device, group, dist.get_rank(group), size, size)


def _stop(number: int, frame: Any) -> None:
    raise TrainingStopped(_LOST)


def best_processes(
    machine: Machine, preset: Preset, pairs: float, requested: int | None = None
) -> int:
    """Return how many one-thread processes should share each batch; 0: one with all threads.

    pairs: how many the run will see. A large model uses all threads and a short run one process;
    otherwise each core gets a process if the batch divides into whole groups of
    ``image.ghost_batch``: threads slow down small operations (measured by training_throughput.py).
    """
    size, apart = preset.recipe.batch_size, preset.loss.cores > 1
    if apart and (machine.devices > 1 or (requested or 1) > 1):
        raise InputError(
            "loss.cores > 1 cuts the batch of a single process; train with one process"
        )
    if machine.device.type != "cpu" or machine.group is not None:
        if requested is not None:
            raise InputError("processes are for a CPU without torchrun; leave --processes out")
        return 0
    if requested is not None:
        if requested < 1 or size % requested:
            raise InputError(f"--processes {requested}: must divide the batch of {size} pairs")
        return requested
    with torch.device("meta"):
        model = Align(preset, preset.text.vocabulary_size)
    if not is_small(model):
        return 0
    if pairs < FEWEST_PAIRS or apart:
        return 1
    group = preset.image.ghost_batch or 1
    counts = range(1, min(usable_cores(), MOST_PROCESSES) + 1)
    return max(n for n in counts if n == 1 or size % (n * group) == 0)


def is_small(model: nn.Module) -> bool:
    """Return True for a model whose operations are too small to share among threads."""
    return sum(p.numel() for p in model.parameters()) <= MOST_WEIGHTS


@contextmanager
def one_thread(when: bool = True) -> Iterator[None]:
    """Compute with one thread inside the block, if ``when``."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if when else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def helpers(job: dict[str, Any], folder: Path, count: int) -> Iterator[Machine]:
    """Start ``count`` helpers on this machine and yield the machine of process 0 of the run.

    job: JSON values for ``help_training``, which each helper calls. folder: shared with them.
    """
    write_json(folder / "job.json", {**job, "processes": count + 1})
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _HELPER, str(folder), str(rank)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,  # closes when this process ends, so that the helper ends too
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches process 0 alone, which ends the helpers
        )
        for rank in range(1, count + 1)
    ]
    try:
        if not all(helper.stdout and helper.stdout.readline() for helper in started):
            raise TrainingStopped("a helper process could not start; train with --processes 1")
        yield _meet(folder, 0, count + 1)
        for helper in started:
            with suppress(subprocess.TimeoutExpired):
                helper.wait(timeout=10)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        for helper in started:
            helper.kill()
            helper.communicate()


def join_as_helper() -> tuple[dict[str, Any], Path, Machine]:
    """Return this helper's job, folder and machine; end the process when its parent ends."""
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    job = read_json(folder / "job.json")
    os.write(1, b"imported\n")  # process 0 waits for a line from each helper
    return job, folder, _meet(folder, rank, job["processes"])


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when the parent, the only writer, is gone
    os._exit(1)


def _meet(folder: Path, rank: int, processes: int) -> Machine:
    """Connect the processes; drop gloo's messages, since standard output is for answers."""
    store = f"file://{folder / 'meet'}"
    sys.stdout.flush()
    before = os.dup(1)
    with Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), 1)
    try:
        dist.init_process_group("gloo", store, rank=rank, world_size=processes, timeout=MEETING)
        dist.barrier()
        group = dist.new_group(timeout=PATIENCE)
        assert isinstance(group, dist.ProcessGroup)
    except RuntimeError as error:
        raise TrainingStopped(_LOST) from error
    finally:
        os.dup2(before, 1)
        os.close(before)
    return machine_of(torch.device("cpu"), group)
