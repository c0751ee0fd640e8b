"""Ghost BatchNorm: a few pairs share their statistics, however large the batch is."""

import torch
from torch import Tensor, nn

from align_edu.io import InputError

_WITHIN = (1, 3, 4)  # the axes of (groups, pairs, C, H, W) that share one mean and variance


class GhostBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that takes each ``group`` consecutive samples of a batch by themselves.

    In training every group is normalised by its own mean and variance, and the running
    statistics move once a step, to the mean over the groups of their means and unbiased
    variances. In evaluation, and for a batch that is no larger than one group, it is
    :class:`torch.nn.BatchNorm2d`, whose arguments and state it has. Where a batch is shared
    out, among processes or along its first axis by XLA, a group stays together as long as
    each part holds whole groups. Raises InputError for a group of fewer than 2.

    Paper: Section 5 (16 pairs on each of 1,024 cores, each with statistics of its own); the
    name is that of Hoffer et al., 2017, Algorithm 1.

    >>> norm = GhostBatchNorm2d(1, group=2, affine=False)
    >>> x = torch.tensor([1.0, 3.0, 10.0, 30.0]).view(4, 1, 1, 1)
    >>> norm(x).flatten().round().tolist()
    [-1.0, 1.0, -1.0, 1.0]
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        group: int = 16,
    ) -> None:
        if not isinstance(group, int) or group < 2:
            raise InputError(
                f"image.ghost_batch {group!r}: give a number of pairs, 2 or more, or null for"
                " the whole batch"
            )
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) normalised, in the type and memory order of ``x``.

        Raises InputError in training for a batch that is larger than a group and not made of
        whole groups.

        >>> GhostBatchNorm2d(3, group=2)(torch.zeros(4, 3, 8, 8)).shape
        torch.Size([4, 3, 8, 8])
        """
        if not self.training or len(x) <= self.group:
            return super().forward(x)
        if len(x) % self.group:
            raise InputError(
                f"a batch of {len(x)} pairs does not split into groups of {self.group} that share"
                f" BatchNorm statistics; make the batch a multiple of {self.group} or set"
                " image.ghost_batch"
            )
        # Plain reshapes and means, so that XLA can keep every group where its samples are.
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
        """Move the running statistics once; ``count`` values of a channel are in a group."""
        if self.running_mean is None or self.running_var is None:
            return
        factor = self.momentum if self.momentum is not None else 0.0
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # torch's meaning: the average over all steps
                factor = 1.0 / float(self.num_batches_tracked)
        unbiased = variance * (count / (count - 1))
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.mul_(1 - factor).add_(new.mean(0).view(-1), alpha=factor)

    def extra_repr(self) -> str:
        """Return torch's own line about a BatchNorm and the size of a group."""
        return f"{super().extra_repr()}, group={self.group}"
