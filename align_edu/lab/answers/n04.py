"""Exercises of notebook 04."""

import math
from typing import Any

import torch

from align_edu.lab.exercise import Exercise, Hint, WrongAnswer


def round_channels(channels: int, multiplier: float) -> int:
    """Return the channels of a widened layer: the nearest multiple of 8, a half going up.

    It is at least 8. Where rounding would lose more than a tenth, the next multiple is taken.

    Paper: Section 4.1 (EfficientNet; the rule is that of Tan and Le, 2019).

    >>> [round_channels(320, width) for width in (1.0, 2.0, 4.3)]
    [320, 640, 1376]
    >>> round_channels(16, 1.2)  # 16 would be less than nine tenths of 19.2
    24
    """
    wanted = channels * multiplier
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def output_side(side: int, kernel: int, stride: int, before: int, after: int) -> int:
    """Return how many places a filter finds along one side of a picture.

    side: pixels. kernel: pixels of the filter. stride: pixels from one place to the next.
    before, after: rows of zeros added at the two ends.

    Paper: Section 5 (all towers see 289 × 289 pixels).

    >>> output_side(289, 3, 2, 1, 1), output_side(289, 3, 2, 0, 1)
    (145, 144)
    """
    return (side + before + after - kernel) // stride + 1


def _channel_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        (320, 2.0),
        (320, 4.3),
        (32, 1.4),  # 44.8: up to 48
        (40, 1.2),  # 48 already
        (24, 1.4),  # 33.6: down to 32
        (16, 1.2),  # 19.2: 16 would lose more than a tenth
        (24, 1.125),  # 27: 24 would lose more than a tenth
        (16, 0.35),  # 5.6: at least 8
        (8, 0.35),  # 2.8 is nearer to 0
        (32, 0.35),  # 11.2: 8 would lose more than a tenth
        (104, 0.5),  # 52: a half, between 48 and 56
        (40, 0.35),
        (12, 2.0),  # 12 is no multiple of 8 itself
    ]
    channels = torch.randint(4, 400, (30,), generator=generator).tolist()
    widths = (torch.randint(3, 44, (30,), generator=generator) / 10).tolist()
    return by_hand + [(c, round(w, 1)) for c, w in zip(channels, widths, strict=True)]


def _side_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        (6, 3, 1, 0, 0),  # four places
        (6, 3, 1, 1, 1),  # as many as pixels
        (7, 3, 2, 0, 0),
        (8, 3, 2, 0, 0),  # the last pixel is not reached
        (8, 3, 2, 0, 1),
        (8, 3, 2, 1, 1),
        (289, 3, 2, 1, 1),
        (289, 3, 2, 0, 1),
        (288, 5, 2, 1, 2),
        (5, 5, 1, 0, 0),  # one place
        (10, 1, 1, 0, 0),
        (9, 3, 3, 1, 0),
    ]
    numbers = torch.rand((20, 5), generator=generator).tolist()
    random = []
    for a, b, c, d, e in numbers:
        kernel = (1, 3, 5, 7)[int(4 * b)]
        pads = int(d * (kernel + 1)), int(e * (kernel + 1))
        random.append((kernel + int(300 * a), kernel, 1 + int(3 * c), *pads))
    return by_hand + random


def _eighths(wanted: float) -> int:
    """The nearest multiple of 8, a half going up."""
    return int(wanted + 4) // 8 * 8


def _kept(rounded: int, wanted: float) -> int:
    """The rule of the tenth, and the least of 8."""
    rounded = max(8, rounded)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


