"""Crisscrossed Captions: equal to a slow count, and to scipy, on toy and on published ratings."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr
from torch import Tensor
from torch.nn import functional as F

from align_edu import load_run
from align_edu.cli import main
from align_edu.evaluation import evaluate_cxc, measure_cxc, ranks
from align_edu.evaluation.cxc import Ratings, pair_ranks, read_ratings
from align_edu.evaluation.ranks import average_ranks, bootstrap_spearman, spearman
from align_edu.io import InputError
from align_edu.pairs.splits import Benchmark, read_split
from align_edu.world.benchmark import rate
from align_edu.world.scene import Scene, Thing
from tests.samples import DATA

PUBLISHED = Path(__file__).parents[2] / "shared" / "real" / "cxc"
needs_published = pytest.mark.skipif(not PUBLISHED.exists(), reason="../shared/real/cxc is missing")
HEADER = b"caption1,caption2,agg_score,sampling_method\n"
GENERATOR = torch.Generator().manual_seed(17)


def ranks_by_hand(query: Tensor, gallery: Tensor, matches: set, itself: bool) -> list[int]:
    """Plain loops: wrong candidates sorted before right ones of the same cosine."""
    x, y = (F.normalize(t.double(), dim=1).numpy() for t in (query, gallery))
    found = []
    for i in sorted({a for a, _ in matches}):
        scores = [np.float32(x[i] @ y[j]) for j in range(len(y))]
        pool = [j for j in range(len(y)) if not (itself and j == i)]
        best = max(scores[j] for j in pool if (i, j) in matches)
        found.append(1 + sum(scores[j] >= best for j in pool if (i, j) not in matches))
    return found


@pytest.mark.parametrize("itself", [False, True])
@pytest.mark.parametrize("coarse", [False, True])  # coarse embeddings are full of ties
def test_ranks_equal_a_slow_count_with_ties_and_several_matches(itself, coarse, monkeypatch):
    for _ in range(5):
        x = torch.randn(14, 3, generator=GENERATOR)
        y = x if itself else torch.randn(23, 3, generator=GENERATOR)
        if coarse:
            x, y = x.sign() + (x == 0), y.sign() + (y == 0)
        drawn = torch.rand(14, len(y), generator=GENERATOR) < 0.15
        if itself:
            drawn.fill_diagonal_(False)
        one, two = drawn.nonzero().T
        matches = set(zip(one.tolist(), two.tolist(), strict=True))
        if itself:
            matches |= {(b, a) for a, b in matches}
        expected = ranks_by_hand(x, y, matches, itself)
        for cells in (ranks.CELLS, 3 * len(y)):
            monkeypatch.setattr(ranks, "CELLS", cells)
            assert pair_ranks(x, y, (one, two), itself=itself).tolist() == expected


def test_ranks_and_correlations_are_those_of_scipy():
    for high in (3, 50):
        a = torch.randint(high, (6, 40), generator=GENERATOR).float()
        b = torch.randint(high, (6, 40), generator=GENERATOR).float() + 0.3 * a
        assert np.array_equal(average_ranks(a).numpy(), rankdata(a.numpy(), axis=1))
        expected = [spearmanr(x, y).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
        assert spearman(a, b).tolist() == pytest.approx(expected, abs=1e-12)
    assert spearman(torch.ones(1, 5), torch.arange(5.0)[None]).item() == 0.0


def test_the_seven_tasks_of_a_perfect_model_are_perfect():
    image = torch.eye(6)
    image[0] = image[5] = F.normalize(image[0] + image[5], dim=0)  # 0 and 5 look alike
    owner, even = torch.arange(12) // 2, torch.arange(6)
    low = torch.tensor([1.0] + 11 * [5.0])  # caption 0 and its image are rated 1
    ratings = {
        "sts": Ratings(2 * even, 2 * even + 1, torch.full((6,), 5.0)),
        "sis": Ratings(even, even.roll(1), torch.tensor([3.0, 0.0, 0.0, 0.0, 0.0, 0.0])),
        "sits": Ratings(torch.arange(12), owner, low),
    }
    result = measure_cxc(image, image[owner], owner, ratings)
    assert result["text_to_text"]["R@1"] == pytest.approx(8 / 12)  # ties count as wrong
    assert result["image_to_image"]["R@1"] == 1.0 and result["image_to_image"]["queries"] == 2
    assert (result["image_to_text"]["queries"], result["text_to_image"]["queries"]) == (6, 11)
    own = measure_cxc(image, image[owner], owner, ratings, own_pairs=True)
    assert own["text_to_image"]["queries"] == 12


@pytest.fixture(scope="module")
def measured():
    return evaluate_cxc(load_run(DATA / "toy_model"), DATA / "benchmark")


def test_the_toy_benchmark_brings_its_ratings_and_the_command_line_reads_them(
    measured, tmp_path, capsys
):
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
    assert evaluate_cxc(load_run(DATA / "toy_model"), folder) == measured


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"sts_test\.csv: missing; get it from https://"),
        (HEADER + b"toy:sentid:99999,toy:sentid:1,3.0,x", "row 2: '99999' is not in the benchmark"),
        (HEADER + b"toy:sentid:0,toy:sentid:1,many,x", "row 2: needs .* a score from 0 to 5"),
        (HEADER + b"toy:sentid:0,toy:sentid:1,5.5,x", "row 2: needs .* a score from 0 to 5"),
        (HEADER, "no rating in it"),
        (b"toy:sentid:0,toy:sentid:1,3.5,x\n" * 2, "its first row is a rating; put the names"),
        (HEADER + b"toy:sentid:0,toy:sentid:1,3.0,\xe9", "not a readable CSV"),
    ],
)
def test_files_that_are_missing_or_broken_are_named_with_their_row(tmp_path, text, message):
    if text is not None:
        (tmp_path / "sts_test.csv").write_bytes(text)
    with pytest.raises(InputError, match=message):
        read_ratings(tmp_path, read_split(DATA / "benchmark"), "test")


def test_ratings_without_a_match_are_refused():
    none = torch.tensor([]).long()
    with pytest.raises(InputError, match="no rating reaches"):
        pair_ranks(torch.eye(3), torch.eye(3), (none, none))


# --- the published ratings


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
    return benchmark, read_ratings(PUBLISHED, benchmark, "test")


@needs_published
def test_the_published_ratings_are_read_whole(published):
    benchmark, ratings = published
    assert (len(benchmark.texts), len(benchmark.images)) == (25_000, 5_000)
    counts = {kind: (len(r.scores), len(r.at_least(3.0)[0])) for kind, r in ratings.items()}
    assert counts == {"sts": (44_045, 16_184), "sis": (46_719, 15_458), "sits": (44_833, 35_585)}


@needs_published
@pytest.mark.parametrize(
    ("kind", "low", "high"), [("sts", 0.3, 0.5), ("sis", 0.75, 1.1), ("sits", 1.3, 2.0)]
)
def test_the_deviation_of_the_bootstrap_is_what_the_queries_and_their_number_make_it(
    published, kind, low, high
):
    # In percent, for a model that is people's rating and noise. Measured by other code with
    # captions as queries of STS and images as those of SIS and SITS: 0.38, 0.88 to 0.94, 1.66.
    rated = published[1][kind]
    model = rated.scores + 1.2 * torch.randn(len(rated.scores), generator=GENERATOR)
    query, twice = (
        (rated.second, 1) if kind == "sits" else (torch.cat([rated.first, rated.second]), 2)
    )
    human = rated.scores.repeat(twice)
    values = bootstrap_spearman(query, human, model.repeat(twice), resamples=300)
    assert low < 100 * values.std().item() < high
