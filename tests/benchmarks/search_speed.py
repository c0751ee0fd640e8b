"""Search in many images: milliseconds, recall for text queries, build, file and load.

    python tests/benchmarks/search_speed.py [--images 1000000] [--approximate 100000] [--keep DIR]

Made 640-d vectors with a modality gap: meaning in 64 dimensions around 2,000 centres, and a mean
of its own for pictures and for texts, whose cosines are printed. The exact index holds
`--images`; the approximate one, whose graph takes long to build, `--approximate`, and is compared
with exact search of the same; beside it lists around centroids (IVF), trained on pictures alone,
up to 100,000. An index that is kept in DIR is opened there next time.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from align_edu.search import ImageIndex

WIDTH, MEANING, CENTRES, QUERIES, K = 640, 64, 2_000, 200, 10
GAP, NOISE, SPREAD = 8.0, 0.1, 0.6
PROBES = (4, 16, 64)
LISTED = 100_000


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Space:
    """Pictures and texts of random meanings, each modality around a mean of its own."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.axes = unit(self.rng.standard_normal((MEANING, WIDTH)))
        self.centres = self.rng.standard_normal((CENTRES, MEANING)).astype(np.float32)
        self.means = unit(self.rng.standard_normal((2, WIDTH)))

    def meanings(self, n: int) -> np.ndarray:
        drawn = self.centres[self.rng.integers(CENTRES, size=n)]
        return drawn + SPREAD * self.rng.standard_normal((n, MEANING)).astype(np.float32)

    def pictures(self, meaning: np.ndarray) -> np.ndarray:
        noise = NOISE * self.rng.standard_normal((len(meaning), WIDTH)).astype(np.float32)
        return unit(GAP * self.means[0] + meaning @ self.axes + noise)

    def texts(self, meaning: np.ndarray) -> np.ndarray:
        told = meaning + SPREAD * self.rng.standard_normal(meaning.shape).astype(np.float32)
        noise = NOISE * self.rng.standard_normal((len(meaning), WIDTH)).astype(np.float32)
        return unit(GAP * self.means[1] + told @ self.axes + noise)


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, and what it gives."""
    started = time.perf_counter()
    result = act()
    return time.perf_counter() - started, result


def one_by_one(search: Callable[[np.ndarray], np.ndarray], queries: np.ndarray) -> tuple:
    """Milliseconds of one query, and all found rows (Q, K)."""
    search(queries[:1])
    seconds, found = timed(lambda: [search(queries[i : i + 1])[0] for i in range(len(queries))])
    return 1000 * seconds / len(queries), np.array(found)


def recall(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, true, strict=True)]))


def rows_of(index: ImageIndex) -> Callable[[np.ndarray], np.ndarray]:
    """Search an index of ours, whose files are named by their row."""

    def search(queries: np.ndarray) -> np.ndarray:
        hits = index.search_many(torch.from_numpy(queries), K)
        return np.array([[int(hit.path.name) for hit in row] for row in hits])

    return search


def build(pictures: np.ndarray, kind: str, folder: Path) -> ImageIndex:
    """Build, save and open again; print how long each takes."""
    if not (folder / kind).exists():
        names = [f"/made/{row}" for row in range(len(pictures))]
        vectors = torch.from_numpy(pictures)
        seconds, index = timed(lambda: ImageIndex(vectors, names, kind=kind))
        saved, _ = timed(lambda: index.save(folder / kind))
        print(f"{kind}: built in {seconds:.1f} s, saved in {saved:.1f} s", flush=True)
    loaded, again = timed(lambda: ImageIndex.load(folder / kind))
    size = sum(file.stat().st_size for file in (folder / kind).iterdir()) / 2**30
    print(
        f"{kind}, {len(again)} images: {size:.2f} GiB, opened in {loaded:.2f} s,"
        f" the same as built: {len(again) == len(pictures)}",
        flush=True,
    )
    return again


def lists_around_centroids(pictures: np.ndarray, queries: np.ndarray, true: np.ndarray) -> None:
    lists = int(4 * len(pictures) ** 0.5)
    flat = faiss.IndexFlatIP(WIDTH)
    index = faiss.IndexIVFFlat(flat, WIDTH, lists, faiss.METRIC_INNER_PRODUCT)
    index.train(pictures[: 40 * lists])
    index.add(pictures)
    for probes in PROBES:
        index.nprobe = probes
        ms, found = one_by_one(lambda q: index.search(q, K)[1], queries)
        print(f"IVF, {lists} lists, {probes} probed: {ms:.2f} ms, recall {recall(found, true):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--approximate", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, metavar="DIR")
    args = parser.parse_args()
    space = Space()
    meaning = space.meanings(args.images)
    pictures = np.concatenate([space.pictures(part) for part in np.array_split(meaning, 20)])
    queries = space.texts(meaning[space.rng.integers(args.approximate, size=QUERIES)])
    some = pictures[:1_000]
    print(f"{faiss.omp_get_max_threads()} threads; mean cosines: two pictures", end=" ")
    print(f"{(some @ some.T).mean():.2f}, two texts {(queries @ queries.T).mean():.2f},", end=" ")
    print(f"picture and text {(some @ queries.T).mean():.2f}")
    with tempfile.TemporaryDirectory() as made:
        folder = args.keep or Path(made)
        exact = build(pictures, "exact", folder)
        ms, found = one_by_one(rows_of(exact), queries)
        full = exact._vectors.vectors.search(queries, K)[1]
        seconds, _ = timed(
            lambda flat=exact._vectors.vectors: [flat.search(q[None], K) for q in queries[:30]]
        )
        print(f"exact: {ms:.1f} ms a query; all in float32: {1000 * seconds / 30:.1f} ms;", end=" ")
        print(f"the same images found: {recall(found, full):.4f}", flush=True)
        del exact
        pictures = pictures[: args.approximate]
        flat = faiss.IndexFlatIP(WIDTH)
        flat.add(pictures)
        true = flat.search(queries, K)[1]
        index = build(pictures, "approximate", folder)
        first, _ = one_by_one(rows_of(index), queries)  # its vectors come in from disk meanwhile
        ms, found = one_by_one(rows_of(index), queries)
        print(f"approximate: {ms:.2f} ms a query ({first:.2f} when just opened),", end=" ")
        print(f"recall@{K} of texts {recall(found, true):.3f}")
        if args.approximate <= LISTED:
            lists_around_centroids(pictures, queries, true)


if __name__ == "__main__":
    main()
