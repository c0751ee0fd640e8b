"""The temperature σ that divides the cosine similarities."""

import math

import torch
from torch import Tensor, nn


class Temperature(nn.Module):
    """A scalar σ > 0, learned with the towers or fixed.

    ``initial`` is where σ starts (paper: 1.0). ``log`` learns log σ, so that no step can
    make σ negative; the paper and the released weights learn σ itself.

    Paper: Sections 4.1 and 5; Table 8 for fixed values.

    >>> Temperature(0.5)().item()
    0.5
    >>> sum(p.numel() for p in Temperature(0.5, learned=False).parameters())
    0
    """

    def __init__(self, initial: float = 1.0, *, learned: bool = True, log: bool = False) -> None:
        super().__init__()
        if not (math.isfinite(initial) and initial > 0):
            raise ValueError(f"the temperature starts at {initial}; it must be above 0")
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
