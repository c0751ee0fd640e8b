"""Search: exact index, sums of meanings, and clear words when an index cannot be used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from align_edu.errors import InputError
from align_edu.search import Hit, ImageIndex, combine_query, search

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "purple": (200, 0, 200)}


class ColourRun:
    """Embeds a picture by its mean colour and a text by the colours that it names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def encode_images(self, pictures: list[Image.Image]) -> Tensor:
        means = [np.asarray(picture, np.float32).mean(axis=(0, 1)) for picture in pictures]
        return F.normalize(torch.tensor(np.array(means)), dim=1)

    def encode_texts(self, texts: list[str]) -> Tensor:
        sums = [
            sum((torch.tensor(COLOURS[word]).float() for word in text.split()), torch.zeros(3))
            for text in texts
        ]
        return F.normalize(torch.stack(sums), dim=1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, (name, colour) in enumerate(COLOURS.items()):
        place = folder / "more" if number % 2 else folder
        Image.new("RGB", (9, 9), colour).save(place / f"{name}.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> ColourRun:
    return ColourRun(tmp_path / "run")


def names(hits: list[Hit]) -> list[str]:
    return [hit.path.stem for hit in hits]


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


# --- the index


def test_search_equals_brute_force_in_numpy() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((500, 24)).astype(np.float32)
    queries = rng.standard_normal((25, 24)).astype(np.float32)
    index = ImageIndex(torch.from_numpy(vectors), [f"{i}.jpg" for i in range(500)])
    products = queries.astype(np.float64) @ vectors.astype(np.float64).T
    found = index.search_many(torch.from_numpy(queries), 7)
    for row, hits in enumerate(found):
        expected = np.argsort(-products[row])[:7]
        assert [int(hit.path.stem) for hit in hits] == expected.tolist()
        assert [hit.score for hit in hits] == pytest.approx(products[row][expected], rel=1e-5)
        assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6, 7]
    assert names(index.search(torch.from_numpy(queries[4]), 7)) == names(found[4])


def test_excluded_files_make_room_for_the_next_ones() -> None:
    index = ImageIndex(torch.eye(4), ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    query = torch.tensor([4.0, 3.0, 2.0, 1.0])
    hits = index.search(query, 2, exclude=["a.jpg", "c.jpg", "unknown.jpg"])
    assert names(hits) == ["b", "d"]
    assert [hit.rank for hit in hits] == [1, 2]


def test_a_k_above_the_size_gives_every_image() -> None:
    index = ImageIndex(torch.eye(3), ["a.jpg", "b.jpg", "c.jpg"])
    assert len(index.search(torch.ones(3), 1000)) == len(index) == 3


@pytest.mark.parametrize(
    "query,k,sentence",
    [
        (torch.ones(3), 0, "k is 0"),
        (torch.ones(4), 1, "width 3"),
        (torch.ones(1, 3), 1, "one query is"),
        (torch.tensor([1.0, float("nan"), 0.0]), 1, "not finite"),
    ],
)
def test_a_query_that_does_not_fit_is_refused(query: Tensor, k: int, sentence: str) -> None:
    index = ImageIndex(torch.eye(3), ["a.jpg", "b.jpg", "c.jpg"])
    with pytest.raises(InputError, match=sentence):
        index.search(query, k)


def test_an_index_needs_one_embedding_a_file() -> None:
    for embeddings, files in [(torch.eye(3), ["a.jpg"]), (torch.zeros(0, 3), [])]:
        with pytest.raises(InputError, match="one row a file"):
            ImageIndex(embeddings, files)


def test_a_folder_is_indexed_with_the_folders_in_it(photos: Path, run: ColourRun) -> None:
    index = ImageIndex.build(run, photos)
    assert sorted(file.stem for file in index.files) == sorted(COLOURS)
    assert index.skipped == {}
    best = index.search(torch.tensor([0.0, 0.0, 1.0]), 1)[0]
    assert best.path == photos / "blue.png" and best.score == pytest.approx(1.0)


def test_a_list_of_files_is_indexed_in_its_order(photos: Path, run: ColourRun) -> None:
    files = [photos / "blue.png", photos / "red.png"]
    assert ImageIndex.build(run, files).files == files


def test_broken_images_are_skipped_with_their_reason(photos: Path, run: ColourRun) -> None:
    whole = (photos / "red.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[:50])
    (photos / "fake.jpg").write_text("I am no picture")
    index = ImageIndex.build(run, photos)
    assert len(index) == 4
    assert index.skipped == {
        photos / "cut.png": "truncated",
        photos / "fake.jpg": "not an image",
    }


@pytest.mark.parametrize("make", ["nothing", "folder", "text", "broken", "list", "missing"])
def test_nothing_to_index_is_said_in_one_sentence(
    make: str, tmp_path: Path, run: ColourRun
) -> None:
    folder = tmp_path / "empty"
    images: Any = folder
    if make != "nothing":
        folder.mkdir()
    if make == "text":
        (folder / "readme.txt").write_text("no picture")
    if make == "broken":
        (folder / "broken.jpg").write_bytes(b"")
    if make in ("list", "missing"):
        images = [] if make == "list" else [folder / "gone.jpg"]
    with pytest.raises(InputError) as error:
        ImageIndex.build(run, images)
    expected = {
        "nothing": "no such folder",
        "folder": "no images in it",
        "text": "no images in it",
        "broken": "no image can be read (1 empty file)",
        "list": "list of images is empty",
        "missing": "no such image file",
    }
    assert expected[make] in str(error.value)


def test_a_saved_index_gives_the_same_hits(photos: Path, run: ColourRun, tmp_path: Path) -> None:
    (photos / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    index = ImageIndex.build(run, photos)
    folder = index.save(tmp_path / "index")
    loaded = ImageIndex.load(folder)
    query = torch.tensor([0.5, 0.2, 0.6])
    assert loaded.search(query, 4) == index.search(query, 4)
    assert loaded.run == tmp_path / "run" and loaded.skipped == index.skipped
    assert sorted(file.name for file in folder.iterdir()) == ["images.json", "index.faiss"]


def test_an_index_moves_together_with_its_images(run: ColourRun, photos: Path) -> None:
    home = photos.parent
    ImageIndex.build(run, photos).save(home / "index")
    described = json.loads((home / "index" / "images.json").read_text())
    assert described["images"][0] == "../photos/blue.png"
    assert described["run"] == "../run" and described["width"] == 3
    moved = home.rename(home.with_name("moved"))
    hits = ImageIndex.load(moved / "index").search(torch.tensor([1.0, 0, 0]), 1)
    assert hits[0].path == moved / "photos" / "red.png" and hits[0].path.is_file()


def _cut(folder: Path) -> None:
    file = folder / "index.faiss"
    file.write_bytes(file.read_bytes()[:-5])


def _swap_bytes(folder: Path) -> None:
    file = folder / "index.faiss"
    file.write_bytes(file.read_bytes()[::-1])


def _edit(folder: Path, **changes: Any) -> None:
    file = folder / "images.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    "damage,sentence",
    [
        (lambda folder: (folder / "index.faiss").unlink(), "no index here"),
        (lambda folder: (folder / "images.json").unlink(), "no index here"),
        (_cut, "damaged"),
        (_swap_bytes, "damaged"),
        (lambda folder: (folder / "images.json").write_text("{"), "not readable JSON"),
        (lambda folder: (folder / "images.json").write_text("[]"), "needs width"),
        (lambda folder: _edit(folder, sha256=None), "needs width"),
        (lambda folder: _edit(folder, images=["one.jpg"]), "do not fit"),
        (lambda folder: _edit(folder, width=4), "do not fit"),
    ],
)
def test_a_damaged_index_is_refused(damage: Any, sentence: str, tmp_path: Path) -> None:
    folder = ImageIndex(torch.eye(3), ["a.jpg", "b.jpg", "c.jpg"]).save(tmp_path / "index")
    damage(folder)
    with pytest.raises(InputError, match=sentence):
        ImageIndex.load(folder)


def test_a_missing_index_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="align-edu index RUN IMAGES OUT"):
        ImageIndex.load(tmp_path / "nowhere")


def test_a_failed_save_leaves_the_older_index_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ImageIndex(torch.eye(2), ["a.jpg", "b.jpg"]).save(tmp_path / "index")

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left"):
        ImageIndex(torch.eye(3), ["c.jpg", "d.jpg", "e.jpg"]).save(folder)
    assert len(ImageIndex.load(folder)) == 2
    assert len(list(folder.iterdir())) == 2


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

    def load_run(folder: Path) -> ColourRun:
        loaded.append(folder)
        return run

    monkeypatch.setattr("align_edu.training.run.load_run", load_run)
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
