"""Exercises of notebook 04: the channels of a wider tower, and the places of a filter."""

import torch

from align_edu.lab.exercises import Cases, exercise


def round_channels(channels: int, multiplier: float) -> int:
    """Return the channels of a widened layer: the nearest multiple of 8, halves rounded up.

    It is at least 8. Where rounding would lose more than a tenth, the next multiple is taken.

    Paper: Section 4.1 (EfficientNet; the rule is that of Tan and Le, 2019).

    >>> [round_channels(320, width) for width in (1.0, 2.0, 4.3)]
    [320, 640, 1376]
    >>> round_channels(16, 1.2)  # 16 would be less than nine tenths of 19.2
    24
    """
    exact = channels * multiplier
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def output_side(side: int, kernel: int, stride: int, before: int, after: int) -> int:
    """Return the number of places that a filter visits along one side of a picture.

    side: pixels. kernel: pixels of the filter. stride: pixels from one place to the next.
    before, after: rows of zeros added at the two ends.

    Paper: Section 5 (all towers see 289 × 289 pixels).

    >>> output_side(289, 3, 2, 1, 1), output_side(289, 3, 2, 0, 1)
    (145, 144)
    """
    return (side + before + after - kernel) // stride + 1


def _channel_cases(g: torch.Generator) -> Cases:
    channels = torch.randint(4, 400, (30,), generator=g).tolist()
    widths = (torch.randint(3, 44, (30,), generator=g) / 10).tolist()
    return [(c, round(w, 1)) for c, w in zip(channels, widths)]


def _side_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for a, b, c, d, e in torch.rand((20, 5), generator=g).tolist():
        kernel = (1, 3, 5, 7)[int(4 * b)]
        pads = int(d * (kernel + 1)), int(e * (kernel + 1))
        cases.append((kernel + int(300 * a), kernel, 1 + int(3 * c), *pads))
    return cases


exercise(round_channels, _channel_cases)
exercise(output_side, _side_cases)
