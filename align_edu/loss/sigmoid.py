"""The sigmoid loss of SigLIP: each image with each text is a yes-or-no question."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from align_edu.loss.contrastive import check_pairs
from align_edu.loss.gather import first_row, gather_rows, sum_over_processes
from align_edu.loss.tiled import recomputed


def sigmoid_loss(
    image: Tensor,
    text: Tensor,
    temperature: Tensor | float,
    bias: Tensor | float,
    *,
    tile: int | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
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
        start = first_row(len(x), group)
        if tile is None:
            return sum_over_processes(_sum(x, y, sigma, shift, start) / len(y), group)
        parts = [
            recomputed(_sum, rows, y, sigma, shift, start + i * tile)
            for i, rows in enumerate(x.split(tile))
        ]
        return sum_over_processes(torch.stack(parts).sum() / len(y), group)


def _sum(x: Tensor, y: Tensor, sigma: Tensor, bias: Tensor, start: int) -> Tensor:
    """Return minus the log-probability of all right answers about the images from row ``start``."""
    logits = (x / sigma) @ y.T + bias  # (T, N)
    # log sigmoid(l) = log sigmoid(-l) + l: answer no everywhere, then correct the matched pairs.
    no = F.logsigmoid(-logits).sum()
    return -(no + logits.diagonal(start).sum())
