"""Searches for "a KIND": how many of the first ten pictures show it."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from align_edu.evaluation.ranks import precision_at_k
from align_edu.io import InputError
from align_edu.world import World
from align_edu.world.benchmark import kind_search_table, measure_kind_search
from align_edu.world.catalog import NOUNS, with_article

SCENES = 60


def test_precision_at_k_by_hand():
    queries = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    relevant = torch.tensor([[True, False, True, False, True], [False, False, True, False, False]])
    # The first finds pictures 0, 1, 2, …; the second 4, 3, 2, …; only one is relevant to it.
    by_hand = {1: [1 / 1, 0 / 1], 2: [1 / 2, 0 / 1], 3: [2 / 3, 1 / 1], 5: [1, 1], 99: [1, 1]}
    for k, shares in by_hand.items():
        assert precision_at_k(queries, torch.eye(5), relevant, k).tolist() == pytest.approx(shares)
    none = torch.zeros(2, 2).bool()
    assert precision_at_k(torch.eye(2), torch.eye(2), none, 1).tolist() == [0, 0]


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    out = tmp_path_factory.mktemp("kinds") / "benchmark"
    return World(seed=8).write_benchmark(out, SCENES, image_size=32)


def kinds_of(benchmark: Path) -> list[set[str]]:
    rows = json.loads((benchmark / "dataset_toy.json").read_text())["images"]
    return [{row["scene"]["kind"], row["scene"]["other_kind"]} - {""} for row in rows]


class Oracle:
    """Knows each picture's kinds of object by its bytes, and each query's by its text."""

    names = {with_article(nouns[0][0]): kind for kind, nouns in NOUNS.items()}

    def __init__(self, *benchmarks: Path, knows: set[str] = frozenset(NOUNS)) -> None:
        self.knows = knows
        self.shown = {
            Image.open(file).convert("RGB").tobytes(): kinds
            for folder in benchmarks
            for file, kinds in zip(
                sorted((folder / "images").iterdir()), kinds_of(folder), strict=True
            )
        }

    def vector(self, kinds: set[str]) -> Tensor:
        return torch.tensor([float(kind in kinds & self.knows) for kind in NOUNS] + [1e-3])

    def encode_images(self, pictures: list[Image.Image]) -> Tensor:
        rows = [self.vector(self.shown[picture.convert("RGB").tobytes()]) for picture in pictures]
        return torch.stack(rows)

    def encode_texts(self, texts: list[str]) -> Tensor:
        return torch.stack([self.vector({self.names[text]}) for text in texts])


def test_a_model_that_knows_every_kind_is_always_right(benchmark, tmp_path):
    more = World(seed=9).write_benchmark(tmp_path / "more", 20, image_size=32)
    result = measure_kind_search(Oracle(benchmark, more), benchmark, more)
    # Kinds that no picture shows are not asked for.
    assert set(result["kinds"]) == set().union(*kinds_of(benchmark), *kinds_of(more))
    assert result["precision@10"] == 1.0 and result["interval"] == [1.0, 1.0]
    assert set(result["kinds"].values()) == {1.0} and result["images"] == SCENES + 20


def test_a_kind_that_the_model_does_not_know_is_the_worst_of_the_table(benchmark):
    shown = kinds_of(benchmark)
    rare = sorted(shown[-1])[0]
    result = measure_kind_search(Oracle(benchmark, knows=set(NOUNS) - {rare}), benchmark)
    count, kinds = sum(rare in kinds for kinds in shown), result["kinds"]
    assert kinds[rare] in [hits / min(count, 10) for hits in range(10)] and kinds[rare] < 1.0
    assert {share for kind, share in kinds.items() if kind != rare} == {1.0}
    assert result["precision@10"] == pytest.approx(1 - (1 - kinds[rare]) / len(kinds))
    assert f"worst: {rare} " in kind_search_table(result)


def test_a_benchmark_without_scenes_is_refused(benchmark, tmp_path):
    record = json.loads((benchmark / "dataset_toy.json").read_text())
    for row in record["images"]:
        del row["scene"]
    (tmp_path / "images").symlink_to(benchmark / "images")
    (tmp_path / "dataset_toy.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="has no images with scenes"):
        measure_kind_search(Oracle(benchmark), tmp_path)
