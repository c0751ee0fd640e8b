"""The index: exact, what it is built from, and on disk whole or absent, never half taken."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.io import InputError
from align_edu.search import ImageIndex
from align_edu.search import vectors as faiss_vectors
from tests.samples import COLOURS, ColourRun, image_file, names, write_photos, write_tar

THREE = ["a.jpg", "b.jpg", "c.jpg"]


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.fixture
def run(tmp_path):
    return ColourRun(tmp_path / "run")


def unit(*size: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*size, generator=torch.Generator().manual_seed(seed)), dim=-1)


def index_of(vectors: Tensor, **options: Any) -> ImageIndex:
    return ImageIndex(vectors, [f"/made/{row}" for row in range(len(vectors))], **options)


def rows_of(index: ImageIndex, query: Tensor, k: int) -> list[int]:
    return [int(hit.path.name) for hit in index.search(query, k)]


def best(vectors: Tensor, query: Tensor, k: int) -> list[int]:
    """Numpy's stable sort in float64: of equal scores the earlier image."""
    scores = vectors.double().numpy() @ query.double().numpy()
    return np.argsort(-scores, kind="stable")[:k].tolist()


# --- search


def test_search_equals_brute_force_in_numpy_also_where_scores_are_equal():
    vectors, queries = unit(500, 24), unit(25, 24, seed=1)
    whole = torch.randint(-1, 2, (300, 6), generator=torch.Generator().manual_seed(8)).float()
    for rows, asked, k in ((vectors, queries, 7), (whole, whole[:12], 300)):
        for query, hits in zip(asked, index_of(rows).search_many(asked, k), strict=True):
            assert [int(hit.path.name) for hit in hits] == (expected := best(rows, query, k))
            scores = (rows.double() @ query.double())[expected].tolist()
            assert [hit.score for hit in hits] == pytest.approx(scores, rel=1e-5)
            assert [hit.rank for hit in hits] == list(range(1, k + 1))


def test_excluded_files_make_room_for_the_next_ones_and_a_large_k_gives_every_image():
    index = ImageIndex(torch.eye(4), [*THREE, "d.jpg"])
    query = torch.tensor([4.0, 3.0, 2.0, 1.0])
    hits = index.search(query, 2, exclude=["a.jpg", "c.jpg", "unknown.jpg"])
    assert [(hit.rank, hit.path.stem) for hit in hits] == [(1, "b"), (2, "d")]
    assert len(index.search(query, 1000)) == 4


def test_an_approximate_index_keeps_the_answers_to_texts_across_the_gap():
    rng = np.random.default_rng(6)
    # Meaning in 8 dimensions; each modality around a separate mean, at right angles.
    meaning = np.pad(rng.standard_normal((3000, 8)), ((0, 0), (2, 22)))
    away = np.eye(32)[:2] * 4

    def seen_as(meaning: np.ndarray, mean: np.ndarray) -> Tensor:
        rows = meaning + mean + 0.1 * rng.standard_normal(meaning.shape)
        return F.normalize(torch.from_numpy(rows.astype(np.float32)), dim=1)

    images, texts = seen_as(meaning, away[0]), seen_as(meaning[:100], away[1])
    assert (images @ texts.T).mean() < 0.2 < 0.5 < (images[:500] @ images[500:1000].T).mean()
    index = index_of(images, kind="approximate")
    shared = [len(set(rows_of(index, t, 10)) & set(best(images, t, 10))) for t in texts]
    assert sum(shared) / 1000 >= 0.95
    assert len(index.search(texts[0], 5000)) > 2900  # k above the size


@pytest.fixture
def halved_from_a_hundred(monkeypatch):
    """Give small indexes the float16 copy of large ones."""
    monkeypatch.setattr(faiss_vectors, "HALVED_FROM", 100)


@pytest.mark.usefixtures("halved_from_a_hundred")
def test_the_float16_copy_finds_the_best_in_memory_and_on_disk(tmp_path):
    vectors = unit(3_000, 24)
    vectors[2_900:] = vectors[5]  # equal vectors come in order
    index = index_of(vectors)
    again = ImageIndex.load(index.save(tmp_path / "index"))
    kinds = sorted(file.name.split("-")[0] for file in (tmp_path / "index").iterdir())
    assert kinds == ["halves", "images.json", "vectors"]
    for k in (1, 10, 3_000):
        for query in (vectors[5], *unit(3, 24, seed=1)):
            assert rows_of(index, query, k) == rows_of(again, query, k) == best(vectors, query, k)
    long = index_of(3 * vectors[:500])  # not of length 1: searched in float32
    assert long._vectors.halves is None and rows_of(long, vectors[7], 1) == [7]


