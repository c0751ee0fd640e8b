"""Crisscrossed Captions, languages and similar words, against slow counts and scipy; bad files."""

import gzip
import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F

from align_edu import evaluation as ev
from align_edu import load_run
from align_edu.cli import main
from align_edu.evaluation import cxc
from align_edu.evaluation.languages import read_captions, read_word_pairs
from align_edu.pairs.splits import Benchmark, read_split
from align_edu.world.benchmark import rate
from align_edu.world.scene import Scene, Thing
from align_edu.world.tasks import toy_captions, toy_word_pairs
from tests import samples
from tests.samples import DATA, MODEL, ColourRun, cases, image_file, refused, write_files

PUBLISHED = Path(__file__).parents[2] / "shared" / "real" / "cxc"
needs_published = pytest.mark.skipif(not PUBLISHED.exists(), reason="../shared/real/cxc is missing")
GENERATOR = torch.Generator().manual_seed(17)
RUN = ColourRun(Path())
HEAD = "word1\tword2\tPOS\tSimLex999\tconc(w1)\n"
# Three pictures in Multi30K's files: one English caption each, gzipped, and two German.
MULTI30K = {
    "raw/test_2016_flickr.en.gz": gzip.compress(b"red\ngreen\nblue\n"),
    "raw/test_2016_flickr.1.de": "green\nred\nblue\n",  # the first two are exchanged
    "raw/test_2016_flickr.2.de": "red\ngreen\nblue\n",
    "tok/test_2016_flickr.lc.norm.tok.de": "not read\n",
    "image_splits/test_2016_flickr.txt": "1.png\n2.png\n3.png\n",
}
for number, colour in enumerate(("red", "green", "blue"), start=1):
    MULTI30K[f"images/{number}.png"] = image_file(colour, form="PNG")
REFUSED = tomllib.loads(Path(__file__).with_name("refused_files.toml").read_text("utf-8"))
READERS = {
    "labelled": lambda folder: ev.read_labelled(folder).open(0),
    "neighbours": lambda folder: ev.evaluate_neighbours(RUN, folder),
    "ratings": lambda folder: cxc.read_ratings(folder, read_split(DATA / "benchmark"), "test"),
    "languages": lambda folder: ev.evaluate_languages(RUN, folder),
    "words": lambda folder: read_word_pairs(folder / "words.txt"),
}


@pytest.mark.parametrize("itself", [False, True])
@pytest.mark.parametrize("coarse", [False, True])  # coarse embeddings are full of ties
def test_ranks_equal_a_slow_count_with_ties_and_several_matches(itself, coarse, monkeypatch):
    for _ in range(5):
        x = torch.randn(14, 3, generator=GENERATOR)
        y = x if itself else torch.randn(23, 3, generator=GENERATOR)
        if coarse:
            x, y = x.sign(), y.sign()
        right = torch.rand(14, len(y), generator=GENERATOR) < 0.15
        among = torch.ones_like(right)
        if itself:
            right.fill_diagonal_(False)
            among.fill_diagonal_(False)
        one, two = right.nonzero().T
        if itself:
            right |= right.T.clone()
        cosines = (F.normalize(t.double(), dim=1) for t in (x, y))
        expected = samples.slow_ranks(*cosines, right, among)
        for cells in (ev.retrieval.CELLS, 3 * len(y)):
            monkeypatch.setattr(ev.retrieval, "CELLS", cells)
            assert cxc.pair_ranks(x, y, (one, two), itself=itself).tolist() == expected


def test_the_seven_tasks_of_a_perfect_model_are_perfect():
    image = torch.eye(6)
    image[0] = image[5] = F.normalize(image[0] + image[5], dim=0)  # 0 and 5 look alike
    owner, even = torch.arange(12) // 2, torch.arange(6)
    low = torch.tensor([1.0] + 11 * [5.0])  # caption 0 and its image are rated 1
    ratings = {
        "sts": cxc.Ratings(2 * even, 2 * even + 1, torch.full((6,), 5.0)),
        "sis": cxc.Ratings(even, even.roll(1), torch.tensor([3.0, 0.0, 0.0, 0.0, 0.0, 0.0])),
        "sits": cxc.Ratings(torch.arange(12), owner, low),
    }
    result = ev.measure_cxc(image, image[owner], owner, ratings)
    assert result["text_to_text"]["R@1"] == pytest.approx(8 / 12)  # ties count as wrong
    assert result["image_to_image"]["R@1"] == 1.0 and result["image_to_image"]["queries"] == 2
    assert (result["image_to_text"]["queries"], result["text_to_image"]["queries"]) == (6, 11)
    own = ev.measure_cxc(image, image[owner], owner, ratings, own_pairs=True)
    assert own["text_to_image"]["queries"] == 12


