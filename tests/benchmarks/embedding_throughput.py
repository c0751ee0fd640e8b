"""Pictures per second, decoded and embedded by the toy model, from a folder of JPEG files.

python tests/benchmarks/embedding_throughput.py [--side 346] [--pictures 1500]
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from align_edu import load_run
from align_edu.evaluation.embed import embed_images
from tests.benchmarks.measure import MODEL, options, timed

if __name__ == "__main__":
    args = options(__doc__, side=346, pictures=1_500)
    run, rng = load_run(MODEL), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / f"{i:05}.jpg" for i in range(args.pictures)]
        for file in files:
            coarse = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
            coarse.resize((args.side, args.side), Image.Resampling.BICUBIC).save(file, quality=85)
        embed_images(run, files[:200])  # warms up
        seconds, _ = timed(lambda: embed_images(run, files))
    print(f"{args.pictures / seconds:.0f} pictures/s of {args.side} x {args.side} pixels")
