"""An exhaustive search that reads half the bytes and finds the same images."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

HALVED_FROM = 100_000  # vectors; fewer are read fast enough as they are
ERROR = 2.0**-10  # of a cosine: float16 keeps a component to 2^-11 of itself, so twice as safe
_FIRST, _MOST, _GROWTH = 64, 16_384, 8  # candidates of the first pass, and how they grow
_BLAS_QUERIES = 20  # from so many queries on FAISS multiplies matrices, which reads them once
_ROWS = 65_536


def halve(vectors: Any) -> Any:
    """Return a float16 copy of FAISS vectors, or None where they are few or not unit vectors.

    vectors: a flat FAISS index, (N, D).
    """
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
    """Give the rows of a flat FAISS index, some at a time: (up to 65,536, D)."""
    for start in range(0, vectors.ntotal, _ROWS):
        yield vectors.reconstruct_n(start, min(_ROWS, vectors.ntotal - start))


def search_all(vectors: Any, halves: Any, queries: np.ndarray, k: int) -> tuple[Any, Any]:
    """Return scores and rows (Q, k) of the vectors most similar to each query, the best first.

    A search of many vectors waits for memory, so a first pass reads them in float16 and keeps
    some candidates, which are compared again in float32. A vector that was left out scores at
    most the last candidate's score and the error of float16. Where the k-th best is above that,
    nothing is missed; else the candidates are more, and in the end all.

    Parameters
    ----------
    vectors : a flat FAISS index of N unit vectors.
    halves : what :func:`halve` made of it.
    queries : (Q, D) float32.
    k : at most N.
    """
    if halves is not None and len(queries) < _BLAS_QUERIES:
        import faiss

        bound = ERROR * np.linalg.norm(queries, axis=1)
        wanted = max(_FIRST, 4 * k)
        while wanted <= min(_MOST, vectors.ntotal):
            rough, rows = _first_pass(halves, queries, wanted)
            scores = np.empty_like(rough)
            places = map(faiss.swig_ptr, (queries, scores, rows))
            vectors.compute_distance_subset(len(queries), next(places), wanted, *places)
            order = np.lexsort((rows, -scores))[:, :k]
            scores = np.take_along_axis(scores, order, axis=1)
            if (scores[:, -1] > rough[:, -1] + bound).all():
                return scores, np.take_along_axis(rows, order, axis=1)
            wanted *= _GROWTH
    return vectors.search(queries, k)


def _first_pass(halves: Any, queries: np.ndarray, wanted: int) -> tuple[Any, Any]:
    """The float16 scores and rows (Q, wanted); FAISS takes one thread a query, so split it."""
    import faiss

    threads = faiss.omp_get_max_threads()
    edges = np.linspace(0, halves.ntotal, threads + 1).astype(int).tolist()

    def part(begin: int, end: int) -> tuple[Any, Any]:
        only = faiss.SearchParameters(sel=faiss.IDSelectorRange(begin, end))  # type: ignore[call-arg]
        return halves.search(queries, wanted, params=only)

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(part, edges[:-1], edges[1:]))
    scores, rows = (np.concatenate(some, axis=1) for some in zip(*parts, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :wanted]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
