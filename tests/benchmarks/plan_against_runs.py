"""Real training steps of several sizes on this processor, beside what the plan predicts.

Towers, loss and optimiser as in training, batches made before. The plan is made first, from
single layers timed alone; no step is fitted. `--processor-time` counts the processor's seconds
with one thread instead of the clock's: use it where other programs run.

    python tests/benchmarks/plan_against_runs.py [--rounds 8] [--threads 2] [--processor-time]
"""

import os
import statistics
import time
from collections.abc import Callable

import torch

from align_edu.loss import contrastive_loss
from align_edu.model.align import Align
from align_edu.model.text_tower import encode_texts, load_wordpiece
from align_edu.pairs import read_pairs
from align_edu.planning.chips import measure_here
from align_edu.planning.plan import plan_run
from align_edu.presets import Preset, get_preset, replace_fields
from align_edu.training.loop import keep_freed_memory
from align_edu.training.recipe import build_optimizer
from tests.benchmarks.measure import DATA, options, timed

B0 = {"image.width": "1", "image.depth": "1", "image.resize": "64", "image.crop": "64"}
B0 |= {"recipe.batch_size": "32"}
BIG = {"image.resize": "96", "image.crop": "96", "recipe.batch_size": "32"}
RUNS: dict[str, dict[str, str]] = {
    "toy": {},
    "toy, batch 32": {"recipe.batch_size": "32"},
    "toy, twice as wide": {"image.width": "0.7"},
    "toy, 96 pixels, batch 32": BIG,
    "toy, text 4 x 256": {"text.layers": "4", "text.width": "256", "text.heads": "4"},
    "toy, LAMB": {"recipe.optimizer": "lamb"},
    "toy, recomputed": {"image.recompute": "true"},
    "EfficientNet-B0, 64 pixels, batch 32": B0,
    "EfficientNet-B0, 64 pixels, LAMB": B0 | {"recipe.optimizer": "lamb"},
}


def step_of(preset: Preset) -> tuple[Callable[[], None], int]:
    """One training step on real captions of the sample data, and their length in word pieces."""
    tokenizer = load_wordpiece(DATA / "toy_model" / "tokenizer.json")
    captions = list(filter(None, read_pairs(DATA / "cc3m_sample.tsv")["caption"].to_pylist()))
    size, side = preset.recipe.batch_size, preset.image.crop
    ids, mask = encode_texts(tokenizer, (captions * (size // len(captions) + 1))[:size])
    pixels = torch.rand(size, 3, side, side).to(memory_format=torch.channels_last)
    model = Align(preset, preset.text.vocabulary_size).train()
    model.image_tower.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model, preset.recipe)

    def step() -> None:
        image, text = model.image_tower(pixels), model.text_tower(ids, mask)
        loss = contrastive_loss(image, text, model.temperature(), label_smoothing=0.02)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step, ids.shape[1]


if __name__ == "__main__":
    args = options(__doc__, rounds=8, threads=0, processor_time=False, only="")
    if args.threads or args.processor_time:
        torch.set_num_threads(1 if args.processor_time else args.threads)
    clock = time.process_time if args.processor_time else time.perf_counter
    keep_freed_memory()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]}"
    )
    print(f"{'':38}{'measured':>10}{'planned':>10}{'planned / measured':>20}")
    for name, changes in ((n, c) for n, c in RUNS.items() if args.only in n):
        preset = replace_fields(get_preset("toy"), changes)
        step, length = step_of(preset)
        here = measure_here(preset, clock=clock)
        planned = plan_run(preset, here, text_length=length).pairs_per_second
        taken = [timed(step, clock)[0] for _ in range(args.rounds + 2)][2:]  # two warm up
        measured = preset.recipe.batch_size / statistics.median(taken)
        print(f"{name:38}{measured:10.1f}{planned:10.1f}{planned / measured:20.2f}", flush=True)
