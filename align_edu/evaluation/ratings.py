"""The ratings of Crisscrossed Captions: the similarity of captions, images, and pairs of both."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from align_edu.io import InputError
from align_edu.pairs.splits import Benchmark

# What the two columns of identifiers name.
KINDS = {"sts": ("text", "text"), "sis": ("image", "image"), "sits": ("text", "image")}
HIGHEST = 5.0
_HOME = "https://github.com/google-research-datasets/Crisscrossed-Captions (folder data)"


@dataclass(frozen=True)
class Ratings:
    """Human ratings of pairs of texts or images of a benchmark, see `KINDS`."""

    first: Tensor  # (P,) indices
    second: Tensor  # (P,) indices
    scores: Tensor  # (P,) float32, 0 to 5

    def at_least(self, threshold: float) -> tuple[Tensor, Tensor]:
        """Return the pairs with this score or more: two (M,) tensors."""
        kept = self.scores >= threshold
        return self.first[kept], self.second[kept]


def read_ratings(folder: str | Path, benchmark: Benchmark, split: str) -> dict[str, Ratings]:
    """Read sts_SPLIT.csv, sis_SPLIT.csv and sits_SPLIT.csv of a folder.

    benchmark: the same split of the same images; captions are named by their ``sentid``,
    images by their file name. Returns Ratings by kind.
    Raises InputError for a file that is missing or broken, and an identifier that the
    benchmark does not have.

    Paper: Section 4.2.
    """
    indices = {
        "text": {str(number): i for i, number in enumerate(benchmark.text_ids)},
        "image": {image.name: i for i, image in enumerate(benchmark.images)},
    }
    return {
        kind: _read(Path(folder) / f"{kind}_{split}.csv", sides, indices)
        for kind, sides in KINDS.items()
    }


def _read(path: Path, sides: Sequence[str], indices: Mapping[str, Mapping[str, int]]) -> Ratings:
    if not path.is_file():
        raise InputError(f"{path}: missing; get it from {_HOME}, or make a toy benchmark anew")
    pairs: list[list[int]] = []
    scores: list[float] = []
    for number, row in enumerate(_rows(path), start=2):
        where = f"{path}, row {number}"
        if len(row) < 3:
            raise InputError(f"{where}: needs two identifiers and a score")
        pairs.append([_index(where, *cell, indices) for cell in zip(row[:2], sides, strict=True)])
        scores.append(_score(where, row[2]))
    if not pairs:
        raise InputError(f"{path}: no rating in it; get it again from {_HOME}")
    first, second = torch.tensor(pairs).T.contiguous()
    return Ratings(first, second, torch.tensor(scores))


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV ({error}); get it again") from None
    if len(header) > 2 and header[2].replace(".", "", 1).isdecimal():
        raise InputError(f"{path}: its first row is a rating; put the names of the columns above")
    return rows


def _index(where: str, name: str, side: str, indices: Mapping[str, Mapping[str, int]]) -> int:
    index = indices[side].get(name.rpartition(":")[2] if side == "text" else name)
    if index is None:
        raise InputError(
            f"{where}: {side} {name!r} is not in the benchmark; use the split and the images that"
            " these ratings belong to"
        )
    return index


def _score(where: str, text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0.0 <= score <= HIGHEST:
        raise InputError(f"{where}: {text!r} is no score from 0 to 5")
    return score
