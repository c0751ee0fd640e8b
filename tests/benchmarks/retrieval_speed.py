"""Seconds and memory of the retrieval metrics at the sizes of Flickr30K and COCO.

    python tests/benchmarks/retrieval_speed.py [--width 640]

Random unit vectors, five texts an image; memory is the process's peak above the inputs. Beside
it the usual way: the whole matrix at once, sorted, in float32.
"""

import argparse
import resource
import subprocess
import sys
import time

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.evaluation import retrieval_recall

SIZES = (1_000, 5_000)


def whole_matrix(image: Tensor, text: Tensor, owner: Tensor) -> tuple[float, float]:
    """Recall at 1 both ways from one sorted matrix."""
    similarity = image @ text.T
    first = owner[similarity.argsort(dim=1, descending=True)[:, 0]]
    found = similarity.T.argsort(dim=1, descending=True)[:, 0]
    rows = torch.arange(len(image))
    return (first == rows).double().mean().item(), (found == owner).double().mean().item()


def measure(way: str, images: int, width: int) -> None:
    """Print one line for one way and size."""
    generator = torch.Generator().manual_seed(0)
    image = F.normalize(torch.randn(images, width, generator=generator), dim=1)
    owner = torch.arange(5 * images) // 5
    text = F.normalize(image[owner] + 0.2 * torch.randn(5 * images, width, generator=generator))
    retrieval_recall(image[:50], text[:250], owner[:250])  # loads what is needed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    if way == "ours":
        found = retrieval_recall(image, text, owner)
        recall = tuple(found[name]["R@1"] for name in ("image_to_text", "text_to_image"))
    else:
        recall = whole_matrix(image, text, owner)
    seconds = time.perf_counter() - started
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{way:13}{images:6} x {5 * images:6}: {seconds:6.2f} s, {peak:6.0f} MiB,"
        f" R@1 {recall[0]:.4f} and {recall[1]:.4f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure(args.one[0], int(args.one[1]), args.width)
        return
    print(f"D = {args.width}, {torch.get_num_threads()} threads", flush=True)
    for images in SIZES:
        for way in ("ours", "whole matrix"):
            command = [sys.executable, __file__, "--one", way, str(images)]
            subprocess.run([*command, "--width", str(args.width)], check=True)


if __name__ == "__main__":
    main()
