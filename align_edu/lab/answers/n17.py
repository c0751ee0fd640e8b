"""Exercises of notebook 17: the scale of pixels, and the name of a picture by all prompts."""

import torch
from torch import Tensor

from align_edu.lab.exercises import exercise


def scaled(value: int) -> float:
    """Return a byte on the image tower's scale: 0 becomes -1, and 255 becomes 1.

    Paper: Section 5 (the pictures that the towers see; the scale is the released weights').

    >>> scaled(0), scaled(51), scaled(255)
    (-1.0, -0.6, 1.0)
    """
    return value / 127.5 - 1


def name_index(similarity: Tensor) -> int:
    """Return the column of the name that a picture gets, by the mean over all prompts.

    similarity: (P, K) cosines of one picture, prompt p in row p, name k in column k. The first
    name wins where means tie.

    Paper: Section 5.1 (comparing a picture with texts, without any training for it).

    >>> name_index(torch.tensor([[0.5, 0.25, 0.0], [0.0, 0.5, 0.25]]))
    1
    """
    return int(similarity.mean(dim=0).argmax())  # (K,)


exercise(scaled, lambda g: torch.randint(0, 256, (20, 1), generator=g).tolist())
exercise(
    name_index,
    lambda g: [(torch.rand(*s, generator=g) - 0.5,) for s in [(4, 6), (7, 5), (3, 9)] * 6],
)
