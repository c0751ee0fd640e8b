"""The image tower, from a picture to its embedding: pixels, EfficientNet, padding, BatchNorm.

Pixels as in the paper: resize to 346, crop 289; the toy's sizes are in the same ratio.
EfficientNet is torchvision's, without its 1×1 head convolution, and globally pooled.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from align_edu.io import InputError
from align_edu.loss.tiled import recomputed
from align_edu.presets import ImageSettings, Padding

SMALLEST = 32  # pixels per side: halved five times, one is left
_WITHIN = (1, 3, 4)  # axes of (groups, pairs, C, H, W) with one mean and variance


def resize_picture(picture: Image.Image, settings: ImageSettings) -> Tensor:
    """Squash an RGB picture to ``resize`` × ``resize``: (3, R, R) uint8.

    Paper: Section 5 (resize to 346 × 346, whatever the aspect).

    >>> resize_picture(Image.new("RGB", (80, 60)), ImageSettings(resize=58, crop=48)).shape
    torch.Size([3, 58, 58])
    """
    picture = picture.resize((settings.resize, settings.resize), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def random_crops(pictures: Tensor, settings: ImageSettings, generator: torch.Generator) -> Tensor:
    """Return training input: a random crop of each picture, flipped half of the time.

    pictures: (B, 3, R, R) uint8. Returns (B, 3, C, C) float in [-1, 1].

    Paper: Section 5 (random crop with additional random horizontal flip).

    >>> pictures = torch.zeros(2, 3, 58, 58, dtype=torch.uint8)
    >>> settings = ImageSettings(resize=58, crop=48)
    >>> random_crops(pictures, settings, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 48, 48])
    """
    count = len(pictures)
    return scale_pixels(cut_crops(pictures, settings, generator, range(count), count))


def cut_crops(
    pictures: Tensor, settings: ImageSettings, generator: torch.Generator, rows: range,
    batch_size: int,
) -> Tensor:  # fmt: skip
    """Return (R, 3, C, C) uint8; a crop depends only on a picture's place in the whole batch."""
    size, room = settings.crop, pictures.shape[-1] - settings.crop
    chosen = slice(rows.start, rows.stop)
    corners = torch.randint(0, room + 1, (batch_size, 2), generator=generator)[chosen]
    flips = (torch.rand(batch_size, generator=generator) < 0.5)[chosen]
    windows = pictures.unfold(2, size, 1).unfold(3, size, 1)  # (R, 3, room + 1, room + 1, C, C)
    crops = windows[torch.arange(len(pictures)), :, corners[:, 0], corners[:, 1]]  # (R, 3, C, C)
    crops[flips] = crops[flips].flip(-1)
    return crops


def central_crops(pictures: Tensor, settings: ImageSettings) -> Tensor:
    """Return evaluation input: the central crop of each picture, (B, 3, C, C) in [-1, 1].

    Paper: Section 5 (central crop in evaluation).

    >>> central_crops(torch.zeros(2, 3, 58, 58, dtype=torch.uint8), ImageSettings(crop=48)).shape
    torch.Size([2, 3, 48, 48])
    """
    size = settings.crop
    corner = round((pictures.shape[-1] - size) / 2)
    return scale_pixels(pictures[..., corner : corner + size, corner : corner + size])


def scale_pixels(pictures: Tensor) -> Tensor:
    """Scale bytes 0…255 to floats -1…1, channels last in memory as convolutions run fastest.

    >>> scale_pixels(torch.tensor([[[[255]]]], dtype=torch.uint8)).item()
    1.0
    """
    pixels = pictures.to(torch.float32, memory_format=torch.channels_last)
    return pixels.div_(127.5).sub_(1.0)


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
        from torchvision.models.efficientnet import EfficientNet, MBConvConfig  # slow to import

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
        wide = settings.projection
        self.projection = nn.Linear(trunk_width, wide) if wide else nn.Identity()
        self.width = wide or trunk_width
        self.recompute = settings.recompute

    def forward(self, pixels: Tensor) -> Tensor:
        """Return one embedding per picture, not normalised: (B, 3, H, W) → (B, D).

        Raises InputError for pictures of fewer than 32 pixels per side.
        """
        if min(pixels.shape[-2:]) < SMALLEST:
            size = f"pictures of {pixels.shape[-2]}×{pixels.shape[-1]} pixels"
            remedy = f"give it {SMALLEST}×{SMALLEST} or more"
            raise InputError(f"{size}: the image tower halves them five times; {remedy}")
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


