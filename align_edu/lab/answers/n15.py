"""Exercises of notebook 15."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.lab.exercise import Exercise, Hint, WrongAnswer
from align_edu.loss import contrastive_loss

Part = tuple[Tensor, Tensor, int]  # a tile's logits (T, N), its own columns (T,), its first row


def loss_by_tiles(x: Tensor, y: Tensor, sigma: float, tile: int) -> Tensor:
    """Return eq. (1) + eq. (2) of N normalised pairs, from ``tile`` rows of logits at a time.

    Paper: Section 4.1, eq. (1) and eq. (2), without label smoothing.

    >>> loss_by_tiles(torch.eye(4), torch.eye(4), 0.5, 3).item()
    0.681506...
    """
    return contrastive_loss(x, y, sigma, label_smoothing=0.0, tile=tile)


def _tile_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    hand = F.normalize(torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]]), dim=1)
    cases: list[tuple[Any, ...]] = [(hand, hand.flip(0), 0.5, 2)]
    for n, width, sigma, tile in (
        (7, 3, 0.5, 3),
        (12, 5, 0.1, 4),
        (10, 4, 0.25, 1),
        (9, 6, 1.0, 9),
        (6, 4, 1.0, 20),
        (11, 3, 0.004, 4),
    ):
        x, y = F.normalize(torch.randn(2, n, width, generator=generator), dim=2)
        cases.append((x, y, sigma, tile))
    return cases


def _parts(x: Tensor, y: Tensor, sigma: float, tile: int) -> list[Part]:
    parts = []
    for start in range(0, len(x), tile):
        logits = x[start : start + tile] @ y.T / sigma  # (T, N)
        parts.append((logits, logits.diagonal(start), start))
    return parts


def _total(rows: Sequence[Tensor], columns: Tensor, own: Sequence[Tensor]) -> Tensor:
    """Mean of the rows' and the columns' log-sum-exps, less twice the pairs' own logits."""
    return torch.cat(list(rows)).mean() + columns.mean() - 2 * torch.cat(list(own)).mean()


def _mutant(
    columns: Callable[[list[Part]], Tensor], own: Callable[[Part], Tensor] = lambda part: part[1]
) -> Callable[..., Tensor]:
    """The right answer with other columns, or with another choice of each row's own text."""

    def loss(x: Tensor, y: Tensor, sigma: float, tile: int) -> Tensor:
        parts = _parts(x, y, sigma, tile)
        rows = [part[0].logsumexp(dim=1) for part in parts]
        return _total(rows, columns(parts), [own(part) for part in parts])

    return loss


def _columns(parts: list[Part]) -> Tensor:
    return torch.stack([part[0].logsumexp(dim=0) for part in parts]).logsumexp(dim=0)


def _small_batches(x: Tensor, y: Tensor, sigma: float, tile: int) -> list[Tensor]:
    return [
        contrastive_loss(x[i : i + tile], y[i : i + tile], sigma, label_smoothing=0.0)
        for i in range(0, len(x), tile)
    ]


def _rows_only(x: Tensor, y: Tensor, sigma: float, tile: int) -> Tensor:
    return torch.cat([p[0].logsumexp(dim=1) - p[1] for p in _parts(x, y, sigma, tile)]).mean()


def _unequal_tiles(x: Tensor, y: Tensor, sigma: float, tile: int) -> Tensor:
    parts = _parts(x, y, sigma, tile)
    rows = [(part[0].logsumexp(dim=1) - part[1]).mean() for part in parts]
    own = torch.cat([part[1] for part in parts]).mean()
    return torch.stack(rows).mean() + _columns(parts).mean() - own


def _whole_tiles(x: Tensor, y: Tensor, sigma: float, tile: int) -> Tensor:
    """Leaves out the rows after the last whole tile."""
    parts = [p for p in _parts(x, y, sigma, tile) if len(p[0]) == tile]
    rows = [part[0].logsumexp(dim=1) for part in parts]
    return _total(rows, _columns(parts), [part[1] for part in parts])


