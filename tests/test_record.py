"""What a result says of itself: where it comes from, and how sure its figure is."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom, bootstrap

from align_edu.cli import main
from align_edu.evaluation import bootstrap_interval, make_record, write_result
from align_edu.io import InputError

MODEL = Path(__file__).parents[1] / "data_samples" / "toy_model"
BENCHMARK = MODEL.parent / "benchmark"


def test_the_interval_of_hits_is_that_of_a_binomial() -> None:
    hits = torch.arange(400) < 300
    low, high = bootstrap_interval(hits, resamples=20_000)
    expected = binom(400, 0.75).ppf([0.025, 0.975]) / 400
    assert [low, high] == pytest.approx(expected.tolist(), abs=2 / 400)


def test_the_interval_of_other_values_is_scipys() -> None:
    values = torch.rand(150, generator=torch.Generator().manual_seed(3)) ** 2
    ours = bootstrap_interval(values, resamples=4_000)
    theirs = bootstrap(
        (values.double().numpy(),),
        np.mean,
        method="percentile",
        n_resamples=4_000,
        random_state=np.random.default_rng(1),
    ).confidence_interval
    assert ours == pytest.approx([theirs.low, theirs.high], abs=0.004)


def test_the_interval_is_the_same_each_time_and_another_for_another_seed() -> None:
    values = torch.arange(50) % 3 == 0
    assert bootstrap_interval(values) == bootstrap_interval(values)
    draws = {tuple(bootstrap_interval(values, seed=seed, resamples=60)) for seed in range(9)}
    assert len(draws) > 1


def test_a_record_names_its_run_its_data_and_its_versions() -> None:
    record = make_record("retrieval", MODEL, BENCHMARK, {"images": 200})
    assert record["task"] == "retrieval" and record["protocol"] == 1 and record["images"] == 200
    assert record["run"]["name"] == "toy_model" and record["data"]["name"] == "benchmark"
    assert {"torch", "python", "align-edu"} <= set(record["versions"])


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a\\b", "a\0b", 300 * "a"])
def test_a_result_stays_in_its_folder(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="give a short file name without folders"):
        write_result(tmp_path / "run", name, {})
    if name:
        run = str(tmp_path / "missing")  # refused before the model is looked for
        assert main(["evaluate", run, "--benchmark", "b", "--name", name]) == 2
        assert "result name" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_data_are_identified_whatever_their_names(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"1")
    folder = make_record("probe", MODEL, tmp_path, {})["data"]
    assert (
        make_record("probe", MODEL, f"food101:{tmp_path}", {})["data"]["sha256"]
        == (folder["sha256"])
    )
    (tmp_path / "more.jpg").write_bytes(b"1")
    assert (
        make_record("probe", MODEL, f"food101:{tmp_path}", {})["data"]["sha256"]
        != (folder["sha256"])
    )


def test_other_weights_or_other_data_give_another_fingerprint(tmp_path: Path) -> None:
    before = make_record("retrieval", MODEL, BENCHMARK, {})
    shutil.copytree(BENCHMARK, tmp_path / "benchmark")
    same = make_record("retrieval", MODEL, tmp_path / "benchmark", {})
    assert same == before
    (tmp_path / "benchmark" / "images" / "000000.jpg").unlink()
    (tmp_path / "model.safetensors").write_bytes(b"other")
    after = make_record("retrieval", tmp_path, tmp_path / "benchmark", {})
    assert after["run"]["sha256"] != before["run"]["sha256"]
    assert after["data"]["sha256"] != before["data"]["sha256"]
