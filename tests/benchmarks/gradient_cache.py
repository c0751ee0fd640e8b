"""One exact optimiser step of a large batch of toy pairs: memory, and what caching costs.

    python tests/benchmarks/gradient_cache.py [--pairs 16384] [--chunk 256] [--rounds 2]

Draws the pairs, takes one step of the toy preset with ``recipe.chunk`` and ``loss.tile``, and
prints the peak memory of the whole process. Then, on fewer pairs and in turn, the same work
without caching (each chunk forwards and backwards once, with a loss of its own) beside the
cached step.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

from align_edu import World
from align_edu.model.wordpiece import train_wordpiece
from align_edu.pairs import open_pairs
from align_edu.presets import Preset, get_preset, replace_fields
from align_edu.training.batches import TrainingBatches
from align_edu.training.devices import open_machine
from align_edu.training.loop import _build
from align_edu.training.recipe import Budget
from align_edu.training.step import Trainer


def trainer_of(preset: Preset, shards: Path) -> Trainer:
    """Everything that a run of this preset needs."""
    source = open_pairs([shards])
    tokenizer = train_wordpiece(source.captions, preset.text.vocabulary_size, at_most=True)
    batches = TrainingBatches(source, tokenizer, preset, seed=0, progress=False)
    return _build(preset, batches, tokenizer, Budget(steps=10), 0, open_machine("cpu"))


def without_cache(trainer: Trainer, batch, chunk: int) -> None:
    """The same chunks, each with a loss of its own: forwards and backwards once."""
    for start in range(0, len(batch.ids), chunk):
        image, text = trainer.embed(batch, slice(start, start + chunk))
        trainer.model.loss(image, text).backward()
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=16_384)
    parser.add_argument("--chunk", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shards = World(seed=4, noise=0.0).write(Path(folder) / "w", args.pairs, progress=False)
        changes = {"recipe.chunk": str(args.chunk), "loss.tile": "256"}
        small = replace_fields(
            get_preset("toy"), changes | {"recipe.batch_size": str(8 * args.chunk)}
        )
        trainer = trainer_of(small, shards)
        batch = trainer.batches[0]
        plain, cached = [], []
        for _ in range(args.rounds + 1):  # the first round is a warm-up
            started = time.perf_counter()
            without_cache(trainer, batch, args.chunk)
            middle = time.perf_counter()
            trainer.train_step(batch)
            plain.append(middle - started)
            cached.append(time.perf_counter() - middle)
        ratio = statistics.median(cached[1:]) / statistics.median(plain[1:])
        print(
            f"{8 * args.chunk} pairs in chunks of {args.chunk}: cached / not cached {ratio:.2f} x"
        )
        big = replace_fields(small, {"recipe.batch_size": str(args.pairs)})
        trainer = trainer_of(big, shards)
        started = time.perf_counter()
        loss = trainer.train_step(trainer.batches[0]).item()
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"one step of {args.pairs} pairs: loss {loss:.3f}, {seconds:.0f} s, peak {peak:.2f} GiB"
        )


if __name__ == "__main__":
    main()
