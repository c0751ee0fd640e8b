"""Time and memory of the loss in its forms: the whole N × N matrix against tiles of rows.

    python tests/benchmarks/loss_forms.py [--pairs 16384] [--width 640] [--tile 256] [--rounds 2]

Each form runs in a separate process, in turn, forwards and backwards. Printed: seconds, the peak of
memory above the inputs, and both as ratios to the plain form; the same for open_clip's loss,
which has neither tiles nor label smoothing.
"""

import argparse
import sys

import torch
from torch.nn.functional import normalize

from align_edu import contrastive_loss
from tests.benchmarks.measure import medians_in_turn, options, peak_mebibytes, timed

FORMS = ("plain", "tiled", "open_clip")


def measure(args: argparse.Namespace) -> None:
    """Print seconds and MiB of one pass, after a small one that loads what is needed."""
    generator = torch.Generator().manual_seed(0)
    for n in (512, args.pairs):
        image = torch.randn(n, args.width, generator=generator)
        text = image + 3 * torch.randn(n, args.width, generator=generator)
        a, b, s = (t.requires_grad_() for t in (image, text, torch.tensor(1 / 64)))
        if args.one == "open_clip":
            from open_clip.loss import ClipLoss

            loss = lambda: ClipLoss()(normalize(a), normalize(b), 1 / s)  # noqa: B023, E731
        else:
            tile = args.tile if args.one == "tiled" else None
            loss = lambda: contrastive_loss(a, b, s, tile=tile)  # noqa: B023, E731
        before = peak_mebibytes()
        seconds, _ = timed(lambda: loss().backward())  # noqa: B023
    print(seconds, peak_mebibytes() - before)


if __name__ == "__main__":
    args = options(__doc__, one="", pairs=16_384, width=640, tile=256, rounds=2)
    if args.one:
        measure(args)
        sys.exit()
    medians = medians_in_turn(FORMS, args.rounds)
    print(f"N = {args.pairs}, D = {args.width}, tile {args.tile}, medians of {args.rounds} rounds")
    for form, (seconds, memory) in medians.items():
        print(
            f"{form:10} {seconds:7.2f} s ({seconds / medians['plain'][0]:.2f} x plain)"
            f" {memory:8.0f} MiB above the inputs (1/{medians['plain'][1] / memory:.1f} of plain)"
        )
