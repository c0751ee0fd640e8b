"""Search: sums of meanings, and clear words when there is nothing to search for."""

from pathlib import Path
from typing import Any

import pytest
import torch

from align_edu.io import InputError
from align_edu.search import ImageIndex, combine_query, search
from tests.colour_run import ColourRun, names, write_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


@pytest.fixture
def run(tmp_path: Path) -> ColourRun:
    return ColourRun(tmp_path / "run")


# --- the sum of meanings


def test_a_query_is_the_normalised_sum_of_normalised_terms() -> None:
    # By hand: 2·(0, 1) + 1·(1, 0) - 0.5·(0.6, 0.8) = (0.7, 1.6), of length sqrt(3.05).
    found = combine_query(
        [
            (2, torch.tensor([0.0, 7.0])),
            (1, torch.tensor([3.0, 0.0])),
            (-0.5, torch.tensor([30.0, 40.0])),
        ]
    )
    assert found.shape == (2,)
    assert found.tolist() == pytest.approx([0.7 / 3.05**0.5, 1.6 / 3.05**0.5], abs=1e-6)


def test_scaling_an_embedding_or_all_weights_changes_nothing() -> None:
    a, b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([-1.0, 0.5, 4.0])
    expected = combine_query([(2, a), (1, b)])
    assert torch.allclose(combine_query([(6, 100 * a), (3, 0.01 * b)]), expected, atol=1e-6)


@pytest.mark.parametrize(
    "terms,sentence",
    [
        ([], "no terms"),
        ([(1, torch.ones(3)), (-1, torch.ones(3))], "cancel out"),
        ([(2, torch.ones(3)), (-1, torch.ones(3)), (-1, 5 * torch.ones(3))], "cancel out"),
        ([(0, torch.ones(3))], "cancel out"),
        ([(1, torch.ones(3)), (1, torch.ones(4))], r"term 1: shape \(4,\) beside \(3,\)"),
        ([(1, torch.ones(2, 3))], "term 0"),
        ([(1, torch.zeros(3))], "zero or not finite"),
        ([(1, torch.tensor([1.0, float("nan")]))], "zero or not finite"),
        ([(float("nan"), torch.ones(3))], "finite number"),
    ],
)
def test_a_query_that_points_nowhere_is_refused(terms: list, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        combine_query(terms)


# --- one search


def test_words_find_the_picture_they_describe(photos: Path, run: ColourRun) -> None:
    index = ImageIndex.build(run, photos)
    hits = search(index, "green", top=2, run=run)
    assert names(hits)[0] == "green" and len(hits) == 2


def test_an_image_finds_its_like_but_never_itself(photos: Path, run: ColourRun) -> None:
    index = ImageIndex.build(run, photos)
    link = photos.parent / "link"
    link.symlink_to(photos)
    for query in (photos / "red.png", link / "red.png"):
        hits = search(index, image=query, run=run)
        assert names(hits)[0] == "purple" and "red" not in names(hits) and len(hits) == 3


def test_text_and_image_are_added_two_to_one(photos: Path, run: ColourRun) -> None:
    index = ImageIndex.build(run, photos)
    hits = search(index, "green", image=photos / "red.png", run=run)
    # By hand: 2·(0, 1, 0) + 1·(1, 0, 0), of length sqrt(5).
    scores = {hit.path.stem: hit.score for hit in hits}
    assert scores["green"] == pytest.approx(2 / 5**0.5, abs=1e-6)
    assert scores["purple"] == pytest.approx(1 / 10**0.5, abs=1e-6)


def test_plus_and_minus_move_the_query(photos: Path, run: ColourRun) -> None:
    index = ImageIndex.build(run, photos)
    assert names(search(index, "red", plus=["blue"], run=run))[0] == "purple"
    assert names(search(index, "purple", minus=["red"], run=run))[0] == "blue"
    assert names(search(index, plus=["blue"], top=1, run=run)) == ["blue"]


def test_a_search_in_a_folder_loads_the_run_that_built_it(
    photos: Path, run: ColourRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Path] = []

    def load_encoder(folder: Path, device: str | None) -> ColourRun:
        loaded.append(folder)
        return run

    monkeypatch.setattr("align_edu.search.query.load_encoder", load_encoder)
    ImageIndex.build(run, photos).save(tmp_path / "index")
    assert names(search(tmp_path / "index", "blue", top=1)) == ["blue"]
    assert loaded == [tmp_path / "run"]


@pytest.mark.parametrize(
    "question,sentence",
    [
        ({}, "nothing to search for"),
        ({"minus": ["red"]}, "nothing to search for"),
        ({"text": " "}, "is empty"),
        ({"text": "red", "plus": [""]}, "is empty"),
        ({"text": "red", "minus": ["red"]}, "cancel out"),
        ({"text": "red", "top": 0}, "k is 0"),
        ({"image": "gone.png"}, "not a readable image"),
    ],
)
def test_a_search_for_nothing_is_refused(
    question: dict[str, Any], sentence: str, photos: Path, run: ColourRun
) -> None:
    with pytest.raises(InputError, match=sentence):
        search(ImageIndex.build(run, photos), run=run, **question)


def test_an_index_that_names_no_run_asks_for_one() -> None:
    with pytest.raises(InputError, match="names no run"):
        search(ImageIndex(torch.eye(3), ["a.jpg", "b.jpg", "c.jpg"]), "red")


def test_a_text_may_bring_its_weight(photos: Path, run: ColourRun) -> None:
    index = ImageIndex.build(run, photos)
    hits = search(index, plus=["green", "blue:0.5"], run=run)
    # By hand: 2·(0, 1, 0) + 1·(0, 0, 1), of length sqrt(5).
    scores = {hit.path.stem: hit.score for hit in hits}
    assert scores["green"] == pytest.approx(2 / 5**0.5, abs=1e-6)
    assert scores["blue"] == pytest.approx(1 / 5**0.5, abs=1e-6)


def test_an_index_of_another_model_is_refused(photos: Path, run: ColourRun) -> None:
    run.folder.mkdir()
    (run.folder / "model.safetensors").write_bytes(b"one")
    folder = ImageIndex.build(run, photos).save(photos.parent / "index")
    assert names(search(folder, "red", top=1, run=run)) == ["red"]
    other = ColourRun(photos.parent / "other")
    other.folder.mkdir()
    (other.folder / "model.safetensors").write_bytes(b"two")
    with pytest.raises(InputError, match="not the model that built this index"):
        search(folder, "red", run=other)
    (run.folder / "model.safetensors").write_bytes(b"trained on")
    with pytest.raises(InputError, match="not the model that built this index"):
        search(folder, "red", run=run)
