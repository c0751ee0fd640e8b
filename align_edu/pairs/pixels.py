"""Pixels as in the paper: resize to 346, crop 289; the toy's sizes are in the same ratio."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from align_edu.presets import ImageSettings


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
    pictures: Tensor,
    settings: ImageSettings,
    generator: torch.Generator,
    rows: range,
    batch_size: int,
) -> Tensor:
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
