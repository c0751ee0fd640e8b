"""Training batches: every epoch is one shuffled pass, and any step can be recomputed."""

import itertools
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        self,
        source: PairSource,
        tokenizer: Tokenizer,
        preset: Preset,
        seed: int,
        progress: bool,
        *,
        rows: range | None = None,
        fixed_length: bool = False,
        cache: Path | None = None,
    ) -> None:
        self.source, self.tokenizer, self.preset, self.seed = source, tokenizer, preset, seed
        size = preset.recipe.batch_size
        self.rows, self.fixed_length = rows or range(size), fixed_length
        self.skipped: Counter[str] = Counter(source.skipped)
        self.kept = list(range(len(source)))  # pairs whose pictures can be read
        self.pictures: Tensor | None = None  # decoded, if they fit into memory
        self.encoded: tuple[Tensor, Tensor] | None = None  # ids and lengths of all texts, likewise
        copies = size // len(self.rows) if cache is None else 1
        memory = len(source) * 3 * preset.image.resize**2 * copies
        if memory <= preset.recipe.pixel_cache_gib * 2**30:
            self._decode_all(progress, cache)
            ids, mask = self._encode([source.captions[row] for row in self.kept])
            self.encoded = ids.int(), mask.sum(dim=1)
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
        batch = self._order[position * size : (position + 1) * size]
        rows = batch[self.rows.start : self.rows.stop]
        skipped: Counter[str] = Counter()
        if self.pictures is None:
            read = [self._read(row, skipped) for row in rows.tolist()]
            pictures = torch.stack([picture for _, picture in read])
            rows = torch.tensor([row for row, _ in read])
        else:
            pictures = self.pictures[rows]
        crops = cut_crops(pictures, self.preset.image, self._generator(2, step), self.rows, size)
        texts = [self.source.captions[self.kept[row]] for row in rows.tolist()]
        if self.encoded is None:
            return Batch(crops, *self._encode(texts), texts, skipped)
        ids, lengths = self.encoded[0][rows], self.encoded[1][rows]
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
        side = self.preset.image.resize
        decoded = cache is not None and cache.exists()
        pictures = _shared_bytes((len(self.source), 3, side, side), cache)
        if cache is not None and decoded:
            record = read_json(cache.with_suffix(".json"))
            self.kept, self.skipped = record["kept"], Counter(record["skipped"])
        else:
            self.kept = []
            many = len(self.source) > _FEW and sys.platform == "linux"  # where workers are forked
            loader: DataLoader[Any] = DataLoader(
                _Pictures(self.source, self.preset.image),
                batch_size=_CHUNK,
                num_workers=usable_cores() if many else 0,
                collate_fn=_stack,
                generator=torch.Generator(),  # the loader must not draw from the global one
            )
            first = 0
            with tqdm(total=len(self.source), desc="reading pictures", disable=not progress) as bar:
                for read, reasons in loader:
                    if len(read):
                        pictures[len(self.kept) : len(self.kept) + len(read)] = read
                    self.kept += [first + i for i, reason in enumerate(reasons) if not reason]
                    self.skipped.update(reason for reason in reasons if reason)
                    first += len(reasons)
                    bar.update(len(reasons))
            if cache is not None:
                write_json(cache.with_suffix(".json"), {"kept": self.kept, "skipped": self.skipped})
        self.pictures = pictures[: len(self.kept)]

    def _read(self, row: int, skipped: Counter[str]) -> tuple[int, Tensor]:
        """Read one pair's picture; count a broken one and take the next pair instead."""
        for other in range(row, row + len(self.kept)):
            row = other % len(self.kept)
            picture = _Pictures(self.source, self.preset.image)[self.kept[row]]
            if isinstance(picture, Tensor):
                return row, picture
            skipped[picture] += 1
        raise InputError("no picture of the data can be read; check the shards")


class _Pictures(Dataset[Tensor | str]):
    """The resized pictures of a source, (3, R, R) uint8, or the reason why one is unreadable."""

    def __init__(self, source: PairSource, settings: ImageSettings) -> None:
        self.source, self.settings = source, settings

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, row: int) -> Tensor | str:
        try:
            return resize_picture(decode_image(self.source.image_bytes(row)), self.settings)
        except BrokenImage as error:
            return error.reason


def _stack(read: list[Tensor | str]) -> tuple[Tensor, list[str]]:
    """Return the readable pictures, (n, 3, R, R), and a reason for each picture, "" if readable."""
    pictures = [picture for picture in read if isinstance(picture, Tensor)]
    reasons = [picture if isinstance(picture, str) else "" for picture in read]
    return torch.stack(pictures) if pictures else torch.empty(0, dtype=torch.uint8), reasons


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