@pytest.fixture(scope="module")
def measured():
    return ev.evaluate_cxc(load_run(DATA / "toy_model"), DATA / "benchmark")


def test_the_toy_benchmark_brings_ratings_and_the_command_reads_them(measured, tmp_path, capsys):
    run = shutil.copytree(DATA / "toy_model", tmp_path / "run")
    command = ["evaluate", str(run), "--benchmark", str(DATA / "benchmark"), "--task", "cxc"]
    assert main([*command, "--own-pairs", "--name", "own"]) == 0
    assert "image to image" in capsys.readouterr().out
    own = json.loads((run / "results" / "cxc-own.json").read_text())
    assert own["text_to_image"]["queries"] >= measured["text_to_image"]["queries"] == 1_000
    assert own["sits"] == measured["sits"] and measured["text_to_image"]["R@1"] > 0.9
    assert measured["sits"]["mean"] > 0.7 and 0 < measured["sits"]["sd"] < 0.1


def test_a_rating_says_how_much_two_scenes_share():
    cat, dog = Thing("cat", "red"), Thing("dog", "blue")
    alone = Scene(cat, 1, "medium", "beach", "rain", "photo")
    both = Scene(cat, 1, "medium", "beach", "rain", "photo", dog, "above")
    turned = Scene(dog, 1, "medium", "beach", "rain", "photo", cat, "below")
    nothing = Scene(Thing("car", "green"), 3, "large", "room", "clear", "poster")
    assert rate(alone, alone) == rate(both, both) == rate(both, turned) == 5.0
    assert rate(alone, nothing) == 0.0 and rate(alone, both) == rate(both, alone)
    assert rate(alone, both) == pytest.approx(2.5 + 2.5 * 2 / 3)


def test_captions_that_no_rating_names_are_left_out(measured, tmp_path):
    folder = shutil.copytree(DATA / "benchmark", tmp_path / "b")
    record = json.loads((folder / "dataset_toy.json").read_text())
    extra = {"raw": "a sixth caption", "tokens": ["a"], "imgid": 0, "sentid": 70_000}
    record["images"][0]["sentences"].append(extra)
    (folder / "dataset_toy.json").write_text(json.dumps(record))
    assert ev.evaluate_cxc(load_run(DATA / "toy_model"), folder) == measured


@pytest.fixture(scope="module")
def published():
    """Read them with the captions and images that they name, without the pictures."""
    texts, images = set[int](), set[str]()
    for kind, sides in (("sts", "tt"), ("sis", "ii"), ("sits", "ti")):
        for line in (PUBLISHED / f"{kind}_test.csv").read_text().split("\n")[1:-1]:
            for name, side in zip(line.split(","), sides):
                texts.add(int(name.rpartition(":")[2])) if side == "t" else images.add(name)
    files, ids = [Path(name) for name in sorted(images)], sorted(texts)
    held = [False] * len(files)
    benchmark = Benchmark(files, [""] * len(ids), [0] * len(ids), held, ids)
    return benchmark, cxc.read_ratings(PUBLISHED, benchmark, "test")


@needs_published
def test_the_published_ratings_are_read_whole(published):
    benchmark, ratings = published
    assert (len(benchmark.texts), len(benchmark.images)) == (25_000, 5_000)
    counts = {kind: (len(r.scores), len(r.at_least(3.0)[0])) for kind, r in ratings.items()}
    assert counts == {"sts": (44_045, 16_184), "sis": (46_719, 15_458), "sits": (44_833, 35_585)}


@needs_published
@cases("kind, low, high", ("sts", 0.3, 0.5), ("sis", 0.75, 1.1), ("sits", 1.3, 2.0))
def test_the_deviation_of_the_bootstrap_is_the_measured_one(published, kind, low, high):
    # In percent, for a model that is people's rating and noise. Measured by other code with
    # captions as queries of STS and images as those of SIS and SITS: 0.38, 0.88 to 0.94, 1.66.
    rated = published[1][kind]
    model = rated.scores + 1.2 * torch.randn(len(rated.scores), generator=GENERATOR)
    sides = [rated.second] if kind == "sits" else [rated.first, rated.second]
    human, model = (scores.repeat(len(sides)) for scores in (rated.scores, model))
    values = cxc.bootstrap_spearman(torch.cat(sides), human, model, resamples=300)
    assert low < 100 * values.std().item() < high


@pytest.fixture
def multi30k(tmp_path):
    return write_files(tmp_path, MULTI30K)


@cases("reader, words, files", *((r, *row) for r, rows in REFUSED.items() for row in rows.items()))
def test_files_that_a_reader_cannot_take_are_named_in_one_line(reader, words, files, tmp_path):
    red, whole = image_file("red", form="PNG"), MULTI30K if reader == "languages" else {}
    write_files(tmp_path, whole | {n: red if text == "RED" else text for n, text in files.items()})
    refused(words, READERS[reader], tmp_path)


