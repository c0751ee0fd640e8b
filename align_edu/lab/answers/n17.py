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


def _winner(similarity: Tensor) -> int:
    """Return the name that wins the most prompts; the first one where names tie."""
    return int(similarity.argmax(dim=1).bincount(minlength=similarity.shape[1]).argmax())


exercise(
    scaled,
    lambda g: torch.randint(0, 256, (20, 1), generator=g).tolist(),
    times={"upside_down": -1},
    zero_to_one=lambda value: value / 255,
    not_shifted=lambda value: value / 127.5,
    by_128=lambda value: value / 128 - 1,
    by_127=lambda value: value / 127 - 1,
    imagenet=lambda value: (value / 255 - 0.485) / 0.229,
    imagenet_spread=lambda value: value / 255 / 0.229,
    half_length=lambda value: value / 255 - 0.5,
    not_divided=lambda value: value - 127.5,
    shift_first=lambda value: (value - 1) / 127.5,
    brackets=lambda value: value / (127.5 - 1),
    whole_division=lambda value: value // 127.5 - 1,
    cut_at_zero=lambda value: max(value / 127.5 - 1, 0.0),
    byte=lambda value: value,
)

exercise(
    name_index,
    lambda g: [(torch.rand(*s, generator=g) - 0.5,) for s in [(4, 6), (7, 5), (3, 9)] * 6],
    largest_cosine=lambda s: int(s.amax(dim=0).argmax()),
    worst_prompt=lambda s: int(s.amin(dim=0).argmax()),
    votes=_winner,
    first_prompt=lambda s: int(s[0].argmax()),
    last_prompt=lambda s: int(s[-1].argmax()),
    best_prompt=lambda s: int(s.mean(dim=1).argmax()),
    whole_matrix=lambda s: int(s.argmax()),
    least_similar=lambda s: int(s.mean(dim=0).argmin()),
    value=lambda s: float(s.mean(dim=0).max()),
    from_1=lambda s: name_index(s) + 1,
    last_of_equals=lambda s: s.shape[1] - 1 - name_index(s.flip(1)),
    absolute=lambda s: int(s.abs().mean(dim=0).argmax()),
    cut_at_zero=lambda s: int(s.clamp(min=0).mean(dim=0).argmax()),
    means=lambda s: s.mean(dim=0).tolist(),
)