@pytest.mark.usefixtures("halved_from_a_hundred")
@pytest.mark.parametrize("bound", [faiss_vectors.ERROR, -1.0])
def test_vectors_closer_than_float16_resolves_are_told_apart_thanks_to_the_bound(
    bound, monkeypatch
):
    # All within 1e-4 of one direction, where float16 keeps 5e-4: candidates must become all.
    monkeypatch.setattr(faiss_vectors, "ERROR", bound)
    vectors = F.normalize(unit(1, 24) + 1e-4 * unit(2_000, 24, seed=2), dim=-1)
    index, lost = index_of(vectors), 0
    for query in F.normalize(unit(1, 24) + unit(20, 24, seed=3), dim=-1):
        scores = vectors.double() @ query.double()
        worst = scores[rows_of(index, query, 10)].min()
        lost += int(worst < scores.topk(10).values[-1] - 1e-7)  # float32's own rounding
    assert (lost == 0) == (bound > 0)


# --- what an index is built from


def searched(query: Tensor, k: int = 1) -> Any:
    return lambda folder: ImageIndex(torch.eye(3), THREE).search(query, k)


def indexed(rows: Tensor, files: list[str], **options: Any) -> Any:
    return lambda folder: ImageIndex(rows, files, **options)


def built(*names: str, of: list[str] | None = None) -> Any:
    def act(folder: Path) -> None:
        for name in names:
            (folder / name).touch()
        ImageIndex.build(ColourRun(folder), folder if of is None else of)

    return act


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (searched(torch.ones(3), 0), "k is 0"),
        (searched(torch.ones(4)), "width 3"),
        (searched(torch.ones(1, 3)), r"\(1, 1, 3\)"),
        (searched(torch.tensor([1.0, float("nan"), 0.0])), "not finite"),
        (indexed(torch.eye(3), ["a.jpg"]), "one per file"),
        (indexed(torch.zeros(0, 3), []), "one per file"),
        (indexed(torch.full((1, 3), torch.nan), ["a.jpg"]), "not finite"),
        (indexed(torch.eye(3), THREE, kind="fast"), "exact or approximate"),
        (built("readme.txt"), "no images in it"),
        (built("broken.jpg"), r"no image can be read \(1 empty file\)"),
        (built(of=[]), r"no image can be read \(none given\)"),
        (built(of=["gone.jpg"]), r"no image can be read \(1 unreadable file\)"),
        (lambda folder: ImageIndex.build(ColourRun(folder), folder / "x"), "no such folder"),
    ],
)
def test_what_cannot_be_indexed_or_searched_is_refused(act, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        act(tmp_path)


def test_shards_are_indexed_by_shard_and_member(tmp_path, run):
    pictures = {name: image_file(COLOURS[name]) for name in ("red", "blue")} | {
        "cut": b"no picture"
    }
    write_tar(tmp_path / "00000.tar", [(f"{name}.jpg", data) for name, data in pictures.items()])
    index = ImageIndex.build(run, tmp_path)
    (hit,) = index.search(torch.tensor([0.0, 0.0, 1.0]), 1)
    assert hit.path == tmp_path / "00000.tar" / "blue.jpg"
    assert index.skipped == {tmp_path / "00000.tar" / "cut.jpg": "not an image"}


@pytest.mark.parametrize(
    "rows,text,sentence",
    [
        (np.array([[3, 0, 0], [0, 0, 2]], np.float32), "red.png\nmore/blue.png\n", None),
        (np.array([[3, 0, 0], [0, 0, 2]], np.float16), "red.png\nmore/blue.png\n", None),
        (np.eye(3, dtype=np.float32), "a\n\nc\n", "2 names for 3 embeddings"),
        (np.eye(3, dtype=np.float32), None, "No such file.*all.txt"),
        (np.eye(4, dtype=np.float32), "a\nb\nc\nd\n", r"\(4, 4\); this run's .* \(N, 3\)"),
        (np.eye(3), "a\nb\nc\n", "float64"),
        (np.ones(3, np.float32), "a\nb\nc\n", "float32 or float16"),
        (np.zeros((1, 3), np.float32), "a\n", "row 0 is zero"),
        (np.array([[{}]]), "a\n", "not readable embeddings"),
    ],
)
def test_embeddings_from_a_file_are_indexed_by_their_names_or_refused(
    rows, text, sentence, tmp_path, run
):
    np.save(tmp_path / "all.npy", rows)
    if text is not None:
        (tmp_path / "all.txt").write_text(text)
    # The stub knows no word but colours, and is asked for its width by another one.
    run.encode_texts = lambda texts: torch.eye(3)[: len(texts)]  # type: ignore[method-assign]
    if sentence is None:
        (hit,) = ImageIndex.build(run, tmp_path / "all.npy").search(torch.eye(3)[2], 1)
        assert hit.path == tmp_path / "more" / "blue.png" and hit.score == pytest.approx(1.0)
    else:
        with pytest.raises(InputError, match=sentence):
            ImageIndex.build(run, tmp_path / "all.npy")


# --- on disk


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_a_saved_index_gives_the_same_hits_and_moves_together_with_its_images(
    kind, photos, run, tmp_path
):
    (photos / "cut.png").write_bytes((photos / "red.png").read_bytes()[:50])
    (photos / "fake.jpg").write_text("I am no picture")
    index = ImageIndex.build(run, photos, kind=kind)
    assert sorted(file.stem for file in index.files) == sorted(COLOURS)
    reasons = {"cut.png": "truncated", "fake.jpg": "not an image"}
    assert index.skipped == {photos / name: reason for name, reason in reasons.items()}
    folder = index.save(tmp_path / "index")
    loaded, queries = ImageIndex.load(folder), unit(9, 3)
    assert loaded.kind == kind
    assert loaded.search_many(queries, 4) == index.search_many(queries, 4)
    assert loaded.run == tmp_path / "run" and loaded.skipped == index.skipped
    described = json.loads((folder / "images.json").read_text())
    assert described["images"][0] == "../photos/blue.png"
    assert described["run"] == "../run" and described["width"] == 3
    moved = tmp_path.rename(tmp_path.with_name(f"moved {kind}"))
    hits = ImageIndex.load(moved / "index").search(torch.tensor([1.0, 0, 0]), 1)
    assert hits[0].path == moved / "photos" / "red.png" and hits[0].path.is_file()


def described_as(**changes: Any) -> Any:
    return lambda data: json.dumps(json.loads(data) | changes).encode()


OTHER = "not an index that this version reads"


@pytest.mark.parametrize(
    "name,damage,sentence",
    [
        ("vectors-*", None, "missing or damaged"),
        ("images.json", None, "no index in it"),
        ("vectors-*", lambda data: data[:-1] + b"!", "missing or damaged"),
        ("images.json", lambda data: b"{", "not readable JSON"),
        ("images.json", described_as(parts=None), OTHER),
        ("images.json", described_as(kind="approximate"), OTHER),
        ("images.json", described_as(format=2), OTHER),
        ("images.json", described_as(images=["one.jpg"]), OTHER),
        ("images.json", described_as(width=4), OTHER),
    ],
)
def test_a_damaged_index_is_refused_with_the_command_that_makes_one(
    name, damage, sentence, tmp_path
):
    folder = ImageIndex(torch.eye(3), THREE).save(tmp_path / "index")
    (file,) = folder.glob(name)
    file.unlink() if damage is None else file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match=sentence) as error:
        ImageIndex.load(folder)
    assert "align-edu index RUN IMAGES OUT" in str(error.value) or "JSON" in sentence


