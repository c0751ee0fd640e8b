"""Exercises of notebook 17."""

from typing import Any

import torch
from torch import Tensor

from align_edu.lab.exercise import Exercise, Hint, WrongAnswer


def scaled(value: int) -> float:
    """Return what the image tower sees of a byte: 0 becomes -1, and 255 becomes 1.

    Paper: Section 5 (the pictures that the towers see; the scale is the released weights').

    >>> scaled(0), scaled(51), scaled(255)
    (-1.0, -0.6, 1.0)
    """
    return value / 127.5 - 1


def name_index(similarity: Tensor) -> int:
    """Return the column of the name that a picture gets, by the mean over all prompts.

    similarity: (P, K) cosines of one picture, prompt p in row p, name k in column k. Of names
    with equal means the first is taken.

    Paper: Section 5.1 (comparing a picture with texts, without any training for it).

    >>> name_index(torch.tensor([[0.5, 0.25, 0.0], [0.0, 0.5, 0.25]]))
    1
    """
    return int(similarity.mean(dim=0).argmax())  # (K,)


def _byte_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [0, 255, 51, 204, 127, 128, 1, 254]  # -1, 1, -0.6, 0.6, around 0, next to the ends
    return [(v,) for v in by_hand + torch.randint(0, 256, (20,), generator=generator).tolist()]


def _name_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        [[0.5, 0.25, 0.0], [0.0, 0.5, 0.25]],  # means 0.25, 0.375, 0.125
        [[0.75, 0.5], [0.0, 0.5], [0.0, 0.5]],  # the largest single cosine loses
        [[0.5, 0.25], [0.5, 0.25], [0.0, 0.875]],  # the most prompts won loses
        [[0.25, 0.5, 0.5], [0.25, 0.5, 0.5]],  # a tie: the first of the two
        [[-0.75, -0.25], [-0.5, -0.25]],  # all negative
        [[0.25, -0.5, 0.125]],  # one prompt
        [[0.5], [0.25], [0.75]],  # one name
        [[-0.875, 0.25, 0.5], [-0.75, 0.25, 0.125]],
    ]
    random = [torch.rand(p, k, generator=generator) - 0.5 for p, k in [(4, 6), (7, 5), (3, 9)] * 6]
    return [(torch.tensor(rows),) for rows in by_hand] + [(matrix,) for matrix in random]


def _winners(similarity: Tensor) -> int:
    """The name that wins the most prompts, of equals the first."""
    names = similarity.shape[1]
    return int(similarity.argmax(dim=1).bincount(minlength=names).argmax())


def _last_of_equals(similarity: Tensor) -> int:
    return similarity.shape[1] - 1 - name_index(similarity.flip(1))


SCALED = (
    WrongAnswer(
        lambda value: value / 255,
        "That runs from 0 to 1. These towers were trained on -1 to 1.",
    ),
    WrongAnswer(
        lambda value: value / 127.5,
        "You forget to subtract 1: it runs from 0 to 2.",
    ),
    WrongAnswer(
        lambda value: value / 128 - 1,
        "You divide by 128, and 255 becomes a little less than 1. The middle of 0 and 255 is "
        "127.5.",
    ),
    WrongAnswer(
        lambda value: value / 127 - 1,
        "You divide by 127, and 255 becomes a little more than 1. The middle of 0 and 255 is "
        "127.5.",
    ),
    WrongAnswer(
        lambda value: (value / 255 - 0.485) / 0.229,
        "You subtract ImageNet's mean and divide by its spread, as most classifiers do. The "
        "released weights were trained without.",
    ),
    WrongAnswer(
        lambda value: value / 255 / 0.229,
        "You divide by ImageNet's spread. The released weights were trained without.",
    ),
    WrongAnswer(
        lambda value: value / 255 - 0.5,
        "That runs from -0.5 to 0.5: the middle is right, the length is half.",
    ),
    WrongAnswer(
        lambda value: value - 127.5,
        "You move the middle to 0 and forget to divide: it runs from -127.5 to 127.5.",
    ),
    WrongAnswer(
        lambda value: (value - 1) / 127.5,
        "You subtract 1 before you divide. Divide first: 0 must become -1.",
    ),
    WrongAnswer(
        lambda value: value / (127.5 - 1),
        "Your brackets subtract 1 from 127.5. Divide by 127.5, then subtract 1.",
    ),
    WrongAnswer(
        lambda value: value // 127.5 - 1,
        "You divide with //, and only whole numbers are left. Divide with /.",
    ),
    WrongAnswer(
        lambda value: 1 - value / 127.5,
        "Your scale is upside down: black becomes 1 and white -1, a negative.",
    ),
    WrongAnswer(
        lambda value: max(value / 127.5 - 1, 0.0),
        "You cut off what is below 0: the dark half of every picture is gone.",
    ),
    WrongAnswer(
        lambda value: value,
        "You return the byte as it is.",
    ),
)

