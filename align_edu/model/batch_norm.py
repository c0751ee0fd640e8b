"""Ghost BatchNorm: small groups of pairs have separate statistics, whatever the batch size."""

import torch
from torch import Tensor, nn

from align_edu.io import InputError

_WITHIN = (1, 3, 4)  # axes of (groups, pairs, C, H, W) that share one mean and variance


class GhostBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over each ``group`` consecutive samples of a batch separately.

    In training, each group is normalised by its mean and variance, and the running statistics
    are updated once per step with the mean over the groups of their means and unbiased variances.
    In evaluation, and for a batch of at most one group, this is :class:`torch.nn.BatchNorm2d`,
    whose arguments and state it has. Groups stay intact in a batch that is split over processes
    or XLA devices, as long as each part holds whole groups. Raises InputError for a group below 2.

    Paper: not said over how many pairs BatchNorm's statistics run; ``ImageSettings`` in presets
    names the two hints. The method is Algorithm 1 of Hoffer et al., 2017.

    >>> norm = GhostBatchNorm2d(1, group=2, affine=False)
    >>> x = torch.tensor([1.0, 3.0, 10.0, 30.0]).view(4, 1, 1, 1)
    >>> norm(x).flatten().round().tolist()
    [-1.0, 1.0, -1.0, 1.0]
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
        affine: bool = True, track_running_stats: bool = True, *, group: int = 16,
    ) -> None:  # fmt: skip
        if not isinstance(group, int) or group < 2:
            raise InputError(f"group {group!r}: give a number of pairs, 2 or more")
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) normalised, in the data type and memory format of ``x``.

        Raises InputError in training when B is above the group's size and not a multiple of it.
        """
        if not self.training or len(x) <= self.group:
            return super().forward(x)
        if len(x) % self.group:
            raise InputError(
                f"a batch of {len(x)} pairs cannot be split into groups of {self.group} for"
                f" BatchNorm; make the batch a multiple of {self.group} or set image.ghost_batch"
            )
        # Plain reshapes and means let XLA keep every group on the device of its samples.
        groups = x.unflatten(0, (-1, self.group))  # (G, group, C, H, W)
        groups = groups.to(torch.promote_types(x.dtype, torch.float32))
        mean = groups.mean(_WITHIN, keepdim=True)  # (G, 1, C, 1, 1)
        centred = groups - mean
        variance = centred.square().mean(_WITHIN, keepdim=True)
        self._update(mean, variance, x[: self.group, 0].numel())
        scale = torch.rsqrt(variance + self.eps)
        if not self.affine:
            return (centred * scale).flatten(0, 1).to(x.dtype)
        weight, bias = (p.view(1, 1, -1, 1, 1) for p in (self.weight, self.bias))
        return torch.addcmul(bias, centred, scale * weight).flatten(0, 1).to(x.dtype)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics; ``count`` values of a channel are in each group."""
        if self.running_mean is None or self.running_var is None:
            return
        factor = self.momentum if self.momentum is not None else 0.0
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # torch: the average over all steps
                factor = 1.0 / float(self.num_batches_tracked)
        unbiased = variance * (count / (count - 1))
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.mul_(1 - factor).add_(new.mean(0).view(-1), alpha=factor)

    def extra_repr(self) -> str:
        """Return torch's line about a BatchNorm, and the size of a group."""
        return f"{super().extra_repr()}, group={self.group}"
