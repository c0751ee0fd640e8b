"""Pairs per second of EfficientNet-B7 + BERT-Base at 289 pixels: ours beside AlignModel.

Same sizes, same batch, same pixels and word pieces, AdamW for both, forward, backward and step,
taken in turn on the CPU, or on the GPU where one is there. Each model also runs once alone in a
process of its own, for its peak memory. Quote the ratio.

    python tests/benchmarks/b7_throughput.py [--rounds 3] [--batch 8] [--device cpu] [--recompute]
"""

import argparse
import dataclasses
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from transformers import AlignConfig, AlignModel

from align_edu.loss import contrastive_loss
from align_edu.model.align import Align
from align_edu.presets import get_preset
from align_edu.training.loop import keep_freed_memory
from align_edu.training.processes import open_machine

VOCABULARY, LENGTH = 30_522, 64
MODELS = ("AlignModel", "align_edu")
Step = Callable[[], None]


def batch(size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels and word pieces: texts of 8 to 24 pieces, padded to 64 as AlignProcessor does."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(size, 3, 289, 289, generator=generator) * 2 - 1
    lengths = torch.randint(8, 25, (size,), generator=generator)
    mask = (torch.arange(LENGTH) < lengths[:, None]).long()
    ids = torch.randint(1000, VOCABULARY, (size, LENGTH), generator=generator) * mask
    return pixels.to(device), ids.to(device), mask.to(device)


def ours(size: int, device: torch.device, recompute: bool) -> Step:
    """One training step of ours: texts padded to their longest, as our batches are."""
    preset = get_preset("b7_base")
    image = dataclasses.replace(preset.image, recompute=recompute)
    model = Align(dataclasses.replace(preset, image=image), VOCABULARY).to(device).train()
    model.image_tower.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    pixels, ids, mask = batch(size, device)
    pixels = pixels.to(memory_format=torch.channels_last)
    longest = int(mask.sum(dim=1).max())
    ids, mask = ids[:, :longest], mask[:, :longest]

    def step() -> None:
        loss = contrastive_loss(*model(pixels, ids, mask), model.temperature())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def theirs(size: int, device: torch.device) -> Step:
    """One training step of AlignModel as its processor feeds it: 64 pieces a text."""
    config = AlignConfig(vision_config={"image_size": 289, "hidden_dim": 640}, projection_dim=640)
    model = AlignModel(config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    pixels, ids, mask = batch(size, device)

    def step() -> None:
        loss = model(pixel_values=pixels, input_ids=ids, attention_mask=mask, return_loss=True).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def build(name: str, args: argparse.Namespace) -> Step:
    """The step of one of MODELS."""
    device = open_machine(args.device).device
    if name == "align_edu":
        return ours(args.batch, device, args.recompute)
    return theirs(args.batch, device)


def seconds_of(step: Step, device: torch.device) -> float:
    """One step's time."""
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_alone(name: str) -> float:
    """Peak memory of one step in GiB, in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--peak-of", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def print_peak(name: str, args: argparse.Namespace) -> None:
    """Take one step and print the most memory that it needed, in GiB."""
    build(name, args)()
    if open_machine(args.device).device.type == "cuda":
        print(torch.cuda.max_memory_allocated() / 2**30)
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30)


def main() -> None:
    """Print each one's median pairs per second, the ratio, and the peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device")
    parser.add_argument("--recompute", action="store_true", help="activation checkpointing in ours")
    parser.add_argument("--peak-of", choices=MODELS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak_of:
        print_peak(args.peak_of, args)
        return
    peaks = {name: peak_alone(name) for name in MODELS}
    keep_freed_memory()
    device = open_machine(args.device).device
    steps = {name: build(name, args) for name in MODELS}
    for step in steps.values():
        step()
    taken: dict[str, list[float]] = {name: [] for name in MODELS}
    for _ in range(args.rounds):
        for name, step in steps.items():
            taken[name].append(seconds_of(step, device))
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads")
    for name in MODELS:
        speed = args.batch / statistics.median(taken[name])
        print(f"{name:12} {speed:6.2f} pairs/s   peak {peaks[name]:.1f} GiB")
    ratios = [a / b for a, b in zip(taken["AlignModel"], taken["align_edu"], strict=True)]
    print(f"align_edu / AlignModel: {statistics.median(ratios):.2f} x over {args.rounds} rounds")


if __name__ == "__main__":
    main()
