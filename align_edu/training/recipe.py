"""The recipe: LAMB, linear warm-up, linear decay, and how long a run lasts."""

from dataclasses import dataclass

import torch
from torch import nn

from align_edu.errors import InputError
from align_edu.presets import Recipe


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Return the fraction of the peak learning rate at ``progress`` through the run (0…1).

    It rises linearly from zero over the first ``warmup`` of the run and then falls linearly
    to zero.

    Paper: Section 5.

    >>> [learning_rate_factor(p, 0.1) for p in (0.05, 0.1, 0.55, 1.0)]
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
            self.minutes is not None and not self.minutes > 0
        ):
            raise InputError("the length of the run must be above zero")

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

    LAMB adapts every parameter and decays all but those of BatchNorm; it has no gradient
    clipping (timm's is on by default, the paper's LAMB has none). AdamW, the toy's choice,
    decays matrices only.

    Paper: Section 5 (LAMB, weight decay ratio 1e-5).

    >>> build_optimizer(nn.Linear(2, 2), Recipe()).__class__.__name__
    'Lamb'
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    betas = (recipe.beta1, recipe.beta2)
    if recipe.optimizer == "lamb":
        from timm.optim.lamb import Lamb

        norms = {
            id(p)
            for module in model.modules()
            if isinstance(module, nn.BatchNorm2d)
            for p in module.parameters()
        }
        groups = [
            {"params": [p for _, p in named if id(p) not in norms]},
            {"params": [p for _, p in named if id(p) in norms], "weight_decay": 0.0},
        ]
        return Lamb(
            [group for group in groups if group["params"]],
            lr=recipe.learning_rate,
            betas=betas,
            weight_decay=recipe.weight_decay,
            max_grad_norm=None,
            always_adapt=True,
        )
    if recipe.optimizer == "adamw":
        groups = [
            {"params": [p for _, p in named if p.ndim >= 2]},
            {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=recipe.learning_rate,
            betas=betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    raise InputError(f"recipe.optimizer {recipe.optimizer!r}: choose 'lamb' or 'adamw'")
