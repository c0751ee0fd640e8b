"""The global batch: embeddings gathered from all processes, and the negatives of each image.

Every function takes ``group``, the processes whose pairs form one batch. None means that this
process holds all pairs. R is the number of rows on each process, N that of the whole batch.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather_rows(rows: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Return the rows of all processes in the order of their ranks: (R, D) → (N, D).

    The backward pass gives each process the sum of all processes' gradients of its rows.

    Paper: Section 4.1 ("we concatenate embeddings from all computing cores").

    >>> gather_rows(torch.eye(2), None).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if group is None:
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(rows.contiguous(), group))


def gather_replicated(rows: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Return the rows of all processes, for a loss that every process computes in full.

    The backward pass sends nothing: each process keeps the gradient of its own rows, multiplied
    by the number of processes, so that the mean over processes is the gradient of the loss.
    Cheaper than :func:`gather_rows` while the N × N matrix is small.
    """
    return rows if group is None else _Replicated.apply(rows, group)


class _Replicated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group, ctx.rows = group, len(rows)
        parts = rows.new_empty(dist.get_world_size(group), *rows.shape)
        dist.all_gather(list(parts), rows.contiguous(), group)
        return parts.flatten(0, 1)  # (N, D)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        first = dist.get_rank(ctx.group) * ctx.rows
        own = gradients[0][first : first + ctx.rows]  # (R, D)
        return own * dist.get_world_size(ctx.group), None


def gather_constants(rows: Tensor | None, group: dist.ProcessGroup | None) -> Tensor | None:
    """Return the rows of all processes, without a gradient; None stays None."""
    if rows is None or group is None:
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, rows.contiguous(), group)
    return torch.cat(parts)


def first_row(rows: int, group: dist.ProcessGroup | None) -> int:
    """Return the row of the whole batch at which this process's ``rows`` begin."""
    return 0 if group is None else dist.get_rank(group) * rows


def sum_over_processes(part: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Return the sum of a scalar over all processes, when these average their gradients.

    Each process gets the gradient of its own part, multiplied by the number of processes, so
    that the mean over processes is the gradient of the sum.
    """
    if group is None:
        return part
    total = part.detach().clone()
    dist.all_reduce(total, group=group)
    own = part * dist.get_world_size(group)
    return own + (total - own.detach())


def allowed_pairs(
    rows: range, n: int, negatives: float, ids: Tensor | None, device: torch.device
) -> Tensor | None:
    """Return which of the N texts each image in ``rows`` is compared with.

    negatives: the fraction of the N - 1 negatives that count. ids: (N,); pairs with equal ids
    are not each other's negatives. Returns (rows, N) booleans, or None when all texts count.

    Paper: Section 6.1, Table 8 (fewer in-batch negatives).

    >>> allowed_pairs(range(3), 3, 0.5, None, torch.device("cpu")).int().tolist()
    [[1, 1, 0], [0, 1, 1], [1, 0, 1]]
    """
    if negatives == 1.0 and ids is None:
        return None
    row = torch.arange(rows.start, rows.stop, device=device)[:, None]  # (R, 1)
    column = torch.arange(n, device=device)[None]  # (1, N)
    # The batch is shuffled, so the next rows in batch order are a random sample of the negatives.
    # Read by columns, the same window gives each text equally many images.
    allowed = (column - row) % n <= round((n - 1) * negatives)
    if ids is not None:
        allowed &= ids[rows.start : rows.stop, None] != ids[None]
    return allowed | (row == column)
