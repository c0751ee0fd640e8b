"""Crisscrossed Captions: equal to a slow count and to scipy, on toy ratings."""

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
from align_edu.evaluation import cxc_table, evaluate_cxc, measure_cxc, ranks
from align_edu.evaluation.cxc import Ratings, pair_ranks, read_ratings
from align_edu.evaluation.ranks import average_ranks, bootstrap_spearman, spearman
from align_edu.io import InputError
from align_edu.pairs.splits import read_split
from align_edu.world.benchmark import rate
from align_edu.world.scene import Scene, Thing

DATA = Path(__file__).parents[1] / "data_samples"
HEADER = b"caption1,caption2,agg_score,sampling_method\n"
GENERATOR = torch.Generator().manual_seed(17)


def ranks_by_hand(query: Tensor, gallery: Tensor, matches: set, itself: bool) -> dict[int, int]:
    """Plain loops: wrong candidates sorted before right ones of the same cosine."""
    x, y = (F.normalize(t.double(), dim=1).numpy() for t in (query, gallery))
    found = {}
    for i in sorted({a for a, _ in matches}):
        scores = [np.float32(x[i] @ y[j]) for j in range(len(y))]
        pool = [j for j in range(len(y)) if not (itself and j == i)]
        wrong = [j for j in pool if (i, j) not in matches]
        best = max(scores[j] for j in pool if (i, j) in matches)
        found[i] = 1 + sum(scores[j] >= best for j in wrong)
    return found