def test_files_that_are_no_text_and_ratings_without_a_match_are_refused(multi30k):
    (multi30k / "raw" / "test_2016_flickr.en.gz").write_bytes(b"\x1f\x8bcut")
    refused("test_2016_flickr.en.gz: cannot be read as text", READERS["languages"], multi30k)
    (multi30k / "sts_test.csv").write_bytes(b"caption1,caption2,agg_score\na:0,a:1,3.0,\xe9")
    refused("not a readable CSV", READERS["ratings"], multi30k)
    none = torch.tensor([]).long()
    refused("no rating reaches", cxc.pair_ranks, torch.eye(3), torch.eye(3), (none, none))


def test_mean_recall_of_each_language_is_that_of_hand_work(multi30k):
    result = ev.evaluate_languages(RUN, multi30k)
    english, german = (result["languages"][name] for name in ("en", "de"))
    assert english["mean_recall"] == 1.0 and (english["texts"], german["texts"]) == (3, 6)
    # By hand: the red picture's own "red" ties with the "red" that describes the green one, so
    # it is second; likewise green. Of the six texts the two exchanged ones find another picture.
    assert german["image_to_text"] == {"R@1": 1 / 3, "R@5": 1.0, "R@10": 1.0}
    assert german["text_to_image"] == {"R@1": 4 / 6, "R@5": 1.0, "R@10": 1.0}
    assert german["mean_recall"] == pytest.approx((1 / 3 + 4 / 6 + 4) / 6)
    assert result["mean_recall"] == pytest.approx((1 + german["mean_recall"]) / 2)
    assert result["images"] == 3 and "83.3" in ev.result_table("languages", result)


def test_a_separator_of_lines_inside_a_caption_moves_no_caption(multi30k):
    file = multi30k / "raw" / "test_2016_flickr.fr"
    file.write_bytes("\ufeffrouge\u2028vif\r\nvert\r\nbleu\x85\r\n".encode())
    assert read_captions(multi30k).texts["fr"] == ["rouge\u2028vif", "vert", "bleu"]
    for name in ("image_splits/val.txt", "raw/val.en"):
        (multi30k / name).write_text("3.png\n1.png\n")
    assert [image.name for image in read_captions(multi30k, "val").files] == ["3.png", "1.png"]


class AngleRun(ColourRun):
    def encode_texts(self, texts: list[str]) -> Tensor:
        angles = torch.tensor([float(text) for text in texts]).deg2rad()
        return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_word_similarity_is_scipys_correlation_overall_and_by_part_of_speech(tmp_path):
    rng = np.random.default_rng(3)
    angles = rng.integers(0, 90, 60)
    scores = np.round(10 - angles / 10 + rng.normal(0, 2, 60), 1)
    rows = [f"0\t{a}\t{'NAV'[i % 3]}\t{s}\t1\n" for i, (a, s) in enumerate(zip(angles, scores))]
    (tmp_path / "SimLex-999.txt").write_text(HEAD + "".join(rows))
    result = ev.evaluate_words(AngleRun(Path()), tmp_path)
    cosines = np.cos(np.deg2rad(angles))
    assert result["spearman"] == pytest.approx(spearmanr(scores, cosines).statistic, abs=1e-6)
    for place, name in enumerate(("nouns", "adjectives", "verbs")):
        some = slice(place, None, 3)
        expected = spearmanr(scores[some], cosines[some]).statistic
        part = result["parts"][name]
        assert part["spearman"] == pytest.approx(expected, abs=1e-6) and part["pairs"] == 20
    draws = np.random.default_rng(1).integers(0, 60, (1_000, 60))
    theirs = [spearmanr(scores[d], cosines[d]).statistic for d in draws]
    assert result["interval"] == pytest.approx(np.quantile(theirs, [0.025, 0.975]), abs=0.03)
    table = ev.result_table("words", result)
    assert "adjectives" in table and "60 pairs" in table
    assert cxc.spearman(torch.ones(1, 5), torch.arange(5.0)[None]).item() == 0.0


def test_the_toy_world_draws_both_and_the_command_line_measures_them(tmp_path, answer):
    captions, pairs = toy_captions(), toy_word_pairs()
    assert len({tuple(texts) for texts in captions.texts.values()}) == 5
    assert {pair.score for pair in pairs} == {0.0, 5.0, 10.0}
    run = shutil.copytree(MODEL, tmp_path / "run")
    for task in ("languages", "words"):
        record = answer("evaluate", run, "--task", task)
        assert record["data"] == {"name": "drawn by the toy world"}
        assert json.loads((run / "results" / f"{task}.json").read_text()) == record
    assert record["interval"][0] > 0  # synonyms are nearer than other words
    english = json.loads((run / "results" / "languages.json").read_text())["languages"]["en"]
    assert english["mean_recall"] > 0.5
