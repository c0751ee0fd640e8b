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
from align_edu.world.kind_search import kind_search_table, measure_kind_search
from align_edu.world.words import NOUNS, with_article

SCENES = 60


def test_precision_at_k_by_hand() -> None:
    images = torch.eye(5)
    queries = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    relevant = torch.tensor([[True, False, True, False, True], [False, False, True, False, False]])
    # The first finds pictures 0, 1, 2, …; the second 4, 3, 2, ….
    for k, shares in {
        1: [1 / 1, 0 / 1],
        2: [1 / 2, 0 / 1],  # where only one is relevant, the share is of that one
        3: [2 / 3, 1 / 1],
        4: [2 / 3, 1 / 1],
        5: [3 / 3, 1 / 1],
        99: [3 / 3, 1 / 1],
    }.items():
        assert precision_at_k(queries, images, relevant, k).tolist() == pytest.approx(shares), k


def test_a_query_to_which_nothing_is_relevant_has_precision_zero() -> None:
    assert precision_at_k(torch.eye(2), torch.eye(2), torch.zeros(2, 2).bool(), 1).tolist() == [
        0,
        0,
    ]


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kinds") / "benchmark"
    return World(seed=8).write_benchmark(out, SCENES, image_size=32)


def scenes_of(benchmark: Path) -> list[dict]:
    return [
        row["scene"] for row in json.loads((benchmark / "dataset_toy.json").read_text())["images"]
    ]


class Oracle:
    """Knows each picture's kinds of object by its bytes, and each query's by its text."""

    names = {with_article(nouns[0][0]): kind for kind, nouns in NOUNS.items()}
    kinds = list(NOUNS)

    def __init__(self, benchmark: Path, knows: set[str] | None = None) -> None:
        self.knows = set(self.kinds) if knows is None else knows
        files = sorted((benchmark / "images").iterdir())
        self.shown = {
            Image.open(file).convert("RGB").tobytes(): {scene["kind"], scene["other_kind"]} - {""}
            for file, scene in zip(files, scenes_of(benchmark), strict=True)
        }

    def vector(self, kinds: set[str]) -> Tensor:
        return torch.tensor([float(kind in kinds & self.knows) for kind in self.kinds] + [1e-3])

    def encode_images(self, pictures: list[Image.Image]) -> Tensor:
        rows = [self.vector(self.shown[picture.convert("RGB").tobytes()]) for picture in pictures]
        return torch.stack(rows)

    def encode_texts(self, texts: list[str]) -> Tensor:
        return torch.stack([self.vector({self.names[text]}) for text in texts])


def test_a_model_that_knows_every_kind_is_always_right(benchmark: Path) -> None:
    result = measure_kind_search(Oracle(benchmark), benchmark)
    shown = {s[name] for s in scenes_of(benchmark) for name in ("kind", "other_kind")} - {""}
    assert set(result["kinds"]) == shown  # kinds that no picture shows are not asked for
    assert result["precision@10"] == 1.0 and result["interval"] == [1.0, 1.0]
    assert set(result["kinds"].values()) == {1.0} and result["images"] == SCENES


def test_a_kind_that_the_model_does_not_know_is_the_worst_of_the_table(benchmark: Path) -> None:
    scenes = scenes_of(benchmark)
    rare = scenes[-1]["kind"]
    result = measure_kind_search(Oracle(benchmark, set(NOUNS) - {rare}), benchmark)
    count = sum(rare in (s["kind"], s["other_kind"]) for s in scenes)
    assert result["kinds"][rare] in [hits / min(count, 10) for hits in range(10)]
    assert result["kinds"][rare] < 1.0
    assert all(share == 1.0 for kind, share in result["kinds"].items() if kind != rare)
    known = len(result["kinds"]) - 1
    assert result["precision@10"] == pytest.approx((known + result["kinds"][rare]) / (known + 1))
    assert f"worst: {rare} " in kind_search_table(result)


def test_pictures_of_several_benchmarks_are_searched_together(
    benchmark: Path, tmp_path: Path
) -> None:
    more = World(seed=9).write_benchmark(tmp_path / "more", 20, image_size=32)
    oracle = Oracle(benchmark)
    oracle.shown |= Oracle(more).shown
    result = measure_kind_search(oracle, benchmark, more)
    assert result["images"] == SCENES + 20 and result["precision@10"] == 1.0


def test_a_benchmark_without_scenes_is_refused(benchmark: Path, tmp_path: Path) -> None:
    record = json.loads((benchmark / "dataset_toy.json").read_text())
    for row in record["images"]:
        del row["scene"]
    (tmp_path / "images").symlink_to(benchmark / "images")
    (tmp_path / "dataset_toy.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="names no scenes"):
        measure_kind_search(Oracle(benchmark), tmp_path)
