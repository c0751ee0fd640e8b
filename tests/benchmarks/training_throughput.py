"""Pairs per second beside Hugging Face's AlignModel of the same size; quote the ratio.

    python tests/benchmarks/training_throughput.py toy [--rounds 3] [--steps 60]
    python tests/benchmarks/training_throughput.py b7 [--batch 8] [--device cpu]

Same batch, same pixels, texts of the same lengths, AdamW. "toy": theirs is a bare step on data
that is ready, with one thread and with all; ours the whole loop of `train`, in one process and in
one on each core, also with the preset's own optimiser.
"b7": EfficientNet-B7 and BERT-Base at 289 pixels, a bare step of both.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import AlignConfig, AlignModel

from align_edu import Align, World, train
from align_edu.io import usable_cores
from align_edu.presets import Preset, Recipe, get_preset, replace_fields
from align_edu.training import build_optimizer
from align_edu.training.loop import keep_freed_memory
from align_edu.training.metrics import read_metrics
from align_edu.training.processes import open_machine
from tests.benchmarks.measure import options, timed

VOCABULARY = 1_000


def batch(preset: Preset, longest: int, mean: float, device: torch.device) -> list[Tensor]:
    """Pixels, word pieces and mask of a batch; texts have ``mean`` pieces on average."""
    generator = torch.Generator().manual_seed(0)
    size, side = preset.recipe.batch_size, preset.image.crop
    pixels = torch.rand(size, 3, side, side, generator=generator) * 2 - 1
    ids = torch.randint(5, VOCABULARY, (size, longest), generator=generator)
    lengths = (7 + torch.poisson(torch.full((size,), mean - 7), generator=generator)).long()
    mask = (torch.arange(longest) < lengths[:, None]).long()
    return [tensor.to(device) for tensor in (pixels, ids * mask, mask)]


def step_of(model: torch.nn.Module, loss: Callable[[], Tensor], recipe: Recipe):
    """One training step by the optimiser of a recipe."""
    optimizer = build_optimizer(model.train(), recipe)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def theirs(preset: Preset, pixels: Tensor, ids: Tensor, mask: Tensor) -> Callable[[], None]:
    """A step of transformers' AlignModel with towers of the preset's size."""
    text, image = preset.text, preset.image
    width = image.projection or (112 if preset.name == "toy" else 640)
    config = AlignConfig(
        text_config={
            "vocab_size": VOCABULARY, "hidden_size": text.width, "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads, "intermediate_size": 4 * text.width,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        },
        vision_config={
            "image_size": image.crop, "width_coefficient": image.width, "hidden_dim": width,
            "depth_coefficient": image.depth, "depthwise_padding": [], "drop_connect_rate": 0.0,
        },
        projection_dim=width,
    )  # fmt: skip
    model = AlignModel(config).to(pixels.device)
    inputs = {"pixel_values": pixels, "input_ids": ids, "attention_mask": mask}
    return step_of(model, lambda: model(**inputs, return_loss=True).loss, preset.recipe)


def ours(preset: Preset, pixels: Tensor, ids: Tensor, mask: Tensor) -> Callable[[], None]:
    """A step of ours; texts are padded to their longest, as our batches are."""
    model = Align(preset, VOCABULARY).to(pixels.device)
    model.image_tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    longest = int(mask.sum(dim=1).max())
    inputs = (pixels.to(memory_format=torch.channels_last), ids[:, :longest], mask[:, :longest])
    return step_of(model, lambda: model.loss(*model(*inputs)), preset.recipe)


def speed_of(step: Callable[[], None], size: int, steps: int, threads: int = 0) -> float:
    """Median pairs per second of a step, after three that warm up."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    wait = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    taken = [timed(lambda: (step(), wait()))[0] for _ in range(3 + steps)]
    torch.set_num_threads(before)
    return size / statistics.median(taken[3:])


def loop_speed(preset: Preset, shards: Path, out: Path, steps: int, processes: int) -> float:
    """Pairs per second of the second half of a run, which has warmed up."""
    train(preset, [shards], out, steps=steps, processes=processes, progress=False)
    rows = read_metrics(out)
    half = rows[len(rows) // 2]
    seen = (rows[-1]["step"] - half["step"]) * preset.recipe.batch_size
    return seen / (rows[-1]["seconds"] - half["seconds"])


def toy_speeds(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Measure the toy preset once."""
    toy, cores = replace_fields(get_preset("toy"), {"recipe.optimizer": "adamw"}), usable_cores()
    step = theirs(toy, *batch(toy, 22, 11.0, torch.device("cpu")))
    found = {}
    for threads in sorted({1, cores}):
        speed = speed_of(step, toy.recipe.batch_size, args.steps // 3, threads)
        found[f"AlignModel, AdamW, {threads} thread(s)"] = speed
    for optimizer, processes in (("adamw", cores), ("muon", cores), ("muon", 1)):
        preset = replace_fields(toy, {"recipe.optimizer": optimizer})
        out = Path(tempfile.mkdtemp(dir=folder)) / "run"
        speed = loop_speed(preset, folder / "world", out, args.steps, processes)
        found[f"align_edu, {optimizer}, {processes} process(es)"] = speed
    return found


def b7_speeds(args: argparse.Namespace) -> dict[str, float]:
    """Measure EfficientNet-B7 and BERT-Base once."""
    changes = {"recipe.batch_size": str(args.batch), "recipe.optimizer": "adamw"}
    preset = replace_fields(get_preset("b7_base"), changes | {"image.ghost_batch": "null"})
    inputs = batch(preset, 64, 16.0, open_machine(args.device or None).device)
    made = {"AlignModel": theirs, "align_edu": ours}
    return {name: speed_of(make(preset, *inputs), args.batch, 1) for name, make in made.items()}


if __name__ == "__main__":
    args = options(__doc__, size=str, rounds=3, steps=60, batch=8, device="")
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder, toy = Path(name), args.size == ["toy"]
        World(seed=3, image_size=48).write(folder / "world", 5_000, progress=False)
        rounds = [toy_speeds(args, folder) if toy else b7_speeds(args) for _ in range(args.rounds)]
    speeds = {label: statistics.median(each[label] for each in rounds) for label in rounds[0]}
    best = max(speed for label, speed in speeds.items() if label.startswith("AlignModel"))
    print(f"torch {torch.__version__}, {usable_cores()} cores, {args.rounds} rounds")
    for label, speed in speeds.items():
        print(f"{label:32} {speed:9.2f} pairs/s   {speed / best:.2f} x AlignModel at its best")
