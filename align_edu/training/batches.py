"""Training batches: a shuffled pass over the pairs an epoch, exact for any step."""

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

_CHUNK = 256  # pictures that a process decodes at a time
_ALONE = 20_000  # up to so many, starting processes takes longer than decoding


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
        """The crops as the image tower takes them: (B, 3, C, C) float in [-1, 1]."""
        return scale_pixels(self.crops)


class TrainingBatches(Dataset[Batch]):
    """Batch number ``step`` of a run, made from the seed alone.

    Each epoch is one shuffled pass; the last, incomplete batch of a pass is dropped. Which
    pairs, crops and flips step s uses depends on (seed, s) only, so a resumed run goes on
    exactly where the broken one stopped, with any number of workers and of processes.

    rows: those of each batch that this process reads; all, without it. fixed_length: pad
    every text to the preset's greatest length. cache: a file for the decoded pictures that
    several processes of one machine share; made by the process that finds none.
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
        self.rows = rows or range(preset.recipe.batch_size)
        self.fixed_length = fixed_length
        processes = preset.recipe.batch_size // len(self.rows) if cache is None else 1
        self.source, self.tokenizer, self.preset, self.seed = source, tokenizer, preset, seed
        self.skipped: Counter[str] = Counter(source.skipped)
        self.pictures: Tensor | None = None
        self.kept = list(range(len(source)))
        size = len(source) * 3 * preset.image.resize**2
        in_memory = size * processes <= preset.recipe.pixel_cache_gib * 2**30
        if in_memory:
            self._decode_all(progress, cache)
        self.batches_per_epoch = len(self.kept) // preset.recipe.batch_size
        if self.batches_per_epoch == 0:
            raise InputError(
                f"{len(self.kept)} readable pairs do not fill one batch of"
                f" {preset.recipe.batch_size}; give more data or set recipe.batch_size"
            )
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)
        self.encoded: tuple[Tensor, Tensor] | None = None
        if in_memory:  # small data: its texts are cut into pieces once, too
            ids, mask = self._encode([source.captions[row] for row in self.kept])
            self.encoded = ids.int(), mask.sum(dim=1)

    def __getitem__(self, step: int) -> Batch:
        """Return this process's rows of the batch of ``step``, counted from 0."""
        epoch, position = divmod(step, self.batches_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = torch.randperm(len(self.kept), generator=self._generator(1, epoch))
        size = self.preset.recipe.batch_size
        whole = self._order[position * size : (position + 1) * size]
        rows = whole[self.rows.start : self.rows.stop]
        skipped: Counter[str] = Counter()
        if self.pictures is None:
            read = [self._read(int(row), skipped) for row in rows]
            pictures = torch.stack([picture for _, picture in read])
            rows = torch.tensor([row for row, _ in read])
        else:
            pictures = self.pictures[rows]
        crops = cut_crops(pictures, self.preset.image, self._generator(2, step), self.rows, size)
        texts = [self.source.captions[self.kept[row]] for row in rows.tolist()]
        ids, mask = self._encode(texts) if self.encoded is None else self._encoded(rows)
        return Batch(crops, ids, mask, texts, skipped)

    def _encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        length = self.preset.text.max_length
        return encode_texts(self.tokenizer, texts, length, fixed_length=self.fixed_length)

    def _encoded(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What :meth:`_encode` returns for the texts of these rows, from memory."""
        assert self.encoded is not None
        ids, lengths = self.encoded[0][rows], self.encoded[1][rows]
        longest = ids.shape[1] if self.fixed_length else int(lengths.max())
        return ids[:, :longest].long(), (torch.arange(longest) < lengths[:, None]).long()

    def from_step(self, step: int) -> Iterator[Batch]:
        """Yield the batches from ``step`` on, without end."""
        loader = DataLoader(
            self,
            batch_size=None,  # a Batch comes whole from __getitem__
            sampler=_CountFrom(step),
            num_workers=self.preset.recipe.workers,
            generator=torch.Generator(),
        )
        for batch in loader:
            self.skipped.update(batch.skipped)
            yield batch

    def _generator(self, *parts: int) -> torch.Generator:
        """A generator of its own for each purpose and number."""
        number = self.seed
        for part in parts:
            number = (number * 1_000_003 + part + 1) % 2**63
        return torch.Generator().manual_seed(number)

    def _decode_all(self, progress: bool, cache: Path | None) -> None:
        """Read every picture once; drop and count those that cannot be read."""
        side = self.preset.image.resize
        shape = (len(self.source), 3, side, side)
        made = cache is not None and cache.exists()
        pictures = _shared_bytes(shape, cache)
        if cache is not None and made:
            record = read_json(cache.with_suffix(".json"))
            self.kept, self.skipped = record["kept"], Counter(record["skipped"])
            self.pictures = pictures[: len(self.kept)]
            return
        kept: list[int] = []
        chunks = DataLoader(
            _PictureChunks(self.source, self.preset.image),
            batch_size=None,
            num_workers=_decoders(len(self.source)),
            generator=torch.Generator(),  # the loader must not draw from the global one
        )
        with tqdm(total=len(self.source), desc="reading pictures", disable=not progress) as bar:
            for rows, read, broken in chunks:
                pictures[len(kept) : len(kept) + len(rows)] = read
                kept += rows
                self.skipped.update(broken)
                bar.update(len(rows) + broken.total())
        self.kept, self.pictures = kept, pictures[: len(kept)]
        if cache is not None:
            write_json(cache.with_suffix(".json"), {"kept": kept, "skipped": self.skipped})

    def _read(self, row: int, skipped: Counter[str]) -> tuple[int, Tensor]:
        """Read one picture; a broken one is counted and the next pair takes its place."""
        for next_row in range(row, row + len(self.kept)):
            row = next_row % len(self.kept)
            try:
                picture = decode_image(self.source.image_bytes(self.kept[row]))
            except BrokenImage as broken:
                skipped[broken.reason] += 1
                continue
            return row, resize_picture(picture, self.preset.image)
        raise InputError("no picture of the data can be read; check the shards")


class _CountFrom:
    """The step numbers from ``first`` on, for a loader without end."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        step = self.first
        while True:
            yield step
            step += 1


class _PictureChunks(Dataset[tuple[list[int], Tensor, Counter[str]]]):
    """All pictures of a source, a chunk at a time: rows, (n, 3, R, R) uint8, and what is broken."""

    def __init__(self, source: PairSource, settings: ImageSettings) -> None:
        self.source, self.settings = source, settings

    def __len__(self) -> int:
        return -(-len(self.source) // _CHUNK)

    def __getitem__(self, chunk: int) -> tuple[list[int], Tensor, Counter[str]]:
        rows: list[int] = []
        pictures: list[Tensor] = []
        broken: Counter[str] = Counter()
        for row in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, len(self.source))):
            try:
                picture = decode_image(self.source.image_bytes(row))
            except BrokenImage as error:
                broken[error.reason] += 1
                continue
            pictures.append(resize_picture(picture, self.settings))
            rows.append(row)
        side = self.settings.resize
        none = torch.empty((0, 3, side, side), dtype=torch.uint8)
        return rows, torch.stack(pictures) if pictures else none, broken


def _shared_bytes(shape: tuple[int, ...], file: Path | None) -> Tensor:
    """Bytes in memory, or in a file that other processes map into theirs."""
    if file is None:
        return torch.empty(shape, dtype=torch.uint8)
    size = math.prod(shape)
    if not file.exists() and hasattr(os, "posix_fallocate"):
        try:  # a full disk must be known now: a write to memory that it backs would end the process
            with file.open("wb") as new:
                os.posix_fallocate(new.fileno(), 0, size)
        except OSError as error:
            raise cannot_write(file, error) from error
    return torch.from_file(str(file), shared=True, size=size, dtype=torch.uint8).view(shape)


def _decoders(pictures: int) -> int:
    """Processes for decoding: none for few pictures, or where processes start from scratch."""
    return usable_cores() if pictures > _ALONE and sys.platform == "linux" else 0
