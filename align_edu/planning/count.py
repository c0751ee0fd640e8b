"""Count a training step's FLOPs, bytes and memory without computing it.

The towers run on torch's meta device; the optimiser's cost follows from the shapes of the weights.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from align_edu.model.align import Align
from align_edu.presets import Preset
from align_edu.training.recipe import is_matrix, padded_side

# Views, and memory that is allocated but not written.
_FREE = {"detach", "empty", "empty_like", "empty_strided", "_unsafe_view", "_reshape_alias"}
_NORMS = ("native_batch_norm", "_native_batch_norm_legit", "native_layer_norm")
_KINDS = dict.fromkeys(_NORMS, "norm") | dict.fromkeys(("silu", "gelu", "sigmoid"), "activation")

Shapes = dict[str, list[tuple[str, torch.Size]]]  # names and shapes of weights, by tower


@dataclass(frozen=True)
class Operation:
    """One call of an operation: its FLOPs (2 per multiply-add), and the bytes it moves."""

    kind: str  # matrix, convolution (dense), depthwise, norm, activation, other; then " backward"
    flops: int
    bytes: int
    layer: tuple[int, ...] = ()  # of a convolution: channels in, out, kernel, stride, pixels a side

    @property
    def name(self) -> str:
        """Kind and layer; operations of the same name differ only in their number of pairs."""
        return f"{self.kind} {'-'.join(map(str, self.layer))}".rstrip()


@dataclass(frozen=True)
class Work:
    """What one tower computes for ``rows`` pairs, forward and backward."""

    rows: int
    forward: Counter[Operation]
    backward: Counter[Operation]  # includes what is recomputed
    peak_bytes: int  # largest memory at any moment, without weights and input

    def flops(self, forwards: int = 1) -> int:
        """Return the FLOPs of ``forwards`` forward passes and one backward pass."""
        forward = sum(op.flops * n for op, n in self.forward.items())
        return forwards * forward + sum(op.flops * n for op, n in self.backward.items())


class Counting(TorchDispatchMode):
    """Record each operation that runs inside the block, and the peak of the allocated bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[Operation] = Counter()
        self.peak = 0
        self._sizes: dict[int, int] = {}  # bytes of each live storage
        self._allocated = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for storage in (tensor.untyped_storage() for tensor in _tensors(out)):
            if storage._cdata not in self._sizes:
                self._sizes[storage._cdata] = storage.nbytes()
                self._allocated += storage.nbytes()
                weakref.finalize(storage, self._forget, storage._cdata)
        self.peak = max(self.peak, self._allocated)
        if not func.is_view and func._overloadpacket.__name__ not in _FREE:
            self.operations[_operation(func._overloadpacket, args, kwargs or {}, out)] += 1
        return out

    def _forget(self, key: int) -> None:
        self._allocated -= self._sizes.pop(key)


def meta_model(preset: Preset, dtype: torch.dtype = torch.float32) -> Align:
    """Return the preset's model without memory for its weights."""
    with torch.device("meta"):
        return Align(preset, preset.text.vocabulary_size).to(dtype).train()


@lru_cache(maxsize=32)
def count_image_tower(preset: Preset, rows: int, dtype: torch.dtype = torch.float32) -> Work:
    """Count one step of the image tower on ``rows`` pictures; dtype is that of the activations."""
    tower, side = meta_model(preset, dtype).image_tower, preset.image.crop
    pixels = torch.zeros(rows, 3, side, side, dtype=dtype, device="meta")
    return _count(lambda: tower(pixels), rows)


@lru_cache(maxsize=32)
def count_text_tower(
    preset: Preset, rows: int, length: int, dtype: torch.dtype = torch.float32
) -> Work:
    """Count one step of the text tower on ``rows`` texts of ``length`` word pieces."""
    tower = meta_model(preset, dtype).text_tower
    ids = torch.zeros(rows, length, dtype=torch.long, device="meta")
    # Call BERT without a mask: every text is full, and a mask's values do not exist on "meta".
    return _count(lambda: tower.projection(tower.bert(ids).last_hidden_state[:, 0]), rows)


def parameters(preset: Preset) -> Shapes:
    """Return the name and shape of every trained parameter, by tower."""
    model = meta_model(preset)
    return {
        name: [(n, p.shape) for n, p in tower.named_parameters() if p.requires_grad]
        for name, tower in (("image", model.image_tower), ("text", model.text_tower))
    }


def _count(forward: Callable[[], Tensor], rows: int) -> Work:
    """Count a forward pass, then its backward pass."""
    counting = Counting()
    with counting:
        out = forward()
    first, counting.operations = counting.operations, Counter()
    with counting:
        out.backward(torch.empty_like(out))
    second = {replace(op, kind=f"{op.kind} backward"): n for op, n in counting.operations.items()}
    return Work(rows, first, Counter(second), counting.peak)


