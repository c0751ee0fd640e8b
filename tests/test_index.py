"""The index: exact, what it is built from, and clear words when it cannot be."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from align_edu.io import InputError
from align_edu.search import ImageIndex
from tests.colour_run import COLOURS, ColourRun, names, write_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


@pytest.fixture
def run(tmp_path: Path) -> ColourRun:
    return ColourRun(tmp_path / "run")


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


def test_equal_scores_come_in_the_order_of_the_images() -> None:
    rng = np.random.default_rng(8)
    vectors = rng.integers(-1, 2, (300, 6)).astype(np.float32)  # products are whole numbers
    queries = rng.integers(-1, 2, (12, 6)).astype(np.float32)
    index = ImageIndex(torch.from_numpy(vectors), [f"{i}.jpg" for i in range(300)])
    products = queries @ vectors.T
    for k in (5, 300):
        for row, hits in enumerate(index.search_many(torch.from_numpy(queries), k)):
            expected = np.argsort(-products[row], kind="stable")[:k]
            assert [hit.score for hit in hits] == products[row][expected].tolist()
            if k == 300:
                assert [int(hit.path.stem) for hit in hits] == expected.tolist()


def test_an_approximate_index_keeps_the_answers_to_texts_across_the_gap() -> None:
    rng = np.random.default_rng(6)

    def unit(rows: np.ndarray) -> np.ndarray:
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    # Meaning in 8 dimensions; each modality around a mean of its own, at right angles.
    meaning = np.pad(rng.standard_normal((3000, 8)), ((0, 0), (2, 22)))
    away = np.eye(32)[:2] * 4
    images = unit(meaning + away[0] + 0.1 * rng.standard_normal((3000, 32)))
    texts = unit(meaning[:100] + away[1] + 0.1 * rng.standard_normal((100, 32)))
    assert (images @ texts.T).mean() < 0.2 < 0.5 < (images[:500] @ images[500:1000].T).mean()
    index = ImageIndex(
        torch.from_numpy(images), [f"{i}.jpg" for i in range(3000)], kind="approximate"
    )
    found = index.search_many(torch.from_numpy(texts), 10)
    true = np.argsort(-texts @ images.T, axis=1)[:, :10]
    shared = [
        len({int(h.path.stem) for h in hits} & set(row))
        for hits, row in zip(found, true.tolist(), strict=True)
    ]
    assert sum(shared) / 1000 >= 0.95
    assert len(index.search(torch.from_numpy(texts[0]), 5000)) > 2900  # k above the size


def test_images_are_added_once_and_must_fit() -> None:
    index = ImageIndex(torch.eye(3), ["a.jpg", "b.jpg", "c.jpg"])
    for rows, files, sentence in [
        (torch.eye(3), ["d.jpg"], "one row a file"),
        (torch.eye(4), list("defg"), "width 4: this index holds vectors of width 3"),
        (torch.eye(3), ["d.jpg", "e.jpg", "a.jpg"], "a.jpg: already in the index"),
        (torch.eye(3), ["d.jpg", "e.jpg", "d.jpg"], "d.jpg: already in the index"),
        (torch.full((1, 3), torch.nan), ["d.jpg"], "not finite"),
    ]:
        with pytest.raises(InputError, match=sentence):
            index.add(rows, files)
    assert len(index) == 3
    with pytest.raises(InputError, match="exact or approximate"):
        ImageIndex(torch.eye(3), list("abc"), kind="fast")


def test_shards_are_indexed_by_shard_and_member(tmp_path: Path, run: ColourRun) -> None:
    with tarfile.open(tmp_path / "00000.tar", "w") as tar:
        for colour in ("red", "blue"):
            data = io.BytesIO()
            Image.new("RGB", (9, 9), COLOURS[colour]).save(data, "PNG")
            for name, part in [(f"{colour}.png", data.getvalue()), (f"{colour}.txt", b"a text")]:
                member = tarfile.TarInfo(name)
                member.size = len(part)
                tar.addfile(member, io.BytesIO(part))
    index = ImageIndex.build(run, tmp_path)
    (hit,) = index.search(torch.tensor([0.0, 0.0, 1.0]), 1)
    assert hit.path == tmp_path / "00000.tar" / "blue.png"


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_embeddings_made_before_are_indexed_by_their_names(
    kind: type, tmp_path: Path, run: ColourRun
) -> None:
    run.encode_texts = lambda texts: torch.eye(3)[: len(texts)]  # type: ignore[method-assign]
    np.save(tmp_path / "all.npy", np.array([[3, 0, 0], [0, 0, 2]], kind))
    (tmp_path / "all.txt").write_text("red.png\nmore/blue.png\n")
    index = ImageIndex.build(run, tmp_path / "all.npy")
    (hit,) = index.search(torch.tensor([0.0, 0.0, 1.0]), 1)
    assert hit.path == tmp_path / "more" / "blue.png" and hit.score == pytest.approx(1.0)


@pytest.mark.parametrize(
    "rows,text,sentence",
    [
        (np.eye(3, dtype=np.float32), "a\nb\n", "2 names for 3 embeddings"),
        (np.eye(3, dtype=np.float32), "a\n\nc\n", "line 2 is empty"),
        (np.eye(3, dtype=np.float32), None, "all.txt: no such file"),
        (np.eye(4, dtype=np.float32), "a\nb\nc\nd\n", "of width 4, the run makes 3"),
        (np.eye(3), "a\nb\nc\n", "float64"),
        (np.ones(3, np.float32), "a\nb\nc\n", "float32 or float16"),
        (np.zeros((1, 3), np.float32), "a\n", "row 0 is zero"),
        (np.array([[{}]]), "a\n", "not readable embeddings"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(
    rows: np.ndarray, text: str | None, sentence: str, tmp_path: Path, run: ColourRun
) -> None:
    np.save(tmp_path / "all.npy", rows)
    if text is not None:
        (tmp_path / "all.txt").write_text(text)
    # The stub knows no word but colours, so ask for its width by one.
    run.encode_texts = lambda texts: torch.eye(3)[: len(texts)]  # type: ignore[method-assign]
    with pytest.raises(InputError, match=sentence):
        ImageIndex.build(run, tmp_path / "all.npy")
