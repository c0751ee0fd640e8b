"""Small stand-ins for notebooks: towers that train in no time, a TPU pod, the released weights.

`train_shortly` and `read_card` run beside a student's function: this module imports no answers.
"""

import importlib.util
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from string import ascii_lowercase, digits
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch._dynamo  # an optimiser loads it when it is made, for seconds: here it is before that
from torch import Tensor, nn
from torch.nn import functional as F

from align_edu.io import InputError
from align_edu.training.metrics import read_metrics

_RATES = {"SGD": {"lr": 0.02, "momentum": 0.9}, "Adam": {"lr": 0.02}, "AdamW": {"lr": 0.02}}
_WIDTHS = (5, 3)
_DEVICES = {  # a short run waits for the compiler: it may leave out what makes programs fast
    "PJRT_DEVICE": "CPU", "TF_CPP_MIN_LOG_LEVEL": "3",
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
}  # fmt: skip


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


def losses_of(command: str, devices: int = 0) -> list[float]:
    """Run an ``align-edu train`` command, without its --out, and return the loss of each step.

    devices: virtual XLA devices of this processor, one program for all; 0: no XLA. Without
    torch_xla, which exists for Linux on x86-64 only, they give an empty list.
    Raises InputError when the run fails.

    Paper: Section 5 (1,024 cores, one batch).
    """
    if devices and importlib.util.find_spec("torch_xla") is None:
        return []
    settings = _DEVICES | {"CPU_NUM_DEVICES": str(devices)} if devices else {}
    program = "import sys; from align_edu.cli import main; sys.exit(main())"
    with TemporaryDirectory() as folder:
        words = [sys.executable, "-c", program, *shlex.split(command), "--out", folder]
        done = subprocess.run(
            words, env=os.environ | settings, capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"the run failed: {last}")
        return [row["loss"] for row in read_metrics(folder)]


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
