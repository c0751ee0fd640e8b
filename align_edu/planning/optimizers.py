"""What an optimiser's step costs: numbers it remembers, bytes it moves, FLOPs it takes."""

from collections import Counter
from dataclasses import dataclass

import torch

from align_edu.io import InputError
from align_edu.planning.chips import Chip
from align_edu.training.muon import is_matrix, padded_side

Shapes = dict[str, list[tuple[str, torch.Size]]]


@dataclass(frozen=True)
class _Rule:
    """Costs of one weight: numbers remembered, numbers read or written, operations a tensor."""

    slots: int
    touches: int
    fused: int  # the numbers read or written where a compiler joins the steps of the formula
    operations: int


# As timm and torch write them: each step of the formula is an operation of its own. Joined, a
# step reads the weight, its gradient and the slots, and writes all but the gradient; LAMB and
# Muon need a second pass, after a norm or the orthogonalised matrix is known.
_RULES = {
    "lamb": _Rule(2, 30, 10, 20),
    "adamw": _Rule(2, 21, 7, 10),
    "muon": _Rule(2, 14, 7, 0),
}
# Muon takes all tensors of a kind in one operation; its squares are batched, too.
_MUON_MATRIX = _Rule(1, 13, 11, 3)
_MUON_OPERATIONS = {"all": 17, "side": 36}  # a step, and for each size of squares
_SQUARES = 84  # numbers of a square that its five rounds read or write


@dataclass(frozen=True)
class OptimizerCost:
    """One step over all weights: remembered numbers, bytes, FLOPs, and operations."""

    state: int
    bytes: int
    fused_bytes: int
    flops: int
    operations: int

    def seconds(self, chip: Chip) -> float:
        """Return the time of the step: weights and gradients are float32 on every device.

        >>> from align_edu.planning.chips import get_chip
        >>> OptimizerCost(0, int(2039e9), 0, flops=0, operations=1).seconds(get_chip("a100"))
        1.0
        """
        moving = (self.fused_bytes if chip.fused else self.bytes) / chip.bandwidth
        computing = self.flops / (chip.products or chip.matrix)  # Muon's products
        return self.operations * chip.overhead + moving + computing


def optimizer_cost(shapes: Shapes, name: str) -> OptimizerCost:
    """Return what one step of the optimiser called ``name`` costs over parameters of ``shapes``.

    Muon remembers one number a weight of a matrix and orthogonalises it; embedding tables,
    depthwise kernels and vectors go to Adam, which remembers two. Raises InputError for
    another name.

    Paper: Section 5 (LAMB).

    >>> optimizer_cost({"text": [("weight", torch.Size([4, 8]))]}, "lamb").state
    64
    """
    if name not in _RULES:
        raise InputError(f"recipe.optimizer {name!r}: choose {', '.join(_RULES)}")
    matrices = muon_matrices(shapes) if name == "muon" else Counter()
    state = touched = fused = operations = 0
    for parameter, shape in (entry for part in shapes.values() for entry in part):
        size = shape.numel()
        rule = _MUON_MATRIX if matrices and _is_matrix(parameter, shape) else _RULES[name]
        state += rule.slots * size
        touched += rule.touches * size
        fused += rule.fused * size
        operations += rule.operations
    squares = sum(n * _SQUARES * padded_side(rows) ** 2 for (rows, _), n in matrices.items())
    flops = sum(n * orthogonal_flops(*sides) for sides, n in matrices.items())
    if matrices:
        sizes = {padded_side(rows) for rows, _ in matrices}
        operations += _MUON_OPERATIONS["all"] + _MUON_OPERATIONS["side"] * len(sizes)
    return OptimizerCost(state, 4 * (touched + squares), 4 * (fused + squares), flops, operations)


def muon_matrices(shapes: Shapes) -> Counter[tuple[int, int]]:
    """Return how many matrices of which sides, the shorter first, Muon orthogonalises.

    >>> muon_matrices({"text": [("weight", torch.Size([8, 4])), ("bias", torch.Size([8]))]})
    Counter({(4, 8): 1})
    """
    found: Counter[tuple[int, int]] = Counter()
    for name, shape in (entry for part in shapes.values() for entry in part):
        if _is_matrix(name, shape):
            rows, columns = sorted((shape[0], shape.numel() // shape[0]))
            found[rows, columns] += 1
    return found


def orthogonal_flops(rows: int, columns: int) -> int:
    """Return the FLOPs of making a matrix orthogonal: X Xᵀ, five rounds on it, that times X.

    A round takes four products of squares.

    >>> orthogonal_flops(128, 512) / 1e6
    117.440512
    """
    return 4 * rows**2 * columns + 5 * 4 * 2 * padded_side(rows) ** 3


def _is_matrix(name: str, shape: torch.Size) -> bool:
    return is_matrix(shape) and "embeddings" not in name
