"""One exact optimiser step of a large batch of toy pairs: its memory, and the cost of caching.

    python tests/benchmarks/gradient_cache.py [--pairs 16384] [--chunk 256] [--rounds 3]

Takes one step of the toy preset with ``recipe.chunk`` and ``loss.tile``, and prints the peak memory
of the process. Before that, on fewer pairs and in turn, the same chunks without caching (each with
a separate loss, forwards and backwards once) and with it.
"""

import statistics
import tempfile
from pathlib import Path

import torch

from align_edu import Align, World
from align_edu.model.text_tower import train_wordpiece
from align_edu.pairs import open_pairs
from align_edu.presets import Preset, get_preset, replace_fields
from align_edu.training import build_optimizer
from align_edu.training.batches import TrainingBatches
from align_edu.training.gradient_cache import add_gradient, embed_chunk
from align_edu.training.loop import keep_freed_memory
from align_edu.training.processes import open_machine
from tests.benchmarks.measure import options, peak_mebibytes, timed


class Step:
    """A model, its optimiser and the first batch of a run."""

    def __init__(self, preset: Preset, shards: Path) -> None:
        keep_freed_memory()
        source = open_pairs([shards])
        tokenizer = train_wordpiece(source.captions, preset.text.vocabulary_size, at_most=True)
        batches = TrainingBatches(source, tokenizer, preset, seed=0, progress=False)
        self.batch, self.machine = next(batches.from_step(0)), open_machine("cpu")
        self.model = Align(preset, tokenizer.get_vocab_size()).train()
        self.tower = self.model.image_tower
        self.tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.model, preset.recipe)

    def take(self, cached: bool) -> float:
        """Take the exact step, or one with a separate loss per chunk; return the loss."""
        loss = torch.zeros(())
        if cached:
            loss, _ = add_gradient(self.model, self.tower, self.batch, self.machine, 0)
        for i in range(0 if cached else len(self.batch)):
            pair = embed_chunk(self.model, self.tower, self.machine, 0, self.batch, i)
            self.model.loss(*pair).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()


if __name__ == "__main__":
    args = options(__doc__, pairs=16_384, chunk=256, rounds=3)
    with tempfile.TemporaryDirectory() as folder:
        shards = World(seed=4, noise=0.0).write(Path(folder) / "w", args.pairs, progress=False)
        changes = {"recipe.chunk": str(args.chunk), "loss.tile": "256"}
        changes["recipe.batch_size"] = str(8 * args.chunk)
        small = replace_fields(get_preset("toy"), changes)
        step = Step(small, shards)
        ratios = []
        for _ in range(args.rounds + 1):
            plain, cached = (timed(lambda c=c: step.take(c))[0] for c in (False, True))
            ratios.append(cached / plain)
        ratio = statistics.median(ratios[1:])  # the first warms up
        print(f"{8 * args.chunk} pairs, {args.chunk} a chunk: cached / not cached {ratio:.2f} x")
        step = Step(replace_fields(small, {"recipe.batch_size": str(args.pairs)}), shards)
        seconds, loss = timed(lambda: step.take(True))
        peak = peak_mebibytes() / 1024
        print(f"one step of {args.pairs} pairs: loss {loss:.3f}, {seconds:.0f} s, {peak:.2f} GiB")