NAME_INDEX = (
    WrongAnswer(
        lambda s: int(s.amax(dim=0).argmax()),
        "You take the name with the largest single cosine. One lucky prompt then decides; take "
        "the mean over all.",
    ),
    WrongAnswer(
        lambda s: int(s.amin(dim=0).argmax()),
        "You compare each name's worst prompt. Take the mean over all.",
    ),
    WrongAnswer(
        _winners,
        "You let each prompt vote and count the votes. By how much a prompt prefers a name must "
        "count too: take the mean.",
    ),
    WrongAnswer(
        lambda s: int(s[0].argmax()),
        "You look at the first prompt only.",
    ),
    WrongAnswer(
        lambda s: int(s[-1].argmax()),
        "You look at the last prompt only.",
    ),
    WrongAnswer(
        lambda s: int(s.mean(dim=1).argmax()),
        "You average over the names and find the best prompt. Average over the rows: dim=0.",
    ),
    WrongAnswer(
        lambda s: int(s.argmax()),
        "argmax without dim counts through the whole matrix. Average over the prompts first.",
    ),
    WrongAnswer(
        lambda s: int(s.mean(dim=0).argmin()),
        "You take the least similar name.",
    ),
    WrongAnswer(
        lambda s: float(s.mean(dim=0).max()),
        "You return the largest mean. Asked for is its column.",
    ),
    WrongAnswer(
        lambda s: name_index(s) + 1,
        "You count the names from 1. The first column is 0.",
    ),
    WrongAnswer(
        _last_of_equals,
        "Of names with equal means you take the last. Take the first.",
    ),
    WrongAnswer(
        lambda s: int(s.abs().mean(dim=0).argmax()),
        "You take absolute values. A cosine far below zero speaks against a name.",
    ),
    WrongAnswer(
        lambda s: int(s.clamp(min=0).mean(dim=0).argmax()),
        "You cut off what is below zero. A prompt that speaks against a name must count.",
    ),
    WrongAnswer(
        lambda s: s.mean(dim=0).tolist(),
        "You return the means of all names. Asked for is the column of the largest.",
    ),
)

EXERCISES = (
    Exercise(
        "17",
        scaled,
        _byte_cases,
        SCALED,
        (
            Hint("How long is the new scale?", "From -1 to 1: 2 for 255 steps, 1 for 127.5."),
            Hint("Which comes first?", "Divide by 127.5: that gives 0 to 2."),
            Hint("Where does it begin?", "At -1: subtract 1 at the end."),
        ),
    ),
    Exercise(
        "17",
        name_index,
        _name_cases,
        NAME_INDEX,
        (
            Hint("Rows or columns?", "A row is a prompt. The mean over prompts is dim=0."),
            Hint("The value or its place?", "The place: argmax, which takes the first of equals."),
            Hint("A tensor or a number?", "A whole number: int(...)."),
        ),
    ),
)
