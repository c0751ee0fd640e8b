"""Retrieval, neighbours and searches for kinds, against slow counts; records; embedding."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import bootstrap
from torch import Tensor
from torch.nn import functional as F

from align_edu import evaluation as ev
from align_edu import load_run
from align_edu.evaluation import embed
from align_edu.evaluation.embed import embed_images, read_ahead
from align_edu.evaluation.retrieval import precision_at_k
from align_edu.pairs.images import decode_image
from align_edu.world import World
from align_edu.world.benchmark import measure_kind_search
from align_edu.world.catalog import NOUNS, with_article
from tests.samples import DATA, MODEL, ColourRun, cases, entry, refused, slow_ranks, write_split

GENERATOR = torch.Generator().manual_seed(7)
RUN = ColourRun(Path())
SCENES = 60


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=GENERATOR), dim=1)


def recall_by_hand(image: Tensor, text: Tensor, owner: list[int], ks: tuple[int, ...]) -> dict:
    right = torch.arange(len(image))[:, None] == torch.tensor(owner)  # (I, T)
    ranks = {"image_to_text": slow_ranks(image, text, right)}
    ranks["text_to_image"] = slow_ranks(text, image, right.T)
    return {
        name: {f"R@{k}": sum(rank <= k for rank in found) / len(found) for k in ks}
        for name, found in ranks.items()
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
    assert ev.retrieval_recall(image, text, owner, ks) == expected
    monkeypatch.setattr("align_edu.evaluation.retrieval.CELLS", 3 * texts)
    assert ev.retrieval_recall(image, text, owner, ks) == expected


@pytest.mark.parametrize("cells", [1, 7 * 307, 2**23])
def test_equal_vectors_tie_wherever_they_stand_in_the_matrix(cells, monkeypatch):
    # In float32 the place in the matrix decides the last bit, and a single row is worst.
    monkeypatch.setattr("align_edu.evaluation.retrieval.CELLS", cells)
    image, text = unit(1, 640).repeat(307, 1), unit(1, 640).repeat(307, 1)
    ranks = ev.retrieval_ranks(image, text, range(307))
    assert ranks["image_to_text"].tolist() == ranks["text_to_image"].tolist() == [307] * 307


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_embeddings_that_are_not_finite_are_refused_with_their_row(value):
    broken = unit(3, 4)
    broken[2, 1] = value
    for image, text, name in ((broken, unit(3, 4), "image"), (unit(3, 4), broken, "text")):
        refused(f"{name} embeddings, row 2", ev.retrieval_recall, image, text, [0, 1, 2])
        refused("row 2: not finite", ev.class_ranks, image, text, torch.arange(3))


@cases(
    "image,text,owner,ks,sentence",
    ((3, 4), (3, 5), [0, 1, 2], (1,), "same D"),
    ((0, 4), (0, 4), [], (1,), "I > 0"),
    ((3, 4), (3, 4), [0, 1], (1,), "one whole number per text"),
    ((3, 4), (3, 4), [0, -1, 2], (1,), "row 1: -1 is no image index"),
    ((3, 4), (3, 4), [0, 2, 2], (1,), "image 1 has no text"),
    ((3, 4), (3, 4), [0, 1, 2], (0,), "at least 1"),
)
def test_shapes_and_numbers_that_make_no_sense_are_refused(image, text, owner, ks, sentence):
    with pytest.raises(ValueError, match=sentence):
        ev.retrieval_recall(torch.ones(image), torch.ones(text), owner, ks)


@pytest.fixture
def benchmark(tmp_path):
    """Three pictures with two texts each; both texts of the held-out blue one are wrong."""
    folder = tmp_path / "benchmark"
    (folder / "images").mkdir(parents=True)
    texts, entries = {"red": "red", "green": "green", "blue": "red"}, []
    for name, words in texts.items():
        Image.new("RGB", (8, 8), name).save(folder / "images" / f"{name}.png")
        raws = (words, f"{words} {words}")
        entries.append(entry(f"{name}.png", raws, held_out=name == "blue"))
    return write_split(folder, entries)


def test_a_benchmark_gives_recalls_counts_and_the_held_out_part(benchmark, capsys):
    result = ev.evaluate_retrieval(RUN, benchmark, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "6/6" in err  # the bars are on standard error
    # By hand: the red picture ties with blue's texts, so it is lost at rank 1 and, with two
    # such texts, found at rank 3. Each of blue's texts finds red first, then green or blue.
    assert result["image_to_text"] == {"R@1": 1 / 3, "R@5": 1.0, "R@10": 1.0}
    assert result["text_to_image"] == {"R@1": 4 / 6, "R@5": 1.0, "R@10": 1.0}
    assert (result["images"], result["texts"]) == (3, 6)
    held_out, missed = result["held_out"], {"R@1": 0.0, "R@5": 1.0, "R@10": 1.0}
    assert held_out.pop("interval")["image_to_text"]["R@1"] == [0.0, 0.0]
    assert held_out == {"image_to_text": missed, "text_to_image": missed, "images": 1, "texts": 2}
    low, high = result["interval"]["text_to_image"]["R@1"]
    assert low <= 4 / 6 <= high and result["interval"]["text_to_image"]["R@5"] == [1.0, 1.0]
    table = ev.result_table("retrieval", result)
    assert "text to image               66.7" in table and "held out" in table
    path = benchmark / "dataset_toy.json"
    path.write_text(path.read_text().replace("true", "false"))
    assert "held_out" not in ev.evaluate_retrieval(RUN, benchmark)
    (benchmark / "images" / "green.png").write_bytes(b"no picture")
    refused("green.png", ev.evaluate_retrieval, RUN, benchmark)


def test_recall_that_cannot_miss_is_refused_or_named(benchmark):
    table = ev.result_table("retrieval", ev.evaluate_retrieval(RUN, benchmark))
    assert "recall at 3 or more is always 100: use more images" in table
    write_split(benchmark, [entry("red.png", ["red"])])
    refused(r"red\.png: the only image of this split", ev.evaluate_retrieval, RUN, benchmark)


def test_ties_count_against_the_model_as_in_a_slow_count(monkeypatch):
    monkeypatch.setattr("align_edu.evaluation.retrieval.CELLS", 4 * 25)
    for _ in range(8):
        train = torch.randint(-1, 2, (25, 2), generator=GENERATOR) + torch.tensor([0.0, 3.0])
        test = torch.randint(-1, 2, (9, 2), generator=GENERATOR) + torch.tensor([0.0, 3.0])
        labels = torch.randint(3, (25,), generator=GENERATOR)
        own = torch.randint(3, (9,), generator=GENERATOR)
        cosines = (F.normalize(vectors.double(), dim=1) for vectors in (test, train))
        ranks = slow_ranks(*cosines, own[:, None] == labels)
        for k in (1, 3, 10):
            hits = sum(rank <= k for rank in ranks)
            assert ev.neighbour_recall(train, labels, test, own, ks=(k,))[f"R@{k}"] == hits / 9


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
def kinds_benchmark(tmp_path_factory):
    out = tmp_path_factory.mktemp("kinds") / "benchmark"
    return World(seed=8).write_benchmark(out, SCENES, image_size=32)


def kinds_of(benchmark: Path) -> list[set[str]]:
    rows = json.loads((benchmark / "dataset_toy.json").read_text())["images"]
    return [{row["scene"]["kind"], row["scene"]["other_kind"]} - {""} for row in rows]


def test_the_search_for_kinds_is_that_of_a_slow_count(kinds_benchmark, tmp_path):
    run, more = load_run(MODEL), World(seed=9).write_benchmark(tmp_path, 20, image_size=32)
    result = measure_kind_search(run, kinds_benchmark, more)
    shown = kinds_of(kinds_benchmark) + kinds_of(more)
    folders = (kinds_benchmark / "images", more / "images")
    files = [file for folder in folders for file in sorted(folder.iterdir())]
    images, expected = run.encode_images([Image.open(file).convert("RGB") for file in files]), {}
    for kind in sorted(set().union(*shown)):  # kinds that no picture shows are not asked for
        query = run.encode_texts([with_article(NOUNS[kind][0][0])])[0]
        best = (images @ query).argsort(descending=True)[:10].tolist()
        of_kind = sum(kind in kinds for kinds in shown)
        expected[kind] = sum(kind in shown[i] for i in best) / min(of_kind, 10)
    assert result["kinds"] == pytest.approx(expected) and result["images"] == SCENES + 20
    assert result["precision@10"] == pytest.approx(np.mean(list(expected.values())))
    assert f"worst: {min(expected, key=expected.get)} " in ev.result_table("kinds", result)


def test_the_interval_of_other_values_is_scipys():
    values = torch.rand(150, generator=torch.Generator().manual_seed(3)) ** 2
    ours = ev.bootstrap_interval(values, resamples=4_000)
    options = {"method": "percentile", "n_resamples": 4_000, "random_state": 1}
    theirs = bootstrap((values.double().numpy(),), np.mean, **options).confidence_interval
    assert ours == pytest.approx([theirs.low, theirs.high], abs=0.004)


def test_other_weights_or_other_data_give_another_fingerprint(tmp_path):
    before = ev.make_record("retrieval", MODEL, DATA / "benchmark", {"images": 200})
    assert (before["task"], before["protocol"], before["images"]) == ("retrieval", 1, 200)
    assert (before["run"]["name"], before["data"]["name"]) == ("toy_model", "benchmark")
    assert {"torch", "python", "align-edu"} <= set(before["versions"])
    folder = shutil.copytree(DATA / "benchmark", tmp_path / "benchmark")
    assert ev.make_record("retrieval", MODEL, folder, {"images": 200}) == before
    named = ev.make_record("retrieval", MODEL, f"food101:{folder}", {})
    assert named["data"]["sha256"] == before["data"]["sha256"]
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"1")
    (tmp_path / "model.safetensors").write_bytes(b"other")
    after = ev.make_record("retrieval", tmp_path, folder, {})
    assert after["run"]["sha256"] != before["run"]["sha256"]
    assert after["data"]["sha256"] != before["data"]["sha256"]


@pytest.fixture
def files(tmp_path):
    """Write pictures of many sizes, two of them broken, one with a name that is not UTF-8."""
    made = []
    for i in range(75):
        name = os.fsdecode(b"caf\xe9.png") if i == 40 else f"{i:03}.png"
        made.append(tmp_path / name)
        pixels = np.random.default_rng(i).integers(0, 256, (90 - i, 20 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(made[-1])
    made[3].write_bytes(made[3].read_bytes()[:60])
    made[50].unlink()
    return made


def test_embeddings_are_those_of_plain_batches_and_broken_pictures_are_named(files):
    run = load_run(MODEL)
    found = embed_images(run, files)
    assert found.skipped == {files[3]: "truncated", files[50]: "unreadable file"}
    assert found.reasons() == "1 truncated, 1 unreadable file"
    whole = [file for file in files if file not in found.skipped]
    assert found.files == whole and len(whole) == 73
    pictures = {file: decode_image(file.read_bytes()) for file in whole}
    batches = [[pictures[f] for f in files[i : i + 32] if f in pictures] for i in (0, 32, 64)]
    assert torch.equal(found.embeddings, torch.cat([run.encode_images(each) for each in batches]))


def test_finished_work_is_kept_until_a_picture_changes(files, tmp_path):
    run, opened = load_run(MODEL), []

    def read(i: int) -> Image.Image:
        opened.append(i)
        return decode_image(files[i].read_bytes())

    first, again = (embed_images(run, files, read, resume=tmp_path / "kept") for _ in range(2))
    assert len(opened) == 75 and torch.equal(first.embeddings, again.embeddings)
    Image.new("RGB", (9, 9)).save(files[0])  # another picture of that name
    embed_images(run, files, read, resume=tmp_path / "kept")
    assert len(opened) == 150


def test_reading_runs_ahead_of_the_model_but_only_so_far():
    started: list[int] = []
    batches = read_ahead(started.append, range(4, 100), 10, "numbers", False)
    assert len(next(batches)) == 10
    time.sleep(0.2)
    assert max(started) <= 4 + 10 * (2 + embed.AHEAD)
    assert sum(map(len, batches)) == 86 and sorted(started) == list(range(4, 100))


def test_a_batch_that_does_not_fit_is_halved(files):
    class SmallGpu(ColourRun):
        def encode_images(self, pictures: list[Image.Image]) -> torch.Tensor:
            if len(pictures) > 5:
                raise torch.OutOfMemoryError
            return super().encode_images(pictures)

    small = embed_images(SmallGpu(Path()), files)
    assert torch.equal(small.embeddings, embed_images(ColourRun(Path()), files).embeddings)
