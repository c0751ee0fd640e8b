"""Exercise of notebook 16: how many days a run takes."""

import torch

from align_edu.lab.exercises import exercise


def days_of_run(
    forward_gflop: float, pairs: float, chips: int, peak_tflops: float, share: float
) -> float:
    """Return the days that a run takes: its FLOPs over what the chips really do in a day.

    forward_gflop: of one pair through both towers, forwards; the backward pass costs twice that.
    pairs: seen in the whole run. peak_tflops: TFLOP/s of one chip; share: the part of it that
    is reached.

    Paper: Section 5 (1,024 cores, 1.2 million steps).

    >>> round(days_of_run(1.0, 86_400e6, 1000, 1.0, 0.3), 6)
    10.0
    """
    flops = 3 * forward_gflop * 1e9 * pairs
    seconds = flops / (chips * peak_tflops * 1e12 * share)
    return seconds / 86_400


exercise(
    days_of_run,
    lambda g: [
        (10 * a + 1, 1e9 * (b + 0.1), int(1000 * c) + 2, 100 * d + 5, 0.2 + 0.6 * e)
        for a, b, c, d, e in torch.rand(5, 5, generator=g).tolist()
    ],
)
