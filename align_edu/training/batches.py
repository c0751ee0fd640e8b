"""Training batches: every epoch is one shuffled pass, and any step can be recomputed."""

import itertools
import math
import os
import sys
from collections import ChainMap, Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from align_edu.io import InputError, cannot_write, read_json, usable_cores, write_json
from align_edu.model.image_tower import cut_crops, resize_picture, scale_pixels
from align_edu.model.text_tower import encode_texts
from align_edu.pairs.images import BrokenImage, decode_image
from align_edu.pairs.shards import PairSource
from align_edu.presets import ImageSettings, Preset

_PIECE = 256  # rows that a worker prepares at a time, however large the batch is
_FEW = 20_000  # below this many pictures, worker start-up costs more than decoding
_SHORT = 32  # batches of an epoch: in a shorter one, all pictures are tried before the first step


class Batch(NamedTuple):
    """Rows of one training batch: crops (B, 3, C, C) uint8, ids and mask (B, L) of B texts.

    broken: pairs that were to be in it, and why their pictures cannot be read.
    """

    crops: Tensor
    ids: Tensor
    mask: Tensor
    texts: list[str]
    broken: dict[int, str]

    @property
    def pixels(self) -> Tensor:
        """The input of the image tower: the crops as (B, 3, C, C) float in [-1, 1]."""
        return scale_pixels(self.crops)


