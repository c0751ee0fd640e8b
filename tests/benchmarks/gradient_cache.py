"""One exact optimiser step of a large batch of toy pairs: its memory, and the cost of caching.

    python tests/benchmarks/gradient_cache.py [--pairs 16384] [--chunk 256] [--rounds 2]

Draws the pairs, takes one step of the toy preset with ``recipe.chunk`` and ``loss.tile``, and
prints the peak memory of the whole process. Before that, on fewer pairs and in turn, the same
chunks without caching (each with a separate loss, forwards and backwards once) and with it.
"""

import argparse
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from align_edu import Align, World
from align_edu.model.wordpiece import train_wordpiece
from align_edu.pairs import open_pairs
from align_edu.presets import Preset, get_preset, replace_fields
from align_edu.training import build_optimizer
from align_edu.training.batches import Batch, TrainingBatches
from align_edu.training.gradient_cache import add_gradient, embed_chunk
from align_edu.training.loop import keep_freed_memory
from align_edu.training.processes import open_machine


@dataclass(frozen=True)
class Step:
    """A model, its optimiser and a batch."""

    model: Align
    optimizer: torch.optim.Optimizer
    batch: list[Batch]

    def cached(self) -> float:
        """Take the exact step and return its loss."""
        model = self.model
        loss, _ = add_gradient(model, model.image_tower, self.batch, open_machine("cpu"), 0)
        self._finish()
        return loss.item()

    def separate(self) -> None:
        """Take a step over the same chunks, each with a separate loss."""
        model, machine = self.model, open_machine("cpu")
        for number, chunk in enumerate(self.batch):
            pair = embed_chunk(model, model.image_tower, chunk, machine, 0, number)
            model.loss(*pair).backward()
        self._finish()

    def _finish(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def first_step(preset: Preset, shards: Path) -> Step:
    """Return what the first step of a run needs."""
    keep_freed_memory()
    source = open_pairs([shards])
    tokenizer = train_wordpiece(source.captions, preset.text.vocabulary_size, at_most=True)
    batches = TrainingBatches(source, tokenizer, preset, seed=0, progress=False)
    model = Align(preset, tokenizer.get_vocab_size()).train()
    model.image_tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Step(model, build_optimizer(model, preset.recipe), next(batches.from_step(0)))


def main() -> None:
    """Print the ratio of the times, then time and memory of the large step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=16_384)
    parser.add_argument("--chunk", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shards = World(seed=4, noise=0.0).write(Path(folder) / "w", args.pairs, progress=False)
        changes = {"recipe.chunk": str(args.chunk), "loss.tile": "256"}
        changes["recipe.batch_size"] = str(8 * args.chunk)
        small = replace_fields(get_preset("toy"), changes)
        step, plain, cached = first_step(small, shards), [], []
        for _ in range(args.rounds + 1):  # the first round is a warm-up
            started = time.perf_counter()
            step.separate()
            middle = time.perf_counter()
            step.cached()
            plain.append(middle - started)
            cached.append(time.perf_counter() - middle)
        ratio = statistics.median(cached[1:]) / statistics.median(plain[1:])
        print(f"{8 * args.chunk} pairs, {args.chunk} a chunk: cached / not cached {ratio:.2f} x")
        step = first_step(replace_fields(small, {"recipe.batch_size": str(args.pairs)}), shards)
        started = time.perf_counter()
        loss = step.cached()
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"one step of {args.pairs} pairs: loss {loss:.3f}, {seconds:.0f} s, {peak:.2f} GiB")


if __name__ == "__main__":
    main()
