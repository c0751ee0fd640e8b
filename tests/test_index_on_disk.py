"""An index on disk: the same after loading, whole or absent after a kill, never half taken."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from align_edu.io import InputError
from align_edu.search import ImageIndex
from tests.colour_run import ColourRun, write_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


@pytest.fixture
def run(tmp_path: Path) -> ColourRun:
    return ColourRun(tmp_path / "run")


def test_a_saved_index_gives_the_same_hits(photos: Path, run: ColourRun, tmp_path: Path) -> None:
    (photos / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    index = ImageIndex.build(run, photos)
    folder = index.save(tmp_path / "index")
    loaded = ImageIndex.load(folder)
    query = torch.tensor([0.5, 0.2, 0.6])
    assert loaded.search(query, 4) == index.search(query, 4)
    assert loaded.run == tmp_path / "run" and loaded.skipped == index.skipped
    kinds = sorted(file.name.split("-")[0] for file in folder.iterdir())
    assert kinds == ["images.json", "vectors"]


def test_an_index_moves_together_with_its_images(run: ColourRun, photos: Path) -> None:
    home = photos.parent
    ImageIndex.build(run, photos).save(home / "index")
    described = json.loads((home / "index" / "images.json").read_text())
    assert described["images"][0] == "../photos/blue.png"
    assert described["run"] == "../run" and described["width"] == 3
    moved = home.rename(home.with_name("moved"))
    hits = ImageIndex.load(moved / "index").search(torch.tensor([1.0, 0, 0]), 1)
    assert hits[0].path == moved / "photos" / "red.png" and hits[0].path.is_file()


def _vectors(folder: Path) -> Path:
    (file,) = folder.glob("vectors-*.faiss")
    return file


def _cut(folder: Path) -> None:
    file = _vectors(folder)
    file.write_bytes(file.read_bytes()[:-5])


def _swap_bytes(folder: Path) -> None:
    file = _vectors(folder)
    file.write_bytes(file.read_bytes()[::-1])


def _edit(folder: Path, **changes: Any) -> None:
    file = folder / "images.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    "damage,sentence",
    [
        (lambda folder: _vectors(folder).unlink(), "missing from the index"),
        (lambda folder: (folder / "images.json").unlink(), "no index in it"),
        (_cut, "damaged"),
        (_swap_bytes, "damaged"),
        (lambda folder: (folder / "images.json").write_text("{"), "not readable JSON"),
        (lambda folder: (folder / "images.json").write_text("[]"), "needs width"),
        (lambda folder: _edit(folder, parts=None), "needs width"),
        (lambda folder: _edit(folder, parts={}), "the entry of its vectors is incomplete"),
        (lambda folder: _edit(folder, kind="approximate"), "names no graph"),
        (lambda folder: _edit(folder, format=3), "cannot read"),
        (lambda folder: _edit(folder, format=None), "cannot read"),
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

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        ImageIndex(torch.eye(3), ["c.jpg", "d.jpg", "e.jpg"]).save(folder)
    assert len(ImageIndex.load(folder)) == 2
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_an_index_on_disk_answers_as_the_one_in_memory_and_grows_alike(
    kind: str, tmp_path: Path
) -> None:
    rng = torch.Generator().manual_seed(4)
    vectors = F.normalize(torch.randn(400, 16, generator=rng), dim=1)
    queries = torch.randn(9, 16, generator=rng)
    files = [f"{i}.jpg" for i in range(400)]
    index = ImageIndex(vectors[:300], files[:300], kind=kind)
    loaded = ImageIndex.load(index.save(tmp_path / "index"))
    assert loaded.kind == kind and loaded.search_many(queries, 7) == index.search_many(queries, 7)
    loaded.add(vectors[300:], files[300:])
    loaded.save(tmp_path / "index")  # over the files that it lies in
    whole = ImageIndex(vectors, files, kind=kind).search_many(queries, 7)
    again = ImageIndex.load(tmp_path / "index", check_all=True)
    assert again.files == [Path(file).absolute() for file in files]
    found = again.search_many(queries, 7)
    assert found == loaded.search_many(queries, 7)
    # A graph that grew has other links, but finds the same images.
    pairs = [({h.path for h in a}, {h.path for h in b}) for a, b in zip(found, whole, strict=True)]
    assert sum(len(a & b) for a, b in pairs) >= (63 if kind == "exact" else 60)


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
def test_a_killed_save_leaves_a_whole_index_or_none(
    step: str, calls: int, before: int, after: int, tmp_path: Path
) -> None:
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
        assert len(ImageIndex.load(folder, check_all=True)) == after
    else:
        with pytest.raises(InputError, match="no index in it"):
            ImageIndex.load(folder)
    # The next save works, and leaves nothing of the killed one.
    ImageIndex(torch.eye(3), ["p", "q", "r"]).save(folder)
    assert len(ImageIndex.load(folder)) == 3
    assert len(list(folder.iterdir())) == 2
