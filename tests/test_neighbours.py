"""Nearest neighbours: equal to scikit-learn and to a slow count, ties against the model."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from align_edu import World, load_run
from align_edu.evaluation import class_ranks, evaluate_neighbours, fill_templates, neighbour_recall
from align_edu.io import InputError
from tests.samples import MODEL

GENERATOR = torch.Generator().manual_seed(11)


def drawn(rows: int, width: int) -> Tensor:
    return torch.randn(rows, width, generator=GENERATOR)


@pytest.mark.parametrize("classes", [2, 7, 30])
def test_recall_equals_scikit_learns_neighbours(classes):
    centres = drawn(classes, 10)
    # Unequal classes: the smaller a number, the more pictures it has.
    labels = (torch.rand(300, generator=GENERATOR) ** 2 * classes).long()
    test_labels = torch.randint(classes, (120,), generator=GENERATOR)
    train = centres[labels] + 1.5 * drawn(300, 10)
    test = centres[test_labels] + 1.5 * drawn(120, 10)
    found = NearestNeighbors(metric="cosine", algorithm="brute").fit(train.numpy())
    for k in (1, 5, 10):
        rows = found.kneighbors(test.numpy(), k, return_distance=False)
        hits = (labels.numpy()[rows] == test_labels.numpy()[:, None]).any(axis=1)
        ours = neighbour_recall(train, labels, test, test_labels, ks=(k,))
        assert ours == {f"R@{k}": hits.mean()}


def test_ties_count_against_the_model_as_in_a_slow_count(monkeypatch):
    monkeypatch.setattr("align_edu.evaluation.ranks.CELLS", 4 * 25)
    for _ in range(8):
        train = torch.randint(-1, 2, (25, 2), generator=GENERATOR) + torch.tensor([0.0, 3.0])
        test = torch.randint(-1, 2, (9, 2), generator=GENERATOR) + torch.tensor([0.0, 3.0])
        labels = torch.randint(3, (25,), generator=GENERATOR)
        own = torch.randint(3, (9,), generator=GENERATOR)
        for k in (1, 3):
            hits = 0
            for vector, label in zip(test.double(), own, strict=True):
                cosines = np.float32(
                    [float(vector @ row / row.norm() / vector.norm()) for row in train.double()]
                )
                order = sorted(range(25), key=lambda j: (-cosines[j], bool(labels[j] == label)))
                hits += any(labels[j] == label for j in order[:k])
            assert neighbour_recall(train, labels, test, own, ks=(k,))[f"R@{k}"] == hits / 9


def test_random_vectors_are_at_chance_and_a_class_without_training_pictures_is_never_hit():
    labels, own = torch.arange(1000) % 10, torch.arange(2000) % 10
    train, test = drawn(1000, 32), drawn(2000, 32)
    assert abs(neighbour_recall(train, labels, test, own)["R@1"] - 0.1) < 4 * (0.09 / 2000) ** 0.5
    never = {"R@1": 0.0, "R@5": 0.0, "R@10": 0.0}
    assert neighbour_recall(train, labels, test, own + 10) == never


def test_a_trained_model_finds_kinds_by_their_neighbours(tmp_path):
    folder = World(seed=3).write_task(tmp_path / "kind", "object", train=160, val=0, test=64)
    result = evaluate_neighbours(load_run(MODEL), folder)
    low, high = result["interval"]["R@1"]
    assert result["neighbours"]["R@1"] > 0.5 and low <= result["neighbours"]["R@1"] <= high
    assert (result["train"], result["test"], result["classes"]) == (160, 64, 40)
    assert result["chance"] == pytest.approx(1 / 40, abs=1e-6)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["train/cat", "train/dog", "test/dog", "test/emu"], "train and test have different"),
        (["train/cat", "train/dog", "test/cat", "test/dog"], "only 2 training pictures"),
    ],
)
def test_data_that_do_not_fit_are_refused(tmp_path, folders, message):
    for name in folders:
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / name / "1.png")
    with pytest.raises(InputError, match=message):
        evaluate_neighbours(load_run(MODEL), tmp_path)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_embeddings_that_are_not_finite_are_refused(value):
    eye, labels = torch.eye(4), torch.arange(4)
    broken = eye.clone()
    broken[1, 2] = value
    for one, other in ((broken, eye), (eye, broken)):
        with pytest.raises(InputError, match="row 1: not finite"):
            neighbour_recall(one, labels, other, labels, ks=(1,))
        with pytest.raises(InputError, match="row 1: not finite"):
            class_ranks(one, other, labels)


def test_the_article_of_a_prompt_agrees_with_the_name():
    for name, filled in (("apple", "an apple"), ("unicorn", "a unicorn"), ("Eel", "an Eel")):
        assert fill_templates(["a {}", "an {} here"], name) == [filled, f"{filled} here"]
    assert fill_templates(["banana {}", "a big {}"], "emu") == ["banana emu", "a big emu"]
