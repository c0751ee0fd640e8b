"""Zero padding at the edges of a picture: three rules for stride-2 convolutions."""

from torch import Tensor, nn
from torch.nn import functional as F

from align_edu.presets import Padding


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

    >>> import torch
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

    def extra_repr(self) -> str:
        """Return torch's line about a convolution, and the padding rule."""
        return f"{super().extra_repr()}, zeros={self.rule!r}"


def set_padding(network: nn.Module, padding: Padding) -> None:
    """Give every stride-2 convolution of a torchvision network this padding, in place."""
    if padding == "symmetric":  # torchvision's
        return
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d) and child.stride == (2, 2):
                setattr(parent, name, StrideTwoConv2d(child, padding))
