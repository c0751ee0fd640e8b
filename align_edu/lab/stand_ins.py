"""Small stand-ins for notebooks: towers that train in no time, a TPU pod, the released weights.

`train_shortly` and `read_card` run beside a student's function: this module imports no answers.
"""

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from string import ascii_lowercase, digits
from typing import Any

import torch
import torch._dynamo  # an optimiser loads it when it is made, for seconds: here it is before that
from torch import Tensor, nn
from torch.nn import functional as F

from align_edu.io import InputError, fill_template

_RATES = {"SGD": {"lr": 0.02, "momentum": 0.9}, "Adam": {"lr": 0.02}, "AdamW": {"lr": 0.02}}
_WIDTHS = (5, 3)
STEPS, BATCH, WIDTH = 6, 256, 32  # of the steps on virtual devices


class Towers(nn.Module):
    """Two towers of one layer each, and a temperature."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        weights = [torch.randn(4, width, generator=generator) for width in _WIDTHS]
        self.image, self.text = map(nn.Parameter, weights)
        self.sigma = nn.Parameter(torch.tensor(0.5))

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit vectors: (B, 5) and (B, 3) → (B, 4) each."""
        return F.normalize(image @ self.image.T, dim=1), F.normalize(text @ self.text.T, dim=1)

    def temperature(self) -> Tensor:
        """Return σ."""
        return self.sigma


def train_shortly(step: Callable[..., Any], plan: str) -> Tensor:
    """Call a student's step(model, optimizer, batch, 0.1) for each batch of a plan.

    plan: the optimiser, the pairs of a batch, the batches, and a seed. Returns the loss that each
    step reported (nan for none), the temperature, and all weights at the end: (batches + 33,).
    """
    name, numbers = plan.split(", ", 1)
    pairs, batches, seed = map(int, re.findall(r"\d+", numbers))
    generator = torch.Generator().manual_seed(seed)
    model = Towers(generator)
    optimizer = getattr(torch.optim, name)(model.parameters(), **_RATES[name])
    reported = []
    for _ in range(batches):
        batch = [torch.randn(pairs, width, generator=generator) for width in _WIDTHS]
        loss = step(model, optimizer, batch, 0.1)
        reported.append(math.nan if loss is None else float(torch.as_tensor(loss).detach()))
    weights = [p.detach().flatten() for p in (model.sigma, model.image, model.text)]
    return torch.cat([torch.tensor(reported), *weights])


def read_card(write: Callable[..., Any], *measured: Any) -> list[Any]:
    """Return what a student's model card has: sections with words in them, numbers, and limits.

    write: the student's function. measured: names, right answers, and questions.
    """
    sections = re.split(r"^## *", str(write(*measured)), flags=re.M)[1:]
    parts = {name.strip(): text for name, _, text in (each.partition("\n") for each in sections)}
    line = r"^- (.+): *(\d+) *% *\((\d+) to (\d+)\) of (\d+)"
    numbers = re.findall(line, parts.get("Measured", ""), re.M)
    limits = [name for name in measured[0] if name in parts.get("Limits", "")]
    return [sorted(name for name in parts if len(parts[name].split()) > 4), numbers, limits]


def spmd_steps(devices: int = 8) -> dict[str, Any] | None:
    """Take six training steps on virtual XLA devices of this processor; None without torch_xla.

    Returns the number of devices, the losses on them, those expected, and the number of compiled
    programs. Raises InputError when the process fails.

    Paper: Section 5 (1,024 cores, one batch).
    """
    if importlib.util.find_spec("torch_xla") is None:
        return None
    settings = {"PJRT_DEVICE": "CPU", "CPU_NUM_DEVICES": str(devices), "TF_CPP_MIN_LOG_LEVEL": "3"}
    settings["XLA_FLAGS"] = "--xla_backend_optimization_level=1"
    command = [sys.executable, "-m", "align_edu.lab.stand_ins"]
    done = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"the steps on {devices} virtual devices failed: {last}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def in_words(run: dict[str, Any] | None) -> str:
    """Return the run in words; without one, what it would show."""
    file = Path(__file__).with_name("virtual_devices.txt.j2")
    return fill_template(file, run=run, batch=BATCH, steps=STEPS).rstrip("\n")


def _losses(device: torch.device | None = None) -> tuple[list[float], int]:
    """Return the losses of the steps and the number of programs: on a mesh, or in plain torch."""
    from align_edu.loss import Temperature, contrastive_loss
    from align_edu.training.processes import Machine
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
        pictures, noise = (torch.randn(BATCH, WIDTH, generator=generator) for _ in range(2))
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


def tiny_hf(folder: str | Path, seed: int = 0) -> Path:
    """Write a tiny random model as a folder of transformers' AlignModel; return the folder.

    It has every part and convention of the released weights, and a side of 65 = 2 × 32 + 1 pixels
    where theirs is 289 = 9 × 32 + 1; its word pieces are single letters and digits. The same seed
    gives the same bytes. Raises InputError when the folder is not empty.

    Paper: Section 4.1.

    >>> import tempfile
    >>> from align_edu.hub import load_hf
    >>> load_hf(tiny_hf(tempfile.mkdtemp())).preset.image.padding
    'tf_static'
    """
    from align_edu.hub import save_hf
    from align_edu.model.align import Align
    from align_edu.model.text_tower import SPECIAL_TOKENS, tokenizer_from_pieces
    from align_edu.presets import ImageSettings, LossSettings, Preset, TextSettings
    from align_edu.training.run import Run

    letters = ascii_lowercase + digits
    pieces = [*SPECIAL_TOKENS, *letters, *("##" + letter for letter in letters)]
    image = ImageSettings(
        width=0.35, depth=0.35, resize=78, crop=65, stochastic_depth=0.0, padding="tf_static"
    )
    text = TextSettings(
        layers=2, width=32, heads=2, vocabulary_size=len(pieces), dropout=0.0, pooler=True
    )
    preset = Preset("align-tiny", image, text, LossSettings(temperature=0.05))
    model = Align(preset, len(pieces), seed)
    _see_patches(model.image_tower, seed)
    run = Run(Path(folder), preset, tokenizer_from_pieces(pieces), model.eval())
    return save_hf(run, folder)


def _see_patches(tower: nn.Module, seed: int) -> None:
    """Set BatchNorm's statistics from patches of colour; else all pictures look nearly alike."""
    generator = torch.Generator().manual_seed(seed)
    patches = 2 * torch.rand(64, 3, 6, 6, generator=generator) - 1
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # of this one batch
    with torch.no_grad():
        tower.train()(F.interpolate(patches, size=(65, 65), mode="bilinear"))


if __name__ == "__main__":
    losses, programs = _losses()  # first: torch counts its devices at the first backward pass
    expected, _ = _losses(torch.device("cpu"))
    count = int(os.environ["CPU_NUM_DEVICES"])
    run = {"devices": count, "losses": losses, "expected": expected, "programs": programs}
    print(json.dumps(run))
