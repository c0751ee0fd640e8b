"""Exercise of notebook 15: the contrastive loss from a few rows of logits at a time."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.lab.exercises import Answer, Cases, exercise
from align_edu.loss import contrastive_loss

Part = tuple[Tensor, Tensor]  # a tile's logits (T, N), and those of its pairs (T,)


def loss_by_tiles(x: Tensor, y: Tensor, sigma: float, tile: int) -> Tensor:
    """Return eq. (1) + eq. (2) of N normalised pairs, from ``tile`` rows of logits at a time.

    Paper: Section 4.1, eq. (1) and eq. (2), without label smoothing.

    >>> loss_by_tiles(torch.eye(4), torch.eye(4), 0.5, 3).item()
    0.681506...
    """
    import torch

    columns = torch.full((len(y),), -torch.inf, dtype=x.dtype)  # log-sum-exp of each, so far
    rows = torch.zeros((), dtype=x.dtype)
    for start in range(0, len(x), tile):
        logits = x[start : start + tile] @ y.T / sigma  # (T, N)
        rows = rows + (logits.logsumexp(dim=1) - 2 * logits.diagonal(start)).sum()
        columns = torch.logaddexp(columns, logits.logsumexp(dim=0))
    return (rows + columns.sum()) / len(x)


def _tile_cases(g: torch.Generator) -> Cases:
    sizes = [(7, 3, 0.5, 3), (12, 5, 0.1, 4), (10, 4, 0.25, 1)]
    sizes += [(9, 6, 1.0, 9), (6, 4, 1.0, 20), (11, 3, 0.004, 4)]
    return [
        (*F.normalize(torch.randn(2, n, width, generator=g), dim=2), sigma, tile)
        for n, width, sigma, tile in sizes
    ]


def _each_column(parts: list[Part]) -> Tensor:
    return torch.stack([logits.logsumexp(dim=0) for logits, _ in parts])  # (tiles, N)


def _columns(parts: list[Part]) -> Tensor:
    return _each_column(parts).logsumexp(dim=0)


def _rows(parts: list[Part]) -> Tensor:
    return torch.cat([logits.logsumexp(dim=1) - 2 * pairs for logits, pairs in parts])


def _of_parts(loss: Callable[[list[Part]], Tensor], own: bool = False) -> Answer:
    """Return a loss of the tiles; own: a tile takes its first columns for those of its pairs."""

    def answer(x: Tensor, y: Tensor, sigma: float, tile: int) -> Tensor:
        tiles = [(start, x[start : start + tile] @ y.T / sigma) for start in range(0, len(x), tile)]
        return loss([(logits, logits.diagonal(0 if own else start)) for start, logits in tiles])

    return answer


def _with_columns(columns: Callable[[list[Part]], Tensor]) -> Answer:
    """Return the right answer with other columns."""
    return _of_parts(lambda parts: columns(parts).mean() + _rows(parts).mean())


def _small_batches(x: Tensor, y: Tensor, sigma: float, tile: int) -> Tensor:
    pairs = zip(x.split(tile), y.split(tile))
    losses = [contrastive_loss(a, b, sigma, label_smoothing=0.0) for a, b in pairs]
    return torch.stack(losses).mean()


def _rows_only(parts: list[Part]) -> Tensor:
    return torch.cat([logits.logsumexp(dim=1) - pairs for logits, pairs in parts]).mean()


def _unequal_tiles(parts: list[Part]) -> Tensor:
    rows = torch.stack([(logits.logsumexp(dim=1) - pairs).mean() for logits, pairs in parts])
    return rows.mean() + _columns(parts).mean() - torch.cat([pairs for _, pairs in parts]).mean()


def _whole_tiles(x: Tensor, y: Tensor, sigma: float, tile: int) -> Tensor:
    """Leave out the rows after the last whole tile."""
    return _with_columns(_columns)(x[: len(x) // tile * tile], y, sigma, tile)


def _not_rescaled(parts: list[Part]) -> Tensor:
    """Keep sums below a running maximum, and never rescale them when it rises."""
    highest = torch.stack([logits.amax(dim=0) for logits, _ in parts])  # (tiles, N)
    sums = [(p[0] - h).exp().sum(dim=0) for p, h in zip(parts, highest.cummax(0)[0])]
    return highest.amax(dim=0) + torch.stack(sums).sum(dim=0).log()


exercise(
    loss_by_tiles,
    _tile_cases,
    times={"averaged": 1 / 2},
    small_batches=_small_batches,
    own_column=_of_parts(lambda parts: _rows(parts).mean() + _columns(parts).mean(), own=True),
    last_tile=_with_columns(lambda parts: _each_column(parts)[-1]),
    logs_added=_with_columns(lambda parts: _each_column(parts).sum(dim=0)),
    logs_averaged=_with_columns(lambda parts: _each_column(parts).mean(dim=0)),
    rows_only=_of_parts(_rows_only),
    rows_twice=_of_parts(lambda parts: 2 * _rows_only(parts)),
    whole_tiles=_whole_tiles,
    unequal_tiles=_of_parts(_unequal_tiles),
    overflow=_with_columns(lambda parts: torch.cat([p[0] for p in parts]).exp().sum(dim=0).log()),
    not_rescaled=_with_columns(_not_rescaled),
    multiplied=lambda x, y, s, t: loss_by_tiles(x, y, 1 / s, t),
    by_tile=lambda x, y, s, t: loss_by_tiles(x, y, s, t) * len(x) / min(t, len(x)),
)
