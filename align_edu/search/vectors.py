"""The vectors of an index in FAISS: searched exactly or by a graph, and kept on disk."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from align_edu.io import InputError, cannot_write, fingerprint, lfs_remedy, read_json, write_json

# Of the graph: links per node, and candidates kept while building and while searching.
LINKS, BUILD_CANDIDATES, CANDIDATES = 16, 100, 256
HALVED_FROM = 100_000  # vectors; a smaller index is quick enough in float32
ERROR = 2.0**-10  # of a cosine: float16 rounds a component by up to 2^-11 of it; twice that
_FIRST, _MOST = 256, 16_384  # candidates of the first pass
_BLAS_QUERIES = 20  # from this many on FAISS multiplies matrices and reads each vector once
_IMAGES, _FORMAT = "images.json", 3
_REBUILD = "build the index again with `align-edu index RUN IMAGES OUT`"


@dataclass
class Vectors:
    """FAISS indexes of the same (N, D) vectors; the fields are also the names of their files.

    vectors: float32. graph: HNSW over them, in an approximate index. halves: a float16 copy,
    which is half the bytes to read, in a large exact index of unit vectors.
    """

    vectors: Any
    graph: Any = None
    halves: Any = None

    @classmethod
    def of(cls, rows: np.ndarray, kind: str) -> "Vectors":
        """Return the indexes of float32 vectors (N, D)."""
        flat = faiss.IndexFlatIP(rows.shape[1])
        if kind == "exact":
            flat.add(rows)
            return cls(flat, halves=_halves(rows))
        graph = faiss.IndexHNSWFlat(flat.d, LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = BUILD_CANDIDATES
        made = cls(flat, graph)
        graph.add(rows)
        return made

    def __post_init__(self) -> None:
        if self.graph is not None:  # the graph uses `vectors`, which are stored once
            self.graph.storage, self.graph.own_fields = self.vectors, False

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows (Q, k) of the vectors most similar to each query, best first.

        Memory bounds an exact search of many vectors. A first pass therefore reads float16 and
        keeps some candidates, which are compared again in float32. A vector that it drops scores
        at most the last candidate's score plus the error of float16: if the k-th best is above
        that bound, nothing is missed. Otherwise all are compared in float32.
        """
        if self.graph is not None:
            self.graph.hnsw.efSearch = max(CANDIDATES, 2 * k)
            return self.graph.search(queries, k)
        kept = max(_FIRST, 4 * k)
        few = len(queries) < _BLAS_QUERIES and kept <= min(_MOST, self.vectors.ntotal)
        if self.halves is not None and few:
            rough, rows = self._first_pass(queries, kept)
            scores = np.empty_like(rough)
            pointers = map(faiss.swig_ptr, (queries, scores, rows))
            compare = self.vectors.compute_distance_subset
            compare(len(queries), next(pointers), kept, *pointers)
            order = np.lexsort((rows, -scores))[:, :k]
            scores = np.take_along_axis(scores, order, axis=1)
            if (scores[:, -1] > rough[:, -1] + ERROR * np.linalg.norm(queries, axis=1)).all():
                return scores, np.take_along_axis(rows, order, axis=1)
        return self.vectors.search(queries, k)

    def _first_pass(self, queries: np.ndarray, kept: int) -> tuple[np.ndarray, np.ndarray]:
        """Return float16 scores and rows (Q, kept); FAISS would split the queries only."""
        threads = faiss.omp_get_max_threads()
        edges = np.linspace(0, self.halves.ntotal, threads + 1).astype(int).tolist()

        def part(begin: int, end: int) -> tuple[Any, Any]:
            only = faiss.SearchParameters(sel=faiss.IDSelectorRange(begin, end))  # type: ignore[call-arg]
            return self.halves.search(queries, kept, params=only)

        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(part, edges[:-1], edges[1:]))
        scores, rows = (np.concatenate(some, axis=1) for some in zip(*parts, strict=True))
        order = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def write(self, folder: Path, described: Mapping[str, Any]) -> None:
        """Write the indexes into a folder, then ``images.json``, which names them.

        The parts get new names, ``images.json`` replaces the older one in one step, and only
        then are the older parts removed: a process killed at any time leaves the older index,
        the new one, or none.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            parts = {name: part for name, part in vars(self).items() if part is not None}
            written = {name: _write_part(folder, name, part) for name, part in parts.items()}
            write_json(folder / _IMAGES, {"format": _FORMAT, **described, "parts": written})
            kept = {part["file"] for part in written.values()}
            for old in [*folder.glob("*-*.faiss"), *folder.glob(".*.part")]:
                if old.name not in kept:
                    old.unlink(missing_ok=True)
        except (OSError, RuntimeError) as error:  # FAISS reports a full disk by RuntimeError
            raise cannot_write(folder, error) from error

    @classmethod
    def read(cls, folder: Path) -> tuple["Vectors", dict[str, Any]]:
        """Return what :meth:`write` wrote, every byte checked; InputError for a damaged file."""
        if not (folder / _IMAGES).is_file():
            raise InputError(f"{folder}: no index in it, {_IMAGES} is missing; {_REBUILD}")
        described = read_json(folder / _IMAGES)
        try:
            parts = described["parts"].items()
            read = cls(**{name: _read_part(folder, name, part) for name, part in parts})
            sizes = {part.ntotal for part in vars(read).values() if part is not None}
            approximate = described["kind"] == "approximate"
            fits = described["format"] == _FORMAT and sizes == {len(described["images"])}
            fits &= read.vectors.d == described["width"]
            if fits and approximate == (read.graph is not None):
                return read, described
        except (KeyError, TypeError, AttributeError, RuntimeError):  # the last one by FAISS
            pass
        raise unfit(folder)


def unfit(folder: str | Path) -> InputError:
    """Return the error of a folder whose ``images.json`` another version wrote, or a person."""
    return InputError(f"{folder}: not an index that this version reads; {_REBUILD}")


def _halves(rows: np.ndarray) -> Any:
    """Return a float16 copy of many unit vectors (N, D); None for few, and for others."""
    if len(rows) < HALVED_FROM or np.einsum("nd,nd->n", rows, rows).max() > 1.002:
        return None
    halves = faiss.IndexScalarQuantizer(
        rows.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    halves.add(rows)
    return halves


def _write_part(folder: Path, name: str, part: Any) -> dict[str, str]:
    beside = folder / f".{name}.{os.getpid()}.faiss.part"
    # The graph is written without the vectors, which both kinds keep in a separate file.
    flags = faiss.IO_FLAG_SKIP_STORAGE if name == "graph" else 0
    try:
        faiss.write_index(part, str(beside), flags)  # type: ignore[call-overload]
        digest = fingerprint(beside)
        path = beside.replace(folder / f"{name}-{digest[:12]}.faiss")
        return {"file": path.name, "sha256": digest}
    finally:
        beside.unlink(missing_ok=True)


def _read_part(folder: Path, name: str, entry: Mapping[str, str]) -> Any:
    path = folder / Path(entry["file"]).name
    # A whole gigabyte is hashed in a second, and the first search finds it in memory.
    if not path.is_file() or fingerprint(path) != entry["sha256"]:
        raise InputError(f"{path}: {lfs_remedy(path) or 'missing or damaged'}; {_REBUILD}")
    # Vectors stay on disk until they are searched; the graph is small beside them.
    return faiss.read_index(str(path), 0 if name == "graph" else faiss.IO_FLAG_MMAP_IFC)
