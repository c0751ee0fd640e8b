"""The model in a folder, and the embeddings of texts and of pictures from any source."""

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from align_edu.io import InputError, read_json, usable_cores, weights_of, written_whole
from align_edu.model.image_tower import resize_picture
from align_edu.pairs.images import SUFFIXES, BrokenImage, decode_image, find_images
from align_edu.pairs.shards import PairSource, open_pairs
from align_edu.training.run import Run, load_run

PICTURES, PICTURES_ON_GPU = 32, 256  # per batch
TEXTS = 256
AHEAD = 2  # batches that are decoded while the model computes another
BLOCK = 64  # batches per file, in an embedding that can be resumed
T = TypeVar("T")


class Encoder(Protocol):
    """The part of a trained model that evaluation and search use."""

    def encode_images(self, pictures: list[Image.Image], /) -> Tensor:
        """Return (B, D) unit vectors."""

    def encode_texts(self, texts: list[str], /) -> Tensor:
        """Return (B, D) unit vectors."""


def load_encoder(folder: str | Path, device: str | None = None) -> Run:
    """Load the model in a run's folder, or in a folder of Hugging Face's AlignModel.

    device: "cpu" or "cuda"; a GPU if there is one when None. Raises InputError for an unfit folder.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: this machine has no GPU; leave the option out")
    config = Path(folder) / "config.json"
    values = read_json(config) if config.is_file() else None
    if isinstance(values, dict) and "model_type" in values:
        from align_edu.hub import load_hf

        return load_hf(folder, device)
    return load_run(folder, device)


@dataclass(frozen=True)
class EmbeddedImages:
    """Embeddings (N, D), float32 on the CPU, their N files, and why others were skipped."""

    embeddings: Tensor
    files: list[Path]
    skipped: dict[Path, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)  # ending and reason -> other files

    def reasons(self) -> str:
        """Return each reason with its count, such as "2 truncated", the most frequent first."""
        counts = Counter(self.skipped.values()).most_common()
        return ", ".join(f"{count} {reason}" for reason, count in counts)


def embed_images(
    run: Encoder, files: Sequence[Path], read: Callable[[int], Image.Image] | None = None,
    *, label: str = "images", progress: bool = False, resume: Path | None = None,
) -> EmbeddedImages:  # fmt: skip
    """Embed pictures in batches; threads decode them, broken ones are skipped and named.

    files: the name of each. read: opens picture i, or raises BrokenImage or OSError; by default
    ``files`` are read. label: of the progress bar. resume: a folder for finished blocks, with
    which the same call continues after an interruption to the same bits; the caller removes it.
    """
    on_gpu = isinstance(run, Run) and run.device.type != "cpu"
    size, attempt = PICTURES_ON_GPU if on_gpu else PICTURES, _opener(run, files, read)
    folder = None if resume is None else resume / _identity(run, files, size)
    vectors, kept, reasons = torch.zeros(0, 0), 0, list[str]()

    def take(rows: Tensor, why: list[str]) -> None:
        nonlocal vectors, kept
        if len(rows) and not kept:
            vectors = torch.empty(len(files), rows.shape[1])  # a million are held once
        vectors[kept : kept + len(rows)] = rows
        kept += len(rows)
        reasons.extend(why)

    while folder and (file := folder / f"{len(reasons):09}.npz").is_file():
        with np.load(file, allow_pickle=False) as saved:
            take(torch.from_numpy(saved["vectors"]), saved["reasons"].tolist())
    start, first = len(reasons), kept
    for batch in read_ahead(attempt, range(start, len(files)), size, label, progress):
        pictures = [found for found in batch if not isinstance(found, str)]
        rows = _encode(run, pictures) if pictures else torch.zeros(0, 0)
        take(rows, [found if isinstance(found, str) else "" for found in batch])
        if folder and len(reasons) in (start + BLOCK * size, len(files)):
            file = folder / f"{start:09}.npz"
            with written_whole(file) as beside, beside.open("wb") as opened:
                why = np.array(reasons[start:])
                np.savez(opened, vectors=vectors[first:kept].numpy(), reasons=why)
            start, first = len(reasons), kept
    named = list(zip(files, reasons, strict=True))
    skipped = {file: why for file, why in named if why}
    return EmbeddedImages(vectors[:kept], [file for file, why in named if not why], skipped)


def embed_source(
    run: Encoder, images: str | Path | Sequence[str | Path],
    progress: bool = False, resume: Path | None = None,
) -> EmbeddedImages:  # fmt: skip
    """Return the embeddings of images of any source; broken ones are skipped and named.

    images: a folder of images, with the folders in it, or a list of files; a folder of
    webdataset shards or one .tar, whose images are named SHARD.tar/KEY.jpg (a folder may hold
    both); or embeddings that the same model made: NAME.npy, float32 or float16 (N, D), beside
    NAME.txt, a name per line. resume: as for `embed_images`. Raises InputError when no image is
    found or can be read, and when the embeddings do not fit the names or the run.
    """
    left_out, shards = Counter[str](), None
    if not isinstance(images, str | Path):
        files = [Path(file) for file in images]
    elif Path(images).suffix == ".npy":
        return _read_embeddings(Path(images), run.encode_texts(["a"]).shape[1])
    else:
        files, shards = _found_in(Path(images), left_out)
    single = len(files)
    members = [shards.place(i)[0] / name for i, name in enumerate(shards.names)] if shards else []

    def read(i: int) -> Image.Image:
        if shards is None or i < single:
            return decode_image(files[i].read_bytes())
        return decode_image(shards.image_bytes(i - single))

    found = embed_images(run, files + members, read, progress=progress, resume=resume)
    if not found.files:
        place = images if isinstance(images, str | Path) else "the list of images"
        raise InputError(f"{place}: no image can be read ({found.reasons() or 'none given'})")
    return replace(found, left_out=left_out)


def embed_texts(run: Encoder, texts: Sequence[str], *, progress: bool = False) -> Tensor:
    """Return the embeddings of T texts, at least one: (T, D) float32 on the CPU."""
    parts = []
    with tqdm(total=len(texts), desc="texts", disable=not progress) as bar:
        for start in range(0, len(texts), TEXTS):
            batch = list(texts[start : start + TEXTS])
            parts.append(run.encode_texts(batch).detach().float().cpu())
            bar.update(len(batch))
    return torch.cat(parts)


def read_ahead(
    read: Callable[[int], T], rows: range, size: int, label: str, progress: bool
) -> Iterator[list[T]]:
    """Yield read(row) of each row in lists of ``size``; threads read ahead of the caller."""
    pool, left = ThreadPoolExecutor(usable_cores()), iter(rows)
    try:
        with tqdm(total=rows.stop, initial=rows.start, desc=label, disable=not progress) as bar:
            waiting = deque(pool.submit(read, row) for row in islice(left, (1 + AHEAD) * size))
            while waiting:
                batch = [waiting.popleft().result() for _ in range(min(size, len(waiting)))]
                waiting.extend(pool.submit(read, row) for row in islice(left, size))
                yield batch
                bar.update(len(batch))
    finally:
        pool.shutdown(cancel_futures=True)


def _opener(
    run: Encoder, files: Sequence[Path], read: Callable[[int], Image.Image] | None
) -> Callable[[int], Image.Image | str]:
    """Return a function that opens picture i at the model's size, or returns why it cannot."""

    def attempt(i: int) -> Image.Image | str:
        try:
            picture = read(i) if read else decode_image(files[i].read_bytes())
        except BrokenImage as error:
            return str(error)
        except OSError:
            return "unreadable file"
        if not isinstance(run, Run):
            return picture
        return Image.fromarray(resize_picture(picture, run.preset.image).permute(1, 2, 0).numpy())

    return attempt


