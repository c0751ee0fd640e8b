"""Time and memory of the loss in its forms: the whole N × N matrix against tiles of rows.

    python tests/benchmarks/loss_forms.py [--pairs 16384] [--width 640] [--tile 256] [--rounds 2]
        [--device cpu|cuda] [--large 65536]

Each form runs in a process of its own, in turn, forwards and backwards. Printed: seconds, the
peak of memory above the inputs, and both as ratios to the plain form; the same for open_clip's
loss, which has neither tiles nor label smoothing; then one larger batch, tiled.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import threading
import time

import torch


def resident() -> int:
    """Bytes of memory that this process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


class Peak:
    """The largest memory since it was entered, above what there was then."""

    def __init__(self, device: torch.device) -> None:
        self.cuda, self.over = device.type == "cuda", threading.Event()

    def __enter__(self) -> "Peak":
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            self.start = torch.cuda.memory_allocated()
            return self
        self.start = self.highest = resident()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.over.wait(0.002):
            self.highest = max(self.highest, resident())

    def __exit__(self, *error: object) -> None:
        if self.cuda:
            torch.cuda.synchronize()
            self.highest = torch.cuda.max_memory_allocated()
            return
        self.over.set()
        self.thread.join()

    @property
    def mebibytes(self) -> float:
        return (self.highest - self.start) / 2**20


def loss_of(form: str, tile: int):
    """The loss to measure, as a function of images, texts and σ."""
    if form == "open_clip":
        from open_clip.loss import ClipLoss
        from torch.nn.functional import normalize

        return lambda a, b, sigma: ClipLoss()(normalize(a), normalize(b), 1 / sigma)
    from align_edu import contrastive_loss

    rows = tile if form == "tiled" else None
    return lambda a, b, sigma: contrastive_loss(a, b, sigma, tile=rows)


def measure(form: str, pairs: int, width: int, tile: int, device: torch.device) -> dict:
    """One pass forwards and backwards, after a small one that loads what is needed."""
    loss = loss_of(form, tile)
    generator = torch.Generator().manual_seed(0)
    for n in (512, pairs):
        image = torch.randn(n, width, generator=generator)
        text = image + 3 * torch.randn(n, width, generator=generator)
        leaves = [t.to(device).requires_grad_() for t in (image, text, torch.tensor(1 / 64))]
        del image, text
        with Peak(device) as peak:
            started = time.perf_counter()
            value = loss(*leaves)
            value.backward()
            value = value.item()
            seconds = time.perf_counter() - started
    return {"seconds": seconds, "mebibytes": peak.mebibytes, "loss": value}


def in_a_process(form: str, pairs: int, args: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--one", form, "--pairs", str(pairs)]
    command += ["--width", str(args.width), "--tile", str(args.tile), "--device", args.device]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=16_384)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--large", type=int, default=65_536)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        device = torch.device(args.device)
        print(json.dumps(measure(args.one, args.pairs, args.width, args.tile, device)))
        return
    rows: dict[str, list[dict]] = {"plain": [], "tiled": [], "open_clip": []}
    for _ in range(args.rounds):
        for form, results in rows.items():
            results.append(in_a_process(form, args.pairs, args))
    plain = {key: statistics.median(r[key] for r in rows["plain"]) for key in rows["plain"][0]}
    print(f"N = {args.pairs}, D = {args.width}, tile {args.tile}, {args.device}, medians")
    for form, results in rows.items():
        seconds = statistics.median(r["seconds"] for r in results)
        memory = statistics.median(r["mebibytes"] for r in results)
        print(
            f"{form:10} {seconds:7.2f} s ({seconds / plain['seconds']:.2f} x plain)"
            f" {memory:8.0f} MiB above the inputs (1/{plain['mebibytes'] / memory:.1f} of plain)"
        )
    if args.large:
        big = in_a_process("tiled", args.large, args)
        print(
            f"tiled, N = {args.large}: {big['seconds']:.1f} s,"
            f" {big['mebibytes']:.0f} MiB above the inputs, loss {big['loss']:.4f}"
        )


if __name__ == "__main__":
    main()
