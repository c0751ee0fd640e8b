"""The same loss row tile by row tile: it never holds the N × N matrix of similarities."""

import torch
from torch import Tensor

from align_edu.loss.negatives import allowed_pairs
from align_edu.recompute import recomputed


def tiled_loss(
    x: Tensor,
    y: Tensor,
    sigma: Tensor,
    label_smoothing: float,
    tile: int,
    negatives: float,
    ids: Tensor | None,
) -> Tensor:
    """Return eq. (1) + eq. (2) for normalised x, y (N, D) with ``tile`` rows at a time.

    Each tile's logits are thrown away after the forward pass and made again in the backward
    pass, so memory is O(tile × N). Value and gradient equal those of the plain form.

    Paper: Section 4.1, eq. (1) and eq. (2).

    >>> x = y = torch.eye(4)
    >>> round(tiled_loss(x, y, torch.tensor(0.5), 0.0, 3, 1.0, None).item(), 6)
    0.681506
    """
    n = len(x)
    tiles = [
        recomputed(_tile, x[start : start + tile], y, sigma, start, negatives, ids)
        for start in range(0, n, tile)
    ]
    row_log, row_average, positive, column_log, column_sum, column_count = zip(*tiles, strict=True)
    own = (1 - label_smoothing) * torch.cat(positive)  # (N,)
    image_to_text = torch.cat(row_log) - own - label_smoothing * torch.cat(row_average)
    column_average = sum(column_sum[1:], column_sum[0]) / sum(column_count[1:], column_count[0])
    text_to_image = (
        torch.stack(column_log).logsumexp(dim=0) - own - label_smoothing * column_average
    )
    return image_to_text.mean() + text_to_image.mean()


def _tile(
    x: Tensor, y: Tensor, sigma: Tensor, start: int, negatives: float, ids: Tensor | None
) -> tuple[Tensor, ...]:
    """Reduce the logits of one tile of rows along both directions."""
    rows = range(start, start + len(x))
    logits = x @ y.T / sigma  # (R, N)
    positive = logits[:, rows.start : rows.stop].diagonal()  # (R,)
    allowed = allowed_pairs(rows, len(y), negatives, ids, x.device)
    if allowed is None:
        count = torch.full_like(logits[0], len(x))
        return (
            logits.logsumexp(dim=1),
            logits.mean(dim=1),
            positive,
            logits.logsumexp(dim=0),
            logits.sum(dim=0),
            count,
        )
    kept = logits.masked_fill(~allowed, 0)
    # A finite stand-in for minus infinity: a column may have no allowed row in this tile.
    masked = logits.masked_fill(~allowed, torch.finfo(logits.dtype).min / 2)
    return (
        masked.logsumexp(dim=1),
        kept.sum(dim=1) / allowed.sum(dim=1),
        positive,
        masked.logsumexp(dim=0),
        kept.sum(dim=0),
        allowed.sum(dim=0).to(logits.dtype),
    )
