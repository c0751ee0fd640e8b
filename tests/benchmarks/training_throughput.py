"""Pairs per second: our training loop beside steps of Hugging Face's AlignModel, in one run.

Same towers, same batch, texts of the same lengths, same optimiser (AdamW). Theirs is a bare step
on data that is ready, with one thread and with as many as there are cores; ours is the whole
loop of `train` on all cores, with its data, metrics and gathers, with AdamW and with the toy
preset's own optimiser. The two take turns. Quote the ratio to theirs at its best.

    python tests/benchmarks/training_throughput.py [--rounds 3] [--steps 60]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from both_cores import pairs_per_second
from transformers import AlignConfig, AlignModel

from align_edu import World
from align_edu.io import usable_cores
from align_edu.presets import Preset, get_preset, replace_fields
from align_edu.training.loop import keep_freed_memory

VOCABULARY = 1_000


def batch(preset: Preset) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels and word pieces as the toy world gives them: 7 to 22 pieces, 11 on average."""
    generator = torch.Generator().manual_seed(0)
    size, side = preset.recipe.batch_size, preset.image.crop
    pixels = torch.rand(size, 3, side, side, generator=generator) * 2 - 1
    ids = torch.randint(5, VOCABULARY, (size, 22), generator=generator)
    lengths = 7 + torch.poisson(torch.full((size,), 4.0), generator=generator).clamp(max=15).long()
    lengths[0] = 22
    mask = (torch.arange(22) < lengths[:, None]).long()
    return pixels, ids * mask, mask


def theirs(preset: Preset) -> Callable[[], None]:
    """One training step of transformers' AlignModel with towers of the same size."""
    config = AlignConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": preset.text.width,
            "num_hidden_layers": preset.text.layers,
            "num_attention_heads": preset.text.heads,
            "intermediate_size": 4 * preset.text.width,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        vision_config={
            "image_size": preset.image.crop,
            "width_coefficient": preset.image.width,
            "depth_coefficient": preset.image.depth,
            "hidden_dim": 112,
            "depthwise_padding": [],
            "drop_connect_rate": 0.0,
        },
        projection_dim=112,
    )
    model = AlignModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), preset.recipe.learning_rate)
    pixels, ids, mask = batch(preset)

    def step() -> None:
        loss = model(pixel_values=pixels, input_ids=ids, attention_mask=mask, return_loss=True).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def seconds_of(step: Callable[[], None], threads: int, steps: int) -> float:
    """Median seconds of a step with so many threads, after three that warm up."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    taken = []
    for _ in range(3 + steps):
        started = time.perf_counter()
        step()
        taken.append(time.perf_counter() - started)
    torch.set_num_threads(before)
    return statistics.median(taken[3:])


def main() -> None:
    """Print each one's median pairs per second and the ratio to AlignModel's best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    toy, cores = get_preset("toy"), usable_cores()
    adamw = replace_fields(toy, {"recipe.optimizer": "adamw"})
    keep_freed_memory()
    model, size = theirs(toy), toy.recipe.batch_size
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = World(seed=3, image_size=48).write(folder / "world", 5_000, progress=False)
        for number in range(args.rounds):
            for threads in sorted({1, cores}):
                speed = size / seconds_of(model, threads, args.steps // 3)
                found.setdefault(f"AlignModel, AdamW, {threads} thread(s)", []).append(speed)
            for preset in (adamw, toy):
                out = folder / f"{number}-{preset.recipe.optimizer}"
                speed = pairs_per_second(preset, shards, out, args.steps, cores)
                label = f"align_edu, {preset.recipe.optimizer}, {cores} processes"
                found.setdefault(label, []).append(speed)
    best = max(statistics.median(v) for label, v in found.items() if label.startswith("Align"))
    print(f"torch {torch.__version__}, {cores} cores, {args.rounds} rounds")
    for label, speeds in found.items():
        speed = statistics.median(speeds)
        print(f"{label:32} {speed:7.0f} pairs/s   {speed / best:.2f} x AlignModel at its best")


if __name__ == "__main__":
    main()
