"""The pairs of all processes as one batch: embeddings gathered, with their gradient."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather_rows(rows: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Return the rows of all processes, in the order of their ranks: (R, D) → (N, D).

    Backwards, each process gets back what every process's loss says of its own rows, added up.
    Without a group the rows are all there are.

    Paper: Section 4.1 ("we concatenate embeddings from all computing cores").

    >>> gather_rows(torch.eye(2), None).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if group is None:
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(rows.contiguous(), group))


class _Replicated(torch.autograd.Function):
    """All rows forwards; backwards the own rows' gradient, times the number of processes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: dist.ProcessGroup) -> Tensor:
        """Return the rows of all processes, (R, D) → (N, D)."""
        ctx.group, ctx.rows = group, len(rows)
        parts = rows.new_empty(dist.get_world_size(group), *rows.shape)
        dist.all_gather(list(parts), rows.contiguous(), group)
        return parts.flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of this process's rows; no message is sent."""
        first = dist.get_rank(ctx.group) * ctx.rows
        own = gradients[0][first : first + ctx.rows]
        return own * dist.get_world_size(ctx.group), None


def gather_replicated(rows: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Return the rows of all processes, for a loss that every process computes whole.

    Backwards nothing is sent: each process takes the gradient of its own rows, times the number
    of processes, so that the mean of the gradients is that of the loss. Cheaper than
    :func:`gather_rows` while the N × N loss is small; at the paper's N each process computes
    its own rows of it.

    >>> gather_replicated(torch.eye(2), None).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return rows if group is None else _Replicated.apply(rows, group)


def gather_constants(rows: Tensor | None, group: dist.ProcessGroup | None) -> Tensor | None:
    """Return the rows of all processes, without a gradient; None stays None.

    >>> gather_constants(torch.tensor([3, 4]), None)
    tensor([3, 4])
    """
    if rows is None or group is None:
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, rows.contiguous(), group)
    return torch.cat(parts)


def first_row(rows: int, group: dist.ProcessGroup | None) -> int:
    """Return where this process's rows begin in the whole batch.

    >>> first_row(128, None)
    0
    """
    return 0 if group is None else dist.get_rank(group) * rows


def sum_over_processes(part: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Return the sum of a scalar over all processes, for processes that average gradients.

    The value is the sum; the gradient of each process is that of its own part times the
    number of processes, so that the mean of the gradients is the gradient of the sum.

    >>> sum_over_processes(torch.tensor(2.5), None).item()
    2.5
    """
    if group is None:
        return part
    total = part.detach().clone()
    dist.all_reduce(total, group=group)
    own = part * dist.get_world_size(group)
    return own + (total - own.detach())
