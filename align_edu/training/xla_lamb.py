"""LAMB for XLA: what changes from step to step is data, so that a step is compiled once."""

from typing import Any

import torch
from timm.optim.lamb import Lamb
from torch import Tensor


class XlaLamb(Lamb):
    """timm's LAMB in the form of the paper's recipe, without a number that changes in its graph.

    A Python number that changes each step (learning rate, bias corrections) is a new program
    to XLA as soon as it equals 0, 1, or another number of the step; in the first step even the
    zeros with which the moments start are. Here they are tensors. Groups and state are timm's,
    so checkpoints go from one to the other. Arguments are timm's; gradient clipping, decoupled
    decay, trust clipping and caution are not offered.

    Paper: Section 5 (LAMB: You et al., 2020, Algorithm 2).

    >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> weight.grad = torch.tensor([1.0, 1.0])
    >>> XlaLamb([weight], lr=0.1, weight_decay=0.0, always_adapt=True).step()
    >>> [round(x, 3) for x in weight.tolist()]
    [2.646, 3.646]
    """

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, **options)
        for group in self.param_groups:
            group["step"] = torch.zeros(())  # on the host, as timm has it
            for p in group["params"]:
                for name in ("exp_avg", "exp_avg_sq"):
                    self.state[p][name] = torch.zeros(p.shape, dtype=p.dtype).to(p.device)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient; ``closure`` is not used."""
        for group in self.param_groups:
            group["step"].add_(1)
            step, (beta1, beta2) = int(group["step"]), group["betas"]
            learned = [p for p in group["params"] if p.grad is not None]
            if not learned:
                continue
            changing = [group["lr"], 1 - beta1**step, 1 - beta2**step]
            # One upload of its own: scalars by themselves would be shared by equal value.
            numbers = torch.tensor(changing, dtype=learned[0].dtype).to(learned[0].device)
            for p in learned:
                update = self._direction(p, group, numbers[1], numbers[2])
                if group["weight_decay"] != 0 or group["always_adapt"]:
                    update = update * _trust(p, update)
                p.sub_(update * numbers[0])

    def _direction(self, p: Tensor, group: dict[str, Any], first: Tensor, second: Tensor) -> Tensor:
        """Adam's direction with weight decay inside; first, second: the bias corrections."""
        assert p.grad is not None
        mean, square = self.state[p]["exp_avg"], self.state[p]["exp_avg_sq"]
        beta1, beta2 = group["betas"]
        mean.lerp_(p.grad, 1 - beta1)
        square.mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
        update = (mean / first) / ((square / second).sqrt() + group["eps"])
        return update + group["weight_decay"] * p


def _trust(p: Tensor, update: Tensor) -> Tensor:
    """‖x‖ / ‖update‖, or 1 where either is zero."""
    weight, step = p.norm(), update.norm()
    return torch.where((weight > 0) & (step > 0), weight / step, torch.ones_like(weight))
