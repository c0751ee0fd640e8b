"""The contrastive loss: eq. (1) + eq. (2) of the paper."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.loss.negatives import allowed_pairs
from align_edu.loss.tiled import tiled_loss


def contrastive_loss(
    image: Tensor,
    text: Tensor,
    temperature: Tensor | float,
    *,
    label_smoothing: float = 0.1,
    reduction: Literal["sum", "mean"] = "sum",
    tile: int | None = None,
    negatives: float = 1.0,
    ids: Tensor | None = None,
) -> Tensor:
    """Return the normalised softmax loss over a batch of matched pairs.

    image, text: (N, D); row i of one belongs to row i of the other; L2-normalised inside.
    temperature: σ > 0, a scalar. label_smoothing: ε, spread over all columns of a row.
    reduction: "sum" adds eq. (1) and eq. (2) (the paper), "mean" averages them (CLIP, HF).
    tile: rows per tile of the form that never holds the N × N matrix; same value and gradient.
    negatives: fraction of the in-batch negatives that count (Table 8): the next ones in
    batch order, the same number for every image and every text.
    ids: (N,) integers; pairs with equal ids are not each other's negatives.
    Raises ValueError for shapes or numbers that make no sense.

    Paper: Section 4.1, eq. (1) and eq. (2); Section 5 for label smoothing.

    >>> image = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    >>> text = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    >>> round(contrastive_loss(image, text, 0.5, label_smoothing=0.0).item(), 6)
    1.326823
    """
    _check(image, text, temperature, label_smoothing, reduction, tile, negatives, ids)
    with torch.autocast(image.device.type, enabled=False):  # logits need full precision
        dtype = torch.promote_types(image.dtype, torch.float32)
        x = F.normalize(image.to(dtype), dim=1)  # (N, D)
        y = F.normalize(text.to(dtype), dim=1)  # (N, D)
        sigma = torch.as_tensor(temperature, dtype=dtype, device=x.device)
        if tile is not None:
            loss = tiled_loss(x, y, sigma, label_smoothing, tile, negatives, ids)
        else:
            logits = x @ y.T / sigma  # (N, N): row i is an image, column j a text
            allowed = allowed_pairs(range(len(x)), len(x), negatives, ids, x.device)
            image_to_text = _direction(logits, allowed, label_smoothing)  # eq. (1)
            text_to_image = _direction(
                logits.T, None if allowed is None else allowed.T, label_smoothing
            )  # eq. (2)
            loss = image_to_text + text_to_image
    return loss if reduction == "sum" else loss / 2


def loss_floor(n: int, label_smoothing: float) -> float:
    """Return the smallest value the summed loss can take: twice the entropy of its targets.

    Paper: Section 5 (label smoothing 0.1); without smoothing the floor is 0.

    >>> round(loss_floor(16384, 0.1), 2)
    2.59
    """
    other = label_smoothing / n
    own = 1 - label_smoothing + other
    entropy = -own * math.log(own)
    if label_smoothing > 0:
        entropy -= (n - 1) * other * math.log(other)
    return 2 * entropy


def best_temperature(n: int, label_smoothing: float, gap: float) -> float:
    """Return the temperature at which the loss of N pairs is lowest.

    gap: how much nearer each image is to its own text than to the others, as a difference of
    cosines. Without smoothing the best temperature is 0: the sharper, the better.

    Paper: Section 6.1 (the learned temperature "converged to about 1/64"); the minimum of
    eq. (1) + eq. (2) over σ where all pairs have the same gap.

    >>> round(1 / best_temperature(16384, 0.1, gap=0.19))
    63
    """
    if label_smoothing == 0:
        return 0.0
    return gap / math.log(1 + n * (1 - label_smoothing) / label_smoothing)


def chance_loss(n: int) -> float:
    """Return the summed loss of a model that knows nothing: 2 ln N.

    Paper: Section 4.1, eq. (1) and eq. (2) with equal similarities.

    >>> round(chance_loss(16384), 2)
    19.41
    """
    return 2 * math.log(n)


def _direction(logits: Tensor, allowed: Tensor | None, label_smoothing: float) -> Tensor:
    """Cross-entropy of each row against its own column, label-smoothed over allowed columns."""
    if allowed is None:
        labels = torch.arange(len(logits), device=logits.device)
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    log_total = logits.masked_fill(~allowed, -math.inf).logsumexp(dim=1)  # (N,)
    average = logits.masked_fill(~allowed, 0).sum(dim=1) / allowed.sum(dim=1)  # (N,)
    target = (1 - label_smoothing) * logits.diagonal() + label_smoothing * average
    return (log_total - target).mean()


def _check(
    image: Tensor,
    text: Tensor,
    temperature: Tensor | float,
    label_smoothing: float,
    reduction: str,
    tile: int | None,
    negatives: float,
    ids: Tensor | None,
) -> None:
    if image.ndim != 2 or image.shape != text.shape or len(image) == 0:
        raise ValueError(
            f"image {tuple(image.shape)} and text {tuple(text.shape)}: both must be (N, D), N > 0"
        )
    if isinstance(temperature, float | int) and not temperature > 0:
        raise ValueError(f"temperature {temperature}: it must be above 0")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing {label_smoothing}: it must be in [0, 1)")
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction {reduction!r}: choose 'sum' (paper) or 'mean'")
    if tile is not None and tile < 1:
        raise ValueError(f"tile {tile}: at least one row a tile")
    if not 0 < negatives <= 1:
        raise ValueError(f"negatives {negatives}: a fraction above 0, at most 1")
    if ids is not None and ids.shape != (len(image),):
        raise ValueError(f"ids {tuple(ids.shape)}: one integer a pair, ({len(image)},)")
