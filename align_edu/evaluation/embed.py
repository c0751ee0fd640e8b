"""Pictures and texts turned into embeddings, batch by batch, and the model that does it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from align_edu.cores import usable_cores
from align_edu.io import InputError, read_json
from align_edu.pairs.images import BrokenImage, decode_image
from align_edu.training.run import Run, load_run

PICTURES = 32  # per batch; few, because they are held at full size until the model shrinks them
TEXTS = 256


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
) -> EmbeddedImages:
    """Embed pictures in batches; threads decode them, broken ones are skipped and named.

    files: the name of each. read: opens picture i, raises BrokenImage if it cannot. label: of
    the progress bar. The embeddings are (0, 0) when no picture can be read.
    """

    def attempt(i: int) -> Image.Image | BrokenImage:
        try:
            return read(i)
        except BrokenImage as error:
            return error

    parts, kept, skipped = [], [], {}
    with ThreadPoolExecutor(usable_cores()) as pool:
        for rows in _batches(range(len(files)), PICTURES, label, progress):
            pictures = []
            for i, found in zip(rows, pool.map(attempt, rows), strict=True):
                if isinstance(found, BrokenImage):
                    skipped[files[i]] = found.reason
                else:
                    pictures.append(found)
                    kept.append(files[i])
            if pictures:
                parts.append(run.encode_images(pictures).detach().float().cpu())
    return EmbeddedImages(torch.cat(parts) if parts else torch.zeros(0, 0), kept, skipped)


def embed_images(run: Encoder, files: Sequence[Path], *, progress: bool = False) -> EmbeddedImages:
    """Embed image files; broken files are skipped and named.

    run: a trained model, see `load_encoder`. progress: show a bar on standard error.
    """

    def read(i: int) -> Image.Image:
        try:
            return decode_image(files[i].read_bytes())
        except OSError:
            raise BrokenImage("unreadable file") from None

    return embed_pictures(run, files, read, progress=progress)


def embed_texts(run: Encoder, texts: Sequence[str], *, progress: bool = False) -> Tensor:
    """Return the embeddings of T texts, at least one: (T, D) float32 on the CPU."""
    batches = _batches(texts, TEXTS, "texts", progress)
    return torch.cat([run.encode_texts(list(batch)).detach().float().cpu() for batch in batches])


def _batches(items: Sequence[Any], size: int, name: str, progress: bool) -> Iterator[Sequence[Any]]:
    from tqdm import tqdm

    with tqdm(total=len(items), desc=name, disable=not progress) as bar:
        for start in range(0, len(items), size):
            batch = items[start : start + size]
            yield batch
            bar.update(len(batch))
