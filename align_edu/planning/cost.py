"""What the towers and the optimiser cost in one step on one device: seconds, bytes and FLOPs."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import torch

from align_edu.planning.chips import Chip
from align_edu.planning.count import Operation, count_image_tower, count_text_tower
from align_edu.presets import Preset
from align_edu.training.muon import is_matrix, padded_side

Shapes = dict[str, list[tuple[str, torch.Size]]]

_FUSED = ("activation", "other")  # kinds that a fusing compiler adds to another operation for free
_CPU_TEXTS = 32  # texts that the text tower encodes at a time on a processor


def total_seconds(operations: Counter[Operation], chip: Chip, fused: bool = False) -> float:
    """Return the time of ``operations`` one after the other, by the roofline.

    Each takes as long as its FLOPs or its bytes, whichever is longer, over the measured share of
    the roofline in ``chip.efficiency``. fused: a compiler joins elementwise work to the operation
    before it.

    >>> from align_edu.planning.chips import get_chip
    >>> total_seconds(Counter({Operation("matrix", int(312e12), 0): 2}), get_chip("a100"))
    2.0
    """
    return sum(n * _seconds(operation, chip, fused) for operation, n in operations.items())


def _seconds(operation: Operation, chip: Chip, fused: bool) -> float:
    kind = operation.kind.removesuffix(" backward")
    if fused and kind in _FUSED:
        return 0.0
    rate = chip.vector if kind == "depthwise" else chip.matrix
    bound = max(operation.flops / rate, operation.bytes / chip.bandwidth)
    share = chip.efficiency.get(operation.name) or chip.efficiency.get(operation.kind, 1.0)
    return chip.overhead + bound / share


@dataclass(frozen=True)
class TowerCosts:
    """One step of both towers on one device."""

    length: int  # word pieces a text
    chunk: int | None  # pairs embedded at a time, twice; None: all at once
    flops: float
    flops_per_pair: dict[str, float]
    roofline_seconds: float
    assumed_seconds: float | None  # at the assumed share of the peak
    seconds: dict[str, float]  # by tower; the slower estimate, as the roofline is a lower bound
    activation_bytes: float


def tower_costs(preset: Preset, chip: Chip, rows: int, length: int) -> TowerCosts:
    """Return the cost of both towers for ``rows`` pairs with texts of ``length`` word pieces.

    With ``recipe.chunk`` (gradient cache) the pairs are embedded a chunk at a time, first without
    gradient, and the activations of only one chunk are kept.
    """
    chunk = preset.recipe.chunk
    chunk = None if chunk is None or chunk >= rows else chunk
    forwards, at_once = (2, chunk) if chunk else (1, rows)
    texts = min(at_once, _CPU_TEXTS) if chip.name == "here" else at_once
    dtype = torch.bfloat16 if chip.activation_bytes == 2 else torch.float32
    works = {  # BatchNorm needs at least two pictures
        "image tower": count_image_tower(preset, max(2, at_once), dtype),
        "text tower": count_text_tower(preset, texts, length, dtype),
    }
    fused = chip.fused or (preset.recipe.compile and chip.name != "here")
    flops, roofline, activation_bytes = {}, {}, 0.0
    for name, work in works.items():
        times = rows / work.rows
        flops[name] = times * work.flops(forwards)
        forward = forwards * total_seconds(work.forward, chip, fused)
        roofline[name] = times * (forward + total_seconds(work.backward, chip, fused))
        activation_bytes += at_once / work.rows * work.peak_bytes
    rate = chip.matrix * (chip.utilisation or 1.0)
    assumed = {name: f / rate for name, f in flops.items()}
    lower_bound = chip.utilisation is None or sum(roofline.values()) > sum(assumed.values())
    return TowerCosts(
        length=length,
        chunk=chunk,
        flops=sum(flops.values()),
        flops_per_pair={name.split()[0]: f / rows for name, f in flops.items()},
        roofline_seconds=sum(roofline.values()),
        assumed_seconds=None if chip.utilisation is None else sum(assumed.values()),
        seconds=roofline if lower_bound else assumed,
        activation_bytes=activation_bytes,
    )


class _Rule(NamedTuple):
    """Cost of one weight: numbers kept, moved, moved if fused; and operations a tensor."""

    state: int
    moved: int
    fused: int
    operations: int


# As timm and torch write them: each step of the formula is an operation of its own. Fused, a
# step reads the weight, its gradient and the state, and writes all but the gradient; LAMB and
# Muon need a second pass, once a norm or the orthogonalised matrix is available.
_RULES = {"lamb": _Rule(2, 30, 10, 20), "adamw": _Rule(2, 21, 7, 10), "muon": _Rule(2, 14, 7, 0)}
# Muon updates all tensors of a kind in one operation, and batches its squares.
_MUON_MATRIX = _Rule(1, 13, 11, 3)
_MUON_OPERATIONS, _MUON_OPERATIONS_A_SIDE = 17, 36  # of a step, and of each size of squares
_SQUARES = 84  # numbers moved per number of a square in its five rounds


@dataclass(frozen=True)
class OptimizerCost:
    """One step over all weights: numbers kept, bytes moved, FLOPs, and operations started."""

    state: int
    bytes: int
    fused_bytes: int
    flops: int
    operations: int

    def seconds(self, chip: Chip) -> float:
        """Return the time of the step; weights and gradients are float32 on every device."""
        moving = (self.fused_bytes if chip.fused else self.bytes) / chip.bandwidth
        computing = self.flops / (chip.muon or chip.matrix)
        return self.operations * chip.overhead + moving + computing


def optimizer_cost(shapes: Shapes, name: str) -> OptimizerCost:
    """Return what one step of the optimiser ``name`` costs over parameters of ``shapes``.

    Muon keeps one number per weight of a matrix and orthogonalises the matrix; embedding tables,
    depthwise kernels and vectors go to Adam, which keeps two.

    >>> optimizer_cost({"text": [("weight", torch.Size([4, 8]))]}, "lamb").state
    64
    """
    matrices = muon_matrices(shapes) if name == "muon" else Counter()
    rules = [
        (_MUON_MATRIX if matrices and _is_matrix(n, s) else _RULES[name], s.numel())
        for part in shapes.values()
        for n, s in part
    ]
    squares = sum(n * _SQUARES * padded_side(rows) ** 2 for (rows, _), n in matrices.items())
    operations = sum(rule.operations for rule, _ in rules)
    if matrices:
        sides = {padded_side(rows) for rows, _ in matrices}
        operations += _MUON_OPERATIONS + _MUON_OPERATIONS_A_SIDE * len(sides)
    return OptimizerCost(
        state=sum(rule.state * size for rule, size in rules),
        bytes=4 * (sum(rule.moved * size for rule, size in rules) + squares),
        fused_bytes=4 * (sum(rule.fused * size for rule, size in rules) + squares),
        flops=sum(n * orthogonal_flops(*shape) for shape, n in matrices.items()),
        operations=operations,
    )


def muon_matrices(shapes: Shapes) -> Counter[tuple[int, int]]:
    """Count the matrices that Muon orthogonalises by their sides, the shorter one first.

    >>> muon_matrices({"text": [("weight", torch.Size([8, 4])), ("bias", torch.Size([8]))]})
    Counter({(4, 8): 1})
    """
    matrices = [s for part in shapes.values() for n, s in part if _is_matrix(n, s)]
    sides = [(s[0], s.numel() // s[0]) for s in matrices]
    return Counter((min(pair), max(pair)) for pair in sides)


def orthogonal_flops(rows: int, columns: int) -> int:
    """Return the FLOPs to orthogonalise a matrix: X Xᵀ, five rounds of four products, times X.

    >>> orthogonal_flops(128, 512) / 1e6
    117.440512
    """
    return 4 * rows**2 * columns + 5 * 4 * 2 * padded_side(rows) ** 3


def _is_matrix(name: str, shape: torch.Size) -> bool:
    return is_matrix(shape) and "embeddings" not in name
