"""Crops of pictures for fine-tuning: random parts in training, the centre in evaluation."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

TRAIN_TO_EVAL = 0.8  # paper: Section 5.2, 289 to 360 pixels a side
CENTRAL = 0.875  # paper: Section 5.2, the central crop in evaluation
_ASPECTS = (3 / 4, 4 / 3)  # Szegedy et al., 2015, Section 6
_TRIES = 10


def random_area_crop(
    picture: Image.Image, side: int, generator: torch.Generator, smallest_area: float = 0.08
) -> Tensor:
    """Return a random part of a picture, resized: (3, S, S) uint8.

    The part has from ``smallest_area`` of the picture's area up to all of it, and an aspect
    from 3:4 to 4:3. Where ten draws do not fit into the picture, the whole picture is taken.

    Paper: Section 5.2 (random cropping, same as in Szegedy et al., 2015).

    >>> generator = torch.Generator().manual_seed(0)
    >>> random_area_crop(Image.new("RGB", (90, 60)), 48, generator).shape
    torch.Size([3, 48, 48])
    """
    low, high = (float(np.log(aspect)) for aspect in _ASPECTS)
    box: tuple[float, float, float, float] = (0, 0, picture.width, picture.height)
    for area, aspect, x, y in torch.rand(_TRIES, 4, generator=generator).tolist():
        pixels = picture.width * picture.height * (smallest_area + (1 - smallest_area) * area)
        ratio = float(np.exp(low + (high - low) * aspect))
        width, height = (pixels * ratio) ** 0.5, (pixels / ratio) ** 0.5
        if width <= picture.width and height <= picture.height:
            left, top = x * (picture.width - width), y * (picture.height - height)
            # rounding must not put an edge outside: Pillow refuses that
            right, bottom = min(left + width, picture.width), min(top + height, picture.height)
            box = (left, top, right, bottom)
            break
    return _to_tensor(picture.resize((side, side), Image.Resampling.BILINEAR, box))


def evaluation_crop(picture: Image.Image, crop: int) -> Tensor:
    """Return the central 0.875 of a picture, each side 1/0.8 of the training crop, as uint8.

    Paper: Section 5.2 (289 pixels in training are 360 in evaluation).

    >>> evaluation_crop(Image.new("RGB", (500, 400)), 289).shape
    torch.Size([3, 361, 361])
    """
    side = round(crop / TRAIN_TO_EVAL)
    x, y = (picture.width * (1 - CENTRAL) / 2, picture.height * (1 - CENTRAL) / 2)
    box = (x, y, picture.width - x, picture.height - y)
    return _to_tensor(picture.resize((side, side), Image.Resampling.BILINEAR, box))


def _to_tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)  # (3, S, S)
