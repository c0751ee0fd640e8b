"""The recipe: how long a run lasts, its learning rate, and its optimiser."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from align_edu.io import InputError
from align_edu.presets import Recipe
from align_edu.training.muon import Muon


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Return the fraction of the peak learning rate at ``progress`` through the run (0…1).

    It rises linearly from zero over the first ``warmup`` of the run, then falls linearly to zero.

    Paper: Section 5.

    >>> [round(learning_rate_factor(p, 0.1), 6) for p in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return progress / warmup
    return max(0.0, (1.0 - progress) / (1.0 - warmup))


@dataclass(frozen=True)
class Budget:
    """The length of a run: a number of steps, which repeats exactly, or minutes of the clock.

    >>> Budget(steps=200).progress(step=50, seconds=3.0)
    0.25
    >>> Budget(minutes=1.0).progress(step=50, seconds=15.0)
    0.25
    """

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise InputError("give the length of the run as steps or as minutes, one of the two")
        if not 0 < (self.steps or self.minutes or 0) < math.inf:
            raise InputError("the length of the run must be a number above zero")

    def pairs(self, batch_size: int) -> float:
        """Return how many pairs the run will see; by minutes, assume 500 a second."""
        return self.steps * batch_size if self.steps is not None else 30_000 * (self.minutes or 0)

    def of_step(self, step: int, seconds: float) -> float:
        """Return the place in the schedule of the step that follows ``step`` steps.

        It is never 0 or 1, where the learning rate may be zero: every step changes the weights.
        """
        if self.steps is not None:
            return (step + 0.5) / self.steps
        return max(1e-3, self.progress(step, seconds))

    def progress(self, step: int, seconds: float) -> float:
        """Return the finished fraction of the run, 0…1."""
        done = step / self.steps if self.steps is not None else seconds / (60 * (self.minutes or 0))
        return min(1.0, done)


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over all parameters of ``model``.

    "lamb", the paper's, adapts every parameter and decays all but those of BatchNorm; it does
    not clip gradients (timm does by default). "adamw" decays matrices only, and so does "sgd",
    whose momentum is ``recipe.beta1`` (0.9 by default). "muon", the toy's, orthogonalises the
    update of each matrix and leaves vectors and embedding tables, whose rows are words, to AdamW.

    Paper: Section 5 (LAMB, weight decay ratio 1e-5); footnote 1 (SGD with momentum, Adam).

    >>> build_optimizer(nn.Linear(2, 2), Recipe()).__class__.__name__
    'Lamb'
    """
    rates: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    betas = (recipe.beta1, recipe.beta2)
    vectors = {id(p) for p in model.parameters() if p.ndim < 2}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(_groups(model, vectors), momentum=recipe.beta1, **rates)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(_groups(model, vectors), betas=betas, **rates)
    if recipe.optimizer == "muon":
        others = vectors | _parameters_of(model, nn.Embedding)
        return Muon(_groups(model, others, adamw=True), betas=betas, **rates)
    from timm.optim.lamb import Lamb  # slow to import

    from align_edu.training.xla import XlaLamb

    kind = XlaLamb if any(p.device.type == "xla" for p in model.parameters()) else Lamb
    groups = _groups(model, _parameters_of(model, nn.BatchNorm2d))
    return kind(groups, max_grad_norm=None, always_adapt=True, betas=betas, **rates)


def _parameters_of(model: nn.Module, kind: type[nn.Module]) -> set[int]:
    modules = (module for module in model.modules() if isinstance(module, kind))
    return {id(p) for module in modules for p in module.parameters()}


def _groups(model: nn.Module, plain: set[int], **options: Any) -> list[dict[str, Any]]:
    """Return two groups of parameters; the ``plain`` ones are not decayed and have ``options``."""
    learned = [p for p in model.parameters() if p.requires_grad]
    decayed = {"params": [p for p in learned if id(p) not in plain]}
    others = {"params": [p for p in learned if id(p) in plain], "weight_decay": 0.0, **options}
    return [group for group in (decayed, others) if group["params"]]
