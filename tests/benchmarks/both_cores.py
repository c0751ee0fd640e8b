"""Pairs a second of the whole training loop: processes × threads, quiet and beside a busy process.

Trains a few hundred steps for each setting in turn, on pairs that it draws itself, and prints a
line a setting. Settings of one call are compared; quote ratios. `--preset-of COMMIT` is not
needed: `--set` takes the fields of an older preset, such as text.layers=2 text.width=128
recipe.batch_size=128 for the toy preset before its text tower shrank.

    python tests/benchmarks/both_cores.py [--steps 200] [--set part.field=value ...]
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from align_edu import World, train
from align_edu.io import usable_cores
from align_edu.presets import Preset, get_preset, replace_fields
from align_edu.training.metrics import read_metrics

OLD = {
    "text.layers": "2",
    "text.width": "128",
    "text.heads": "2",
    "recipe.batch_size": "128",
    "image.ghost_batch": "null",
    "image.resize": "58",
    "image.crop": "48",
}


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Other programs that compute without end beside the block."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()


def pairs_per_second(preset: Preset, shards: Path, out: Path, steps: int, processes: int) -> float:
    """The speed of the second half of a run, which has warmed up."""
    train(preset, [shards], out, steps=steps, processes=processes, progress=False)
    rows = read_metrics(out)
    half = rows[len(rows) // 2]
    seen = (rows[-1]["step"] - half["step"]) * preset.recipe.batch_size
    return seen / (rows[-1]["seconds"] - half["seconds"])


def main() -> None:
    """Measure every setting and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--set", action="append", default=[], metavar="part.field=value")
    args = parser.parse_args()
    toy = replace_fields(get_preset("toy"), dict(text.split("=", 1) for text in args.set))
    old = replace_fields(get_preset("toy"), OLD)
    cores = usable_cores()
    kind = torch.backends.cpu.get_cpu_capability()
    print(f"torch {torch.__version__}, {cores} usable cores, {kind}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = World(seed=3, image_size=58).write(folder / "world", 5_000, progress=False)
        settings = [
            ("toy, before", old, 1, 0), ("toy", toy, 1, 0), ("toy", toy, cores, 0),
            ("toy", toy, 1, 1), ("toy", toy, cores, 1),
        ]  # fmt: skip
        first = None
        for number, (label, preset, processes, others) in enumerate(settings):
            with busy(others):
                speed = pairs_per_second(
                    preset, shards, folder / str(number), args.steps, processes
                )
            first = first or speed
            print(
                f"{label:12} {processes} process(es) of one thread, {others} busy beside:"
                f" {speed:6.0f} pairs/s, {speed / first:.2f} x the first",
                flush=True,
            )


if __name__ == "__main__":
    main()
