"""Pictures per second, decoded and embedded, from a folder of JPEG files.

    python tests/benchmarks/embedding_throughput.py [--side 346] [--pictures 1500]

Draws JPEG files of SIDE x SIDE pixels, embeds them once to warm up and once more with the toy
model of data_samples, and prints the rate. Run it in two checkouts to compare them.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from align_edu import load_run
from align_edu.evaluation.embed import embed_images

MODEL = Path(__file__).parents[2] / "data_samples" / "toy_model"


def main() -> None:
    """Write the files, embed them twice, and print the second rate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=346)
    parser.add_argument("--pictures", type=int, default=1500)
    args = parser.parse_args()
    run, rng = load_run(MODEL), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / f"{i:05}.jpg" for i in range(args.pictures)]
        for file in files:
            coarse = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
            coarse.resize((args.side, args.side), Image.Resampling.BICUBIC).save(file, quality=85)
        embed_images(run, files[:200])
        start = time.perf_counter()
        embed_images(run, files)
        seconds = time.perf_counter() - start
    print(f"{args.pictures / seconds:.0f} pictures/s of {args.side} x {args.side} pixels")


if __name__ == "__main__":
    main()
