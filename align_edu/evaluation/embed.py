"""Whole folders of pictures and lists of texts, turned into embeddings batch by batch."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from align_edu.pairs.images import BrokenImage, decode_image

PICTURES = 32  # in a batch; held at full size before the model shrinks them, so only a few
TEXTS = 256


class Encoder(Protocol):
    """What evaluation and search need of a trained run."""

    def encode_images(self, pictures: list[Image.Image], /) -> Tensor:
        """Return (B, D) unit vectors."""
        ...

    def encode_texts(self, texts: list[str], /) -> Tensor:
        """Return (B, D) unit vectors."""
        ...


@dataclass(frozen=True)
class EmbeddedImages:
    """Embeddings of the image files that could be read.

    Attributes
    ----------
    embeddings : (N, D) float32 on the CPU.
    files : the N files behind them, in the order given.
    skipped : the broken files and the reason for each.
    """

    embeddings: Tensor
    files: list[Path]
    skipped: dict[Path, str] = field(default_factory=dict)

    def reasons(self) -> str:
        """Return the reasons and their numbers, the most frequent first.

        >>> broken = {Path("1.jpg"): "truncated", Path("2.jpg"): "truncated"}
        >>> EmbeddedImages(torch.zeros(0, 0), [], broken).reasons()
        '2 truncated'
        """
        counts = Counter(self.skipped.values()).most_common()
        return ", ".join(f"{count} {reason}" for reason, count in counts)


def embed_images(run: Encoder, files: Sequence[Path], *, progress: bool = False) -> EmbeddedImages:
    """Return the embeddings of image files; broken files are skipped and named.

    Parameters
    ----------
    run : a trained run, see `load_run`.
    files : image files.
    progress : show a bar on standard error.

    Returns
    -------
    EmbeddedImages; its embeddings are (0, 0) when no file could be read.
    """
    parts: list[Tensor] = []
    kept: list[Path] = []
    skipped: dict[Path, str] = {}
    for batch in _batches(files, PICTURES, "images", progress):
        pictures = []
        for file in batch:
            try:
                pictures.append(_read_picture(file))
                kept.append(file)
            except BrokenImage as error:
                skipped[file] = error.reason
        if pictures:
            parts.append(run.encode_images(pictures).detach().float().cpu())
    return EmbeddedImages(torch.cat(parts) if parts else torch.zeros(0, 0), kept, skipped)


def embed_texts(run: Encoder, texts: Sequence[str], *, progress: bool = False) -> Tensor:
    """Return the embeddings of texts: (T, D) float32 on the CPU.

    Parameters
    ----------
    run : a trained run, see `load_run`.
    texts : T texts, at least one.
    progress : show a bar on standard error.
    """
    batches = _batches(texts, TEXTS, "texts", progress)
    return torch.cat([run.encode_texts(list(batch)).detach().float().cpu() for batch in batches])


def _read_picture(file: Path) -> Image.Image:
    try:
        data = file.read_bytes()
    except OSError:
        raise BrokenImage("unreadable file") from None
    return decode_image(data)


def _batches(items: Sequence[Any], size: int, name: str, progress: bool) -> Iterator[Sequence[Any]]:
    from tqdm import tqdm

    with tqdm(total=len(items), desc=name, disable=not progress) as bar:
        for start in range(0, len(items), size):
            batch = items[start : start + size]
            yield batch
            bar.update(len(batch))
