"""Less memory for more time: the contrastive loss in tiles, and functions that are recomputed.

Eq. (1) normalises the rows of the matrix, eq. (2) its columns. One pass over tiles of rows gives
both: the log-sum-exp of a row from its tile, that of a column by accumulation over the tiles.
With several processes, each computes the rows of its own images and all sum up the columns.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from align_edu.loss.gather import allowed_pairs

Context = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Block:
    """The rows of the N × N matrix on this process, and the options of the loss.

    start: the row of the first image on this process. ids: (N,) or None, of the whole batch.
    group: the processes that compute the other rows; None: this process computes all.
    """

    tile: int
    label_smoothing: float
    negatives: float = 1.0
    ids: Tensor | None = None
    start: int = 0
    group: dist.ProcessGroup | None = None

    def tiles(self, rows: int) -> list[slice]:
        """Return the slices that cut ``rows`` rows into tiles."""
        return [slice(i, min(i + self.tile, rows)) for i in range(0, rows, self.tile)]

    def logits(
        self, x: Tensor, y: Tensor, sigma: Tensor, tile: slice
    ) -> tuple[Tensor, Tensor | None]:
        """Return one tile's logits, minus infinity where a pair does not count, and its mask.

        Both are (T, N); the mask is None when all pairs count.
        """
        logits = (x[tile] / sigma) @ y.T
        rows = range(self.start + tile.start, self.start + tile.stop)
        allowed = allowed_pairs(rows, len(y), self.negatives, self.ids, x.device)
        if allowed is not None:
            logits.masked_fill_(~allowed, -torch.inf)
        return logits, allowed


def tiled_loss(x: Tensor, y: Tensor, sigma: Tensor, block: Block) -> Tensor:
    """Return eq. (1) + eq. (2) over all N pairs, a scalar, in O(tile × N) memory.

    x: (R, D), the images on this process; y: (N, D), all texts; both normalised. Row i of x
    belongs to row ``block.start`` + i of y. The backward pass recomputes each tile. With a group,
    every process returns the loss of the whole batch, and the mean of their gradients is its
    gradient.

    Paper: Section 4.1, eq. (1) and eq. (2).

    >>> x = y = torch.eye(4)
    >>> round(tiled_loss(x, y, torch.tensor(0.5), Block(tile=3, label_smoothing=0.0)).item(), 6)
    0.681506
    """
    return _TiledLoss.apply(x, y, sigma, block)


class _TiledLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, sigma: Tensor, block: Block) -> Tensor:
        rows, columns = _Sums(len(x), x), _Sums(len(y), y)
        own = x.new_empty(len(x))  # logit of each image with its own text
        for tile in block.tiles(len(x)):
            logits, allowed = block.logits(x, y, sigma, tile)  # (T, N)
            own[tile] = logits.diagonal(block.start + tile.start)
            rows.add(tile, logits, allowed, dim=1)
            columns.add(slice(None), logits, allowed, dim=0)
        columns.sum_over_processes(block.group)
        ctx.save_for_backward(
            x, y, sigma, rows.highest, rows.exps, rows.count,
            columns.highest, columns.exps, columns.count,
        )  # fmt: skip
        ctx.block = block
        local, smoothing = slice(block.start, block.start + len(x)), block.label_smoothing
        total = torch.zeros_like(own)
        for highest, exps, mean in (rows.parts(slice(None)), columns.parts(local)):
            # Differences first: the logits are large, their differences small.
            total += exps.log() + (1 - smoothing) * (highest - own) + smoothing * (highest - mean)
        loss = total.sum(dtype=_exact(x)) / len(y)
        if block.group is not None:
            dist.all_reduce(loss, group=block.group)
        return loss.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, sigma, *sums = ctx.saved_tensors
        row_high, row_exps, row_count, column_high, column_exps, column_count = sums
        block, smoothing = ctx.block, ctx.block.label_smoothing
        grad_x, grad_y = torch.empty_like(x), torch.zeros_like(y)
        for tile in block.tiles(len(x)):
            logits, allowed = block.logits(x, y, sigma, tile)  # (T, N)
            # Softmax over the row, plus softmax over the column, minus both targets.
            change = (logits - row_high[tile, None]).exp_().div_(row_exps[tile, None])
            change += logits.sub_(column_high).exp_().div_(column_exps)
            if allowed is None:
                change -= 2 * smoothing / len(y)
            elif smoothing > 0:
                change -= (smoothing / row_count[tile, None] + smoothing / column_count) * allowed
            change.diagonal(block.start + tile.start).sub_(2 * (1 - smoothing))
            grad_x[tile] = change @ y
            grad_y.addmm_(change.T, x[tile])
        # The mean over processes of these parts must be the whole gradient.
        processes = 1 if block.group is None else dist.get_world_size(block.group)
        scale = grad * processes / (len(y) * sigma)
        grad_x *= scale
        grad_y *= scale
        # logits = x·y / σ, so dσ = -(x · dx) / σ.
        grad_sigma = -(x * grad_x).sum(dtype=_exact(x)) / sigma
        return grad_x, grad_y, grad_sigma.to(sigma.dtype), None


class _Sums:
    """Running maximum, sum of exponentials below it, sum and count of logits per row or column."""

    def __init__(self, n: int, like: Tensor) -> None:
        self.highest = like.new_full((n,), -torch.inf)
        self.exps, self.total, self.count = (like.new_zeros(n) for _ in range(3))

    def add(self, part: slice, logits: Tensor, allowed: Tensor | None, dim: int) -> None:
        """Add a tile's logits, summed over ``dim``, to the rows or columns in ``part``."""
        before = self.highest[part]
        highest = torch.maximum(before, logits.amax(dim))
        # So far no pair of a column may count; its maximum is then minus infinity.
        finite = highest.clamp(min=torch.finfo(logits.dtype).min)
        new = (logits - finite.unsqueeze(dim)).exp_().sum(dim)
        self.exps[part] = self.exps[part] * (before - finite).exp() + new
        self.highest[part] = highest
        if allowed is None:
            self.total[part] += logits.sum(dim)
            self.count[part] += logits.shape[dim]
        else:
            self.total[part] += logits.masked_fill(~allowed, 0).sum(dim)
            self.count[part] += allowed.sum(dim)

    def sum_over_processes(self, group: dist.ProcessGroup | None) -> None:
        if group is None:
            return
        highest = self.highest.clone()
        dist.all_reduce(highest, dist.ReduceOp.MAX, group)
        self.exps *= (self.highest - highest).exp()
        self.highest = highest
        for part in (self.exps, self.total, self.count):
            dist.all_reduce(part, group=group)

    def parts(self, which: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maximum, the sum of exponentials below it, and the mean."""
        return self.highest[which], self.exps[which], (self.total / self.count)[which]


def _exact(x: Tensor) -> torch.dtype:
    """Return the type for sums over a whole batch; TPUs have no fast float64."""
    return torch.float64 if x.device.type in ("cpu", "cuda") else x.dtype


def recomputed(function: Callable[..., Any], *inputs: Any, again: Context = nullcontext) -> Any:
    """Return ``function(*inputs)``, and store only ``inputs`` for the backward pass.

    The second computation draws the same random numbers as the first and runs inside ``again()``.
    On XLA, call ``backward()`` for the gradient, not ``torch.autograd.grad``.

    Paper: Section 5 (a batch of 16,384 must fit); Chen et al., 2016.

    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> recomputed(lambda x: x.exp().log() ** 2, x).backward()
    >>> round(x.grad.item(), 4)
    6.0
    """
    if any(isinstance(x, Tensor) and x.device.type == "xla" for x in inputs):
        return _on_xla(function, inputs, again)
    if torch.compiler.is_compiling():  # the compiler keeps side effects out of the second pass
        return checkpoint(function, *inputs, use_reentrant=False)
    return checkpoint(
        function, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), again())
    )


def _on_xla(function: Callable[..., Any], inputs: tuple[Any, ...], again: Context) -> Any:
    """Do the same with torch_xla, whose barrier keeps XLA from merging the two computations."""
    from torch_xla.utils.checkpoint import checkpoint as xla_checkpoint

    if not any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
        return function(*inputs)

    def run(*arguments: Any) -> Any:
        with again() if torch.is_grad_enabled() else nullcontext():  # off in the first computation
            return function(*arguments)

    return xla_checkpoint(run, *inputs)
