"""The recipe: LAMB, linear warm-up, linear decay, and how long a run lasts."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from align_edu.io import InputError
from align_edu.presets import Recipe


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Return the fraction of the peak learning rate at ``progress`` through the run (0…1).

    It rises linearly from zero over the first ``warmup`` of the run and then falls linearly
    to zero.

    Paper: Section 5.

    >>> [round(learning_rate_factor(p, 0.1), 6) for p in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return progress / warmup
    return max(0.0, (1.0 - progress) / (1.0 - warmup))


@dataclass(frozen=True)
class Budget:
    """How long a run lasts: a number of steps, or minutes of wall-clock time.

    With steps a run is exactly repeatable. With minutes the schedule follows the clock, so
    that the learning rate reaches zero just as the time is up, on a fast machine or a slow one.

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
        if (self.steps is not None and self.steps < 1) or (
            self.minutes is not None and not 0 < self.minutes < math.inf
        ):
            raise InputError("the length of the run must be a number above zero")

    def pairs(self, batch_size: int) -> float:
        """Return how many pairs the run will see; of a run by minutes, 500 a second.

        >>> Budget(steps=10).pairs(128)
        1280
        """
        return self.steps * batch_size if self.steps is not None else 30_000 * (self.minutes or 0)

    def of_step(self, step: int, seconds: float) -> float:
        """Return the place in the schedule, 0…1, of the step after ``step`` steps.

        It is never 0 or 1, where the learning rate may be zero: every step changes the weights.

        >>> Budget(steps=1).of_step(0, 0.0)
        0.5
        """
        if self.steps is not None:
            return (step + 0.5) / self.steps
        return max(1e-3, self.progress(step, seconds))

    def progress(self, step: int, seconds: float) -> float:
        """Return the fraction of the run that is over, 0…1.

        >>> Budget(steps=4).progress(step=4, seconds=0.0)
        1.0
        """
        if self.steps is not None:
            return min(1.0, step / self.steps)
        assert self.minutes is not None
        return min(1.0, seconds / (60 * self.minutes))


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser of the recipe over all parameters of ``model``.

    "lamb", the paper's, adapts every parameter and decays all but those of BatchNorm; it has
    no gradient clipping (timm's is on by default). "adamw" decays matrices only. "muon", the
    toy's, orthogonalises the update of each matrix (Jordan et al., 2024) and leaves the rest
    to Adam. Raises InputError for another name.

    Paper: Section 5 (LAMB, weight decay ratio 1e-5).

    >>> build_optimizer(nn.Linear(2, 2), Recipe()).__class__.__name__
    'Lamb'
    """
    builders = {"lamb": _lamb, "adamw": _adamw, "muon": _muon}
    if recipe.optimizer not in builders:
        raise InputError(f"recipe.optimizer {recipe.optimizer!r}: choose {', '.join(builders)}")
    return builders[recipe.optimizer](model, recipe)


def _lamb(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    from timm.optim.lamb import Lamb

    from align_edu.training.xla_lamb import XlaLamb

    plain = _parameters_of(model, nn.BatchNorm2d)
    on_xla = any(p.device.type == "xla" for p in model.parameters())
    kind = XlaLamb if on_xla else Lamb
    return kind(
        _groups(model, plain, {"weight_decay": 0.0}),
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        weight_decay=recipe.weight_decay,
        max_grad_norm=None,
        always_adapt=True,
    )


def _adamw(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    plain = {id(p) for p in model.parameters() if p.ndim < 2}
    return torch.optim.AdamW(
        _groups(model, plain, {"weight_decay": 0.0}),
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        weight_decay=recipe.weight_decay,
    )


def _muon(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    from align_edu.training.muon import Muon

    # Rows of an embedding table are words, not directions; scalars and vectors have none.
    plain = {id(p) for p in model.parameters() if p.ndim < 2}
    plain |= _parameters_of(model, nn.Embedding)
    return Muon(
        _groups(model, plain, {"weight_decay": 0.0, "adamw": True}),
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        weight_decay=recipe.weight_decay,
    )


def _parameters_of(model: nn.Module, kind: type[nn.Module]) -> set[int]:
    modules = (module for module in model.modules() if isinstance(module, kind))
    return {id(p) for module in modules for p in module.parameters()}


def _groups(model: nn.Module, plain: set[int], options: dict[str, Any]) -> list[dict[str, Any]]:
    """All parameters in two groups: the others, and the ``plain`` ones with ``options``."""
    learned = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in learned if id(p) not in plain]},
        {"params": [p for p in learned if id(p) in plain], **options},
    ]
    return [group for group in groups if group["params"]]