def edge_zeros(size: int, kernel: int, padding: Padding) -> tuple[int, int]:
    """Return how many zeros a stride-2 convolution adds before and after ``size`` pixels.

    size: pixels along one axis. kernel: odd width of the convolution. ``"same"`` is TensorFlow's
    rule, and the paper's: it pads as ``"tf_static"`` where the size is even and as
    ``"symmetric"`` where it is odd. ``"tf_static"`` is that of the released weights, at every
    size; ``"symmetric"`` is torchvision's.

    Paper: Section 4.1 (EfficientNet, in TensorFlow).

    >>> [edge_zeros(289, 3, padding) for padding in ("tf_static", "same", "symmetric")]
    [(0, 1), (1, 1), (1, 1)]
    >>> [edge_zeros(288, 5, padding) for padding in ("tf_static", "same", "symmetric")]
    [(1, 2), (1, 2), (2, 2)]
    """
    if padding == "symmetric" or (padding == "same" and size % 2 == 1):
        return kernel // 2, kernel // 2
    return kernel // 2 - 1, kernel // 2


def stride_two(x: Tensor, kernels: Tensor, padding: Padding, groups: int) -> Tensor:
    """Return the convolution of x (B, C, H, W) with square kernels and stride 2, padded so."""
    rows, columns = (edge_zeros(size, kernels.shape[-1], padding) for size in x.shape[-2:])
    inside = (rows[0], columns[0])
    if rows[0] != rows[1] or columns[0] != columns[1]:
        x, inside = F.pad(x, (*columns, *rows)), (0, 0)
    return F.conv2d(x, kernels, None, 2, inside, groups=groups)


class StrideTwoConv2d(nn.Conv2d):
    """A stride-2 convolution that chooses its zero padding by the size of its input.

    It shares the weight of ``like``, a torch convolution with an odd square kernel and no bias.

    >>> like = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
    >>> [StrideTwoConv2d(like, p)(torch.zeros(1, 3, 289, 289)).shape[-1]
    ...  for p in ("tf_static", "same", "symmetric")]
    [144, 145, 145]
    """

    def __init__(self, like: nn.Conv2d, padding: Padding) -> None:
        kernel = like.kernel_size[0]
        super().__init__(  # device: no memory, since the weight is replaced
            like.in_channels, like.out_channels, kernel, stride=2, groups=like.groups, bias=False,
            device="meta",
        )  # fmt: skip
        self.weight, self.rule = like.weight, padding

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of (B, C, H, W)."""
        return stride_two(x, self.weight, self.rule, self.groups)


def set_padding(network: nn.Module, padding: Padding) -> None:
    """Give every stride-2 convolution of a torchvision network this padding, in place."""
    if padding == "symmetric":  # torchvision's
        return
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d) and child.stride == (2, 2):
                setattr(parent, name, StrideTwoConv2d(child, padding))


class GhostBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over each ``group`` consecutive samples of a batch separately.

    In training, each group is normalised by its mean and variance, and the running statistics
    are updated once per step with the mean over the groups of their means and unbiased variances.
    In evaluation, and for a batch of at most one group, this is :class:`torch.nn.BatchNorm2d`,
    whose state it has. Groups stay intact in a batch that is split over processes or XLA devices,
    as long as each part holds whole groups.

    Paper: not said over how many pairs BatchNorm's statistics run; ``ImageSettings`` in presets
    names the two hints. The method is Algorithm 1 of Hoffer et al., 2017.

    >>> norm = GhostBatchNorm2d(1, group=2)
    >>> x = torch.tensor([1.0, 3.0, 10.0, 30.0]).view(4, 1, 1, 1)
    >>> norm(x).flatten().round().tolist()
    [-1.0, 1.0, -1.0, 1.0]
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, *, group: int = 16
    ) -> None:
        super().__init__(num_features, eps, momentum)
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) normalised, in the data type and memory format of ``x``.

        Raises InputError in training when B is above the group's size and not a multiple of it.
        """
        if not self.training or len(x) <= self.group:
            return super().forward(x)
        if len(x) % self.group:
            wrong = f"a batch of {len(x)} pairs cannot be split into groups of {self.group}"
            remedy = f"make the batch a multiple of {self.group} or set image.ghost_batch"
            raise InputError(f"{wrong} for BatchNorm; {remedy}")
        # Plain reshapes and means let XLA keep every group on the device of its samples.
        groups = x.unflatten(0, (-1, self.group))  # (G, group, C, H, W)
        groups = groups.to(torch.promote_types(x.dtype, torch.float32))
        mean = groups.mean(_WITHIN, keepdim=True)  # (G, 1, C, 1, 1)
        centred = groups - mean
        variance = centred.square().mean(_WITHIN, keepdim=True)
        self._update(mean, variance, x[: self.group, 0].numel())
        scale = torch.rsqrt(variance + self.eps)
        weight, bias = (p.view(1, 1, -1, 1, 1) for p in (self.weight, self.bias))
        return torch.addcmul(bias, centred, scale * weight).flatten(0, 1).to(x.dtype)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics; ``count`` values of a channel are in each group."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        unbiased, momentum = variance * (count / (count - 1)), self.momentum or 0.0
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            assert running is not None
            running.mul_(1 - momentum).add_(new.mean(0).view(-1), alpha=momentum)