ROUND_CHANNELS = (
    WrongAnswer(
        lambda channels, multiplier: channels * multiplier,
        "You only multiply. Channels are whole, and here multiples of 8.",
    ),
    WrongAnswer(
        lambda channels, multiplier: int(channels * multiplier),
        "You cut to a whole number, but not to a multiple of 8.",
    ),
    WrongAnswer(
        lambda channels, multiplier: round(channels * multiplier),
        "You round to a whole number, but not to a multiple of 8.",
    ),
    WrongAnswer(
        lambda channels, multiplier: math.ceil(channels * multiplier),
        "You round up to a whole number: that is the rule for repeats. Channels become multiples "
        "of 8.",
    ),
    WrongAnswer(
        lambda channels, multiplier: max(8, int(channels * multiplier) // 8 * 8),
        "You round down. The nearest multiple is asked for: add 4 before you divide by 8.",
    ),
    WrongAnswer(
        lambda channels, multiplier: _kept(
            int(channels * multiplier) // 8 * 8, channels * multiplier
        ),
        "You round down, and only the rule of the tenth sometimes lifts the number. The nearest "
        "multiple is asked for: add 4 before you divide by 8.",
    ),
    WrongAnswer(
        lambda channels, multiplier: 8 * math.ceil(channels * multiplier / 8),
        "You always round up. The nearest multiple may be below: 33.6 gives 32.",
    ),
    WrongAnswer(
        lambda channels, multiplier: max(8, _eighths(channels * multiplier)),
        "The nearest multiple is right, but one rule is missing: where it is less than nine tenths "
        "of the wanted number, take the next one. 19.2 gives 24, not 16.",
    ),
    WrongAnswer(
        lambda channels, multiplier: _eighths(channels * multiplier),
        "Two rules are missing: at least 8, and never less than nine tenths of the wanted number.",
    ),
    WrongAnswer(
        lambda channels, multiplier: _kept(_eighths(channels * multiplier), channels),
        "You compare with nine tenths of the old channels. Compare with nine tenths of channels * "
        "multiplier.",
    ),
    WrongAnswer(
        lambda channels, multiplier: _kept(
            8 * round(channels * multiplier / 8), channels * multiplier
        ),
        "Python's round takes a half to the even number: 52 is six and a half times 8, and becomes "
        "48. Here a half goes up: add 4, then divide by 8 with //.",
    ),
    WrongAnswer(
        lambda channels, multiplier: int(_kept(_eighths(channels), channels) * multiplier),
        "You round first and multiply after. Multiply first: the result must be a multiple of 8.",
    ),
    WrongAnswer(
        lambda channels, multiplier: (
            _kept(_eighths(channels * multiplier), channels * multiplier) // 8
        ),
        "You return how many times 8. Multiply by 8 again.",
    ),
)

OUTPUT_SIDE = (
    WrongAnswer(
        lambda side, kernel, stride, before, after: (side + before + after - kernel) // stride,
        "You count the steps. The first place needs no step: there is one place more.",
    ),
    WrongAnswer(
        lambda side, kernel, stride, before, after: (side + before + after - kernel + 1) // stride,
        "You add the one before you divide, which is right for stride 1 only. The first place "
        "needs no step: divide the way first, then add one.",
    ),
    WrongAnswer(
        lambda side, kernel, stride, before, after: (
            math.ceil((side + before + after - kernel) / stride) + 1
        ),
        "You round up, and so the last place hangs over the edge. Where no whole step is left, the "
        "filter stops: round down.",
    ),
    WrongAnswer(
        lambda side, kernel, stride, before, after: (side + before + after - kernel) / stride + 1,
        "You divide with /, and get parts of places: use //.",
    ),
    WrongAnswer(
        lambda side, kernel, stride, before, after: (side - kernel) // stride + 1,
        "You leave out the padding: zeros before and after make the side longer.",
    ),
    WrongAnswer(
        lambda side, kernel, stride, before, after: (side + 2 * before - kernel) // stride + 1,
        "You count the padding before the picture twice, and that after it not at all. They may "
        "differ.",
    ),
    WrongAnswer(
        lambda side, kernel, stride, before, after: (side + before - kernel) // stride + 1,
        "You forget the padding after the picture.",
    ),
    WrongAnswer(
        lambda side, kernel, stride, before, after: (
            (side + 2 * (before + after) - kernel) // stride + 1
        ),
        "You count the padding twice: before and after are already the two ends.",
    ),
    WrongAnswer(
        lambda side, kernel, stride, before, after: side + before + after - kernel + 1,
        "You leave out the stride.",
    ),
    WrongAnswer(
        lambda side, kernel, stride, before, after: math.ceil(side / stride),
        "That is what TensorFlow's SAME padding gives, and it chooses its own padding. Here "
        "`before` and `after` say how much there is.",
    ),
    WrongAnswer(
        lambda side, kernel, stride, before, after: side // stride,
        "You divide the side by the stride. The kernel and the padding count too.",
    ),
    WrongAnswer(
        lambda side, kernel, stride, before, after: (side + before + after) // stride,
        "You leave out the kernel: the filter must fit in whole, so its way is shorter.",
    ),
    WrongAnswer(
        lambda side, kernel, stride, before, after: (
            (side + before + after - kernel - 1) // stride + 1
        ),
        "You take off one pixel too many. A filter of 3 pixels on a side of 3 fits once: its way "
        "is side - kernel, which is 0.",
    ),
)

EXERCISES = (
    Exercise(
        "04",
        round_channels,
        _channel_cases,
        ROUND_CHANNELS,
        (
            Hint("Which number is rounded?", "channels * multiplier, which may be a fraction."),
            Hint("How to find the nearest?", "Add 4, then int(...) // 8 * 8; at least 8."),
            Hint("Is it large enough?", "If it is below 0.9 * channels * multiplier, add 8."),
        ),
    ),
    Exercise(
        "04",
        output_side,
        _side_cases,
        OUTPUT_SIDE,
        (
            Hint("How long is the padded side?", "side + before + after."),
            Hint("How far can the filter go?", "Its own width must fit: take off kernel."),
            Hint("Steps or places?", "Whole steps of stride, and one place to begin with."),
        ),
    ),
)
