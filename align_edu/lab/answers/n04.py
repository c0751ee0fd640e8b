"""Exercises of notebook 04: the channels of a wider tower, and the places of a filter."""

import math

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


def _nearest(exact: float) -> int:
    """Return the nearest multiple of 8, halves rounded up."""
    return int(exact + 4) // 8 * 8


def _kept(rounded: int, exact: float) -> int:
    """Apply the rule of the tenth, and the least of 8."""
    rounded = max(8, rounded)
    return rounded + 8 if rounded < 0.9 * exact else rounded


exercise(
    round_channels,
    _channel_cases,
    product=lambda c, m: c * m,
    cut=lambda c, m: int(c * m),
    rounded=lambda c, m: round(c * m),
    rounded_up=lambda c, m: math.ceil(c * m),
    down=lambda c, m: max(8, int(c * m) // 8 * 8),
    down_with_tenth=lambda c, m: _kept(int(c * m) // 8 * 8, c * m),
    up=lambda c, m: 8 * math.ceil(c * m / 8),
    no_tenth=lambda c, m: max(8, _nearest(c * m)),
    nearest_only=lambda c, m: _nearest(c * m),
    tenth_of_old=lambda c, m: _kept(_nearest(c * m), c),
    half_to_even=lambda c, m: _kept(8 * round(c * m / 8), c * m),
    rounds_first=lambda c, m: int(_kept(_nearest(c), c) * m),
    eighths=lambda c, m: round_channels(c, m) // 8,
)

exercise(
    output_side,
    _side_cases,
    steps=lambda n, k, s, a, b: (n + a + b - k) // s,
    one_too_early=lambda n, k, s, a, b: (n + a + b - k + 1) // s,
    up=lambda n, k, s, a, b: math.ceil((n + a + b - k) / s) + 1,
    fractions=lambda n, k, s, a, b: (n + a + b - k) / s + 1,
    no_padding=lambda n, k, s, a, b: (n - k) // s + 1,
    before_twice=lambda n, k, s, a, b: (n + 2 * a - k) // s + 1,
    no_after=lambda n, k, s, a, b: (n + a - k) // s + 1,
    padding_twice=lambda n, k, s, a, b: (n + 2 * (a + b) - k) // s + 1,
    no_stride=lambda n, k, s, a, b: n + a + b - k + 1,
    same_padding=lambda n, k, s, a, b: math.ceil(n / s),
    side_by_stride=lambda n, k, s, a, b: n // s,
    no_kernel=lambda n, k, s, a, b: (n + a + b) // s,
    one_too_many=lambda n, k, s, a, b: (n + a + b - k - 1) // s + 1,
)