def _operation(packet: Any, args: Any, kwargs: dict[str, Any], out: Any) -> Operation:
    """Classify one call, and count its FLOPs and bytes."""
    size = sum(t.numel() * t.element_size() for t in _tensors([args, kwargs, out]))
    if packet is torch.ops.aten.convolution:
        return _convolution(args[0], args[1], args[3], out, 1, size)
    if packet is torch.ops.aten.convolution_backward:
        # torch's formula treats the weight gradient of a depthwise convolution as a dense one;
        # each of the two gradients costs as much as the forward pass.
        return _convolution(args[1], args[2], args[4], args[0], sum(args[10][:2]), size)
    if packet in flop_registry:
        return Operation("matrix", flop_registry[packet](*args, **kwargs, out_val=out), size)
    name = packet.__name__.removesuffix("_backward").rstrip("_")
    return Operation(_KINDS.get(name, "other"), 0, size)


def _convolution(
    x: Tensor, weight: Tensor, stride: list[int], out: Tensor, passes: int, size: int
) -> Operation:
    """Count a convolution; depthwise means one input channel per filter, and no 1 × 1 kernel."""
    kernel = weight.shape[-1]
    kind = "depthwise" if weight.shape[1] == 1 and kernel > 1 else "convolution"
    layer = (x.shape[1], out.shape[1], kernel, stride[0], x.shape[-1])
    return Operation(kind, passes * 2 * out.numel() * prod(weight.shape[1:]), size, layer)


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


# Numbers kept, moved, and moved if fused for each weight, and operations for each tensor, as timm
# and torch write them: each step of the formula is an operation of its own. Fused, a step reads
# the weight, its gradient and the state, and writes all but the gradient; LAMB and Muon need a
# second pass, once a norm or the orthogonalised matrix is available.
_RULES = {"lamb": (2, 30, 10, 20), "adamw": (2, 21, 7, 10), "sgd": (1, 11, 5, 4)}
_RULES["muon"] = (2, 14, 7, 0)
# Muon updates all tensors of a kind in one operation, and batches its squares.
_MUON_MATRIX = (1, 13, 11, 3)
_MUON_OPERATIONS, _MUON_OPERATIONS_A_SIDE = 17, 36  # of a step, and of each size of squares
_SQUARES = 84  # numbers moved per number of a square in its five rounds


@dataclass(frozen=True)
class OptimizerCost:
    """One step over all weights: numbers kept, bytes moved, FLOPs, and operations started."""

    state: int
    bytes: int
    flops: int
    operations: int


def optimizer_cost(shapes: Shapes, name: str, fused: bool = False) -> OptimizerCost:
    """Return what one step of the optimiser ``name`` costs over parameters of ``shapes``."""
    matrices = muon_matrices(shapes) if name == "muon" else Counter()
    state = moved = operations = 0
    for label, shape in (weight for part in shapes.values() for weight in part):
        orthogonal = name == "muon" and _is_orthogonalised(label, shape)
        kept, apart, together, calls = _MUON_MATRIX if orthogonal else _RULES[name]
        state += kept * shape.numel()
        moved += (together if fused else apart) * shape.numel()
        operations += calls
    if matrices:
        sides = {padded_side(rows) for rows, _ in matrices}
        operations += _MUON_OPERATIONS + _MUON_OPERATIONS_A_SIDE * len(sides)
        moved += sum(n * _SQUARES * padded_side(rows) ** 2 for (rows, _), n in matrices.items())
    flops = sum(n * orthogonal_flops(*shape) for shape, n in matrices.items())
    return OptimizerCost(state, 4 * moved, flops, operations)


def muon_matrices(shapes: Shapes) -> Counter[tuple[int, int]]:
    """Count the matrices that Muon orthogonalises by their sides, the shorter one first."""
    weights = [weight for part in shapes.values() for weight in part]
    matrices = [shape for weight, shape in weights if _is_orthogonalised(weight, shape)]
    sides = [sorted((shape[0], shape.numel() // shape[0])) for shape in matrices]
    return Counter((shorter, longer) for shorter, longer in sides)


def _is_orthogonalised(name: str, shape: torch.Size) -> bool:
    return is_matrix(shape) and "embeddings" not in name


def orthogonal_flops(rows: int, columns: int) -> int:
    """Return the FLOPs to orthogonalise a matrix: X Xᵀ, five rounds of four products, times X."""
    return 4 * rows**2 * columns + 5 * 4 * 2 * padded_side(rows) ** 3
