"""The recipe: how long a run lasts, its learning rate, and its optimiser, of which Muon is ours."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from align_edu.io import InputError
from align_edu.presets import Recipe

# Five steps of the Newton–Schulz iteration p(s) = a s + b s³ + c s⁵, whose coefficients bring
# every singular value between 0.001 and 1 near 1 (Keller Jordan and leloykun, 2024).
_QUINTIC = (
    (4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046), (2.8366, -3.0525, 1.2012),
)  # fmt: skip
# Squares are padded to one of these sides, so that few batches hold all matrices.
_SIDES = (8, 16, 32, 48, 64, 112, 128)
_SMALLEST_SIDE, _WIDEST = 4, 128.0  # narrower matrices move by AdamW


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
        """Return the place in the schedule of the next step: never 0 or 1, where the rate is 0."""
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


class Muon(torch.optim.Optimizer):
    """Orthogonalise the momentum of each matrix; move all other parameters by AdamW.

    params: parameters or groups of them; a group with ``adamw=True`` has no matrices (see
    :func:`is_matrix`). betas: of AdamW; matrices have ``momentum``. Both decay weights by
    ``lr * weight_decay``.

    Not in the paper, which uses LAMB (Section 5): Jordan et al. (2024), with the learning rate
    scaled as in Liu et al. (2025), so that both halves can share one.

    >>> weight = torch.nn.Parameter(torch.eye(4))
    >>> weight.grad = torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    >>> Muon([weight], lr=0.1).step()
    >>> bool((weight.diagonal() < 1).all())
    True
    """

    def __init__(
        self, params: Iterable[Any], lr: float, *, momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98), weight_decay: float = 0.0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"eps": eps, "adamw": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient; ``closure`` is ignored."""
        for group in self.param_groups:
            learned = [p for p in group["params"] if p.grad is not None]
            matrices = [p for p in learned if not group["adamw"] and is_matrix(p.shape)]
            others = [p for p in learned if group["adamw"] or not is_matrix(p.shape)]
            if matrices:
                self._move_matrices(matrices, group)
            if others:
                self._move_others(others, group)

    def _move_matrices(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        grads, averages = self._state(matrices, "momentum_buffer")
        torch._foreach_lerp_(averages, grads, 1 - group["momentum"])
        nesterov = torch._foreach_lerp(grads, averages, group["momentum"])
        updates = orthogonalised([update.flatten(1) for update in nesterov])
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        for p, update in zip(matrices, updates, strict=True):
            p.add_(update.view(p.shape), alpha=-group["lr"] * 0.2 * max(update.shape) ** 0.5)

    def _move_others(self, others: list[Tensor], group: dict[str, Any]) -> None:
        grads, means, squares = self._state(others, "exp_avg", "exp_avg_sq")
        steps = [torch.tensor(float(group.setdefault("step", 0))) for _ in others]
        group["step"] += 1
        beta1, beta2 = group["betas"]
        adamw(
            others, grads, means, squares, [], steps, foreach=True, amsgrad=False, maximize=False,
            beta1=beta1, beta2=beta2, **{k: group[k] for k in ("lr", "weight_decay", "eps")},
        )  # fmt: skip

    def _state(self, learned: list[Tensor], *names: str) -> list[list[Tensor]]:
        """Return the gradients, and the state of each name, which starts at zero."""
        for p in learned:
            self.state[p] = self.state[p] or {name: torch.zeros_like(p) for name in names}
        grads = [p.grad for p in learned if p.grad is not None]
        return [grads, *([self.state[p][name] for p in learned] for name in names)]


def is_matrix(shape: torch.Size) -> bool:
    """Return True if Muon orthogonalises a parameter: a dense kernel is (out, in × h × w)."""
    if len(shape) < 2 or shape[1] == 1:  # a vector, or depthwise
        return False
    rows, columns = shape[0], shape[1:].numel()
    short, long = min(rows, columns), max(rows, columns)
    return short >= _SMALLEST_SIDE and long <= _WIDEST * short


def orthogonalised(matrices: list[Tensor]) -> list[Tensor]:
    """Return approximately U Vᵀ of each matrix U S Vᵀ: bring its singular values near 1.

    Newton–Schulz multiplies a matrix X by a polynomial of X Xᵀ, so all five steps run on that
    small square matrix, batched over all matrices of about one size.
    """
    flat = [m.mT if m.shape[0] > m.shape[1] else m for m in matrices]  # rows <= columns
    of_side: dict[int, list[int]] = defaultdict(list)
    for i, m in enumerate(flat):
        of_side[padded_side(len(m))].append(i)
    results: list[Tensor] = list(matrices)
    for side, members in of_side.items():
        squares = flat[members[0]].new_zeros(len(members), side, side)
        for square, i in zip(squares, members, strict=True):
            torch.mm(flat[i], flat[i].mT, out=square[: len(flat[i]), : len(flat[i])])
        for factor, i in zip(_polynomial(squares), members, strict=True):
            rows = len(flat[i])
            result = factor[:rows, :rows] @ flat[i]
            results[i] = result.mT if flat[i] is not matrices[i] else result
    return results


def padded_side(rows: int) -> int:
    """Return the padded side of X Xᵀ for a matrix X with this many rows."""
    return next((side for side in _SIDES if rows <= side), rows)


def _polynomial(squares: Tensor) -> Tensor:
    """Return the factors by which Newton–Schulz multiplies X, from X Xᵀ: both (n, side, side)."""
    norms = squares.diagonal(dim1=-2, dim2=-1).sum(-1).sqrt().clamp(min=1e-7)[:, None, None]
    squares = squares / norms.square()
    identity = torch.eye(squares.shape[-1], device=squares.device, dtype=squares.dtype)
    total = identity / norms
    for a, b, c in _QUINTIC:
        factor = torch.baddbmm(squares, squares, squares, beta=b, alpha=c) + a * identity
        total = factor @ total
        squares = factor @ squares @ factor
    return total
