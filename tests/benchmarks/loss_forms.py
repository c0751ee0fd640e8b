"""Time and memory of the loss in its forms: the whole N × N matrix against tiles of rows.

    python tests/benchmarks/loss_forms.py [--pairs 16384] [--width 640] [--tile 256] [--rounds 2]
        [--device cpu|cuda] [--large 65536]

Each form runs in a separate process, in turn, forwards and backwards. Printed: seconds, the peak of
memory above the inputs, and both as ratios to the plain form; the same for open_clip's loss,
which has neither tiles nor label smoothing; then one larger batch, tiled.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch.nn.functional import normalize

from align_edu import contrastive_loss

FORMS = ("plain", "tiled", "open_clip")


def peak(device: torch.device) -> float:
    """Return the most memory that this process has held so far, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


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


def in_a_process(form: str, *more: str) -> dict[str, float]:
    """Measure one form in a new process."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", form, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Measure every form and print it beside the plain one."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("pairs", 16_384), ("width", 640), ("tile", 256), ("rounds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--large", type=int, default=65_536)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", choices=FORMS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args)))
        return
    rounds = [{form: in_a_process(form) for form in FORMS} for _ in range(args.rounds)]
    median = {
        (form, key): statistics.median(found[form][key] for found in rounds)
        for form in FORMS
        for key in ("seconds", "mebibytes")
    }
    print(f"N = {args.pairs}, D = {args.width}, tile {args.tile}, {args.device}, medians")
    for form in FORMS:
        seconds, memory = median[form, "seconds"], median[form, "mebibytes"]
        print(
            f"{form:10} {seconds:7.2f} s ({seconds / median['plain', 'seconds']:.2f} x plain)"
            f" {memory:8.0f} MiB above the inputs"
            f" (1/{median['plain', 'mebibytes'] / memory:.1f} of plain)"
        )
    if args.large:
        big = in_a_process("tiled", "--pairs", str(args.large))
        print(f"tiled, N = {args.large}: {big['seconds']:.1f} s, {big['mebibytes']:.0f} MiB")


if __name__ == "__main__":
    main()
