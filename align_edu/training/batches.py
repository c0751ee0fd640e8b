"""Training batches: every epoch is one shuffled pass, and any step can be recomputed."""

import itertools
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from align_edu.cores import usable_cores
from align_edu.io import InputError, cannot_write, read_json, write_json
from align_edu.model.wordpiece import encode_texts
from align_edu.pairs.images import BrokenImage, decode_image
from align_edu.pairs.pixels import cut_crops, resize_picture, scale_pixels
from align_edu.pairs.shards import PairSource
from align_edu.presets import ImageSettings, Preset

_CHUNK = 256  # pictures that a worker decodes at a time
_FEW = 20_000  # below this many pictures, worker start-up costs more than decoding


@dataclass(frozen=True)
class Batch:
    """Rows of one training batch: crops (B, 3, C, C) uint8, ids and mask (B, L) of B texts."""

    crops: Tensor
    ids: Tensor
    mask: Tensor
    texts: list[str]
    skipped: Counter[str]

    @property
    def pixels(self) -> Tensor:
        """The input of the image tower: the crops as (B, 3, C, C) float in [-1, 1]."""
        return scale_pixels(self.crops)


class TrainingBatches(Dataset[Batch]):
    """Batch number ``step`` of a run, computed from the seed.

    Each epoch is one shuffled pass; its last, incomplete batch is dropped. The pairs, crops and
    flips of step s depend on (seed, s) only, so a resumed run continues exactly where it was
    cut, with any number of workers and of processes.

    rows: this process's rows of each batch (default: all). fixed_length: pad every text to the
    preset's greatest length. cache: a file of decoded pictures that several processes of one
    machine share; the first process creates it.
    """

    def __init__(
        self, source: PairSource, tokenizer: Tokenizer, preset: Preset, seed: int,
        progress: bool = False, *, rows: range | None = None, fixed_length: bool = False,
        cache: Path | None = None,
    ) -> None:  # fmt: skip
        self.source, self.tokenizer, self.preset, self.seed = source, tokenizer, preset, seed
        size = preset.recipe.batch_size
        self.rows, self.fixed_length = rows or range(size), fixed_length
        self.skipped: Counter[str] = Counter(source.skipped)
        self.kept = torch.arange(len(source))  # pairs whose pictures can be read
        self.pictures: Tensor | None = None  # decoded, if they fit into memory
        copies = size // len(self.rows) if cache is None else 1
        memory = len(source) * 3 * preset.image.resize**2 * copies
        if memory <= preset.recipe.pixel_cache_gib * 2**30:
            self._decode_all(progress, cache)
            ids, mask = self._encode(source.captions)
            self.encoded = ids.int(), mask.sum(dim=1)  # ids and lengths
        self.batches_per_epoch = len(self.kept) // size
        if self.batches_per_epoch == 0:
            raise InputError(
                f"{len(self.kept)} readable pairs do not fill one batch of {size};"
                " give more data or set recipe.batch_size"
            )
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def __getitem__(self, step: int) -> Batch:
        """Return this process's rows of the batch of ``step``, counted from 0."""
        epoch, position = divmod(step, self.batches_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = torch.randperm(len(self.kept), generator=self._generator(1, epoch))
        size = self.preset.recipe.batch_size
        rows = self._order[position * size : (position + 1) * size][
            self.rows.start : self.rows.stop
        ]
        skipped: Counter[str] = Counter()
        if self.pictures is None:
            pairs, pictures = self._read(rows, skipped)
        else:
            pairs = self.kept[rows]
            pictures = self.pictures[pairs]
        crops = cut_crops(pictures, self.preset.image, self._generator(2, step), self.rows, size)
        texts = [self.source.captions[pair] for pair in pairs]
        if self.pictures is None:
            return Batch(crops, *self._encode(texts), texts, skipped)
        ids, lengths = self.encoded[0][pairs], self.encoded[1][pairs]
        longest = ids.shape[1] if self.fixed_length else int(lengths.max())
        mask = (torch.arange(longest) < lengths[:, None]).long()
        return Batch(crops, ids[:, :longest].long(), mask, texts, skipped)

    def from_step(self, step: int) -> Iterator[Batch]:
        """Yield the batches of ``step``, ``step`` + 1, … without end."""
        loader = DataLoader(
            self,
            batch_size=None,  # __getitem__ returns whole batches
            sampler=itertools.count(step),
            num_workers=self.preset.recipe.workers,
            generator=torch.Generator(),
        )
        for batch in loader:
            self.skipped.update(batch.skipped)
            yield batch

    def _encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        length = self.preset.text.max_length
        return encode_texts(self.tokenizer, texts, length, fixed_length=self.fixed_length)

    def _generator(self, *parts: int) -> torch.Generator:
        """Return a separate generator for each purpose and number."""
        number = self.seed
        for part in parts:
            number = (number * 1_000_003 + part + 1) % 2**63
        return torch.Generator().manual_seed(number)

    def _decode_all(self, progress: bool, cache: Path | None) -> None:
        """Decode every picture once, or map those that another process decoded."""
        side, count = self.preset.image.resize, len(self.source)
        record = Path() if cache is None else cache.with_suffix(".json")  # written last
        reasons: list[str] = read_json(record) if record.is_file() else []
        self.pictures = _shared_bytes((count, 3, side, side), cache)
        if not record.is_file():
            many = count > _FEW and sys.platform == "linux"  # where workers are forked
            chunks = [range(i, min(i + _CHUNK, count)) for i in range(0, count, _CHUNK)]
            loader = DataLoader(
                _Pictures(self.source, self.preset.image),
                batch_size=None,
                sampler=chunks,
                num_workers=usable_cores() if many else 0,
                generator=torch.Generator(),  # the loader must not draw from the global one
            )
            with tqdm(total=count, desc="reading pictures", disable=not progress) as bar:
                for rows, (pictures, broken) in zip(chunks, loader, strict=True):
                    self.pictures[rows.start : rows.stop] = pictures
                    reasons += broken
                    bar.update(len(rows))
            if cache is not None:
                write_json(record, reasons)
        self.kept = torch.tensor([i for i, reason in enumerate(reasons) if not reason])
        self.skipped.update(reason for reason in reasons if reason)

    def _read(self, rows: Tensor, skipped: Counter[str]) -> tuple[Tensor, Tensor]:
        """Read pairs' pictures; count a broken one and take the next pair instead."""
        source, count = _Pictures(self.source, self.preset.image), len(self.source)
        pairs, pictures = [], []
        for row in rows.tolist():
            for pair in range(row, row + count):
                picture, (reason,) = source[range(pair % count, pair % count + 1)]
                if not reason:
                    break
                skipped[reason] += 1
            else:
                raise InputError("no picture of the data can be read; check the shards")
            pairs.append(pair % count)
            pictures.append(picture)
        return torch.tensor(pairs), torch.cat(pictures)


@dataclass(frozen=True)
class _Pictures(Dataset[tuple[Tensor, list[str]]]):
    """The resized pictures of a source by rows: (n, 3, R, R) uint8, and why one is unreadable."""

    source: PairSource
    settings: ImageSettings

    def __getitem__(self, rows: range) -> tuple[Tensor, list[str]]:
        side = self.settings.resize
        pictures = torch.zeros(len(rows), 3, side, side, dtype=torch.uint8)
        reasons = [""] * len(rows)
        for i, row in enumerate(rows):
            try:
                picture = decode_image(self.source.image_bytes(row))
                pictures[i] = resize_picture(picture, self.settings)
            except BrokenImage as error:
                reasons[i] = error.reason
        return pictures, reasons


def _shared_bytes(shape: tuple[int, ...], file: Path | None) -> Tensor:
    """Return bytes in memory, or in a file that other processes map into theirs."""
    if file is None:
        return torch.empty(shape, dtype=torch.uint8)
    size = math.prod(shape)
    if not file.exists() and hasattr(os, "posix_fallocate"):
        try:  # find a full disk now: later, writing to the mapped memory would kill the process
            with file.open("wb") as new:
                os.posix_fallocate(new.fileno(), 0, size)
        except OSError as error:
            raise cannot_write(file, error) from error
    return torch.from_file(str(file), shared=True, size=size, dtype=torch.uint8).view(shape)
