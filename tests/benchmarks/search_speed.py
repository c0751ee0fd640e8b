"""Search in many images: milliseconds, recall for text queries, build, file and load.

    python tests/benchmarks/search_speed.py [--images 1000000] [--approximate 100000]

Made 640-d vectors with a modality gap: meaning in 64 dimensions around 2,000 centres, and a mean
of its own for pictures and for texts. The exact index holds
`--images`; the approximate one, whose graph takes long to build, `--approximate`. Each is built,
saved, opened again, and compared with faiss's exact search of the same.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from align_edu.search import ImageIndex
from tests.benchmarks.measure import options, timed

WIDTH, MEANING, CENTRES, QUERIES, K = 640, 64, 2_000, 200, 10
GAP, NOISE, SPREAD = 8.0, 0.1, 0.6
RNG = np.random.default_rng(0)


def noise(rows: int, width: int, scale: float = 1.0) -> np.ndarray:
    return scale * RNG.standard_normal((rows, width)).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def vectors(images: int, answers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures (N, D), and texts (Q, D) whose meanings are those of the first pictures."""
    axes, means = unit(noise(MEANING, WIDTH, 1)), unit(noise(2, WIDTH, 1))
    centres = noise(CENTRES, MEANING, 1)
    parts, meanings = [], []
    for rows in np.array_split(np.arange(images), 20):
        meaning = centres[RNG.integers(CENTRES, size=len(rows))] + noise(len(rows), MEANING, SPREAD)
        parts.append(unit(GAP * means[0] + meaning @ axes + noise(len(rows), WIDTH, NOISE)))
        meanings.append(meaning)
    some = np.concatenate(meanings)[RNG.integers(answers, size=QUERIES)]
    said = some + noise(QUERIES, MEANING, SPREAD)
    texts = unit(GAP * means[1] + said @ axes + noise(QUERIES, WIDTH, NOISE))
    return np.concatenate(parts), texts


def one_by_one(search: Callable[[np.ndarray], Any], queries: np.ndarray) -> tuple[float, Any]:
    """Return the milliseconds of one query, and all found rows (Q, K)."""
    search(queries[:1])
    seconds, found = timed(lambda: [search(queries[i : i + 1])[0] for i in range(len(queries))])
    return 1000 * seconds / len(queries), np.array(found)


def recall(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, true, strict=True)]))


def rows_of(index: ImageIndex) -> Callable[[np.ndarray], list[list[int]]]:
    """Search an index of ours, whose files are named by their row."""
    return lambda queries: [
        [int(hit.path.name) for hit in hits]
        for hits in index.search_many(torch.from_numpy(queries), K)
    ]


def measure(kind: str, pictures: np.ndarray, queries: np.ndarray, folder: Path) -> None:
    """Print what an index of ours costs, and what it finds of what faiss's exact search finds."""
    flat = faiss.IndexFlatIP(WIDTH)
    flat.add(pictures)
    whole, true = one_by_one(lambda query: flat.search(query, K)[1], queries)
    names = [f"/made/{row}" for row in range(len(pictures))]
    built, index = timed(lambda: ImageIndex(torch.from_numpy(pictures), names, kind=kind))
    saved, _ = timed(lambda: index.save(folder / kind))
    opened, again = timed(lambda: ImageIndex.load(folder / kind))
    size = sum(file.stat().st_size for file in (folder / kind).iterdir()) / 2**30
    ms, found = one_by_one(rows_of(again), queries)
    print(f"{kind}, {len(again)} images: built in {built:.1f} s, saved in {saved:.1f} s,", end=" ")
    print(f"{size:.2f} GiB, opened in {opened:.2f} s; {ms:.2f} ms a query,", end=" ")
    print(f"all in float32 {whole:.2f} ms; recall@{K} {recall(found, true):.4f}", flush=True)


if __name__ == "__main__":
    args = options(__doc__, images=1_000_000, approximate=100_000)
    pictures, queries = vectors(args.images, args.approximate)
    print(f"{faiss.omp_get_max_threads()} threads; {len(queries)} queries")
    with tempfile.TemporaryDirectory() as folder:
        measure("exact", pictures, queries[:30], Path(folder))
        measure("approximate", pictures[: args.approximate], queries, Path(folder))
