"""Recall at k: what counts as a hit, what a tie is worth, and what a benchmark returns."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import top_k_accuracy_score
from torch import Tensor
from torch.nn import functional as F

from align_edu.evaluation import (
    evaluate_retrieval,
    retrieval_ranks,
    retrieval_recall,
    retrieval_table,
)
from align_edu.io import InputError
from tests.samples import ColourRun

GENERATOR = torch.Generator().manual_seed(7)


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=GENERATOR), dim=1)


def recall_by_hand(image: Tensor, text: Tensor, owner: list[int], ks: tuple[int, ...]) -> dict:
    """Independent and slow: plain loops over similarities, wrong candidates sorted before right."""
    x, y = image.double().tolist(), text.double().tolist()

    def similarity(i: int, t: int) -> float:
        return float(np.float32(sum(a * b for a, b in zip(x[i], y[t], strict=True))))

    def hit(scores: list[float], right: list[bool], k: int) -> bool:
        order = sorted(range(len(scores)), key=lambda j: (-scores[j], right[j]))
        return any(right[j] for j in order[:k])

    images, texts = range(len(x)), range(len(y))
    rows = {
        "image_to_text": [
            ([similarity(i, t) for t in texts], [owner[t] == i for t in texts]) for i in images
        ],
        "text_to_image": [
            ([similarity(i, t) for i in images], [owner[t] == i for i in images]) for t in texts
        ],
    }
    return {
        name: {f"R@{k}": sum(hit(s, r, k) for s, r in queries) / len(queries) for k in ks}
        for name, queries in rows.items()
    }


@pytest.mark.parametrize("images,texts,width", [(4, 4, 3), (5, 13, 8), (30, 150, 16), (7, 9, 2)])
@pytest.mark.parametrize("coarse", [False, True])  # coarse embeddings are full of ties
def test_recall_equals_a_slow_count_in_plain_python(images, texts, width, coarse, monkeypatch):
    extra = torch.randint(images, (texts - images,), generator=GENERATOR).tolist()
    owner = [*range(images), *extra]
    image = unit(images, width)
    text = F.normalize(image[owner] + 0.6 * unit(texts, width), dim=1)
    if coarse:
        image, text = image.sign(), text.sign()
    ks = (1, 2, 5)
    expected = recall_by_hand(image, text, owner, ks)
    assert retrieval_recall(image, text, owner, ks) == expected
    monkeypatch.setattr("align_edu.evaluation.ranks.CELLS", 3 * texts)
    assert retrieval_recall(image, text, owner, ks) == expected


@pytest.mark.parametrize("k", [1, 5, 10])
def test_text_to_image_recall_equals_top_k_accuracy_of_scikit_learn(k):
    image = unit(40, 12)
    owner = torch.arange(200) % 40
    text = F.normalize(image[owner] + 0.3 * torch.randn(200, 12, generator=GENERATOR), dim=1)
    expected = top_k_accuracy_score(owner, (text @ image.T).numpy(), k=k, labels=range(40))
    measured = retrieval_recall(image, text, owner)["text_to_image"][f"R@{k}"]
    assert measured == pytest.approx(expected, abs=1e-12)
    assert 0.1 < measured < 1


@pytest.mark.parametrize("cells", [1, 7 * 307, 2**23])
def test_equal_vectors_tie_wherever_they_stand_in_the_matrix(cells, monkeypatch):
    # In float32 the place in the matrix decides the last bit, and a single row is worst.
    monkeypatch.setattr("align_edu.evaluation.ranks.CELLS", cells)
    image, text = unit(1, 640).repeat(307, 1), unit(1, 640).repeat(307, 1)
    ranks = retrieval_ranks(image, text, range(307))
    assert ranks["image_to_text"].tolist() == ranks["text_to_image"].tolist() == [307] * 307


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_embeddings_that_are_not_finite_are_refused_with_their_row(value):
    broken = unit(3, 4)
    broken[2, 1] = value
    with pytest.raises(InputError, match="text embeddings, row 2"):
        retrieval_recall(unit(3, 4), broken, [0, 1, 2])
    with pytest.raises(InputError, match="image embeddings, row 2"):
        retrieval_recall(broken, unit(3, 4), [0, 1, 2])


@pytest.mark.parametrize(
    "image,text,owner,ks,sentence",
    [
        ((3, 4), (3, 5), [0, 1, 2], (1,), "same D"),
        ((3,), (3, 4), [0, 1, 2], (1,), "same D"),
        ((0, 4), (0, 4), [], (1,), "I > 0"),
        ((3, 4), (3, 4), [0, 1], (1,), "one whole number per text"),
        ((3, 4), (3, 4), [0.0, 1.0, 2.0], (1,), "one whole number per text"),
        ((3, 4), (3, 4), [0, 1, 3], (1,), "row 2: 3 is no image index"),
        ((3, 4), (3, 4), [0, -1, 2], (1,), "row 1: -1 is no image index"),
        ((3, 4), (3, 4), [0, 2, 2], (1,), "image 1 has no text"),
        ((3, 4), (3, 4), [0, 1, 2], (0,), "at least 1"),
        ((3, 4), (3, 4), [0, 1, 2], (), "at least 1"),
    ],
)
def test_shapes_and_numbers_that_make_no_sense_are_refused(image, text, owner, ks, sentence):
    with pytest.raises(ValueError, match=sentence):
        retrieval_recall(torch.ones(image), torch.ones(text), owner, ks)


RUN = ColourRun(Path())


@pytest.fixture
def benchmark(tmp_path):
    """Three pictures with two texts each; both texts of the held-out blue one are wrong."""
    folder = tmp_path / "benchmark"
    (folder / "images").mkdir(parents=True)
    texts = {"red": "red", "green": "green", "blue": "red"}
    entries = []
    for name, words in texts.items():
        Image.new("RGB", (8, 8), name).save(folder / "images" / f"{name}.png")
        raw = [{"raw": words}, {"raw": f"{words} {words}"}]
        entry = {"filename": f"{name}.png", "split": "test", "sentences": raw}
        entries.append(entry | {"held_out": name == "blue"})
    (folder / "dataset_toy.json").write_text(json.dumps({"images": entries}))
    return folder


def test_a_benchmark_gives_recalls_counts_and_the_held_out_part(benchmark, capsys):
    result = evaluate_retrieval(RUN, benchmark, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "6/6" in err  # the bars are on standard error
    # By hand: the red picture ties with blue's texts, so it is lost at rank 1 and, with two
    # such texts, found at rank 3. Each of blue's texts finds red first, then green or blue.
    assert result["image_to_text"] == {"R@1": 1 / 3, "R@5": 1.0, "R@10": 1.0}
    assert result["text_to_image"] == {"R@1": 4 / 6, "R@5": 1.0, "R@10": 1.0}
    assert (result["images"], result["texts"]) == (3, 6)
    held_out = result["held_out"]
    assert held_out.pop("interval")["image_to_text"]["R@1"] == [0.0, 0.0]
    low, high = result["interval"]["text_to_image"]["R@1"]
    assert low <= 4 / 6 <= high and result["interval"]["text_to_image"]["R@5"] == [1.0, 1.0]
    assert held_out == {
        "image_to_text": {"R@1": 0.0, "R@5": 1.0, "R@10": 1.0},
        "text_to_image": {"R@1": 0.0, "R@5": 1.0, "R@10": 1.0},
        "images": 1,
        "texts": 2,
    }
    table = retrieval_table(result)
    assert "text to image               66.7" in table and "held out" in table
    path = benchmark / "dataset_toy.json"
    path.write_text(path.read_text().replace("true", "false"))
    assert "held_out" not in evaluate_retrieval(RUN, benchmark)


def test_recall_that_cannot_miss_is_refused_or_named(benchmark):
    table = retrieval_table(evaluate_retrieval(RUN, benchmark))
    assert "recall at 3 or more is always 100: use more images" in table
    assert "always" not in retrieval_table(evaluate_retrieval(RUN, benchmark) | {"images": 11})
    path = benchmark / "dataset_toy.json"
    path.write_text(json.dumps({"images": json.loads(path.read_text())["images"][:1]}))
    with pytest.raises(InputError, match=r"red\.png: the only image of this split"):
        evaluate_retrieval(RUN, benchmark)


def test_a_broken_image_stops_the_evaluation_and_is_named(benchmark):
    file = benchmark / "images" / "green.png"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(InputError, match="green.png"):
        evaluate_retrieval(RUN, benchmark)
