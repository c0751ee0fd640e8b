"""Pairs per second of the training loader from JPEG shards, against webdataset and open_clip.

    python tests/benchmarks/loader_throughput.py [--pairs 2048] [--workers 2] [--rounds 3]
    python tests/benchmarks/loader_throughput.py --embedding
    python tests/benchmarks/loader_throughput.py --million

Writes shards of 346-pixel photographs (noise blurred into texture, quality 90) with captions.
Two loaders read them in turn, with the same number of workers, in batches of 256 for a batch of
pixels (B, 3, 289, 289) and token ids (B, L):

ours   : TrainingBatches, uncached: resize to 346, random crop 289, flip, WordPiece; bytes.
theirs : webdataset; open_clip's training transforms to 289 pixels (random resized crop, bicubic,
         normalised); the same WordPiece.

Prints the rates of each round and the median ratio. With --embedding: the same for pictures that
the toy model embeds, by `embed_source` and by a plain loop in one thread. With --million: the
memory of ours, workers included, while it reads an epoch of a million small pairs.
"""

import io
import statistics
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image, ImageFilter
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from align_edu import load_run
from align_edu.evaluation.embed import embed_source
from align_edu.model.text_tower import encode_texts, train_wordpiece
from align_edu.pairs import decode_image, open_pairs
from align_edu.pairs.shards import PairSource, write_tar
from align_edu.presets import get_preset, replace_fields
from align_edu.training.batches import TrainingBatches
from tests.benchmarks.measure import MODEL, options, timed
from tests.samples import encoded

SIDE, CROP, BATCH = 346, 289, 256


def write_textures(folder: Path, pairs: int) -> list[Path]:
    """Write shards of pairs of which every picture is another part of one large texture."""
    generator, paths = np.random.default_rng(0), []
    noise = generator.integers(0, 255, (1_400, 1_400, 3), dtype=np.uint8)
    texture = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1.5))
    for start in range(0, pairs, BATCH):
        some = []
        for i in range(start, min(start + BATCH, pairs)):
            x, y = generator.integers(0, 1_400 - SIDE, 2).tolist()
            data = encoded(texture.crop((x, y, x + SIDE, y + SIDE)), quality=90)
            text = f"picture {i} of a texture at {x} and {y}"
            some.append(({"key": f"{i:09d}", "caption": text}, ".jpg", data))
        paths.append(folder / f"{start:09d}.tar")
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


def ours(source: PairSource, words: Any, workers: int, **changes: str) -> Iterator[Any]:
    """Batches of the training loader."""
    settings = {"recipe.batch_size": str(BATCH), "recipe.workers": str(workers)} | changes
    preset = replace_fields(get_preset("cc3m"), settings)
    return TrainingBatches(source, words, preset, seed=0).from_step(0)


def pairs_per_second(batches: Iterator[Any], steps: int) -> float:
    """Return the rate over some steps, after the workers have started."""
    next(batches)
    return steps * BATCH / timed(lambda: [next(batches) for _ in range(steps)] and None)[0]


def compare(folder: Path, pairs: int, workers: int, rounds: int) -> None:
    """Print the rates and their ratios."""
    torch.set_num_threads(1)
    paths = write_textures(folder, pairs)
    source = open_pairs(paths)
    words = train_wordpiece(source.captions, 1_000, at_most=True)
    data, steps, rates = Theirs(paths, words), max(4, pairs // BATCH), []
    for number in range(rounds):
        theirs = DataLoader(data, BATCH, num_workers=workers, collate_fn=data.collate)
        both = (ours(source, words, workers), iter(theirs))
        rates.append([pairs_per_second(batches, steps) for batches in both])
        print(f"round {number + 1}: ours {rates[-1][0]:.0f}, theirs {rates[-1][1]:.0f} pairs/s")
    print(f"median ratio: {statistics.median(one / two for one, two in rates):.2f}")


def private_mebibytes() -> float:
    """Return the memory of this process and its children that they do not share with others."""
    this = psutil.Process()
    return sum(p.memory_full_info().uss for p in (this, *this.children())) / 2**20


def read_a_million(folder: Path, workers: int, pairs: int = 1_000_000) -> None:
    """Print the memory after each tenth of an epoch of a million pairs of 16 by 16 pixels."""
    picture = encoded(Image.new("RGB", (16, 16), "teal"))
    for start in range(0, pairs, 10_000):
        keys = range(start, start + 10_000)
        rows = (({"key": f"{i:09d}", "caption": f"a plain square, {i}"}, ".jpg") for i in keys)
        write_tar(folder / f"{start:09d}.tar", ((*row, picture) for row in rows))
    source, before = open_pairs([folder]), private_mebibytes()
    words = train_wordpiece(source.captions[:10_000], 1_000, at_most=True)
    small = {"image.resize": "32", "image.crop": "32", "recipe.pixel_cache_gib": "0"}
    batches = ours(source, words, workers, **small)
    print(f"{before:.0f} MiB with {pairs} captions and places in memory")
    for tenth in range(1, 11):
        seconds, _ = timed(lambda: [next(batches) for _ in range(pairs // BATCH // 10)] and None)
        print(f"{tenth * 10} %: {private_mebibytes():.0f} MiB, {pairs / 10 / seconds:.0f} pairs/s")


def embed(folder: Path, pairs: int, rounds: int) -> None:
    """Print the rates, their ratio, and the greatest difference between the vectors."""
    run, paths = load_run(MODEL), write_textures(folder, pairs)
    source = open_pairs(paths, texts=False)

    def plain() -> torch.Tensor:
        pictures = map(decode_image, map(source.image_bytes, range(len(source))))
        batches = iter(lambda: list(islice(pictures, 32)), [])
        return torch.cat([run.encode_images(batch) for batch in batches])

    ratios = []
    for _ in range(rounds):
        ours, found = timed(lambda: embed_source(run, folder))
        theirs, vectors = timed(plain)
        ratios.append(theirs / ours)
        print(f"ours {pairs / ours:.0f}, plain {pairs / theirs:.0f} pictures/s")
    apart = (found.embeddings - vectors).abs().max()
    print(f"median ratio: {statistics.median(ratios):.2f}; vectors differ by {apart:.1e}")


if __name__ == "__main__":
    args = options(__doc__, pairs=2_048, workers=2, rounds=3, million=False, embedding=False)
    with tempfile.TemporaryDirectory() as name:
        if args.million:
            read_a_million(Path(name), args.workers)
        elif args.embedding:
            embed(Path(name), args.pairs, args.rounds)
        else:
            compare(Path(name), args.pairs, args.workers, args.rounds)
