"""Crisscrossed Captions as published: read whole, and measured as independent code does."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from align_edu.evaluation import measure_cxc
from align_edu.evaluation.cxc import Ratings, read_ratings
from align_edu.evaluation.ranks import bootstrap_spearman
from align_edu.pairs.splits import Benchmark

PUBLISHED = Path(__file__).parents[2] / "shared" / "real" / "cxc"
needs_published = pytest.mark.skipif(
    not PUBLISHED.exists(), reason="the published ratings (../shared/real/cxc) are not here"
)
GENERATOR = torch.Generator().manual_seed(17)


def coco(rows: dict[str, list[list[str]]]) -> Benchmark:
    """Return the captions and images that published ratings name, without their pictures."""
    texts = {
        row[i].rpartition(":")[2]
        for kind, i in (("sts", 0), ("sts", 1), ("sits", 0))
        for row in rows[kind]
    }
    images = {row[i] for kind, i in (("sis", 0), ("sis", 1), ("sits", 1)) for row in rows[kind]}
    ids, files = sorted(map(int, texts)), [Path(name) for name in sorted(images)]
    return Benchmark(files, [""] * len(ids), [0] * len(ids), [False] * len(files), ids)


@pytest.fixture(scope="module")
def published() -> tuple[Benchmark, dict[str, Ratings]]:
    lines = {
        kind: [
            line.split(",")
            for line in (PUBLISHED / f"{kind}_test.csv").read_text().split("\n")[1:]
            if line
        ]
        for kind in ("sts", "sis", "sits")
    }
    benchmark = coco(lines)
    return benchmark, read_ratings(PUBLISHED, benchmark, "test")


@needs_published
def test_the_published_ratings_are_read_whole(published) -> None:
    benchmark, ratings = published
    assert (len(benchmark.texts), len(benchmark.images)) == (25_000, 5_000)
    counts = {kind: (len(r.scores), len(r.at_least(3.0)[0])) for kind, r in ratings.items()}
    assert counts == {"sts": (44_045, 16_184), "sis": (46_719, 15_458), "sits": (44_833, 35_585)}


@needs_published
def test_recall_on_the_published_ratings_equals_an_independent_one(published) -> None:
    """Every fortieth rating, among all captions and images."""
    ratings = {
        k: Ratings(r.first[::40], r.second[::40], r.scores[::40]) for k, r in published[1].items()
    }
    image = F.normalize(torch.randn(5_000, 24, generator=GENERATOR), dim=1)
    sits = ratings["sits"]
    owner = torch.zeros(25_000, dtype=torch.int64)
    owner[sits.first[sits.scores >= 3]] = sits.second[sits.scores >= 3]
    text = F.normalize(image[owner] + 0.17 * torch.randn(25_000, 24, generator=GENERATOR), dim=1)
    result = measure_cxc(image, text, owner, ratings)
    for name, kind, threshold, turned in (
        ("text_to_image", "sits", 3.0, False),
        ("image_to_text", "sits", 3.0, True),
        ("image_to_image", "sis", 2.5, None),
        ("text_to_text", "sts", 3.0, None),
    ):
        matches = defaultdict(set)
        rated = ratings[kind]
        rows = zip(rated.first.tolist(), rated.second.tolist(), rated.scores.tolist(), strict=True)
        for a, b, score in rows:
            if score >= threshold and turned is not True:
                matches[a].add(b)
            if score >= threshold and turned is not False:
                matches[b].add(a)
        query, gallery = (text if side == "text" else image for side in name.split("_to_"))
        asked = sorted(matches)
        scores = (query[asked] @ gallery.T).numpy()
        if turned is None:
            scores[np.arange(len(asked)), asked] = -np.inf
        best = np.argpartition(-scores, 10, axis=1)[:, :10]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1)
        assert result[name]["queries"] == len(asked)
        for k in (1, 5, 10):
            hits = [
                bool(matches[i] & set(row[:k].tolist())) for i, row in zip(asked, best, strict=True)
            ]
            assert result[name][f"R@{k}"] == np.mean(hits)


@needs_published
@pytest.mark.parametrize(
    ("kind", "low", "high"), [("sts", 0.3, 0.5), ("sis", 0.75, 1.1), ("sits", 1.3, 2.0)]
)
def test_the_deviation_of_the_bootstrap_is_what_the_queries_and_their_number_make_it(
    published, kind: str, low: float, high: float
) -> None:
    # In percent, for a model that is people's rating and noise. Measured by other code with
    # captions as queries of STS and images as those of SIS and SITS: 0.38, 0.88 to 0.94, 1.66.
    rated = published[1][kind]
    model = rated.scores + 1.2 * torch.randn(len(rated.scores), generator=GENERATOR)
    query = rated.second if kind == "sits" else torch.cat([rated.first, rated.second])
    twice = 1 if kind == "sits" else 2
    values = bootstrap_spearman(
        query, rated.scores.repeat(twice), model.repeat(twice), resamples=300
    )
    assert low < 100 * values.std().item() < high
