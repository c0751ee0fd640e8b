"""The sigmoid loss of SigLIP: each image with each text is a yes-or-no question."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from align_edu.loss.gather import first_row, gather_rows, sum_over_processes
from align_edu.model.recompute import recomputed


def sigmoid_loss(
    image: Tensor,
    text: Tensor,
    temperature: Tensor | float,
    bias: Tensor | float,
    *,
    tile: int | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Return the pairwise sigmoid loss over a batch of matched pairs.

    image, text: (N, D); row i of one belongs to row i of the other; L2-normalised inside.
    temperature: σ > 0, a scalar; SigLIP starts at 1/10. bias: added to every logit x·y / σ;
    SigLIP starts at -10, since all but one of N answers are no. tile, group: as in
    ``contrastive_loss``. The sum over all N² questions is divided by N.
    Raises ValueError for shapes or numbers that make no sense.

    Not in the paper: Zhai et al. (2023), Sigmoid Loss for Language Image Pre-Training, compared
    with the softmax of Section 4.1, eq. (1) and eq. (2).

    >>> image = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    >>> text = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    >>> round(sigmoid_loss(image, text, 0.5, -1.0).item(), 6)
    1.358671
    """
    if image.ndim != 2 or image.shape != text.shape or len(image) == 0:
        raise ValueError(
            f"image {tuple(image.shape)} and text {tuple(text.shape)}: both must be (N, D), N > 0"
        )
    if isinstance(temperature, float | int) and not temperature > 0:
        raise ValueError(f"temperature {temperature}: it must be above 0")
    if tile is not None and tile < 1:
        raise ValueError(f"tile {tile}: at least one row a tile")
    with torch.autocast(image.device.type, enabled=False):  # logits need full precision
        dtype = torch.promote_types(image.dtype, torch.float32)
        x = F.normalize(image.to(dtype), dim=1)  # (R, D)
        y = gather_rows(F.normalize(text.to(dtype), dim=1), group)  # (N, D)
        sigma = torch.as_tensor(temperature, dtype=dtype, device=x.device)
        shift = torch.as_tensor(bias, dtype=dtype, device=x.device)
        start = first_row(len(x), group)
        if tile is None:
            return sum_over_processes(_questions(x, y, sigma, shift, start) / len(y), group)
        parts = [
            recomputed(_questions, rows, y, sigma, shift, start + i * tile)
            for i, rows in enumerate(x.split(tile))
        ]
        return sum_over_processes(torch.stack(parts).sum() / len(y), group)


def _questions(x: Tensor, y: Tensor, sigma: Tensor, bias: Tensor, start: int) -> Tensor:
    """Minus the log-probability of all right answers about the images from row ``start`` on."""
    logits = (x / sigma) @ y.T + bias  # (T, N)
    # log sigmoid(l) = log sigmoid(-l) + l: every answer as if it were no, then the yes set right.
    no = F.logsigmoid(-logits).sum()
    return -(no + logits.diagonal(start).sum())
