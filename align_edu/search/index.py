"""An index of image embeddings, exact or approximate, kept in a folder with its images' names."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from align_edu.evaluation.embed import Encoder, weights_of
from align_edu.io import InputError
from align_edu.search import store
from align_edu.search.halves import blocks, halve, search_all
from align_edu.search.sources import embed_source
from align_edu.search.store import place_of

EXACT_UP_TO = 1_000_000  # images; an exact search of more is too slow
KINDS = ("exact", "approximate")
# Of the graph: links per node, and candidates kept while building and while searching.
LINKS, BUILD_CANDIDATES, CANDIDATES = 16, 100, 256


@dataclass(frozen=True)
class Hit:
    """One image found by a search."""

    path: Path
    score: float  # inner product with the query, the cosine for unit vectors
    rank: int  # 1 for the best


class ImageIndex:
    """Image embeddings that FAISS searches by inner product.

    Exact up to a million images; from 100,000 on a first pass reads a float16 copy. Above, or
    on request, approximate: a graph (HNSW), whose links depend on the images alone. Lists
    around centroids (IVF) lose more text queries, because texts lie apart from images and are
    led to lists that hold none of their answers.

    Parameters
    ----------
    embeddings : (N, D), N > 0, unit vectors.
    files : the N image files.
    run : folder of the model that made the embeddings, so that a search can load it.
    skipped : files that could not be read, and why.
    kind : "exact" or "approximate"; by the number of images when None.
    model : SHA-256 of the weights that made the embeddings; from the run's folder when None.

    Raises InputError when there is nothing to index or the embeddings are not finite.

    Paper: Section 7.

    >>> index = ImageIndex(torch.eye(3), ["cat.jpg", "dog.jpg", "cow.jpg"])
    >>> [hit.path.name for hit in index.search(torch.tensor([0.0, 0.9, 0.4]), k=2)]
    ['dog.jpg', 'cow.jpg']
    """

    def __init__(
        self,
        embeddings: Tensor,
        files: Sequence[str | Path],
        run: str | Path | None = None,
        skipped: dict[Path, str] | None = None,
        *,
        kind: str | None = None,
        model: str | None = None,
    ) -> None:
        import faiss

        if embeddings.ndim != 2 or not len(embeddings) or len(embeddings) != len(files):
            raise InputError(
                f"embeddings {tuple(embeddings.shape)} for {len(files)} files:"
                " an index needs (N, D), one per file, N > 0"
            )
        self.kind = _kind(kind, len(files))
        self.run = None if run is None else place_of(run)
        self.model = model or (None if self.run is None else weights_of(self.run))
        self.skipped = {place_of(file): why for file, why in (skipped or {}).items()}
        self._home = Path(os.sep)  # names are relative to it
        self._names = [self._name(file) for file in files]
        self._vectors = faiss.IndexFlatIP(embeddings.shape[1])
        self._graph: Any = None
        if self.kind == "approximate":
            self._graph = faiss.IndexHNSWFlat(self.width, LINKS, faiss.METRIC_INNER_PRODUCT)
            self._graph.hnsw.efConstruction = BUILD_CANDIDATES
            self._share_vectors()
        self._insert(_rows("embeddings", embeddings))

    def __len__(self) -> int:
        return len(self._names)

    @property
    def width(self) -> int:
        """D, the width of the embeddings."""
        return int(self._vectors.d)

    @property
    def files(self) -> list[Path]:
        """The image files, in the order of the embeddings."""
        return [self._file(row) for row in range(len(self))]

    @classmethod
    def build(
        cls,
        run: Encoder,
        images: str | Path | Sequence[str | Path],
        *,
        kind: str | None = None,
        progress: bool = False,
    ) -> "ImageIndex":
        """Embed images with a model and index them; broken files are skipped and named.

        run: a trained model, see `load_run`. images: a folder (with the folders in it), a list
        of files, shards, or a file of embeddings: see `embed_source`. kind: "exact" or
        "approximate"; by the number of images when None. progress: show a bar.
        Raises InputError when no image is found, a listed file is missing, or none can be read.
        """
        _kind(kind, 1)
        found = embed_source(run, images, progress=progress)
        if not found.files:
            place = images if isinstance(images, str | Path) else Path(images[0]).parent
            raise InputError(f"{place}: no image can be read ({found.reasons()})")
        folder = getattr(run, "folder", None)
        return cls(found.embeddings, found.files, folder, found.skipped, kind=kind)

    def search(self, query: Tensor, k: int, exclude: Sequence[str | Path] = ()) -> list[Hit]:
        """Return the k images most similar to a query, the best first.

        query: (D,), a unit vector. k: at least 1; above the size of the index, all images are
        returned. exclude: files that must not be found, such as the image of the query.
        Of images with equal scores the one that was indexed first comes first.
        Raises InputError for a query of another width, one that is not finite, and k < 1.
        """
        query = torch.as_tensor(query)
        if query.ndim != 1:
            raise InputError(f"query {tuple(query.shape)}: one query is (D,), see search_many")
        return self.search_many(query[None], k, exclude)[0]

    def search_many(
        self, queries: Tensor, k: int, exclude: Sequence[str | Path] = ()
    ) -> list[list[Hit]]:
        """Return the k most similar images of each query (B, D), as :meth:`search` does."""
        queries = torch.as_tensor(queries)
        self._check_width("queries", queries)
        if k < 1:
            raise InputError(f"k is {k}: ask for at least one image")
        left_out = {self._name(file) for file in exclude}
        names = enumerate(self._names) if left_out else ()
        rows = {row for row, name in names if name in left_out}
        count = min(k + len(rows), len(self))
        vectors = _rows("queries", queries)
        if self._graph is None:
            scores, found = search_all(self._vectors, self._halves, vectors, count)
        else:
            self._graph.hnsw.efSearch = max(CANDIDATES, 2 * count)
            scores, found = self._graph.search(vectors, count)
        return [
            self._hits(ids, values, rows, k)
            for ids, values in zip(found.tolist(), scores.tolist(), strict=True)
        ]

    def add(self, embeddings: Tensor, files: Sequence[str | Path]) -> None:
        """Add images to the index in memory; :meth:`save` writes them.

        embeddings: (M, D) unit vectors of the same model. files: their M files.
        Raises InputError when widths or numbers do not fit, or a file is already indexed.
        """
        self._check_width("embeddings", embeddings)
        if len(embeddings) != len(files):
            raise InputError(f"{len(embeddings)} embeddings for {len(files)} files: one per file")
        new = [self._name(file) for file in files]
        seen = set(self._names)
        for name in new:
            if name in seen:
                raise InputError(f"{name}: already in the index; add each image once")
            seen.add(name)
        rows = _rows("embeddings", embeddings)
        self._read_into_memory()
        self._insert(rows)
        self._names += new

    def save(self, folder: str | Path) -> Path:
        """Write the index into a folder, with paths relative to it; return the folder.

        A process killed meanwhile leaves the older index, the new one, or none.
        Raises InputError when the folder cannot be written.
        """
        folder = Path(folder)
        home = folder.resolve()
        described = {
            "kind": self.kind,
            "run": None if self.run is None else store.relative_to(self.run, home),
            "model": self.model,
            "width": self.width,
            "images": [store.relative_to(file, home) for file in self.files],
            "skipped": {store.relative_to(file, home): why for file, why in self.skipped.items()},
        }
        parts = {"vectors": self._vectors, "graph": self._graph, "halves": self._halves}
        store.write_parts(folder, described, parts)
        return folder

    @classmethod
    def load(cls, folder: str | Path, *, check_all: bool = False) -> "ImageIndex":
        """Open an index that :meth:`save` wrote; its vectors stay on disk until searched.

        check_all: read every byte to look for damage. Otherwise sizes are checked, and of a
        part above 64 MiB only 64 samples of 1 MiB, so that a large index opens at once.
        Raises InputError when the folder is missing, or a file of it is missing or damaged.
        """
        folder = Path(folder)
        described = store.read_described(folder)
        index = cls.__new__(cls)
        index._home = folder.resolve()
        index._names = described["images"]
        index.kind, index.model = described["kind"], described.get("model")
        run = described.get("run")
        index.run = None if run is None else place_of(index._home / run)
        skipped = described.get("skipped", {})
        index.skipped = {place_of(index._home / name): why for name, why in skipped.items()}
        parts = {
            name: store.read_part(folder, described, name, whole=check_all)
            for name in store.PARTS
            if name == "vectors" or name in described["parts"]
        }
        index._vectors = parts["vectors"]
        index._graph, index._halves = parts.get("graph"), parts.get("halves")
        if index._graph is not None:
            index._share_vectors()
        sizes = {part.ntotal for part in parts.values()}
        if sizes != {len(index._names)} or index.width != described["width"]:
            raise InputError(f"{folder}: its files do not fit; build the index again")
        return index

    def _hits(self, ids: list[int], scores: list[float], skip: set[int], k: int) -> list[Hit]:
        # A graph that finds too few fills up with -1. Equal scores: the earlier image first.
        pairs = zip(ids, scores, strict=True)
        kept = sorted((-score, i) for i, score in pairs if i >= 0 and i not in skip)[:k]
        return [Hit(self._file(i), -score, n) for n, (score, i) in enumerate(kept, start=1)]

    def _check_width(self, name: str, vectors: Tensor) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.width:
            raise InputError(
                f"{name} {tuple(vectors.shape)}: this index holds vectors of width"
                f" {self.width}; use the run that built it"
            )

    def _name(self, file: str | Path) -> str:
        return store.relative_to(place_of(file), self._home)

    def _file(self, row: int) -> Path:
        return place_of(self._home / self._names[row])

    def _share_vectors(self) -> None:
        """Let the graph use the vectors of the index, so that they are stored once."""
        self._graph.storage = self._vectors
        self._graph.own_fields = False

    def _insert(self, rows: np.ndarray) -> None:
        """Append vectors, and renew the float16 copy."""
        (self._graph or self._vectors).add(rows)
        self._halves = halve(self._vectors) if self._graph is None else None

    def _read_into_memory(self) -> None:
        """Replace vectors that lie on disk, which FAISS cannot append to."""
        import faiss

        vectors = faiss.IndexFlatIP(self.width)
        for rows in blocks(self._vectors):
            vectors.add(rows)
        self._vectors = vectors
        if self._graph is not None:
            self._share_vectors()


def _kind(kind: str | None, images: int) -> str:
    if kind is None:
        return "exact" if images <= EXACT_UP_TO else "approximate"
    if kind not in KINDS:
        raise InputError(f"kind {kind!r}: an index is {' or '.join(KINDS)}")
    return kind


def _rows(name: str, vectors: Tensor) -> np.ndarray:
    rows = vectors.detach().to("cpu", torch.float32).contiguous().numpy()
    if not np.isfinite(rows).all():
        raise InputError(f"{name}: not finite; the model or its input is broken")
    return rows