def _encode(run: Encoder, pictures: list[Image.Image]) -> Tensor:
    """Return the embeddings of pictures; a GPU that lacks the memory gets half of them."""
    try:
        return run.encode_images(pictures).detach().float().cpu()
    except torch.OutOfMemoryError:
        half = len(pictures) // 2
        if not half:
            raise
    return torch.cat([_encode(run, pictures[:half]), _encode(run, pictures[half:])])


def _identity(run: Encoder, files: Sequence[Path], size: int) -> str:
    """Return a hash of what the embeddings depend on: weights, batches, names, sizes and times."""
    folder = getattr(run, "folder", None)
    digest = hashlib.sha256(f"{folder and weights_of(folder)} {size}".encode())
    for file in files:
        place = file.parent if file.parent.is_file() else file  # a picture in a shard
        stat = place.stat() if place.is_file() else None
        digest.update(os.fsencode(file) + f"\0{stat and (stat.st_size, stat.st_mtime_ns)}".encode())
    return digest.hexdigest()[:16]


def _found_in(path: Path, left_out: Counter[str]) -> tuple[list[Path], PairSource | None]:
    """Return the single images of a folder, and the images of the shards in it, or of one."""
    if path.suffix != ".tar" and not path.is_dir():
        raise InputError(f"{path}: no such folder; give a folder of images")
    files, shards = find_images(path, left_out), None
    if path.suffix == ".tar" or any(path.glob("*.tar")):
        try:
            shards = open_pairs([path], texts=False)
        except InputError:  # its tars hold no pictures
            if not files:
                raise
        else:
            for suffix in (".tar", ".parquet", ".json"):
                left_out[f"{suffix} (no picture)"] -= len([*path.glob(f"*{suffix}")])
            left_out += shards.skipped
    if not files and shards is None:
        raise InputError(f"{path}: no images in it; files must end in {', '.join(SUFFIXES)}")
    return files, shards


def _read_embeddings(path: Path, width: int) -> EmbeddedImages:
    """Read NAME.npy as unit vectors of this width, and the names in NAME.txt beside it."""
    beside = path.with_suffix(".txt")
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
        listed = beside.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except (OSError, ValueError, EOFError) as error:
        reason = f"not readable embeddings ({error}); they are NAME.npy and NAME.txt"
        raise InputError(f"{path}: {reason}") from None
    names = listed.removesuffix("\n").split("\n")  # a name may hold U+2028
    if rows.dtype not in (np.float32, np.float16) or rows.shape[1:] != (width,) or not len(rows):
        needed = f"this run's embeddings are float32 or float16 (N, {width})"
        raise InputError(f"{path}: {rows.dtype} {rows.shape}; {needed}")
    if len(names) != len(rows) or "" in names:
        count = len(names) - names.count("")
        raise InputError(f"{beside}: {count} names for {len(rows)} embeddings; write one per line")
    vectors = np.array(rows, np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if broken := np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0))).tolist():
        raise InputError(f"{path}: row {broken[0]} is zero or not finite; make it again")
    vectors /= lengths
    return EmbeddedImages(torch.from_numpy(vectors), [path.parent / name for name in names])
