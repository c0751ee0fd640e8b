"""Training steps on eight virtual XLA devices, in a separate process: for notebook 16."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import torch
from torch import nn

from align_edu.io import InputError
from align_edu.loss import Temperature, contrastive_loss

STEPS, BATCH, WIDTH = 6, 256, 32


@dataclass(frozen=True)
class SpmdRun:
    """The losses on the devices and without them, and the number of compiled programs."""

    devices: int
    losses: list[float]
    expected: list[float]
    programs: int


def spmd_steps(devices: int = 8) -> SpmdRun | None:
    """Take six training steps on virtual XLA devices of this processor; None without torch_xla.

    Two linear towers, the loss over all 256 pairs, LAMB, another learning rate in each step.
    Raises InputError when the process fails.

    Paper: Section 5 (1,024 cores, one batch).
    """
    if importlib.util.find_spec("torch_xla") is None:
        return None
    settings = {
        "PJRT_DEVICE": "CPU",
        "CPU_NUM_DEVICES": str(devices),
        "XLA_FLAGS": "--xla_backend_optimization_level=1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-m", "align_edu.lab.spmd_steps"]
    done = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"the steps on {devices} virtual devices failed: {last}")
    return SpmdRun(**json.loads(done.stdout.splitlines()[-1]))


def told(run: SpmdRun | None) -> str:
    """Return the run in words; without one, what it would show.

    >>> print(told(SpmdRun(8, [5.0, 4.0], [5.0, 4.0], 1)))
    8 devices, 32 of the 256 pairs on each
    the losses are those of one processor: True
    programs compiled in 2 steps: 1
    >>> told(None).startswith("torch_xla is not installed here")
    True
    """
    if run is None:
        return (
            "torch_xla is not installed here: it exists for Linux on x86-64 only.\n"
            f"With it, {STEPS} steps run on 8 virtual devices, {BATCH // 8} pairs on each, with\n"
            "the losses of one processor, and XLA compiles one program for all of them."
        )
    near = all(abs(a - b) <= 1e-4 * abs(b) for a, b in zip(run.losses, run.expected, strict=True))
    return (
        f"{run.devices} devices, {BATCH // run.devices} of the {BATCH} pairs on each\n"
        f"the losses are those of one processor: {near}\n"
        f"programs compiled in {len(run.losses)} steps: {run.programs}"
    )


def _losses(device: torch.device | None = None) -> tuple[list[float], int]:
    """Return the losses of the steps and the number of programs: on a mesh, or in plain torch."""
    from align_edu.training.machine import Machine
    from align_edu.training.xla import XlaLamb, XlaMesh, open_mesh

    machine: Machine = Machine(device) if device else open_mesh()
    weights = torch.randn(2, WIDTH, WIDTH, generator=torch.Generator().manual_seed(0))
    towers = nn.ParameterList((weights / WIDTH**0.5).unbind())  # of images and of texts
    model = nn.ModuleList([towers, Temperature(0.1)]).to(machine.device)
    optimizer = XlaLamb(model.parameters(), lr=0.0, weight_decay=1e-5, always_adapt=True)
    machine.replicate(model, optimizer)
    losses = []
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        pictures = torch.randn(BATCH, WIDTH, generator=generator)
        noise = torch.randn(BATCH, WIDTH, generator=generator)
        x, y = machine.place(pictures) @ towers[0], machine.place(pictures + noise) @ towers[1]
        loss = contrastive_loss(x, y, model[1]())
        loss.backward()
        optimizer.param_groups[0]["lr"] = 0.02 * (step + 1) / STEPS
        optimizer.step()
        optimizer.zero_grad()
        machine.finish_step()
        losses.append(loss)  # read later: reading one would stop the step
    programs = machine.compiled_graphs() if isinstance(machine, XlaMesh) else 0
    return [loss.item() for loss in losses], programs


if __name__ == "__main__":
    losses, programs = _losses()  # first: torch counts its devices at the first backward pass
    expected, _ = _losses(torch.device("cpu"))
    count = int(os.environ["CPU_NUM_DEVICES"])
    run = {"devices": count, "losses": losses, "expected": expected, "programs": programs}
    print(json.dumps(run))
