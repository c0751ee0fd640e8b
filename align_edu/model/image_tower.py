"""The image tower: EfficientNet without its 1×1 head convolution, globally pooled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.efficientnet import EfficientNet, MBConvConfig

from align_edu.io import InputError
from align_edu.loss.tiled import recomputed
from align_edu.model.batch_norm import GhostBatchNorm2d
from align_edu.model.padding import set_padding
from align_edu.presets import ImageSettings

SMALLEST = 32  # pixels per side: halved five times, one is left

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
    """An EfficientNet trunk of any width and depth, global average pooling, optional linear layer.

    The output width D is ``projection`` or, without one, ``width`` × 320 rounded to a multiple of
    8 (640 for B7, 1376 for L2). It does not depend on the resolution.

    Paper: Section 4.1 (tower, no 1×1 convolution), Section 6.1 (linear layer for B1, B3, B5).

    >>> tower = ImageTower(ImageSettings(width=0.35, depth=0.35))
    >>> tower(torch.zeros(2, 3, 48, 48)).shape
    torch.Size([2, 112])
    """

    def __init__(self, settings: ImageSettings) -> None:
        super().__init__()
        stage = partial(MBConvConfig, width_mult=settings.width, depth_mult=settings.depth)
        norm: Callable[..., nn.Module] = nn.BatchNorm2d
        if settings.ghost_batch is not None:
            norm = partial(GhostBatchNorm2d, group=settings.ghost_batch)
        network = EfficientNet(
            [stage(*numbers) for numbers in _STAGES],
            dropout=0.0,
            stochastic_depth_prob=settings.stochastic_depth,
            # TensorFlow's epsilon; torchvision's B0 to B4 have 1e-5.
            norm_layer=partial(norm, eps=1e-3, momentum=settings.batch_norm_momentum),
            last_channel=8,  # width of the head convolution, which is dropped below
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
        """Return one embedding per picture, not normalised: (B, 3, H, W) → (B, D).

        Raises InputError for pictures of fewer than 32 pixels per side.
        """
        if min(pixels.shape[-2:]) < SMALLEST:
            raise InputError(
                f"pictures of {pixels.shape[-2]}×{pixels.shape[-1]} pixels: the image tower halves"
                f" them five times; give it {SMALLEST}×{SMALLEST} or more"
            )
        if self.recompute and torch.is_grad_enabled():
            features = pixels
            stem, *stages = self.trunk
            for block in (stem, *(block for stage in stages for block in stage)):
                features = recomputed(block, features, again=partial(_statistics_kept, block))
        else:
            features = self.trunk(pixels)  # (B, C, H/32, W/32)
        pooled = features.mean(dim=(2, 3))  # (B, C)
        return self.projection(pooled)  # (B, D)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Keep BatchNorm from counting the same batch twice in its running statistics."""
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
