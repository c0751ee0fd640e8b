"""The temperature σ that divides the cosine similarities, and the values that it makes possible."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Temperature(nn.Module):
    """A scalar σ > 0, fixed or learned with the towers.

    initial: σ at the start (paper: 1.0). log: learn log σ, so that no step makes σ negative; the
    paper and the released weights learn σ itself. Raises ValueError unless ``initial`` is above 0.

    Paper: Sections 4.1 and 5; Table 8 for fixed values.

    >>> Temperature(0.5)().item()
    0.5
    >>> sum(p.numel() for p in Temperature(0.5, learned=False).parameters())
    0
    """

    def __init__(self, initial: float = 1.0, *, learned: bool = True, log: bool = False) -> None:
        super().__init__()
        if not (math.isfinite(initial) and initial > 0):
            raise ValueError(f"temperature {initial}: it must start above 0")
        self.log = log
        value = torch.tensor(math.log(initial) if log else initial, dtype=torch.float32)
        if learned:
            self.value = nn.Parameter(value)
        else:
            self.register_buffer("value", value)

    def forward(self) -> Tensor:
        """Return σ, a scalar tensor.

        >>> round(Temperature(0.07, log=True)().item(), 4)
        0.07
        """
        return self.value.exp() if self.log else self.value


def best_temperature(n: int, label_smoothing: float, gap: float) -> float:
    """Return the temperature at which the loss of N pairs is lowest.

    gap: the cosine of each image with its own text, less that with every other text. Without
    label smoothing the best temperature is 0: a sharper softmax is always better.

    Paper: Section 6.1 (the learned temperature "converged to about 1/64"); this is the minimum
    over σ of eq. (1) + eq. (2) when all pairs have the same gap.

    >>> round(1 / best_temperature(16384, 0.1, gap=0.19))
    63
    """
    if label_smoothing == 0:
        return 0.0
    return gap / math.log(1 + n * (1 - label_smoothing) / label_smoothing)


def loss_floor(n: int, label_smoothing: float) -> float:
    """Return the lowest possible loss of N pairs: twice the entropy of the smoothed target.

    Paper: Section 5 (label smoothing 0.1). Without smoothing the floor is 0.

    >>> round(loss_floor(16384, 0.1), 2)
    2.59
    """
    other = label_smoothing / n
    own = 1 - label_smoothing + other
    entropy = -own * math.log(own)
    if label_smoothing > 0:
        entropy -= (n - 1) * other * math.log(other)
    return 2 * entropy


def chance_loss(n: int) -> float:
    """Return the loss of N pairs when all similarities are equal: 2 ln N.

    Paper: Section 4.1, eq. (1) + eq. (2).

    >>> round(chance_loss(16384), 2)
    19.41
    """
    return 2 * math.log(n)


def cosine_gap(image: Tensor, text: Tensor) -> Tensor:
    """Return the mean cosine of matched pairs, less that of all other pairs.

    image, text: (N, D), N > 1; row i of one belongs to row i of the other. Returns a scalar in
    [-2, 2], the ``gap`` of :func:`best_temperature`, without computing the N × N matrix.

    Paper: Section 4.1 (cosine similarity).

    >>> round(cosine_gap(torch.eye(3), torch.eye(3)).item(), 4)
    1.0
    """
    x, y = F.normalize(image.float(), dim=1), F.normalize(text.float(), dim=1)  # (N, D)
    own = (x * y).sum(dim=1).mean()
    mean = x.mean(dim=0) @ y.mean(dim=0)  # over all N² cosines
    return (own - mean) * len(x) / (len(x) - 1)
