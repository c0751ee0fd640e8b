"""Pairs per second of the training loader from JPEG shards, against open_clip's transforms.

    python tests/benchmarks/loader_throughput.py [--pairs 2048] [--workers 2] [--rounds 3]

Writes shards of 346-pixel photographs (noise blurred into texture, quality 90) with captions.
Two loaders read them in turn, with the same number of workers, in batches of 256 for a batch of
pixels (B, 3, 289, 289) and token ids (B, L):

ours  : TrainingBatches, uncached: resize to 346, random crop 289, flip, WordPiece; bytes.
theirs: the shards by webdataset or, where that is not installed, by tarfile; open_clip's training
        transforms to 289 pixels (random resized crop, bicubic, normalised); the same WordPiece.

Prints the rates of each round, the median ratio, and what the memory of all processes grows by
between the first and the last step of a longer run of ours.
"""

import argparse
import io
import itertools
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from align_edu.model.wordpiece import encode_texts, train_wordpiece
from align_edu.pairs import open_pairs
from align_edu.presets import get_preset, replace_fields
from align_edu.training.batches import TrainingBatches

SIDE, CROP, BATCH = 346, 289, 256


def write_shards(folder: Path, pairs: int) -> list[Path]:
    """Write shards of 256 pairs each; every picture is another part of one large texture."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 255, (1_400, 1_400, 3), dtype=np.uint8)
    texture = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1.5))
    paths = []
    for first in range(0, pairs, 256):
        paths.append(folder / f"{first // 256:05d}.tar")
        with tarfile.open(paths[-1], "w") as tar:
            for i in range(first, first + 256):
                x, y = generator.integers(0, 1_400 - SIDE, 2).tolist()
                file = io.BytesIO()
                texture.crop((x, y, x + SIDE, y + SIDE)).save(file, "JPEG", quality=90)
                caption = f"picture {i} of a texture at {x} and {y}".encode()
                for ending, data in (("jpg", file.getvalue()), ("txt", caption)):
                    member = tarfile.TarInfo(f"{i:09d}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return paths


def tar_pairs(paths: list[Path]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the picture and caption of each pair, without end: webdataset, else tarfile."""
    try:
        import webdataset

        for sample in webdataset.WebDataset([str(p) for p in paths], shardshuffle=False).repeat():
            yield sample["jpg"], sample["txt"]
    except ImportError:
        for path in itertools.cycle(paths):
            with tarfile.open(path) as tar:
                read = [tar.extractfile(member) for member in tar]
                data = [file.read() for file in read if file is not None]
                yield from zip(data[::2], data[1::2], strict=True)


class Theirs(IterableDataset[Any]):
    """open_clip's transforms over the shards of this worker."""

    def __init__(self, paths: list[Path], tokenizer: Any) -> None:
        from open_clip.transform import image_transform

        self.paths, self.tokenizer = paths, tokenizer
        self.transform = image_transform(CROP, is_train=True)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, str]]:
        worker = get_worker_info()
        paths = self.paths[worker.id :: worker.num_workers] if worker else self.paths
        for picture, caption in tar_pairs(paths):
            yield self.transform(Image.open(io.BytesIO(picture))), caption.decode()

    def collate(self, rows: list[tuple[torch.Tensor, str]]) -> tuple[torch.Tensor, ...]:
        """Return pixels, ids and mask of a batch."""
        pixels, texts = zip(*rows, strict=True)
        return torch.stack(pixels), *encode_texts(self.tokenizer, texts)


def pairs_per_second(batches: Iterator[Any], steps: int) -> float:
    """Return the rate over some steps, after the workers have started."""
    next(batches)
    started = time.perf_counter()
    for _ in range(steps):
        next(batches)
    return steps * BATCH / (time.perf_counter() - started)


def memory_of_all() -> float:
    """Return the MB that this process and its children do not share with others."""
    total = 0
    for folder in Path("/proc").iterdir():
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if folder.name == "self" or str(Path("/proc/self").resolve().name) not in (
                folder.name, parent
            ):  # fmt: skip
                continue
            rollup = (folder / "smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
        except (OSError, IndexError):
            continue
    return total / 1024


def main() -> None:
    """Print rates, their ratio, and the growth of memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=2_048)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_shards(Path(folder), args.pairs)
        source = open_pairs(paths)
        words = train_wordpiece(source.captions, 1_000, at_most=True)
        preset = replace_fields(get_preset("cc3m"), {
            "recipe.batch_size": str(BATCH), "recipe.workers": str(args.workers),
        })  # fmt: skip

        def ours() -> Iterator[Any]:
            return TrainingBatches(source, words, preset, seed=0).from_step(0)

        def theirs() -> Iterator[Any]:
            data = Theirs(paths, words)
            return iter(DataLoader(data, BATCH, num_workers=args.workers, collate_fn=data.collate))

        steps, rates = max(4, args.pairs // BATCH), []
        loaders: list[Callable[[], Iterator[Any]]] = [ours, theirs]
        for number in range(args.rounds):
            rates.append([pairs_per_second(loader(), steps) for loader in loaders])
            print(f"round {number + 1}: ours {rates[-1][0]:.0f}, theirs {rates[-1][1]:.0f} pairs/s")
        ratio = statistics.median(one / two for one, two in rates)
        print(f"median ratio: {ratio:.2f}")
        long = ours()
        pairs_per_second(long, 2 * steps)
        before = memory_of_all()
        pairs_per_second(long, 8 * steps)
        print(
            f"memory: {before:.0f} MB, then {memory_of_all():.0f} MB after {8 * steps} more steps"
        )


if __name__ == "__main__":
    main()
