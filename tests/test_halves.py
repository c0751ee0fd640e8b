"""A search that reads float16 first finds what a search of all float32 vectors finds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.search import ImageIndex, halves


@pytest.fixture(autouse=True)
def halved_from_a_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halves, "HALVED_FROM", 100)


def unit(*size: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*size, generator=torch.Generator().manual_seed(seed)), dim=-1)


def best(vectors: Tensor, query: Tensor, k: int) -> list[int]:
    """By numpy's stable sort in float64: of equal scores the earlier image."""
    scores = vectors.double().numpy() @ query.double().numpy()
    return np.argsort(-scores, kind="stable")[:k].tolist()


def names(index: ImageIndex, query: Tensor, k: int) -> list[int]:
    return [int(hit.path.name) for hit in index.search(query, k)]


def index_of(vectors: Tensor) -> ImageIndex:
    return ImageIndex(vectors, [f"/made/{row}" for row in range(len(vectors))])


@pytest.mark.parametrize("k", [1, 10, 100, 3_000])
def test_it_finds_the_best_of_random_vectors(k: int) -> None:
    vectors = unit(3_000, 24)
    index = index_of(vectors)
    assert index._halves is not None
    for query in unit(8, 24, seed=1):
        assert names(index, query, k) == best(vectors, query, k)


def test_vectors_closer_than_float16_can_tell_are_told_apart() -> None:
    # All within 1e-4 of one direction, where float16 keeps 5e-4: candidates must become all.
    vectors = F.normalize(unit(1, 24) + 1e-4 * unit(2_000, 24, seed=2), dim=-1)
    query = F.normalize(unit(1, 24)[0] + unit(1, 24, seed=3)[0], dim=-1)
    found = names(index_of(vectors), query, 10)
    scores = vectors.double() @ query.double()
    assert scores[found].min() >= scores.topk(10).values[-1] - 1e-7  # float32's own rounding


def test_of_a_thousand_equal_vectors_the_first_are_given() -> None:
    vectors = unit(1_000, 24)
    vectors[200:] = vectors[5]
    assert names(index_of(vectors), vectors[5], 4) == [5, 200, 201, 202]


def test_one_bound_for_all_would_miss_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is needed: without it some of the close vectors are lost."""
    monkeypatch.setattr(halves, "ERROR", -1.0)
    vectors = F.normalize(unit(1, 24) + 1e-4 * unit(2_000, 24, seed=2), dim=-1)
    lost = 0
    for query in F.normalize(unit(1, 24) + unit(20, 24, seed=3), dim=-1):
        found = names(index_of(vectors), query, 10)
        scores = vectors.double() @ query.double()
        lost += scores[found].min() < scores.topk(10).values[-1] - 1e-7
    assert lost > 0


def test_vectors_that_are_not_unit_vectors_are_searched_as_they_are() -> None:
    vectors = 3 * unit(500, 24)
    index = index_of(vectors)
    assert index._halves is None
    query = unit(1, 24, seed=1)[0]
    assert names(index, query, 10) == best(vectors, query, 10)


def test_the_halves_are_kept_on_disk_and_grow_with_the_index(tmp_path: Path) -> None:
    vectors = unit(700, 24)
    index_of(vectors[:400]).save(tmp_path / "index")
    index = ImageIndex.load(tmp_path / "index", check_all=True)
    assert index._halves.ntotal == 400
    index.add(vectors[400:], [f"/made/{row}" for row in range(400, 700)])
    index.save(tmp_path / "index")
    again = ImageIndex.load(tmp_path / "index")
    kinds = sorted(file.name.split("-")[0] for file in (tmp_path / "index").iterdir())
    assert kinds == ["halves", "images.json", "vectors"]
    for query in unit(5, 24, seed=1):
        assert names(index, query, 10) == names(again, query, 10) == best(vectors, query, 10)
