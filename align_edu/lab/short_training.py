"""A short training by somebody's step: what the step told, and where the weights came to lie."""

import math
import re
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo  # an optimiser loads it when it is made, for seconds: here it is before that
from torch import Tensor, nn
from torch.nn import functional as F

SMOOTHING = 0.1
_RATES = {"SGD": {"lr": 0.02, "momentum": 0.9}, "Adam": {"lr": 0.02}, "AdamW": {"lr": 0.02}}
_PLAN = re.compile(r"(\w+), (\d+) pairs, (\d+) batch(?:es)?, seed (\d+)")
_WIDTHS = (5, 3)


class Towers(nn.Module):
    """Two towers of one layer each, and a temperature."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.image, self.text = (
            nn.Parameter(torch.randn(4, width, generator=generator)) for width in _WIDTHS
        )
        self.sigma = nn.Parameter(torch.tensor(0.5))

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit vectors: (B, 5) and (B, 3) → (B, 4) each."""
        return F.normalize(image @ self.image.T, dim=1), F.normalize(text @ self.text.T, dim=1)

    def temperature(self) -> Tensor:
        """Return σ."""
        return self.sigma


def train_shortly(step: Callable[..., Any], plan: str) -> Tensor:
    """Call a training step for each batch of a plan.

    step: (model, optimizer, batch, label smoothing) to the loss. plan: the optimiser, the pairs
    of a batch, the batches, and a seed. Returns the loss that each step told (nan for none), the
    temperature, and all weights at the end: (batches + 33,).

    >>> def no_step(model, optimizer, batch, smoothing):
    ...     return 1.0
    >>> train_shortly(no_step, "SGD, 4 pairs, 1 batch, seed 0")[:2]
    tensor([1.0000, 0.5000])
    """
    found = _PLAN.fullmatch(plan)
    if found is None:
        raise ValueError(f"{plan!r} is no plan")
    name, (pairs, batches, seed) = found[1], map(int, found.groups()[1:])
    generator = torch.Generator().manual_seed(seed)
    model = Towers(generator)
    optimizer = getattr(torch.optim, name)(model.parameters(), **_RATES[name])
    told = []
    for _ in range(batches):
        batch = [torch.randn(pairs, width, generator=generator) for width in _WIDTHS]
        loss = step(model, optimizer, batch, SMOOTHING)
        told.append(math.nan if loss is None else float(torch.as_tensor(loss).detach()))
    weights = [p.detach().flatten() for p in (model.sigma, model.image, model.text)]
    return torch.cat([torch.tensor(told), *weights])