class TrainingBatches(Dataset[Batch]):
    """Batch number ``step`` of a run, computed from the seed.

    Each epoch is one shuffled pass; its last, incomplete batch is dropped. The pairs, crops and
    flips of step s depend on (seed, s) only, with any number of workers and of processes.

    rows: this process's rows of each batch (default: all). fixed_length: pad every text to the
    preset's greatest length. cache: a file of decoded pictures that processes share.
    """

    def __init__(
        self, source: PairSource, tokenizer: Tokenizer, preset: Preset, seed: int,
        progress: bool = False, *, rows: range | None = None, fixed_length: bool = False,
        cache: Path | None = None,
    ) -> None:  # fmt: skip
        self.tokenizer, self.preset, self.seed = tokenizer, preset, seed
        size, side = preset.recipe.batch_size, preset.image.resize
        self.rows, self.fixed_length = rows or range(size), fixed_length
        # Forked workers would copy the pages of Python strings as soon as they look at them.
        self.captions = pa.array(source.captions, pa.large_string())
        self._files = _Pictures(replace(source, captions=[], keys=[], names=[]), preset.image)
        self._skipped, self.broken = source.skipped, dict[int, str]()  # of pairs: why
        self.kept = torch.arange(len(source))  # pairs whose pictures can be read, as far as known
        # Captions that share a picture share its bytes.
        places = source.places[:, 0] << 44 | source.places[:, 1]  # shard, offset
        _, first, picture_of = np.unique(places, return_index=True, return_inverse=True)
        self.picture_of = torch.from_numpy(picture_of)
        memory = math.prod(shape := (len(first), 3, side, side))
        copies = size // len(self.rows) if cache is None else 1
        fits = memory * copies <= preset.recipe.pixel_cache_gib * 2**30
        self.pictures: Tensor | None = None  # decoded, if they fit into memory
        self.encoded: tuple[Tensor, Tensor] | None = None  # word pieces, and how many
        if fits:
            self.pictures = _shared_bytes(shape, cache)
            ids, mask = self._encode(source.captions)
            self.encoded = ids.int(), mask.sum(dim=1)
        if fits or len(source) < _SHORT * size:
            self._try_all(first, progress, cache)
        self.batches_per_epoch = len(self.kept) // size
        if self.batches_per_epoch == 0:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.items())
            wrong = f"{len(self.kept)} readable pairs do not fill one batch of {size}"
            remedy = "give more data or set recipe.batch_size"
            raise InputError(f"{wrong} (skipped: {reasons or 'none'}); {remedy}")
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    @property
    def skipped(self) -> Counter[str]:
        """Return how many pairs were skipped for each reason, each counted once."""
        return self._skipped + Counter(self.broken.values())

    def __getitem__(self, item: int | tuple[int, range]) -> Batch:
        """Return the batch of a step, counted from 0: this process's rows, or those given too."""
        step, rows = (item, self.rows) if isinstance(item, int) else item
        epoch, position = divmod(step, self.batches_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = torch.randperm(len(self.kept), generator=self._generator(1, epoch))
        size = self.preset.recipe.batch_size
        places = torch.arange(rows.start, rows.stop) + position * size
        pairs, broken = self.kept[self._order[places]], dict[int, str]()
        if self.pictures is None:
            pictures = self._read(places, pairs, broken)
        else:
            pictures = self.pictures[self.picture_of[pairs]]
        crops = cut_crops(pictures, self.preset.image, self._generator(2, step), rows, size)
        texts = self.captions.take(pa.array(pairs.numpy())).to_pylist()
        if self.encoded is None:
            return Batch(crops, *self._encode(texts), texts, broken)
        ids, lengths = self.encoded[0][pairs], self.encoded[1][pairs]
        longest = ids.shape[1] if self.fixed_length else int(lengths.max())
        mask = (torch.arange(longest) < lengths[:, None]).long()
        return Batch(crops, ids[:, :longest].long(), mask, texts, broken)

    def from_step(self, step: int, pinned: bool = False) -> Iterator[list[Batch]]:
        """Yield the batches of ``step``, ``step`` + 1, … without end.

        Each is a list with one Batch per chunk of the gradient cache. pinned: in page-locked
        memory. Workers prepare pieces of at most 256 rows, so memory does not grow with the batch.
        """
        size = self.preset.recipe.chunk or len(self.rows)
        chunks = [_cut(chunk, _PIECE) for chunk in _cut(self.rows, size)]
        loader = DataLoader(  # without a batch size: __getitem__ returns whole pieces
            self, batch_size=None, num_workers=self.preset.recipe.workers, pin_memory=pinned,
            sampler=((s, piece) for s in itertools.count(step) for c in chunks for piece in c),
            generator=torch.Generator(),
        )  # fmt: skip
        pieces = iter(loader)
        while True:
            try:
                batch = [_joined([next(pieces) for _ in chunk]) for chunk in chunks]
            except InputError as error:  # a worker's has a traceback before the sentence
                raise InputError(str(error).rpartition("InputError: ")[2].strip()) from None
            for part in batch:
                self.broken |= part.broken
            yield batch

    def _encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        length = self.preset.text.max_length
        return encode_texts(self.tokenizer, texts, length, fixed_length=self.fixed_length)

    def _generator(self, purpose: int, number: int) -> torch.Generator:
        """Return a separate generator for each purpose and number."""
        seed = self.seed * 1_000_003 + purpose + 1
        return torch.Generator().manual_seed((seed * 1_000_003 + number + 1) % 2**63)

    def _try_all(self, first: np.ndarray, progress: bool, cache: Path | None) -> None:
        """Decode each picture, of the pairs ``first``, or take those that process 0 decoded."""
        record = Path() if cache is None else cache.with_suffix(".json")  # written last
        reasons: list[str] = read_json(record) if record.is_file() else []
        if not reasons:
            many = len(first) > _FEW and sys.platform == "linux"  # where workers are forked
            parts = _cut(range(len(first)), _PIECE)
            loader = DataLoader(  # its generator: it must not draw from the global one
                self._files, batch_size=None, generator=torch.Generator(),
                sampler=[first[part.start : part.stop].tolist() for part in parts],
                num_workers=usable_cores() if many else 0,
            )  # fmt: skip
            with tqdm(total=len(first), desc="reading pictures", disable=not progress) as bar:
                for part, (pictures, wrong) in zip(parts, loader, strict=True):
                    if self.pictures is not None:
                        self.pictures[part.start : part.stop] = pictures
                    reasons += wrong
                    bar.update(len(part))
            if cache is not None:
                write_json(record, reasons)
        of_pairs = [reasons[picture] for picture in self.picture_of.tolist()]
        self.broken = {pair: reason for pair, reason in enumerate(of_pairs) if reason}
        self.kept = torch.tensor([pair for pair, reason in enumerate(of_pairs) if not reason])

    def _read(self, places: Tensor, pairs: Tensor, broken: dict[int, str]) -> Tensor:
        """Return the pictures of ``pairs``, which are at these places of the epoch's order."""
        # A broken one is replaced by that at the same place of the next batch, and so on: no batch
        # holds a pair twice, whoever reads which part of it.
        size = self.preset.recipe.batch_size
        pictures, reasons = self._files[pairs.tolist()]
        for i, reason in enumerate(reasons):
            place = int(places[i])
            while reason:
                broken[int(pairs[i])] = reason
                place = (place + size) % (self.batches_per_epoch * size)
                if place == places[i]:
                    wrong = f"{self.batches_per_epoch} pictures in a row cannot be read ({reason})"
                    remedy = "drop broken ones with `align-edu filter`, or check the shards"
                    raise InputError(f"{wrong}; {remedy}")
                pairs[i] = self.kept[self._order[place]]
                pictures[i : i + 1], (reason,) = self._files[[int(pairs[i])]]
        return pictures


@dataclass(frozen=True)
class _Pictures(Dataset[tuple[Tensor, list[str]]]):
    """The resized pictures of pairs, (n, 3, R, R) uint8, and why one is unreadable, else ""."""

    source: PairSource
    settings: ImageSettings

    def __getitem__(self, pairs: Sequence[int]) -> tuple[Tensor, list[str]]:
        side = self.settings.resize
        pictures = torch.zeros(len(pairs), 3, side, side, dtype=torch.uint8)
        reasons = [""] * len(pairs)
        for i, pair in enumerate(pairs):
            try:  # a photograph is decoded at half its size while that is at least twice ours
                picture = decode_image(self.source.image_bytes(pair), at_least=2 * side)
                pictures[i] = resize_picture(picture, self.settings)
            except BrokenImage as error:
                reasons[i] = str(error)
            except OSError:
                reasons[i] = "unreadable file"
        return pictures, reasons


def _cut(rows: range, size: int) -> list[range]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _joined(parts: list[Batch]) -> Batch:
    """Return the pieces of a chunk as one batch, its texts padded to the longest."""
    if len(parts) == 1:
        return parts[0]
    longest = max(part.ids.shape[1] for part in parts)
    padded = [[F.pad(t, (0, longest - t.shape[1])) for t in (p.ids, p.mask)] for p in parts]
    ids, mask = (torch.cat(side) for side in zip(*padded, strict=True))
    texts, broken = [text for p in parts for text in p.texts], ChainMap(*(p.broken for p in parts))
    return Batch(torch.cat([p.crops for p in parts]), ids, mask, texts, dict(broken))


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
