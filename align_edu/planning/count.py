"""Counts what one training step computes and moves, without a weight or a second of computing."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from align_edu.presets import Preset

_ATEN = torch.ops.aten


@dataclass(frozen=True)
class Operation:
    """One call of one operation: its kind, its FLOPs (2 a multiply-add), the bytes it touches.

    kind: "matrix" (products), "convolution" (dense), "depthwise", "norm", "activation" or
    "other", with " backward" after it for the gradient's. layer: a convolution's channels in
    and out, kernel, stride, and pixels a side.

    >>> Operation("depthwise", 2, 8, (48, 48, 3, 2, 24)).name
    'depthwise 48-48-3-2-24'
    """

    kind: str
    flops: int
    bytes: int
    layer: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Kind and layer: operations of one name differ only in how many pairs they take."""
        return " ".join([self.kind, *(["-".join(map(str, self.layer))] if self.layer else [])])


@dataclass(frozen=True)
class Work:
    """What one tower computes for ``rows`` pairs, forward and backward."""

    rows: int
    forward: Counter[Operation]
    backward: Counter[Operation]  # with what is recomputed
    peak_bytes: int  # most memory alive at once, without weights and input

    def flops(self, forwards: int = 1) -> int:
        """Return all FLOPs, the forward pass taken ``forwards`` times.

        >>> work = Work(1, Counter({Operation("matrix", 2, 8): 1}), Counter(), 0)
        >>> work.flops(forwards=2)
        4
        """
        return forwards * _flops(self.forward) + _flops(self.backward)