def test_a_failed_save_leaves_the_older_index_usable(tmp_path, monkeypatch):
    folder = ImageIndex(torch.eye(2), ["a.jpg", "b.jpg"]).save(tmp_path / "index")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        ImageIndex(torch.eye(3), THREE).save(folder)
    assert names(ImageIndex.load(folder).search(torch.eye(2)[1], 2)) == ["b", "a"]
    assert len(list(folder.iterdir())) == 2


def save_and_die(folder: Path, step: str, calls: int) -> None:
    """Save an index of four images, and die just before the given call of a method of Path."""
    method, left = getattr(Path, step), [calls]

    def counted(self: Path, *args: Any, **options: Any) -> Any:
        left[0] -= str(self).startswith(str(folder))
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(self, *args, **options)

    setattr(Path, step, counted)
    ImageIndex(torch.eye(4), list("abcd")).save(folder)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("step", "calls", "before", "after"),
    [("replace", 1, 0, 0), ("replace", 2, 2, 2), ("unlink", 3, 2, 4)],
)
def test_a_killed_save_leaves_a_whole_index_or_none(step, calls, before, after, tmp_path):
    folder = tmp_path / "index"
    if before:
        ImageIndex(torch.eye(before), ["x", "y"]).save(folder)
    child = os.fork()  # a new interpreter would take seconds to import
    if child == 0:
        try:
            save_and_die(folder, step, calls)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    if after:
        assert len(ImageIndex.load(folder)) == after
    else:
        with pytest.raises(InputError, match="no index in it"):
            ImageIndex.load(folder)
    # The next save works, and leaves nothing of the killed one.
    ImageIndex(torch.eye(3), THREE).save(folder)
    assert len(ImageIndex.load(folder)) == 3
    assert len(list(folder.iterdir())) == 2
