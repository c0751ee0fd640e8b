"""The scoreboard: its intervals, its verdicts, its records and its page."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap

from align_edu import claims
from align_edu.claims import sweep, verdicts
from align_edu.claims.verdicts import PAGE, RECORDS, details, summary, write_page
from align_edu.cli import main
from align_edu.pairs import open_pairs
from align_edu.world import experiments
from align_edu.world.experiments import RULES, TrainingData, prepare
from tests.samples import ROOT, cases


def test_the_interval_is_that_of_scipy() -> None:
    """With one seed only queries are drawn; the difference of two runs is paired by query."""
    rng = np.random.default_rng(5)
    easy = rng.random(400)
    one, two = (rng.random(400) < share * easy for share in (0.9, 0.6))
    ours = verdicts.estimate([(1.0, {1: one * 1.0}), (-1.0, {1: two * 1.0})])
    theirs = bootstrap((one * 1.0 - two,), np.mean, method="percentile", rng=rng)
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, abs=0.006)
    assert ours.mean == pytest.approx(one.mean() - two.mean())


def test_seeds_are_drawn_too_and_only_common_ones_count() -> None:
    ones, zeros = np.ones(100), np.zeros(100)
    found = verdicts.estimate(
        [(1.0, {1: ones, 2: zeros, 3: ones, 4: ones}), (0.5, {1: zeros, 2: zeros, 3: zeros})]
    )
    assert found.seeds == (1.0, 0.0, 1.0)
    assert (found.low, found.high) == pytest.approx((0.0, 1.0))
    assert verdicts.estimate([(1.0, {1: ones}), (1.0, {2: ones})]) is None


@cases(
    "shares, verdict",
    ((0.9, 0.5), "reproduced"),
    ((0.5, 0.9), "contradicted"),
    ((0.5, 0.5), "undecided"),
    ((0.9,), "not run yet"),
)
def test_verdicts(shares: tuple[float, ...], verdict: str, tmp_path: Path) -> None:
    """Three seeds of two variants, whose hits are drawn with known shares."""
    rng = np.random.default_rng(1)
    for name, share in zip(("base", "negatives 25 %"), shares):
        for seed in (1, 2, 3):
            hits = "".join("01"[int(u < share)] for u in rng.random(300))
            write_record(tmp_path, name, seed, hits)
    claim = claims.claims(["negatives"])["negatives"]
    outcome = verdicts.judge(claim, tmp_path)
    assert outcome.verdict == verdict
    text = details({"negatives": outcome}, tmp_path)
    assert text.startswith(f"### negatives: {verdict}\n") and claim.paper in text
    other = replace(claim, reason="the toy has no such thing")
    assert verdicts.judge(other, tmp_path).verdict == "not testable here"


def test_every_variant_is_one_that_trains() -> None:
    """All presets are valid, all data are known, and every variant belongs to a claim."""
    used = {name for claim in claims.claims().values() for name in claim.variants}
    assert used == set(claims.VARIANTS)
    for name, variant in claims.VARIANTS.items():
        variant.preset(variant.rates[0] if variant.rates else None)
        assert variant.data.filters in ("all", "none", *RULES), name
        assert variant.data.how in ("random", "systematic") and variant.seeds >= 3
    assert len({claims.record_file(Path(), name, 1) for name in used}) == len(used)


def write_record(folder: Path, name: str, seed: int, hits: str, rate: float | None = None) -> None:
    record = {"settings": claims.settings_of(name, seed, rate), "measures": {"twins": hits}}
    claims.record_file(folder, name, seed, rate).write_text(json.dumps(record))


def test_a_rate_is_chosen_at_the_tuning_seed(tmp_path: Path) -> None:
    rates, seed = claims.VARIANTS["adamw"].rates, claims.TUNING_SEED
    jobs = list(sweep.missing_runs(tmp_path, tmp_path, ["adamw"], None))
    assert jobs == [("adamw", seed, rate) for rate in rates]
    for rate, hits in zip(rates, ("0110", "1110", "0001"), strict=True):
        write_record(tmp_path, "adamw", seed, hits, rate)
    assert claims.chosen_rate(tmp_path, "adamw") == rates[1]
    jobs = list(sweep.missing_runs(tmp_path, tmp_path, ["adamw"], 2))
    assert jobs == [("adamw", 1, rates[1]), ("adamw", 2, rates[1])]


def test_the_run_that_a_tuned_one_starts_from_is_made_first(tmp_path: Path) -> None:
    """Also where its record exists and its weights are gone, as in a fresh clone."""
    jobs = list(sweep.missing_runs(tmp_path, tmp_path, ["fine-tuned, batch 16"], 2))
    assert jobs == [("base", 1, None), ("base", 2, None)]
    folder = tmp_path / "runs" / "base_seed_1"
    folder.mkdir(parents=True)
    jobs = list(sweep.missing_runs(tmp_path, tmp_path, ["fine-tuned, batch 16"], 2))
    assert jobs[0] == ("base", 1, None)  # begun, not finished
    (folder / "model.safetensors").touch()
    jobs = list(sweep.missing_runs(tmp_path, tmp_path, ["fine-tuned, batch 16"], 2))
    assert jobs == [("fine-tuned, batch 16", 1, None), ("base", 2, None)]


def test_one_run_from_data_to_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps on 300 pairs with wrong captions; made again, the record is the same."""
    for name, size in (("PICTURES", 60), ("TASK_PICTURES", 40), ("TRAINING_PICTURES", 40)):
        monkeypatch.setattr(experiments, name, size)
    monkeypatch.setattr(sweep, "QUERIES", 4)
    data = TrainingData(300, 0.0, "none", first=280, wrong=0.5, how="systematic")
    tiny = claims.Variant({"recipe.batch_size": 32}, data, steps=2)
    monkeypatch.setitem(claims.VARIANTS, "tiny", tiny)
    work = tmp_path / "work"
    sweep.write_exam(work / "exam")
    made = [sweep.make_record(("tiny", 1, None), tmp_path / name, work) for name in "12"]
    one, two = (json.loads(path.read_text()) for path in made)
    assert one["curve"] == two["curve"] and one["measures"] == two["measures"]
    assert len(one["measures"]["twins"]) == 2 * 60
    assert set(one["measures"]["object"]) <= {"0", "1"}
    assert claims.read_record(tmp_path / "1", "tiny", 1, None) == one
    assert not list((work / "runs").iterdir())
    assert list(verdicts.values_of(tmp_path / "1", "tiny", "loss")) == [1]


