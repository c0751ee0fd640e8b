"""Pairs per second of a training step: ours beside Hugging Face's AlignModel, in one run.

Same towers, same batch, same pixels, same word pieces, same optimiser (AdamW), the steps of
both taken in turn. Ours a second time with the toy preset's own optimiser. Quote the ratio.

    python tests/benchmarks/training_throughput.py [--rounds 20]
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import torch
from transformers import AlignConfig, AlignModel

from align_edu.align import Align
from align_edu.devices.machine import best_device
from align_edu.loss import contrastive_loss
from align_edu.presets import Preset, get_preset
from align_edu.training.machine import compiled_or_same, keep_freed_memory
from align_edu.training.recipe import build_optimizer

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


def ours(preset: Preset) -> Callable[[], None]:
    """One training step of ours."""
    model = Align(preset, VOCABULARY).train()
    model.image_tower.to(memory_format=torch.channels_last)
    tower = compiled_or_same(model.image_tower, preset, best_device("cpu"))
    optimizer = build_optimizer(model, preset.recipe)
    pixels, ids, mask = batch(preset)
    pixels = pixels.to(memory_format=torch.channels_last)

    def step() -> None:
        loss = contrastive_loss(tower(pixels), model.text_tower(ids, mask), model.temperature())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


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


def main() -> None:
    """Print each one's median pairs per second and the median ratio to AlignModel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    toy = get_preset("toy")
    adamw = dataclasses.replace(toy, recipe=dataclasses.replace(toy.recipe, optimizer="adamw"))
    keep_freed_memory()
    steps = {
        "AlignModel, AdamW": theirs(toy),
        "align_edu, AdamW": ours(adamw),
        f"align_edu, {toy.recipe.optimizer}": ours(toy),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {rounds} rounds")
    for name, taken in seconds.items():
        speed = toy.recipe.batch_size / statistics.median(taken)
        ratio = statistics.median(
            base / own for base, own in zip(seconds["AlignModel, AdamW"], taken, strict=True)
        )
        print(f"{name:22} {speed:7.0f} pairs/s   {ratio:.2f} x AlignModel")


if __name__ == "__main__":
    main()
