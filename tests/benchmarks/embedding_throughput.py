"""Pictures per second, decoded and embedded by the toy model, beside a plain loop in one thread.

    python tests/benchmarks/embedding_throughput.py [--side 346] [--pictures 1500] [--rounds 3]

ours  : embed_images: threads decode and resize while the model computes;
plain : open, decode, resize and embed a batch of 32, then the next.

Prints both rates and the median ratio, and the greatest difference between their vectors.
"""

import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from align_edu import load_run
from align_edu.evaluation.embed import embed_images
from tests.benchmarks.measure import MODEL, options, timed

if __name__ == "__main__":
    args = options(__doc__, side=346, pictures=1_500, rounds=3)
    run, rng, ratios = load_run(MODEL), np.random.default_rng(0), []

    def plain(files: list[Path]) -> torch.Tensor:
        parts = [files[i : i + 32] for i in range(0, len(files), 32)]
        opened = ([Image.open(file).convert("RGB") for file in part] for part in parts)
        return torch.cat([run.encode_images(pictures) for pictures in opened])

    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / f"{i:05}.jpg" for i in range(args.pictures)]
        for file in files:
            coarse = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
            coarse.resize((args.side, args.side), Image.Resampling.BICUBIC).save(file, quality=85)
        embed_images(run, files[:200])  # warms up
        for _ in range(args.rounds):
            ours, found = timed(lambda: embed_images(run, files))
            theirs, vectors = timed(lambda: plain(files))
            ratios.append(theirs / ours)
            print(f"ours {args.pictures / ours:.0f}, plain {args.pictures / theirs:.0f} pictures/s")
    apart = (found.embeddings - vectors).abs().max()
    print(f"median ratio: {statistics.median(ratios):.2f}; vectors differ by {apart:.1e}")
