"""An exact search that reads a float16 copy first: half the bytes, the same results."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

HALVED_FROM = 100_000  # vectors; a smaller index is quick enough in float32
ERROR = 2.0**-10  # of a cosine: float16 rounds a component by up to 2^-11 of it; twice that
_FIRST, _MOST, _GROWTH = 64, 16_384, 8  # candidates of the first pass
_BLAS_QUERIES = 20  # from this many on FAISS multiplies matrices and reads each vector once
_ROWS = 65_536


def halve(vectors: Any) -> Any:
    """Return a float16 copy of a flat FAISS index; None if it is small or not of unit vectors."""
    import faiss

    if vectors.ntotal < HALVED_FROM:
        return None
    halves = faiss.IndexScalarQuantizer(
        vectors.d, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    for rows in blocks(vectors):
        if np.linalg.norm(rows, axis=1).max() > 1.001:
            return None
        halves.add(rows)
    return halves


def blocks(vectors: Any) -> Iterator[np.ndarray]:
    """Yield the rows of a flat FAISS index in blocks of up to 65,536."""
    for start in range(0, vectors.ntotal, _ROWS):
        yield vectors.reconstruct_n(start, min(_ROWS, vectors.ntotal - start))


def search_all(vectors: Any, halves: Any, queries: np.ndarray, k: int) -> tuple[Any, Any]:
    """Return scores and rows (Q, k) of the unit vectors most similar to each query, best first.

    Memory bounds a search of many vectors. The first pass therefore reads float16 and keeps
    some candidates, which are compared again in float32. A vector that it drops scores at most
    the last candidate's score plus the error of float16. Where the k-th best is above that
    bound, nothing is missed; otherwise more candidates are kept, in the end all.
    """
    if halves is not None and len(queries) < _BLAS_QUERIES:
        import faiss

        bound = ERROR * np.linalg.norm(queries, axis=1)
        kept = max(_FIRST, 4 * k)
        while kept <= min(_MOST, vectors.ntotal):
            rough, rows = _first_pass(halves, queries, kept)
            scores = np.empty_like(rough)
            pointers = map(faiss.swig_ptr, (queries, scores, rows))
            vectors.compute_distance_subset(len(queries), next(pointers), kept, *pointers)
            order = np.lexsort((rows, -scores))[:, :k]
            scores = np.take_along_axis(scores, order, axis=1)
            if (scores[:, -1] > rough[:, -1] + bound).all():
                return scores, np.take_along_axis(rows, order, axis=1)
            kept *= _GROWTH
    return vectors.search(queries, k)


def _first_pass(halves: Any, queries: np.ndarray, kept: int) -> tuple[Any, Any]:
    """Return float16 scores and rows (Q, kept); split by rows, as FAISS splits by queries only."""
    import faiss

    threads = faiss.omp_get_max_threads()
    edges = np.linspace(0, halves.ntotal, threads + 1).astype(int).tolist()

    def part(begin: int, end: int) -> tuple[Any, Any]:
        only = faiss.SearchParameters(sel=faiss.IDSelectorRange(begin, end))  # type: ignore[call-arg]
        return halves.search(queries, kept, params=only)

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(part, edges[:-1], edges[1:]))
    scores, rows = (np.concatenate(some, axis=1) for some in zip(*parts, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
