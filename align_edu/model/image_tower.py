"""The image tower: EfficientNet without its 1×1 head convolution, globally pooled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.efficientnet import EfficientNet, MBConvConfig

from align_edu.io import InputError
from align_edu.model.batch_norm import GhostBatchNorm2d
from align_edu.model.padding import set_padding
from align_edu.model.recompute import recomputed
from align_edu.presets import ImageSettings

SMALLEST = 32  # pixels a side: five times halved, one is left

# EfficientNet-B0 stage by stage (Tan and Le, 2019, Table 1):
# expansion, kernel, stride, channels in, channels out, blocks.
_STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)


class ImageTower(nn.Module):
    """EfficientNet trunk of any width and depth, global average pooling, optional linear layer.

    Parameters are those of :class:`align_edu.presets.ImageSettings`. The output width is
    ``width`` × 320 rounded to a multiple of 8 (640 for B7, 1376 for L2) or ``projection``.
    It does not depend on the resolution. Raises InputError for an unknown padding or a bad group.

    Paper: Section 4.1 (tower, no 1×1 convolution), Section 6.1 (linear layer for B1, B3, B5).

    >>> import torch
    >>> tower = ImageTower(ImageSettings(width=0.35, depth=0.35))
    >>> tower(torch.zeros(2, 3, 48, 48)).shape
    torch.Size([2, 112])
    """

    def __init__(self, settings: ImageSettings) -> None:
        super().__init__()
        stage = partial(MBConvConfig, width_mult=settings.width, depth_mult=settings.depth)
        # BatchNorm epsilon as in TensorFlow's EfficientNet; torchvision's B0–B4 use 1e-5.
        norm: Callable[..., nn.Module] = partial(
            _batch_norm(settings.ghost_batch), eps=1e-3, momentum=settings.batch_norm_momentum
        )
        network = EfficientNet(
            [stage(*numbers) for numbers in _STAGES],
            dropout=0.0,
            stochastic_depth_prob=settings.stochastic_depth,
            norm_layer=norm,
            last_channel=8,  # the head convolution is built by torchvision and dropped below
        )
        self.trunk = network.features[:-1]
        for module in self.trunk.modules():
            if isinstance(module, nn.SiLU):
                module.inplace = False  # in place, autograd would copy the input first
        set_padding(self.trunk, settings.padding)
        trunk_width = MBConvConfig.adjust_channels(320, settings.width)
        self.projection = (
            nn.Linear(trunk_width, settings.projection) if settings.projection else nn.Identity()
        )
        self.width = settings.projection or trunk_width
        self.recompute = settings.recompute

    def forward(self, pixels: Tensor) -> Tensor:
        """Return one embedding a picture, not normalised: (B, 3, H, W) → (B, D).

        Raises InputError for pictures of fewer than 32 pixels a side.

        >>> import torch
        >>> ImageTower(ImageSettings(width=0.35, depth=0.35))(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 112])
        """
        if min(pixels.shape[-2:]) < SMALLEST:
            raise InputError(
                f"pictures of {pixels.shape[-2]}×{pixels.shape[-1]} pixels: the image tower halves"
                f" them five times; give it {SMALLEST}×{SMALLEST} or more"
            )
        if self.recompute and torch.is_grad_enabled():
            features = pixels
            for block in self._blocks():
                kept = partial(_statistics_kept, block)
                features = recomputed(block, features, again=kept)
        else:
            features = self.trunk(pixels)  # (B, D, H/32, W/32)
        pooled = features.mean(dim=(2, 3))  # (B, D)
        return self.projection(pooled)

    def _blocks(self) -> Iterator[nn.Module]:
        """The stem, then every block of every stage."""
        yield self.trunk[0]
        for stage in self.trunk[1:]:
            yield from stage


def _batch_norm(ghost_batch: int | None) -> Callable[..., nn.Module]:
    """BatchNorm over the whole batch, or over groups of ``ghost_batch`` pairs."""
    if ghost_batch is None:
        return nn.BatchNorm2d
    return partial(GhostBatchNorm2d, group=ghost_batch)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Stop BatchNorm from counting the same batch twice in its running statistics."""
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