def test_spoilt_captions(tmp_path: Path) -> None:
    """Half of the captions change: from any pair, or always from one other kind of object."""
    plain = TrainingData(400, 0.0, "none")
    found = {}
    for how in ("", "random", "systematic"):
        data = replace(plain, wrong=0.5, how=how) if how else plain
        tar = prepare(data, tmp_path) / "pairs"
        found[how] = open_pairs([tar]).captions
    for how in ("random", "systematic"):
        changed = [a != b for a, b in zip(found[how], found[""], strict=True)]
        assert 0.4 < np.mean(changed) <= 0.5
        assert set(found[how]) <= set(found[""])


def test_the_page_holds_what_the_records_say(tmp_path: Path) -> None:
    write_page(tmp_path / "page.md", ROOT / RECORDS)
    again = f"align-edu claims show --page {PAGE}"
    assert (tmp_path / "page.md").read_text() == (ROOT / PAGE).read_text(), f"run {again}"
    outcomes = [verdicts.judge(claim, ROOT / RECORDS) for claim in claims.CLAIMS.values()]
    assert summary(outcomes) in (ROOT / "README.md").read_text()


def test_the_command_shows_one_claim_and_all(answer, capsys) -> None:
    where = ["--records", str(ROOT / RECORDS)]
    assert main(["claims", "show", "negatives", *where]) == 0
    assert "Table 8, rows 5 and 6" in capsys.readouterr().out
    assert set(answer("claims", "show", *where)["verdicts"]) == set(claims.claims())


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_recorded_runs_are_made_again(seed: int, tmp_path: Path) -> None:
    """The cheapest family at its recorded seeds: the same curve on the same kind of machine."""
    name = "noise 0 %, 3,000 pairs once"
    recorded = claims.read_record(ROOT / RECORDS, name, seed, None)
    experiments.write_exam(tmp_path / "exam")
    made = json.loads(sweep.make_record((name, seed, None), tmp_path, tmp_path).read_text())
    same = all(made[of] == recorded[of] for of in ("machine", "versions"))
    curves = np.array(made["curve"]), np.array(recorded["curve"])
    assert curves[0] == pytest.approx(curves[1], rel=1e-6 if same else 0.1)
    for measure in ("twins", "object"):
        hits = [[int(hit) for hit in r["measures"][measure]] for r in (made, recorded)]
        assert np.mean(hits[0]) == pytest.approx(np.mean(hits[1]), abs=0.002 if same else 0.05)
