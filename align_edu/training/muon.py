"""Muon on any processor: it orthogonalises in float32 where bfloat16 would be slow."""

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from timm.optim import muon


class Muon(muon.Muon):
    """timm's Muon, whose small matrix products are in float32 while its weights are on a CPU.

    timm computes them in bfloat16, which processors without AVX-512 emulate: twenty times
    slower for the toy's matrices, more than all the rest of a step. Arguments and state are
    timm's.

    Not in the paper, which uses LAMB (Section 5): Jordan et al., 2024.

    >>> weight = torch.nn.Parameter(torch.eye(2))
    >>> weight.grad = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> Muon([weight], lr=0.1, weight_decay=0.0).step()
    >>> bool((weight.diagonal() < 1).all())
    True
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Move every parameter that has a gradient."""
        devices = {p.device.type for group in self.param_groups for p in group["params"]}
        if devices != {"cpu"}:
            return super().step(closure)
        exact = partial(muon.zeropower_via_newtonschulz, dtype=torch.float32)
        with patch.object(muon, "zeropower_via_newtonschulz", exact):
            return super().step(closure)
