"""Real training steps of several sizes on this processor, beside what the plan predicts.

Towers, loss and optimiser as in training, one batch made before. The plan is made first, from
single layers timed alone; no step is fitted.

    python tests/benchmarks/plan_against_runs.py [--rounds 8] [--only LAMB]
"""

import os
import statistics

import torch

from align_edu.planning import plan_run
from align_edu.planning.chips import measure_here
from align_edu.presets import get_preset, replace_fields
from align_edu.training.loop import keep_freed_memory
from tests.benchmarks.measure import options, timed
from tests.benchmarks.training_throughput import batch, ours

B0 = {"image.width": "1", "image.depth": "1", "image.resize": "64", "image.crop": "64"}
B0 |= {"recipe.batch_size": "32"}
BIG = {"image.resize": "96", "image.crop": "96", "recipe.batch_size": "32"}
RUNS: dict[str, dict[str, str]] = {
    "toy": {},
    "toy, twice as wide": {"image.width": "0.7"},
    "toy, 96 pixels, batch 32": BIG,
    "toy, text 4 x 256": {"text.layers": "4", "text.width": "256", "text.heads": "4"},
    "toy, LAMB": {"recipe.optimizer": "lamb"},
    "toy, recomputed": {"image.recompute": "true"},
    "EfficientNet-B0, 64 pixels, batch 32": B0,
}


if __name__ == "__main__":
    args = options(__doc__, rounds=8, only="")
    keep_freed_memory()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, load {os.getloadavg()}")
    print(f"{'':38}{'measured':>10}{'planned':>10}{'planned / measured':>20}")
    for name, changes in ((n, c) for n, c in RUNS.items() if args.only in n):
        preset = replace_fields(get_preset("toy"), changes)
        pixels, ids, mask = batch(preset, 22, 11.0, torch.device("cpu"))
        step, length = ours(preset, pixels, ids, mask), int(mask.sum(dim=1).max())
        here = measure_here(preset)
        planned = plan_run(preset, here, text_length=length).pairs_per_second
        taken = [timed(step)[0] for _ in range(args.rounds + 2)][2:]  # two warm up
        measured = preset.recipe.batch_size / statistics.median(taken)
        print(f"{name:38}{measured:10.1f}{planned:10.1f}{planned / measured:20.2f}", flush=True)
