"""The model in a folder, and the one loop that decodes pictures and embeds them."""

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from align_edu.io import InputError, read_json, usable_cores, weights_of, written_whole
from align_edu.pairs.images import BrokenImage, decode_image
from align_edu.pairs.pixels import resize_picture
from align_edu.training.run import Run, load_run

PICTURES, PICTURES_ON_GPU = 32, 256  # per batch
TEXTS = 256
AHEAD = 2  # batches that are decoded while the model computes another
BLOCK = 64  # batches per file, in an embedding that can be resumed
T = TypeVar("T")
Part = tuple[Tensor, list[str]]  # vectors (K, D), and for each picture why it was skipped, or ""


class Encoder(Protocol):
    """The part of a trained model that evaluation and search use."""

    def encode_images(self, pictures: list[Image.Image], /) -> Tensor:
        """Return (B, D) unit vectors."""
        ...

    def encode_texts(self, texts: list[str], /) -> Tensor:
        """Return (B, D) unit vectors."""
        ...


def load_encoder(folder: str | Path, device: str | None = None) -> Run:
    """Load the model in a run's folder, or in a folder of Hugging Face's AlignModel.

    device: "cpu" or "cuda"; a GPU if there is one when None.
    Raises InputError when files are missing or damaged, and for "cuda" without a GPU.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: this machine has no GPU; leave the option out")
    config = Path(folder) / "config.json"
    values = read_json(config) if config.is_file() else None
    if isinstance(values, dict) and "model_type" in values:
        from align_edu.hub.align_model import load_hf

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


def embed_pictures(
    run: Encoder,
    files: Sequence[Path],
    read: Callable[[int], Image.Image],
    *,
    label: str = "images",
    progress: bool = False,
    resume: Path | None = None,
) -> EmbeddedImages:
    """Embed pictures in batches; threads decode them, broken ones are skipped and named.

    files: the name of each. read: opens picture i, raises BrokenImage or OSError if it cannot.
    label: of the progress bar. resume: a folder for finished blocks of embeddings, with which
    the same call continues after an interruption; the caller removes it in the end. The result
    is the same as without an interruption, bit for bit.
    The embeddings are (0, 0) when no picture can be read.
    """
    settings, on_gpu = None, False
    if isinstance(run, Run):
        settings, on_gpu = run.preset.image, next(run.model.parameters()).device.type != "cpu"
    size = PICTURES_ON_GPU if on_gpu else PICTURES

    def attempt(i: int) -> Image.Image | str:
        """Return the picture at the model's size, so that few are held at full size."""
        try:
            picture = read(i)
        except BrokenImage as error:
            return error.reason
        except OSError:
            return "unreadable file"
        if settings is None:
            return picture
        return Image.fromarray(resize_picture(picture, settings).permute(1, 2, 0).numpy())

    def parts(start: int) -> Iterator[Part]:
        for batch in read_ahead(attempt, range(start, len(files)), size, label, progress):
            pictures = [found for found in batch if not isinstance(found, str)]
            reasons = [found if isinstance(found, str) else "" for found in batch]
            yield _encode(run, pictures) if pictures else torch.zeros(0, 0), reasons

    blocks = parts(0)
    if resume is not None:
        blocks = _resumed(resume / _identity(run, files, size), parts)
    vectors, reasons = _joined(blocks, len(files))
    named = list(zip(files, reasons, strict=True))
    kept, skipped = [f for f, why in named if not why], {f: why for f, why in named if why}
    return EmbeddedImages(vectors, kept, skipped)


def embed_images(run: Encoder, files: Sequence[Path], *, progress: bool = False) -> EmbeddedImages:
    """Embed image files; broken files are skipped and named.

    run: a trained model, see `load_encoder`. progress: show a bar on standard error.
    """
    return embed_pictures(
        run, files, lambda i: decode_image(files[i].read_bytes()), progress=progress
    )


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


def _encode(run: Encoder, pictures: list[Image.Image]) -> Tensor:
    """Return the embeddings of pictures; a GPU that lacks the memory gets half of them."""
    try:
        return run.encode_images(pictures).detach().float().cpu()
    except torch.OutOfMemoryError:
        half = len(pictures) // 2
        if not half:
            raise
    return torch.cat([_encode(run, pictures[:half]), _encode(run, pictures[half:])])


def _joined(parts: Iterable[Part], count: int) -> tuple[Tensor, list[str]]:
    """Return all embeddings and reasons; a million embeddings are held in memory once."""
    vectors, kept, reasons = torch.zeros(0, 0), 0, []
    for rows, why in parts:
        if len(rows) and not kept:
            vectors = torch.empty(count, rows.shape[1])
        vectors[kept : kept + len(rows)] = rows
        kept += len(rows)
        reasons += why
    return vectors[:kept], reasons


def _resumed(folder: Path, parts: Callable[[int], Iterator[Part]]) -> Iterator[Part]:
    """Yield the parts that ``folder`` holds, and then new ones, which are saved in blocks."""
    start, block = 0, []
    while (file := folder / f"{start:09}.npz").is_file():
        with np.load(file, allow_pickle=False) as saved:
            vectors, reasons = torch.from_numpy(saved["vectors"]), saved["reasons"].tolist()
        yield vectors, reasons
        start += len(reasons)
    for part in chain(parts(start), [None]):
        if part is not None:
            yield part
            block.append(part)
        if block and (part is None or len(block) == BLOCK):
            vectors, reasons = _joined(block, BLOCK * len(block[0][1]))
            with written_whole(folder / f"{start:09}.npz") as beside, beside.open("wb") as opened:
                np.savez(opened, vectors=vectors.numpy(), reasons=np.array(reasons))
            start, block = start + len(reasons), []


def _identity(run: Encoder, files: Sequence[Path], size: int) -> str:
    """Return a hash of what the embeddings depend on: weights, batches, names, sizes and times."""
    folder = getattr(run, "folder", None)
    digest = hashlib.sha256(f"{folder and weights_of(folder)} {size}".encode())
    for file in files:
        place = file.parent if file.parent.is_file() else file  # a picture in a shard
        stat = place.stat() if place.is_file() else None
        digest.update(os.fsencode(file) + f"\0{stat and (stat.st_size, stat.st_mtime_ns)}".encode())
    return digest.hexdigest()[:16]
