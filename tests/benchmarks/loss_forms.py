"""Time and memory of the loss in its forms: the whole N × N matrix against tiles of rows.

    python tests/benchmarks/loss_forms.py [--pairs 16384] [--width 640] [--tile 256] [--rounds 2]
        [--device cpu|cuda] [--large 65536]

Each form runs in a separate process, in turn, forwards and backwards. Printed: seconds, the peak of
memory above the inputs, and both as ratios to the plain form; the same for open_clip's loss,
which has neither tiles nor label smoothing; then one larger batch, tiled.
"""

import argparse
import json
import statistics
import sys
import time

import torch
from torch.nn.functional import normalize

from align_edu import contrastive_loss
from tests.benchmarks.measure import in_a_process, options, peak_mebibytes

FORMS = ("plain", "tiled", "open_clip")


def peak(device: torch.device) -> float:
    """Return the most memory that this process has held so far, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_mebibytes()


def measure(args: argparse.Namespace) -> dict[str, float]:
    """One pass forwards and backwards, after a small one that loads what is needed."""
    device, generator = torch.device(args.device), torch.Generator().manual_seed(0)
    tile = args.tile if args.one == "tiled" else None
    for n in (512, args.pairs):
        image = torch.randn(n, args.width, generator=generator)
        text = image + 3 * torch.randn(n, args.width, generator=generator)
        a, b, s = (t.to(device).requires_grad_() for t in (image, text, torch.tensor(1 / 64)))
        before, started = peak(device), time.perf_counter()
        if args.one == "open_clip":
            from open_clip.loss import ClipLoss

            loss = ClipLoss()(normalize(a), normalize(b), 1 / s)
        else:
            loss = contrastive_loss(a, b, s, tile=tile)
        loss.backward()
        value, seconds = loss.item(), time.perf_counter() - started
    return {"seconds": seconds, "mebibytes": peak(device) - before, "loss": value}


def main() -> None:
    """Measure every form and print it beside the plain one."""
    sizes = {"pairs": 16_384, "width": 640, "tile": 256, "rounds": 2, "large": 65_536}
    args = options(__doc__, device="cpu", one="", **sizes)
    if args.one:
        print(json.dumps(measure(args)))
        return

    def found(form: str, *more: object) -> dict[str, float]:
        return json.loads(in_a_process(__file__, *sys.argv[1:], "--one", form, *more))

    rounds = [{form: found(form) for form in FORMS} for _ in range(args.rounds)]
    print(f"N = {args.pairs}, D = {args.width}, tile {args.tile}, {args.device}, medians")
    medians = {}
    for form in FORMS:
        medians[form] = [
            statistics.median(each[form][key] for each in rounds)
            for key in ("seconds", "mebibytes")
        ]
        seconds, memory = medians[form]
        print(
            f"{form:10} {seconds:7.2f} s ({seconds / medians['plain'][0]:.2f} x plain)"
            f" {memory:8.0f} MiB above the inputs (1/{medians['plain'][1] / memory:.1f} of plain)"
        )
    if args.large:
        big = found("tiled", "--pairs", args.large)
        print(f"tiled, N = {args.large}: {big['seconds']:.1f} s, {big['mebibytes']:.0f} MiB")


if __name__ == "__main__":
    main()
