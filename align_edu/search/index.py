"""An index of image embeddings, exact or approximate, kept in a folder with its images' names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from align_edu.io import InputError, weights_of

if TYPE_CHECKING:
    from align_edu.evaluation.embed import Encoder

EXACT_UP_TO = 1_000_000  # images; an exact search of more is too slow


@dataclass(frozen=True)
class Hit:
    """One image found by a search."""

    path: Path
    score: float  # inner product with the query, the cosine for unit vectors
    rank: int  # 1 for the best


class ImageIndex:
    """Image embeddings that FAISS searches by inner product.

    Exact up to a million images; above, or on request, approximate: a graph (HNSW), whose links
    depend on the images alone. Lists around centroids (IVF) lose more text queries, because
    texts lie apart from images and are led to lists that hold none of their answers.

    embeddings: (N, D), N > 0, unit vectors. files: the N image files. run: folder of the model
    that made the embeddings, which a search loads. skipped: files that could not be read, and
    why. left_out: ending and reason -> number of a folder's other files. kind: "exact" or
    "approximate"; by the number of images when None.
    Raises InputError when there is nothing to index or the embeddings are not finite.

    Paper: Section 7.

    >>> index = ImageIndex(torch.eye(3), ["cat.jpg", "dog.jpg", "cow.jpg"])
    >>> [hit.path.name for hit in index.search(torch.tensor([0.0, 0.9, 0.4]), k=2)]
    ['dog.jpg', 'cow.jpg']
    """

    def __init__(
        self, embeddings: Tensor, files: Sequence[str | Path], run: str | Path | None = None,
        skipped: Mapping[Path, str] | None = None, left_out: Mapping[str, int] | None = None,
        *, kind: str | None = None,
    ) -> None:  # fmt: skip
        from align_edu.search.vectors import Vectors

        shape, count = tuple(embeddings.shape), len(files)
        if len(shape) != 2 or not count or shape[0] != count:
            raise InputError(f"embeddings {shape} for {count} files: give (N, D), one per file")
        self.kind = _kind(kind, count)
        self.run = None if run is None else _place_of(run)
        self.model = None if self.run is None else weights_of(self.run)
        self.skipped = {_place_of(file): why for file, why in (skipped or {}).items()}
        self.left_out = Counter(left_out or {})
        self._home = Path(os.sep)  # names are relative to it
        self._names = [self._name(file) for file in files]
        self._vectors = Vectors.of(_finite_rows("embeddings", embeddings), self.kind)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def width(self) -> int:
        """D, the width of the embeddings."""
        return int(self._vectors.vectors.d)

    @property
    def files(self) -> list[Path]:
        """The image files, in the order of the embeddings."""
        return [self._file(row) for row in range(len(self))]

    @classmethod
    def build(
        cls, run: Encoder, images: str | Path | Sequence[str | Path],
        *, kind: str | None = None, progress: bool = False, resume: Path | None = None,
    ) -> ImageIndex:  # fmt: skip
        """Embed images with a model and index them; arguments and errors as of `embed_source`."""
        from align_edu.evaluation.embed import embed_source

        _kind(kind, 1)  # before the work
        found, folder = embed_source(run, images, progress, resume), getattr(run, "folder", None)
        return cls(found.embeddings, found.files, folder, found.skipped, found.left_out, kind=kind)

    def search(self, query: Tensor, k: int, exclude: Sequence[str | Path] = ()) -> list[Hit]:
        """Return the k images most similar to a query, the best first.

        query: (D,), a unit vector. k: at least 1. exclude: files that must not be found, such
        as the image of the query. Equal scores: the image that was indexed first comes first.
        Raises InputError for a query of another width, one that is not finite, and k < 1.
        """
        return self.search_many(torch.as_tensor(query)[None], k, exclude)[0]

    def search_many(
        self, queries: Tensor, k: int, exclude: Sequence[str | Path] = ()
    ) -> list[list[Hit]]:
        """Return the k most similar images of each query (B, D), as :meth:`search` does."""
        queries = torch.as_tensor(queries)
        if queries.ndim != 2 or queries.shape[1] != self.width:
            shape = tuple(queries.shape)
            raise InputError(f"queries {shape}: not of width {self.width}; use the index's own run")
        rows = _finite_rows("queries", queries)
        if k < 1:
            raise InputError(f"k is {k}: ask for at least one image")
        unwanted = {self._name(file) for file in exclude}
        names = enumerate(self._names) if unwanted else ()
        skip = {row for row, name in names if name in unwanted}
        scores, found = self._vectors.search(rows, min(k + len(skip), len(self)))
        hits = []
        for pairs in map(zip, (-scores).tolist(), found.tolist()):
            # A graph that finds too few fills up with -1. Equal scores: the earlier image first.
            best = sorted((minus, i) for minus, i in pairs if i >= 0 and i not in skip)[:k]
            hits.append([Hit(self._file(i), -minus, n) for n, (minus, i) in enumerate(best, 1)])
        return hits

    def save(self, folder: str | Path) -> Path:
        """Write the index into a folder, with paths relative to it, as `Vectors.write` does."""
        home = Path(folder).resolve()
        run = None if self.run is None else os.path.relpath(self.run, home)
        described = {
            "kind": self.kind, "run": run, "model": self.model, "width": self.width,
            "left_out": self.left_out,
            "images": [os.path.relpath(file, home) for file in self.files],
            "skipped": {os.path.relpath(file, home): why for file, why in self.skipped.items()},
        }  # fmt: skip
        self._vectors.write(Path(folder), described)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> ImageIndex:
        """Open an index that :meth:`save` wrote, as `Vectors.read` does."""
        from align_edu.search.vectors import Vectors, unfit

        index, home = cls.__new__(cls), Path(folder).resolve()
        index._vectors, described = Vectors.read(Path(folder))
        try:
            index._home, index._names = home, list(map(os.fspath, described["images"]))
            index.kind, index.model, run = (described[name] for name in ("kind", "model", "run"))
            index.run = None if run is None else _place_of(home / run)
            index.left_out, skipped = Counter(described["left_out"]), described["skipped"].items()
            index.skipped = {_place_of(home / name): str(why) for name, why in skipped}
        except (KeyError, TypeError, AttributeError):
            raise unfit(folder) from None
        return index

    def _name(self, file: str | Path) -> str:
        return os.path.relpath(_place_of(file), self._home)

    def _file(self, row: int) -> Path:
        return _place_of(self._home / self._names[row])


def _kind(kind: str | None, images: int) -> str:
    if kind not in (None, "exact", "approximate"):
        raise InputError(f"kind {kind!r}: an index is exact or approximate")
    return kind or ("exact" if images <= EXACT_UP_TO else "approximate")


def _finite_rows(name: str, vectors: Tensor) -> np.ndarray:
    """Return vectors as rows of float32; raise InputError for NaN and infinity."""
    rows = vectors.detach().to("cpu", torch.float32).contiguous().numpy()
    if not np.isfinite(rows).all():
        raise InputError(f"{name}: not finite; the model or its input is broken")
    return rows


def _place_of(file: str | Path) -> Path:
    """Return the absolute path with its folders resolved; the file itself may be a link."""
    path = Path(file).absolute()
    return path.parent.resolve() / path.name
