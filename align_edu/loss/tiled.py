"""The same loss a tile of rows at a time: it never holds the N × N matrix of similarities.

Eq. (1) needs each row of the matrix, eq. (2) each column. One pass over tiles of rows gives
both: a row's log-sum-exp at once, a column's by adding up from tile to tile. With several
processes each holds the rows of its own images, and the columns are added up over processes.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from align_edu.loss.negatives import allowed_pairs


@dataclass(frozen=True)
class Block:
    """Which rows of the N × N matrix are held here, and how the loss is asked for.

    start: row of the matrix of the first image held here. ids: (N,) or None, of all pairs.
    group: the processes that hold the other rows; None if there are none.
    """

    tile: int
    label_smoothing: float
    negatives: float = 1.0
    ids: Tensor | None = None
    start: int = 0
    group: dist.ProcessGroup | None = None

    def tiles(self, rows: int) -> list[slice]:
        """The rows held here, ``tile`` at a time."""
        return [slice(i, min(i + self.tile, rows)) for i in range(0, rows, self.tile)]

    def logits(
        self, x: Tensor, y: Tensor, sigma: Tensor, tile: slice
    ) -> tuple[Tensor, Tensor | None]:
        """Similarities of one tile, minus infinity where a pair does not count, and which count.

        Both are (T, N); the second is None where all count.
        """
        logits = (x[tile] / sigma) @ y.T
        rows = range(self.start + tile.start, self.start + tile.stop)
        allowed = allowed_pairs(rows, len(y), self.negatives, self.ids, x.device)
        if allowed is not None:
            logits.masked_fill_(~allowed, -torch.inf)
        return logits, allowed


def tiled_loss(x: Tensor, y: Tensor, sigma: Tensor, block: Block) -> Tensor:
    """Return eq. (1) + eq. (2) over all N pairs, from the rows of x held here.

    x: (R, D), y: (N, D), both normalised; row i of x belongs to row ``block.start`` + i of y.
    Each tile's similarities are made twice, forwards and backwards, and never kept: memory is
    O(tile × N). With a group the value is that of the whole batch on every process, and the
    gradient is such that its mean over the processes is the whole batch's.

    Paper: Section 4.1, eq. (1) and eq. (2).

    >>> x = y = torch.eye(4)
    >>> round(tiled_loss(x, y, torch.tensor(0.5), Block(tile=3, label_smoothing=0.0)).item(), 6)
    0.681506
    """
    return _TiledLoss.apply(x, y, sigma, block)


class _TiledLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, sigma: Tensor, block: Block) -> Tensor:
        rows, columns = _Sums.empty(len(x), x), _Sums.empty(len(y), y)
        own = x.new_empty(len(x))  # each image with its own text
        for tile in block.tiles(len(x)):
            logits, allowed = block.logits(x, y, sigma, tile)  # (T, N)
            own[tile] = logits.diagonal(block.start + tile.start)
            rows.put(tile, logits, allowed)
            columns.add(logits, allowed)
        columns.over_processes(block.group)
        ctx.save_for_backward(x, y, sigma, *rows.kept(), *columns.kept())
        ctx.block = block
        here = slice(block.start, block.start + len(x))
        smoothing = block.label_smoothing
        total = torch.zeros_like(own)
        for highest, exps, mean in (rows.parts(slice(None)), columns.parts(here)):
            # Differences first: the similarities are large numbers, these are small ones.
            total += exps.log() + (1 - smoothing) * (highest - own) + smoothing * (highest - mean)
        loss = total.sum(dtype=_exact(x)) / len(y)
        if block.group is not None:
            dist.all_reduce(loss, group=block.group)
        return loss.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, sigma, *kept = ctx.saved_tensors
        row_high, row_exps, row_count, column_high, column_exps, column_count = kept
        block, smoothing = ctx.block, ctx.block.label_smoothing
        grad_x, grad_y = torch.empty_like(x), torch.zeros_like(y)
        for tile in block.tiles(len(x)):
            logits, allowed = block.logits(x, y, sigma, tile)  # (T, N)
            # Softmax over the row, plus softmax over the column, less both targets.
            change = (logits - row_high[tile, None]).exp_().div_(row_exps[tile, None])
            change += logits.sub_(column_high).exp_().div_(column_exps)
            if allowed is None:
                change -= 2 * smoothing / len(y)
            elif smoothing > 0:
                change -= (smoothing / row_count[tile, None] + smoothing / column_count) * allowed
            change.diagonal(block.start + tile.start).sub_(2 * (1 - smoothing))
            grad_x[tile] = change @ y
            grad_y.addmm_(change.T, x[tile])
        # Averaged over the processes, the parts below must add up.
        processes = 1 if block.group is None else dist.get_world_size(block.group)
        scale = grad * processes / (len(y) * sigma)
        grad_x *= scale
        grad_y *= scale
        # logits = x·y / σ, so the derivative by σ is that by x, along x.
        grad_sigma = -(x * grad_x).sum(dtype=_exact(x)) / sigma
        return grad_x, grad_y, grad_sigma.to(sigma.dtype), None


@dataclass
class _Sums:
    """Running log-sum-exp, sum and count of rows or of columns of the matrix."""

    highest: Tensor
    exps: Tensor  # of the similarities less the highest
    total: Tensor  # of the similarities that count
    count: Tensor

    @classmethod
    def empty(cls, n: int, like: Tensor) -> "_Sums":
        zeros = like.new_zeros(n)
        return cls(torch.full_like(zeros, -torch.inf), zeros, zeros.clone(), zeros.clone())

    def put(self, tile: slice, logits: Tensor, allowed: Tensor | None) -> None:
        """Fill in the rows of one tile, which are whole."""
        self.highest[tile] = logits.amax(dim=1)
        self.exps[tile] = (logits - self.highest[tile, None]).exp_().sum(dim=1)
        self._count(tile, logits, allowed, dim=1)

    def add(self, logits: Tensor, allowed: Tensor | None) -> None:
        """Add a tile to all columns."""
        before = self.highest
        self.highest = torch.maximum(before, logits.amax(dim=0))
        # A column may have no pair that counts so far: its highest is minus infinity.
        finite = self.highest.clamp(min=torch.finfo(logits.dtype).min)
        self.exps = self.exps * (before - finite).exp() + (logits - finite).exp_().sum(dim=0)
        self._count(slice(None), logits, allowed, dim=0)

    def _count(self, part: slice, logits: Tensor, allowed: Tensor | None, dim: int) -> None:
        if allowed is None:
            self.total[part] += logits.sum(dim)
            self.count[part] += logits.shape[dim]
        else:
            self.total[part] += logits.masked_fill(~allowed, 0).sum(dim)
            self.count[part] += allowed.sum(dim)

    def over_processes(self, group: dist.ProcessGroup | None) -> None:
        """Add up what every process holds of the columns."""
        if group is None:
            return
        highest = self.highest.clone()
        dist.all_reduce(highest, dist.ReduceOp.MAX, group)
        self.exps *= (self.highest - highest).exp()
        self.highest = highest
        for part in (self.exps, self.total, self.count):
            dist.all_reduce(part, group=group)

    def kept(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the backward pass needs."""
        return self.highest, self.exps, self.count

    def parts(self, which: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Highest similarity, sum of exponentials below it, and mean similarity."""
        return self.highest[which], self.exps[which], (self.total / self.count)[which]


def _exact(x: Tensor) -> torch.dtype:
    """Where sums over a whole batch are added up; TPUs have no fast float64."""
    return torch.float64 if x.device.type in ("cpu", "cuda") else x.dtype