@pytest.mark.parametrize("itself", [False, True])
@pytest.mark.parametrize("coarse", [False, True])
def test_ranks_equal_a_slow_count_with_ties_and_several_matches(
    itself: bool, coarse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        x = torch.randn(14, 3, generator=GENERATOR)
        y = x if itself else torch.randn(23, 3, generator=GENERATOR)
        if coarse:
            x, y = x.sign() + (x == 0), y.sign() + (y == 0)
        drawn = torch.rand(14, len(y), generator=GENERATOR) < 0.15
        if itself:
            drawn.fill_diagonal_(False)
        pairs = drawn.nonzero().T
        expected = ranks_by_hand(x, y, set(map(tuple, pairs.T.tolist())), itself)
        for cells in (ranks.CELLS, 3 * len(y)):
            monkeypatch.setattr(ranks, "CELLS", cells)
            queries, found = pair_ranks(x, y, (pairs[0], pairs[1]), itself=itself)
            assert dict(zip(queries.tolist(), found.tolist(), strict=True)) == expected


def test_ranks_and_correlations_are_those_of_scipy() -> None:
    for high in (3, 50):
        a = torch.randint(high, (6, 40), generator=GENERATOR).float()
        b = torch.randint(high, (6, 40), generator=GENERATOR).float() + 0.3 * a
        assert np.array_equal(average_ranks(a).numpy(), rankdata(a.numpy(), axis=1))
        expected = [spearmanr(x, y).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
        assert spearman(a, b).tolist() == pytest.approx(expected, abs=1e-12)
    assert spearman(torch.ones(1, 5), torch.arange(5.0)[None]).item() == 0.0


def test_each_resample_takes_half_of_the_queries_and_one_pair_of_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query = torch.randint(30, (200,), generator=GENERATOR)
    human = torch.arange(200.0)  # names the pair
    seen: list[Tensor] = []
    monkeypatch.setattr(ranks, "spearman", lambda a, b: seen.append(a) or spearman(a, b))
    values = bootstrap_spearman(query, human, human.flip(0), resamples=400)
    (drawn,) = seen
    queries = len(query.unique())
    assert drawn.shape == (400, queries // 2) and len(values) == 400
    owners = query[drawn.long()]
    assert all(len(row.unique()) == queries // 2 for row in owners)
    assert (values + 1).abs().max() < 1e-9  # the reverse order, in every resample
    chosen = torch.bincount(owners.flatten(), minlength=30).double() / 400
    assert (chosen[query.unique()] - 0.5).abs().max() < 0.12
    largest = int(torch.bincount(query, minlength=30).argmax())
    pairs = torch.bincount(drawn.long().flatten(), minlength=200)[query == largest].double()
    assert pairs.max() < 3 * pairs.mean() and pairs.min() > 0  # no pair is preferred


def test_the_seven_tasks_of_a_perfect_model_are_perfect() -> None:
    image = torch.eye(6)
    image[0] = image[5] = F.normalize(image[0] + image[5], dim=0)  # 0 and 5 look alike
    owner, even = torch.arange(12) // 2, torch.arange(6)
    ratings = {
        "sts": Ratings(2 * even, 2 * even + 1, torch.full((6,), 5.0)),
        "sis": Ratings(even, even.roll(1), torch.tensor([3.0, 0.0, 0.0, 0.0, 0.0, 0.0])),
        "sits": Ratings(torch.arange(12), owner, torch.full((12,), 5.0)),
    }
    result = measure_cxc(image, image[owner], owner, ratings)
    assert result["text_to_text"]["R@1"] == pytest.approx(8 / 12)  # ties count as wrong
    assert result["image_to_image"]["R@1"] == 1.0 and result["image_to_image"]["queries"] == 2
    assert result["image_to_text"]["queries"] == 6


def test_own_pairs_match_whatever_their_rating() -> None:
    image = torch.eye(4)
    low = Ratings(torch.arange(4), torch.arange(4), torch.tensor([5.0, 5.0, 1.0, 5.0]))
    other = Ratings(torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([3.0, 3.0]))
    ratings = {"sts": other, "sis": other, "sits": low}
    for own_pairs, queries in ((False, 3), (True, 4)):
        result = measure_cxc(image, image, torch.arange(4), ratings, own_pairs=own_pairs)
        assert result["text_to_image"]["queries"] == queries


@pytest.fixture(scope="module")
def measured() -> dict:
    return evaluate_cxc(load_run(DATA / "toy_model"), DATA / "benchmark")


def test_the_toy_benchmark_brings_its_ratings_and_the_command_line_reads_them(
    measured: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(DATA / "toy_model", tmp_path / "run")
    command = ["evaluate", str(run), "--benchmark", str(DATA / "benchmark"), "--task", "cxc"]
    assert main([*command, "--own-pairs", "--name", "own", "--json"]) == 0
    own = json.loads(capsys.readouterr().out)
    assert own["text_to_image"]["queries"] >= measured["text_to_image"]["queries"] == 1_000
    assert own["sits"] == measured["sits"] and "image to image" in cxc_table(measured)
    assert measured["text_to_image"]["R@1"] > 0.9
    assert measured["sits"]["mean"] > 0.7 and 0 < measured["sits"]["sd"] < 0.1


def test_a_rating_says_how_much_two_scenes_share() -> None:
    cat, dog = Thing("cat", "red"), Thing("dog", "blue")
    alone = Scene(cat, 1, "medium", "beach", "rain", "photo")
    both = Scene(cat, 1, "medium", "beach", "rain", "photo", dog, "above")
    turned = Scene(dog, 1, "medium", "beach", "rain", "photo", cat, "below")
    nothing = Scene(Thing("car", "green"), 3, "large", "room", "clear", "poster")
    assert rate(alone, alone) == rate(both, both) == rate(both, turned) == 5.0
    assert rate(alone, nothing) == 0.0 and rate(alone, both) == rate(both, alone)
    assert rate(alone, both) == pytest.approx(2.5 + 2.5 * 2 / 3)


def test_captions_that_no_rating_names_are_left_out(measured: dict, tmp_path: Path) -> None:
    folder = shutil.copytree(DATA / "benchmark", tmp_path / "b")
    record = json.loads((folder / "dataset_toy.json").read_text())
    extra = {"raw": "a sixth caption", "tokens": ["a"], "imgid": 0, "sentid": 70_000}
    record["images"][0]["sentences"].append(extra)
    (folder / "dataset_toy.json").write_text(json.dumps(record))
    with_sixth = evaluate_cxc(load_run(DATA / "toy_model"), folder)
    assert with_sixth == measured and with_sixth["texts"] == 1_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"sts_test\.csv: missing; get it from https://"),
        (HEADER + b"toy:sentid:99999,toy:sentid:1,3.0,x", "row 2: text 'toy:sentid:99999' is not"),
        (HEADER + b"toy:sentid:0,toy:sentid:1,many,x", "row 2: 'many' is no score"),
        (HEADER + b"toy:sentid:0,toy:sentid:1,5.5,x", "row 2: '5.5' is no score"),
        (HEADER + b"toy:sentid:0", "row 2: needs two identifiers"),
        (HEADER, "no rating in it"),
        (b"toy:sentid:0,toy:sentid:1,3.5,x\n" * 2, "its first row is a rating; put the names"),
        (HEADER + b"toy:sentid:0,toy:sentid:1,3.0,\xe9", "not a readable CSV"),
        (HEADER + b"x" * 200_000, "not a readable CSV"),
    ],
)
def test_files_that_are_missing_or_broken_are_named_with_their_row(
    tmp_path: Path, text: bytes | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "sts_test.csv").write_bytes(text)
    with pytest.raises(InputError, match=message):
        read_ratings(tmp_path, read_split(DATA / "benchmark"), "test")


def test_embeddings_that_are_not_finite_and_ratings_without_a_match_are_refused() -> None:
    eye, same, none = torch.eye(3), torch.arange(3), torch.tensor([]).long()
    for wrong in (torch.nan, torch.inf):
        broken = eye.clone()
        broken[0, 0] = wrong
        for query, gallery in ((broken, eye), (eye, broken)):
            with pytest.raises(InputError, match="not finite"):
                pair_ranks(query, gallery, (same, same))
    with pytest.raises(InputError, match="no rating reaches"):
        pair_ranks(eye, eye, (none, none))