class Counting(TorchDispatchMode):
    """Notes every operation that runs inside, and how many bytes are alive.

    >>> with Counting() as counting:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 4)
    >>> max(op.flops for op in counting.operations)
    48
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[Operation] = Counter()
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self._watch(_tensors(out))
        if not func.is_view and func not in _FREE:
            self.operations[_operation(func, args, kwargs or {}, out)] += 1
        return out

    def _watch(self, made: Iterator[Tensor]) -> None:
        """Count the memory of new tensors until it is freed."""
        for tensor in made:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self.alive:
                self.alive[key] = storage.nbytes()
                self.now += storage.nbytes()
                weakref.finalize(storage, self._free, key)
        self.peak = max(self.peak, self.now)

    def _free(self, key: int) -> None:
        self.now -= self.alive.pop(key)


# Views, and memory that is handed out but not written.
_FREE = {
    _ATEN.detach.default,
    _ATEN.empty.memory_format,
    _ATEN.empty_like.default,
    _ATEN.empty_strided.default,
    _ATEN._unsafe_view.default,
    _ATEN._reshape_alias.default,
}
_KINDS = {
    "native_batch_norm": "norm",
    "_native_batch_norm_legit": "norm",
    "native_layer_norm": "norm",
    "silu": "activation",
    "gelu": "activation",
    "sigmoid": "activation",
}


def count_image_tower(preset: Preset, rows: int, dtype: torch.dtype = torch.float32) -> Work:
    """Return what the image tower of ``preset`` does for ``rows`` pictures in one step.

    dtype: of the activations. Nothing is computed: all tensors are on torch's "meta" device.

    Paper: Section 4.1 (the tower), Section 5 (289 × 289 pixels).

    >>> from align_edu.presets import get_preset
    >>> work = count_image_tower(get_preset("toy"), rows=4)
    >>> 2.9 < work.flops() / work.flops(forwards=0) * 2 < 3.1
    True
    """
    from align_edu.model.image_tower import ImageTower

    side = preset.image.crop
    with torch.device("meta"):
        tower = ImageTower(preset.image).to(dtype).train()
        pixels = torch.zeros(rows, 3, side, side, dtype=dtype)
    return _count(lambda: tower(pixels), rows)


def count_text_tower(
    preset: Preset, rows: int, length: int, dtype: torch.dtype = torch.float32
) -> Work:
    """Return what the text tower of ``preset`` does for ``rows`` texts of ``length`` pieces.

    Paper: Section 4.1 (the tower), Section 5 (at most 64 pieces).

    >>> from align_edu.presets import get_preset
    >>> count_text_tower(get_preset("toy"), rows=2, length=14).rows
    2
    """
    from align_edu.model.text_tower import TextTower

    with torch.device("meta"):
        tower = TextTower(preset.text, preset.text.vocabulary_size, embedding_width(preset))
        tower = tower.to(dtype).train()
        ids = torch.zeros(rows, length, dtype=torch.long)
    # Without a mask: every text is full, and asking a mask would need its values.
    return _count(lambda: tower.projection(tower.bert(ids).last_hidden_state[:, 0]), rows)


def parameters(preset: Preset) -> dict[str, list[tuple[str, torch.Size]]]:
    """Return name and shape of every learned parameter, by tower; no weight is made.

    >>> from align_edu.presets import get_preset
    >>> sum(shape.numel() for _, shape in parameters(get_preset("toy"))["text"])
    125616
    """
    from align_edu.model.align import Align

    with torch.device("meta"):
        model = Align(preset, preset.text.vocabulary_size)
    towers: dict[str, nn.Module] = {"image": model.image_tower, "text": model.text_tower}
    return {
        name: [(n, p.shape) for n, p in tower.named_parameters() if p.requires_grad]
        for name, tower in towers.items()
    }


def embedding_width(preset: Preset) -> int:
    """Return the width D of the shared space.

    Paper: Section 5 (640 for B7, 1376 for L2).

    >>> from align_edu.presets import get_preset
    >>> embedding_width(get_preset("l2_large"))
    1376
    """
    from torchvision.models.efficientnet import MBConvConfig

    trunk: int = MBConvConfig.adjust_channels(320, preset.image.width)
    return preset.image.projection or trunk


def _count(forward: Callable[[], Tensor], rows: int) -> Work:
    counting = Counting()
    with counting:
        out = forward()
    first = counting.operations
    counting.operations = Counter()
    with counting:
        out.backward(torch.empty_like(out))
    return Work(rows, first, _as_backward(counting.operations), counting.peak)


def _as_backward(operations: Counter[Operation]) -> Counter[Operation]:
    return Counter({replace(op, kind=f"{op.kind} backward"): n for op, n in operations.items()})


def _operation(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Operation:
    touched = [*_tensors(args), *_tensors(kwargs), *_tensors(out)]
    size = sum(t.numel() * t.element_size() for t in touched)
    name = func._overloadpacket.__name__
    if name == "convolution":
        return _convolution(args[0], args[1], args[3], out, 1, size)
    if name == "convolution_backward":
        # torch's own formula takes the weight gradient of a depthwise convolution for a dense
        # one; each of the two gradients costs what the forward pass costs.
        return _convolution(args[1], args[2], args[4], args[0], sum(args[10][:2]), size)
    if func._overloadpacket in flop_registry:
        flops = flop_registry[func._overloadpacket](*args, **kwargs, out_val=out)
        return Operation("matrix", flops, size)
    return Operation(_KINDS.get(name.removesuffix("_backward").rstrip("_"), "other"), 0, size)


def _convolution(
    x: Tensor, weight: Tensor, stride: list[int], out: Tensor, passes: int, size: int
) -> Operation:
    """A convolution; depthwise if it has one input channel a filter and a kernel above 1 × 1."""
    kernel = weight.shape[-1]
    kind = "depthwise" if weight.shape[1] == 1 and kernel > 1 else "convolution"
    flops = passes * 2 * out.numel() * prod(weight.shape[1:])
    layer = (x.shape[1], out.shape[1], kernel, stride[0], x.shape[-1])
    return Operation(kind, flops, size, layer)


def _flops(operations: Counter[Operation]) -> int:
    return sum(op.flops * n for op, n in operations.items())


def _tensors(values: Any) -> Iterator[Tensor]:
    for leaf in tree_leaves(values):
        if isinstance(leaf, Tensor):
            yield leaf
