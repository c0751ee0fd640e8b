"""Count a training step's FLOPs, bytes and memory on torch's meta device, without computing it."""

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

from align_edu.presets import Preset

# Views, and memory that is allocated but not written.
_FREE = {"detach", "empty", "empty_like", "empty_strided", "_unsafe_view", "_reshape_alias"}
_NORMS = ("native_batch_norm", "_native_batch_norm_legit", "native_layer_norm")
_KINDS = dict.fromkeys(_NORMS, "norm") | dict.fromkeys(("silu", "gelu", "sigmoid"), "activation")


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
    """Record each operation that runs inside the block, and the peak of the allocated bytes.

    >>> with Counting() as counting:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 4)
    >>> max(op.flops for op in counting.operations)
    48
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[Operation] = Counter()
        self.peak = 0
        self._sizes: dict[int, int] = {}  # bytes of each live storage
        self._allocated = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors(out):
            self._watch(tensor.untyped_storage())
        self.peak = max(self.peak, self._allocated)
        if not func.is_view and func._overloadpacket.__name__ not in _FREE:
            self.operations[_operation(func._overloadpacket, args, kwargs or {}, out)] += 1
        return out

    def _watch(self, storage: torch.UntypedStorage) -> None:
        """Add a new storage's bytes until it is freed."""
        if storage._cdata not in self._sizes:
            self._sizes[storage._cdata] = storage.nbytes()
            self._allocated += storage.nbytes()
            weakref.finalize(storage, self._forget, storage._cdata)

    def _forget(self, key: int) -> None:
        self._allocated -= self._sizes.pop(key)


@lru_cache(maxsize=32)
def count_image_tower(preset: Preset, rows: int, dtype: torch.dtype = torch.float32) -> Work:
    """Count one step of the image tower on ``rows`` pictures; dtype is that of the activations."""
    from align_edu.model.image_tower import ImageTower

    with torch.device("meta"):
        tower = ImageTower(preset.image).to(dtype).train()
        pixels = torch.zeros(rows, 3, preset.image.crop, preset.image.crop, dtype=dtype)
    return _count(lambda: tower(pixels), rows)


@lru_cache(maxsize=32)
def count_text_tower(
    preset: Preset, rows: int, length: int, dtype: torch.dtype = torch.float32
) -> Work:
    """Count one step of the text tower on ``rows`` texts of ``length`` word pieces."""
    from align_edu.model.text_tower import TextTower

    text, width = preset.text, embedding_width(preset)
    with torch.device("meta"):
        tower = TextTower(text, text.vocabulary_size, width).to(dtype).train()
        ids = torch.zeros(rows, length, dtype=torch.long)
    # Call BERT without a mask: every text is full, and a mask's values do not exist on "meta".
    return _count(lambda: tower.projection(tower.bert(ids).last_hidden_state[:, 0]), rows)


def parameters(preset: Preset) -> dict[str, list[tuple[str, torch.Size]]]:
    """Return the name and shape of every trained parameter, by tower, without allocating it."""
    from align_edu.model.align import Align

    with torch.device("meta"):
        model = Align(preset, preset.text.vocabulary_size)
    return {
        name: [(n, p.shape) for n, p in tower.named_parameters() if p.requires_grad]
        for name, tower in (("image", model.image_tower), ("text", model.text_tower))
    }


def embedding_width(preset: Preset) -> int:
    """Return the width D of the shared space (paper, Section 5: 640 for B7, 1376 for L2)."""
    from torchvision.models.efficientnet import MBConvConfig

    return preset.image.projection or MBConvConfig.adjust_channels(320, preset.image.width)


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
