"""TPU and other XLA devices: one program over all of them (SPMD), each batch shared out by rows."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from align_edu.io import InputError
from align_edu.training.devices import Machine

AXIS = "data"  # the mesh's only axis: weights are whole everywhere, batches are divided


@dataclass(frozen=True)
class XlaMesh(Machine):
    """All XLA devices of a run as one: the step is written for the whole batch.

    XLA divides the work along the rows of what :meth:`place` brings and adds the collectives,
    so the loss has all pairs of the batch as negatives, and there is nothing to average.
    ``device`` is torch_xla's one virtual device, which stands for all; ``devices`` counts the
    real ones on all hosts. torch_xla is imported only when a mesh is opened or used.

    Paper: Section 5 (1,024 Cloud TPU v3 cores, 16 pairs on each, loss over all of them).
    """

    devices: int = 1
    host: int = 0
    hosts: int = 1
    mesh: Any = None  # torch_xla's Mesh

    fixed_shapes: ClassVar[bool] = True  # another length of text is another program

    @property
    def rank(self) -> int:
        """Number of this host, from 0; host 0 writes the files."""
        return self.host

    @property
    def processes(self) -> int:
        """How many hosts share a batch: each runs one process."""
        return self.hosts

    @property
    def low_precision(self) -> bool:
        """Whether the towers compute in bfloat16: on TPUs, which are made for it."""
        import torch_xla.runtime as runtime

        return runtime.device_type() == "TPU"

    def rows(self, batch_size: int) -> range:
        """Return which rows of the global batch this host reads.

        Raises InputError for a batch that does not give each device the same number of rows.
        """
        if batch_size % self.devices:
            raise InputError(
                f"recipe.batch_size {batch_size} does not divide among {self.devices} devices;"
                f" make it a multiple of {self.devices}"
            )
        share = batch_size // self.hosts
        return range(self.host * share, (self.host + 1) * share)

    def place(self, tensor: Tensor) -> Tensor:
        """Return this host's rows (B / hosts, …) as part of the global (B, …) on all devices."""
        import torch_xla.core.xla_model as xm
        import torch_xla.distributed.spmd as spmd

        axes = (AXIS, *[None] * (tensor.ndim - 1))
        spec = spmd.ShardingSpec(self.mesh, axes, minibatch=self.hosts > 1)
        placed: Any = xm.send_cpu_data_to_device(tensor, self.device, spec)
        return placed[0]

    def replicate(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Say that weights, statistics and moments are whole on every device.

        Call it before the first step, and after a checkpoint is loaded: without it XLA learns
        it from the first step's result and compiles the second step anew.
        """
        import torch_xla
        import torch_xla.distributed.spmd as spmd

        torch_xla.sync()  # what was just loaded may be a program yet
        moments = [value for entries in optimizer.state.values() for value in entries.values()]
        for tensor in (*model.state_dict().values(), *moments):
            if isinstance(tensor, Tensor) and tensor.device.type == "xla":
                spmd.mark_sharding(tensor, self.mesh, (None,) * tensor.ndim)
        torch_xla.sync()

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Let dropout and stochastic depth inside draw from ``seed``, and leave no trace."""
        import torch_xla.core.xla_model as xm

        before = xm.get_rng_state()
        xm.set_rng_state(seed)
        try:
            yield
        finally:
            xm.set_rng_state(before)

    def wait(self) -> None:
        """Wait until every host is here."""
        import torch_xla.core.xla_model as xm

        if self.hosts > 1:
            xm.rendezvous("align_edu")

    def whole_batch(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings as they are: the step is written for the whole batch."""
        return image, text

    def average_gradients(self, model: nn.Module, seconds: float) -> float:
        """Return ``seconds``: the gradient is already that of the whole batch's loss.

        Steps, not minutes, are the length of a run of several hosts, so no clock is shared.
        """
        return seconds

    def average_statistics(self, model: nn.Module) -> None:
        """Do nothing: BatchNorm's running statistics are already those of all groups."""

    def finish_step(self) -> None:
        """End the program here and start it; what follows belongs to the next one."""
        import torch_xla

        torch_xla.sync()

    def compiled_graphs(self) -> int:
        """Return how many programs XLA has compiled in this process."""
        from torch_xla.debug import metrics

        return metrics.counter_value("UncachedCompile") or 0


def open_mesh() -> XlaMesh:
    """Return all XLA devices of this run, on all hosts, as one mesh.

    To be called once, before any tensor is on an XLA device. Products of fp32 matrices are
    computed in fp32: a TPU would round their inputs to bfloat16, whose steps of 0.004 near a
    cosine of 1 are steps of 0.25 in logits at σ = 1/64. bfloat16 inputs stay bfloat16.
    Raises InputError when torch_xla is not installed or finds no device.
    """
    try:
        import numpy as np
        import torch_xla
        import torch_xla.distributed.spmd as spmd
        import torch_xla.runtime as runtime
        from torch_xla import backends
    except ImportError as error:
        raise InputError(
            f"torch_xla cannot be imported ({error}); install it beside torch 2.9 on Linux"
            " x86-64 (pip install torch_xla==2.9.0), or choose device cpu or cuda"
        ) from error
    try:
        runtime.use_spmd()
        count = runtime.global_runtime_device_count()
        device = torch_xla.device()
    except (OSError, RuntimeError) as error:  # no libtpu, or no such kind of device
        raise InputError(
            f"torch_xla finds no device ({str(error).partition('. ')[0]}); on a TPU host set"
            " PJRT_DEVICE=TPU, for a trial without one PJRT_DEVICE=CPU"
        ) from error
    logging.getLogger(backends.__name__).setLevel(logging.ERROR)  # it warns at the first call
    backends.set_mat_mul_precision("highest")
    mesh = spmd.Mesh(np.arange(count), (count,), (AXIS,))
    return XlaMesh(
        device,
        devices=count,
        host=runtime.process_index(),
        hosts=runtime.process_count(),
        mesh=mesh,
    )
