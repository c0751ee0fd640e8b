"""TPUs and other XLA devices: one SPMD program over all of them, and a LAMB that compiles once."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim.lamb import Lamb
from torch import Tensor, nn

from align_edu.io import InputError
from align_edu.training.processes import Machine

AXIS = "data"  # the mesh's only axis: weights are replicated, batches are sharded by rows


@dataclass(frozen=True)
class XlaMesh(Machine):
    """All XLA devices of a run as one machine: the step is written for the whole batch.

    XLA shards the computation along the rows that :meth:`place` sends and adds the collectives.
    ``device`` is torch_xla's single virtual device; each host runs one process.

    Paper: Section 5 (1,024 Cloud TPU v3 cores, 16 pairs on each, loss over all of them).
    """

    mesh: Any = None  # torch_xla's Mesh

    @property
    def low_precision(self) -> bool:
        """Whether the towers compute in bfloat16, which TPUs are built for."""
        import torch_xla.runtime as runtime

        return runtime.device_type() == "TPU"

    def place(self, tensor: Tensor) -> Tensor:
        """Send this host's rows (B / hosts, …); return the global batch (B, …) on all devices."""
        import torch_xla.core.xla_model as xm
        import torch_xla.distributed.spmd as spmd

        axes = (AXIS, *[None] * (tensor.ndim - 1))
        spec = spmd.ShardingSpec(self.mesh, axes, minibatch=self.processes > 1)
        placed: Any = xm.send_cpu_data_to_device(tensor, self.device, spec)
        return placed[0]

    def replicate(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Mark weights, statistics and moments as replicated, so that XLA compiles once."""
        import torch_xla
        import torch_xla.distributed.spmd as spmd

        torch_xla.sync()  # run what is still pending, such as a checkpoint's copies
        moments = [value for entries in optimizer.state.values() for value in entries.values()]
        for tensor in (*model.state_dict().values(), *moments):
            if isinstance(tensor, Tensor) and tensor.device.type == "xla":
                spmd.mark_sharding(tensor, self.mesh, (None,) * tensor.ndim)
        torch_xla.sync()

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Draw dropout and stochastic depth from ``seed``; leave the generator as it was."""
        import torch_xla.core.xla_model as xm

        before = xm.get_rng_state()
        xm.set_rng_state(seed)
        try:
            yield
        finally:
            xm.set_rng_state(before)

    def wait(self) -> None:
        """Wait until every host arrives."""
        import torch_xla.core.xla_model as xm

        if self.processes > 1:
            xm.rendezvous("align_edu")

    def finish_step(self) -> None:
        """End the step's program and start it."""
        import torch_xla

        torch_xla.sync()

    def compiled_graphs(self) -> int:
        """Return how many programs XLA has compiled in this process."""
        from torch_xla.debug import metrics

        return metrics.counter_value("UncachedCompile") or 0


def open_mesh() -> XlaMesh:
    """Return all XLA devices of this run, on all hosts, as one mesh; call it before their use."""
    try:
        import numpy as np
        import torch_xla
        import torch_xla.distributed.spmd as spmd
        import torch_xla.runtime as runtime
        from torch_xla import backends
    except ImportError as error:
        remedy = "install it beside torch 2.9 on Linux x86-64 (pip install torch_xla==2.9.0)"
        message = f"torch_xla cannot be imported ({error}); {remedy}, or choose device cpu or cuda"
        raise InputError(message) from error
    try:
        runtime.use_spmd()
        count = runtime.global_runtime_device_count()
        device = torch_xla.device()
    except (OSError, RuntimeError) as error:  # no libtpu, or no such kind of device
        remedy = "on a TPU host set PJRT_DEVICE=TPU, for a trial without one PJRT_DEVICE=CPU"
        reason = str(error).partition(". ")[0]
        raise InputError(f"torch_xla finds no device ({reason}); {remedy}") from error
    logging.getLogger(backends.__name__).setLevel(logging.ERROR)  # it warns at its first call
    # A TPU would round the inputs of fp32 products to bfloat16, and logits to steps of 0.25.
    backends.set_mat_mul_precision("highest")
    mesh = spmd.Mesh(np.arange(count), (count,), (AXIS,))
    rank, hosts = runtime.process_index(), runtime.process_count()
    return XlaMesh(device, rank=rank, processes=hosts, devices=count, mesh=mesh)


class XlaLamb(Lamb):
    """timm's LAMB with tensors for all numbers that change, so that XLA compiles its step once.

    XLA compiles a new program when a Python number of the graph (learning rate, bias
    corrections) becomes 0, 1 or equal to another number, and for the zeros with which moments
    start. Arguments, groups and state are timm's; its other options are not supported.

    Paper: Section 5 (LAMB: You et al., 2020, Algorithm 2).
    """

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, **options)
        for group in self.param_groups:
            group["step"] = torch.zeros(())  # on the host, as in timm
            for p in group["params"]:
                for name in ("exp_avg", "exp_avg_sq"):
                    self.state[p][name] = torch.zeros(p.shape, dtype=p.dtype).to(p.device)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient; ``closure`` is ignored."""
        for group in self.param_groups:
            group["step"].add_(1)
            step, (beta1, beta2) = int(group["step"]), group["betas"]
            learned = [p for p in group["params"] if p.grad is not None]
            # One tensor: XLA would merge separate scalars of equal value.
            changing = [group["lr"], 1 - beta1**step, 1 - beta2**step]
            numbers = torch.tensor(changing, dtype=learned[0].dtype).to(learned[0].device)
            for p in learned:
                mean, square = self.state[p]["exp_avg"], self.state[p]["exp_avg_sq"]
                mean.lerp_(p.grad, 1 - beta1)
                square.mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
                update = (mean / numbers[1]) / ((square / numbers[2]).sqrt() + group["eps"])
                update = update + group["weight_decay"] * p
                if group["weight_decay"] != 0 or group["always_adapt"]:
                    weight, length = p.norm(), update.norm()
                    trusted = (weight > 0) & (length > 0)  # else the trust ratio is 1
                    update = update * torch.where(trusted, weight / length, 1.0)
                p.sub_(update * numbers[0])
