"""Search: sums of meanings, and clear words when there is nothing to search for."""

import pytest
import torch

from align_edu.io import InputError
from align_edu.search import ImageIndex, combine_query, search
from tests.samples import ColourRun, names, write_photos

RED, GREEN, BLUE = torch.eye(3)


@pytest.fixture
def run(tmp_path):
    return ColourRun(tmp_path / "run")


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.fixture
def index(photos, run):
    return ImageIndex.build(run, photos)


def test_a_query_is_the_normalised_sum_of_normalised_terms():
    # By hand: 2·(0, 1) + 1·(1, 0) - 0.5·(0.6, 0.8) = (0.7, 1.6), of length sqrt(3.05).
    vectors = [torch.tensor(v) for v in ([0.0, 7.0], [3.0, 0.0], [30.0, 40.0])]
    expected = pytest.approx([0.7 / 3.05**0.5, 1.6 / 3.05**0.5], abs=1e-6)
    assert combine_query(list(zip((2, 1, -0.5), vectors, strict=True))).tolist() == expected
    # The lengths of embeddings and the scale of all weights change nothing.
    scaled = [v * s for v, s in zip(vectors, (100, 0.01, 1), strict=True)]
    assert combine_query(list(zip((6, 3, -1.5), scaled, strict=True))).tolist() == expected


@pytest.mark.parametrize(
    "terms,sentence",
    [
        ([], "no terms"),
        ([(1, torch.ones(3)), (-1, torch.ones(3))], "cancel out"),
        ([(2, torch.ones(3)), (-1, torch.ones(3)), (-1, 5 * torch.ones(3))], "cancel out"),
        ([(0, torch.ones(3))], "cancel out"),
        ([(1, torch.ones(3)), (1, torch.ones(4))], r"terms \[\(3,\), \(4,\)\]"),
        ([(1, torch.ones(2, 3))], "of one model"),
        ([(1, torch.zeros(3))], "zero or not finite"),
        ([(1, torch.tensor([1.0, float("nan")]))], "zero or not finite"),
        ([(float("nan"), torch.ones(3))], "finite number"),
    ],
)
def test_a_query_that_points_nowhere_is_refused(terms, sentence):
    with pytest.raises(InputError, match=sentence):
        combine_query(terms)


@pytest.mark.parametrize(
    "question,scores",  # by hand, from the colours' vectors; purple is (1, 0, 1) / sqrt(2)
    [
        ({"text": "green", "top": 2}, {"green": 1, "blue": 0}),
        ({"text": "red", "plus": ["blue"], "top": 2}, {"purple": 1, "blue": 0.5**0.5}),
        ({"text": "purple", "minus": ["red"], "top": 1}, {"blue": 0.5**0.5 / (2 - 2**0.5) ** 0.5}),
        ({"plus": ["green", "blue::0.5"], "top": 2}, {"green": 2 / 5**0.5, "blue": 1 / 5**0.5}),
        # 2·(0, 1, 0) + 1·(1, 0, 0), of length sqrt(5); the image itself is left out.
        (
            {"text": "green", "image": "red.png"},
            {"green": 2 / 5**0.5, "purple": 1 / 10**0.5, "blue": 0},
        ),
        ({"image": "red.png", "top": 1}, {"purple": 0.5**0.5}),
        ({"image": "link/red.png", "top": 9}, {"purple": 0.5**0.5, "green": 0, "blue": 0}),
    ],
)
def test_words_and_pictures_find_what_they_describe(question, scores, index, photos, run):
    (photos / "link").symlink_to(photos)
    if "image" in question:
        question = question | {"image": photos / question["image"]}
    hits = search(index, run=run, **question)
    assert {hit.path.stem: hit.score for hit in hits} == pytest.approx(scores, abs=1e-6)
    assert names(hits)[0] == next(iter(scores))


@pytest.mark.parametrize("device", ["cuda", None])
def test_a_search_in_a_folder_loads_the_model_that_built_it_on_a_gpu_if_there_is_one(
    device, index, run, tmp_path, monkeypatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(
        "align_edu.search.towers.load_plain_towers", lambda folder: pytest.fail("on the CPU")
    )
    loaded = []
    monkeypatch.setattr(
        "align_edu.evaluation.embed.load_encoder", lambda *given: loaded.append(given) or run
    )
    index.save(tmp_path / "index")
    assert names(search(tmp_path / "index", "blue", top=1, device=device)) == ["blue"]
    assert loaded == [(tmp_path / "run", device)]


@pytest.mark.parametrize(
    "question,sentence",
    [
        ({}, "nothing to search for"),
        ({"minus": ["red"]}, "nothing to search for"),
        ({"text": "red", "plus": [""]}, "is empty"),
        ({"text": "red", "minus": ["red"]}, "cancel out"),
        ({"text": "red", "top": 0}, "k is 0"),
        ({"image": "gone.png"}, "not a readable image"),
    ],
)
def test_a_search_for_nothing_is_refused(question, sentence, index, run):
    with pytest.raises(InputError, match=sentence):
        search(index, run=run, **question)


def test_an_index_that_names_no_run_asks_for_one():
    with pytest.raises(InputError, match="names no run"):
        search(ImageIndex(torch.eye(3), ["a.jpg", "b.jpg", "c.jpg"]), "red")


def test_an_index_of_another_model_is_refused(photos, run):
    other = ColourRun(photos.parent / "other")
    for model, weights in ((run, b"one"), (other, b"two")):
        model.folder.mkdir()
        (model.folder / "model.safetensors").write_bytes(weights)
    folder = ImageIndex.build(run, photos).save(photos.parent / "index")
    assert names(search(folder, "red", top=1, run=run)) == ["red"]
    (run.folder / "model.safetensors").write_bytes(b"trained on")
    for model in (run, other):
        with pytest.raises(InputError, match="not the model that built this index"):
            search(folder, "red", run=model)
