"""The contrastive loss: eq. (1) + eq. (2) of the paper; beside it, the sigmoid loss of SigLIP."""

import math
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from align_edu.loss import gather
from align_edu.loss.gather import gather_rows
from align_edu.loss.tiled import Block, recomputed, tiled_loss


def contrastive_loss(
    image: Tensor, text: Tensor, temperature: Tensor | float, *, label_smoothing: float = 0.1,
    reduction: Literal["sum", "mean"] = "sum", tile: int | None = None, negatives: float = 1.0,
    ids: Tensor | None = None, group: dist.ProcessGroup | None = None,
) -> Tensor:  # fmt: skip
    """Return the normalised softmax loss of a batch of matched pairs, a scalar.

    image, text: (N, D); row i of one belongs to row i of the other; L2-normalised inside.
    temperature: σ > 0, a scalar. label_smoothing: ε, spread over all columns of a row.
    reduction: "sum" adds eq. (1) and eq. (2) (the paper), "mean" averages them (CLIP, HF).
    tile: rows of the N × N matrix in memory at a time, for the same value and gradient; None: all.
    negatives: fraction of the in-batch negatives that count (Table 8): the next ones in batch
    order, equally many for every image and every text.
    ids: (N,) integers; pairs with equal ids are not each other's negatives.
    group: the processes whose pairs form one batch; N is then the number of pairs on each process.
    Every process returns the loss of the whole batch, and the mean over processes of their
    gradients is its gradient.
    Raises ValueError for wrong shapes or values.

    Paper: Section 4.1, eq. (1) and eq. (2); Section 5 for label smoothing.

    >>> image = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    >>> text = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    >>> round(contrastive_loss(image, text, 0.5, label_smoothing=0.0).item(), 6)
    1.326823
    """
    check_pairs(image, text, temperature, tile)
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing {label_smoothing}: it must be in [0, 1)")
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction {reduction!r}: choose 'sum' (paper) or 'mean'")
    if not 0 < negatives <= 1:
        raise ValueError(f"negatives {negatives}: it must be in (0, 1]")
    if ids is not None and ids.shape != (len(image),):
        raise ValueError(f"ids {tuple(ids.shape)}: give one integer per pair, ({len(image)},)")
    with torch.autocast(image.device.type, enabled=False):  # logits need full precision
        dtype = torch.promote_types(image.dtype, torch.float32)
        x = F.normalize(image.to(dtype), dim=1)  # (N, D)
        y = F.normalize(text.to(dtype), dim=1)  # (N, D)
        sigma = torch.as_tensor(temperature, dtype=dtype, device=x.device)
        if tile is None and group is None:
            loss = _definition(x, y, sigma, label_smoothing, negatives, ids)
        else:
            all_ids, start = gather.gather_constants(ids, group), gather.first_row(len(x), group)
            block = Block(tile or len(x), label_smoothing, negatives, all_ids, start, group)
            loss = tiled_loss(x, gather_rows(y, group), sigma, block)
    return loss if reduction == "sum" else loss / 2


def _definition(
    x: Tensor, y: Tensor, sigma: Tensor, label_smoothing: float, negatives: float,
    ids: Tensor | None,
) -> Tensor:  # fmt: skip
    """Return eq. (1) + eq. (2) as the paper writes them, for normalised x and y."""
    logits = (x / sigma) @ y.T  # (N, N): row i is an image, column j a text
    allowed = gather.allowed_pairs(range(len(x)), len(x), negatives, ids, x.device)
    image_to_text = _direction(logits, allowed, label_smoothing)  # eq. (1)
    columns = None if allowed is None else allowed.T
    text_to_image = _direction(logits.T, columns, label_smoothing)  # eq. (2)
    return image_to_text + text_to_image


def _direction(logits: Tensor, allowed: Tensor | None, label_smoothing: float) -> Tensor:
    """Return the mean cross-entropy of the rows; row i's target is column i, smoothed."""
    # Subtracting each row's maximum keeps the digits of a loss near zero.
    logits = logits - logits.detach().amax(dim=1, keepdim=True)
    if allowed is None:
        log_total, average = logits.logsumexp(dim=1), logits.mean(dim=1)  # (N,)
    else:
        log_total = logits.masked_fill(~allowed, -math.inf).logsumexp(dim=1)
        average = logits.masked_fill(~allowed, 0).sum(dim=1) / allowed.sum(dim=1)
    target = (1 - label_smoothing) * logits.diagonal() + label_smoothing * average
    return (log_total - target).mean()


def sigmoid_loss(
    image: Tensor, text: Tensor, temperature: Tensor | float, bias: Tensor | float, *,
    tile: int | None = None, group: dist.ProcessGroup | None = None,
) -> Tensor:  # fmt: skip
    """Return the pairwise sigmoid loss of a batch of matched pairs, a scalar.

    image, text: (N, D); row i of one belongs to row i of the other; L2-normalised inside.
    temperature: σ > 0, a scalar; SigLIP starts at 1/10. bias: added to every logit x·y / σ;
    SigLIP starts at -10, since all but one of N answers are no. tile, group: as in
    ``contrastive_loss``. The loss is the sum over all N² questions, divided by N.
    Raises ValueError for wrong shapes or values.

    Not in the paper: Zhai et al. (2023), Sigmoid Loss for Language Image Pre-Training, for
    comparison with the softmax of Section 4.1, eq. (1) and eq. (2).

    >>> image = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    >>> text = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    >>> round(sigmoid_loss(image, text, 0.5, -1.0).item(), 6)
    1.358671
    """
    check_pairs(image, text, temperature, tile)
    with torch.autocast(image.device.type, enabled=False):  # logits need full precision
        dtype = torch.promote_types(image.dtype, torch.float32)
        x = F.normalize(image.to(dtype), dim=1)  # (R, D)
        y = gather_rows(F.normalize(text.to(dtype), dim=1), group)  # (N, D)
        sigma = torch.as_tensor(temperature, dtype=dtype, device=x.device)
        shift = torch.as_tensor(bias, dtype=dtype, device=x.device)
        start = gather.first_row(len(x), group)
        if tile is None:
            total = _sum_of_answers(x, y, sigma, shift, start)
        else:
            rows = ((part, start + i * tile) for i, part in enumerate(x.split(tile)))
            parts = [recomputed(_sum_of_answers, r, y, sigma, shift, first) for r, first in rows]
            total = torch.stack(parts).sum()
        return gather.sum_over_processes(total / len(y), group)


def _sum_of_answers(x: Tensor, y: Tensor, sigma: Tensor, bias: Tensor, start: int) -> Tensor:
    """Return minus the log-probability of all right answers about the images from row ``start``."""
    logits = (x / sigma) @ y.T + bias  # (T, N)
    # log sigmoid(l) = log sigmoid(-l) + l: answer no everywhere, then correct the matched pairs.
    no = F.logsigmoid(-logits).sum()
    return -(no + logits.diagonal(start).sum())


def check_pairs(image: Tensor, text: Tensor, temperature: Tensor | float, tile: int | None) -> None:
    """Raise ValueError unless the arguments of a loss over matched pairs make sense."""
    if image.ndim != 2 or image.shape != text.shape or len(image) == 0:
        shapes = f"image {tuple(image.shape)} and text {tuple(text.shape)}"
        raise ValueError(f"{shapes}: both must be (N, D), N > 0")
    if isinstance(temperature, float | int) and not temperature > 0:
        raise ValueError(f"temperature {temperature}: it must be above 0")
    if tile is not None and tile < 1:
        raise ValueError(f"tile {tile}: it must be at least 1 row")