def _overflowing(parts: list[Part]) -> Tensor:
    return torch.stack([part[0].exp().sum(dim=0) for part in parts]).sum(dim=0).log()


def _not_rescaled(parts: list[Part]) -> Tensor:
    """Running sums below a running maximum that is never brought up to date."""
    highest = torch.stack([part[0].amax(dim=0) for part in parts])  # (tiles, N)
    sums = [(p[0] - h).exp().sum(dim=0) for p, h in zip(parts, highest.cummax(0)[0], strict=True)]
    return highest.amax(dim=0) + torch.stack(sums).sum(dim=0).log()


LOSS_BY_TILES = (
    WrongAnswer(
        lambda x, y, sigma, tile: torch.stack(_small_batches(x, y, sigma, tile)).mean(),
        "Each tile is a small batch of its own here. A tile is some rows, and all N columns.",
    ),
    WrongAnswer(
        _mutant(_columns, own=lambda part: part[0].diagonal()),
        "The own text of row i of a tile is column start + i, not column i.",
    ),
    WrongAnswer(
        _mutant(lambda parts: parts[-1][0].logsumexp(dim=0)),
        "The columns hold the last tile only: add to them from tile to tile.",
    ),
    WrongAnswer(
        _mutant(lambda parts: torch.stack([p[0].logsumexp(dim=0) for p in parts]).sum(dim=0)),
        "You add the columns' logarithms. Their sums must be added before the logarithm: "
        "torch.logaddexp does it.",
    ),
    WrongAnswer(
        _mutant(lambda parts: torch.stack([p[0].logsumexp(dim=0) for p in parts]).mean(dim=0)),
        "You average the columns' logarithms over the tiles. Their sums must be added before the "
        "logarithm: torch.logaddexp does it.",
    ),
    WrongAnswer(
        _rows_only,
        "That is eq. (1) alone. Eq. (2) runs down the columns, over all tiles.",
    ),
    WrongAnswer(
        lambda x, y, sigma, tile: 2 * _rows_only(x, y, sigma, tile),
        "You count eq. (1) twice. Eq. (2) runs down the columns, over all tiles.",
    ),
    WrongAnswer(
        lambda x, y, sigma, tile: loss_by_tiles(x, y, sigma, tile) / 2,
        "You average the two directions, as CLIP does. ALIGN adds them.",
    ),
    WrongAnswer(
        _whole_tiles,
        "The last rows are missing: where N is no multiple of the tile, the last tile is smaller.",
    ),
    WrongAnswer(
        _unequal_tiles,
        "A mean of the tiles' means gives the rows of a smaller last tile too much weight: add "
        "over all rows, and divide by N once.",
    ),
    WrongAnswer(
        _mutant(_overflowing),
        "exp overflows at a small σ: keep logarithms, and join them with torch.logaddexp.",
    ),
    WrongAnswer(
        _mutant(_not_rescaled),
        "When a column's highest logit rises, the sum so far must shrink by exp(old - new).",
    ),
    WrongAnswer(
        lambda x, y, sigma, tile: loss_by_tiles(x, y, 1 / sigma, tile),
        "You multiply by σ: divide by it.",
    ),
    WrongAnswer(
        lambda x, y, sigma, tile: loss_by_tiles(x, y, sigma, tile) * len(x) / min(tile, len(x)),
        "You divide by the rows of a tile, not by N: it is too large by N over the tile.",
    ),
)

EXERCISES = (
    Exercise(
        "15",
        loss_by_tiles,
        _tile_cases,
        LOSS_BY_TILES,
        (
            Hint(
                "What is in one tile?",
                "x[start:start + tile] @ y.T / sigma: its rows are whole, its columns are not.",
            ),
            Hint(
                "How does a column grow?",
                "columns = torch.logaddexp(columns, logits.logsumexp(dim=0)), from minus infinity.",
            ),
            Hint(
                "Where is a row's own text?",
                "logits.diagonal(start): row 0 of the tile is row start of the whole matrix.",
            ),
        ),
        builds_on=("align_edu.loss.tiled:tiled_loss",),
    ),
)
