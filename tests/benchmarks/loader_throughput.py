"""Pairs per second of the training loader from JPEG shards, against webdataset and open_clip.

    python tests/benchmarks/loader_throughput.py [--pairs 2048] [--workers 2] [--rounds 3]
    python tests/benchmarks/loader_throughput.py 100000 1000000

Writes shards of 346-pixel photographs (noise blurred into texture, quality 90) with captions.
Two loaders read them in turn, with the same number of workers, in batches of 256 for a batch of
pixels (B, 3, 289, 289) and token ids (B, L):

ours   : TrainingBatches, uncached: resize to 346, random crop 289, flip, WordPiece; bytes.
theirs : webdataset; open_clip's training transforms to 289 pixels (random resized crop, bicubic,
         normalised); the same WordPiece.

Prints the rates of each round, the median ratio, and what the memory of all processes grows by in
a longer run of ours. With numbers of pairs: the peak memory of reading and of opening so many, each
in a separate process.
"""

import io
import itertools
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image, ImageFilter
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from align_edu import read_pairs
from align_edu.model.text_tower import encode_texts, train_wordpiece
from align_edu.pairs import open_pairs
from align_edu.pairs.shards import write_tar
from align_edu.presets import get_preset, replace_fields
from align_edu.training.batches import TrainingBatches
from tests.benchmarks.measure import in_a_process, options, peak_mebibytes, timed

SIDE, CROP, BATCH = 346, 289, 256
Pair = tuple[dict[str, str], str, bytes]


def textures(pairs: int) -> Iterator[Pair]:
    """Yield pairs of which every picture is another part of one large texture."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 255, (1_400, 1_400, 3), dtype=np.uint8)
    texture = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1.5))
    for i in range(pairs):
        x, y = generator.integers(0, 1_400 - SIDE, 2).tolist()
        file = io.BytesIO()
        texture.crop((x, y, x + SIDE, y + SIDE)).save(file, "JPEG", quality=90)
        text = f"picture {i} of a texture at {x} and {y}"
        yield {"key": f"{i:09d}", "caption": text}, ".jpg", file.getvalue()


def write_shards(folder: Path, pairs: Iterator[Pair], size: int) -> list[Path]:
    """Write shards of `size` pairs each."""
    paths = []
    while some := list(itertools.islice(pairs, size)):
        paths.append(folder / f"{len(paths):05d}.tar")
        write_tar(paths[-1], some)
    return paths


class Theirs(IterableDataset[Any]):
    """open_clip's transforms over the shards of this worker."""

    def __init__(self, paths: list[Path], tokenizer: Any) -> None:
        from open_clip.transform import image_transform

        self.paths, self.tokenizer = list(map(str, paths)), tokenizer
        self.transform = image_transform(CROP, is_train=True)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, str]]:
        import webdataset

        worker = get_worker_info()
        paths = self.paths[worker.id :: worker.num_workers] if worker else self.paths
        for sample in webdataset.WebDataset(paths, shardshuffle=False).repeat():
            picture = Image.open(io.BytesIO(sample["jpg"]))
            yield self.transform(picture), sample["txt"].decode()

    def collate(self, rows: list[tuple[torch.Tensor, str]]) -> tuple[torch.Tensor, ...]:
        pixels, texts = zip(*rows, strict=True)
        return torch.stack(pixels), *encode_texts(self.tokenizer, texts)


def pairs_per_second(batches: Iterator[Any], steps: int) -> float:
    """Return the rate over some steps, after the workers have started."""
    next(batches)
    return steps * BATCH / timed(lambda: [next(batches) for _ in range(steps)] and None)[0]


def memory_of_all() -> float:
    """Return the MB that this process and its children do not share with others."""
    this = psutil.Process()
    return sum(p.memory_full_info().uss for p in (this, *this.children())) / 2**20


def compare(folder: Path, pairs: int, workers: int, rounds: int) -> None:
    """Print the rates, their ratios, and the growth of memory."""
    torch.set_num_threads(1)
    paths = write_shards(folder, textures(pairs), BATCH)
    source = open_pairs(paths)
    words = train_wordpiece(source.captions, 1_000, at_most=True)
    changes = {"recipe.batch_size": str(BATCH), "recipe.workers": str(workers)}
    preset = replace_fields(get_preset("cc3m"), changes)

    def ours() -> Iterator[Any]:
        return TrainingBatches(source, words, preset, seed=0).from_step(0)

    def theirs() -> Iterator[Any]:
        data = Theirs(paths, words)
        return iter(DataLoader(data, BATCH, num_workers=workers, collate_fn=data.collate))

    steps, rates = max(4, pairs // BATCH), []
    for number in range(rounds):
        rates.append([pairs_per_second(loader(), steps) for loader in (ours, theirs)])
        print(f"round {number + 1}: ours {rates[-1][0]:.0f}, theirs {rates[-1][1]:.0f} pairs/s")
    print(f"median ratio: {statistics.median(one / two for one, two in rates):.2f}")
    long = ours()
    pairs_per_second(long, 2 * steps)
    before = memory_of_all()
    pairs_per_second(long, 8 * steps)
    print(f"memory: {before:.0f} MB, then {memory_of_all():.0f} MB after {8 * steps} more steps")


def peak_memory(folder: Path, pairs: int) -> None:
    """Print the peak memory (MB) of a process that reads, and of one that opens, small pairs."""
    texts = (f"a caption of about fifty characters, number {i:09d}" for i in range(pairs))
    rows = ({"key": f"{i:09d}", "caption": text} for i, text in enumerate(texts))
    write_shards(folder, ((row, ".jpg", b"x") for row in rows), 10_000)
    peaks = []
    for action in ("nothing", "read", "open"):
        peaks.append(float(in_a_process(__file__, "--act", action, "--folder", folder)))
    none, read, opened = peaks
    print(f"{pairs:,} pairs: read_pairs {read - none:.0f} MiB, open_pairs {opened - none:.0f} MiB")
    print(f"over {none:.0f} MiB of imports")


if __name__ == "__main__":
    args = options(__doc__, memory=int, pairs=2_048, workers=2, rounds=3, act="", folder="")
    if args.act:
        {"nothing": str, "read": read_pairs, "open": open_pairs}[args.act](Path(args.folder))
        print(peak_mebibytes())
    for pairs in args.memory:
        with tempfile.TemporaryDirectory() as name:
            peak_memory(Path(name), pairs)
    if not (args.act or args.memory):
        with tempfile.TemporaryDirectory() as name:
            compare(Path(name), args.pairs, args.workers, args.rounds)
