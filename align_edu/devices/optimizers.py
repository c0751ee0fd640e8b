"""What an optimiser's step costs: numbers it remembers, bytes it moves, FLOPs it takes."""

from dataclasses import dataclass

import torch

from align_edu.devices.chips import Chip
from align_edu.errors import InputError

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
    "muon": _Rule(2, 24, 7, 11),
}
_MUON_MATRIX = _Rule(1, 29, 13, 27)
_NEWTON_SCHULZ = 5  # rounds that orthogonalise a matrix


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

        >>> from align_edu.devices.chips import get_chip
        >>> OptimizerCost(0, int(2039e9), 0, flops=0, operations=1).seconds(get_chip("a100"))
        1.0
        """
        moving = (self.fused_bytes if chip.fused else self.bytes) / chip.bandwidth
        computing = self.flops / (chip.bfloat16 or chip.matrix)  # Muon's products
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
    state = touched = fused = flops = operations = 0
    for parameter, shape in (entry for part in shapes.values() for entry in part):
        size = shape.numel()
        rule = _RULES[name]
        if name == "muon" and _is_matrix(parameter, shape):
            rule = _MUON_MATRIX
            rows, columns = sorted((shape[0], size // shape[0]))
            flops += _NEWTON_SCHULZ * (4 * rows**2 * columns + 2 * rows**3)
            # Its squares of the shorter side, in bfloat16, are read or written ten times a round.
            squares = _NEWTON_SCHULZ * 10 * rows**2 // 2
            touched, fused = touched + squares, fused + squares
        state += rule.slots * size
        touched += rule.touches * size
        fused += rule.fused * size
        operations += rule.operations
    return OptimizerCost(state, 4 * touched, 4 * fused, flops, operations)


def _is_matrix(name: str, shape: torch.Size) -> bool:
    depthwise = len(shape) == 4 and shape[1] == 1
    return len(shape) >= 2 and not depthwise and "embeddings" not in name
