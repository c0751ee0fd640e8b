"""What a result says of itself: where it comes from, and how sure its figure is."""

import os
import shutil

import numpy as np
import pytest
import torch
from scipy.stats import binom, bootstrap

from align_edu.cli import main
from align_edu.evaluation import bootstrap_interval, make_record, result_file
from align_edu.io import InputError
from tests.samples import MODEL

BENCHMARK = MODEL.parent / "benchmark"


def test_the_interval_of_hits_is_that_of_a_binomial():
    hits = torch.arange(400) < 300
    low, high = bootstrap_interval(hits, resamples=20_000)
    expected = binom(400, 0.75).ppf([0.025, 0.975]) / 400
    assert [low, high] == pytest.approx(expected.tolist(), abs=2 / 400)


def test_the_interval_of_other_values_is_scipys():
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


def test_a_record_names_its_run_its_data_and_its_versions():
    record = make_record("retrieval", MODEL, BENCHMARK, {"images": 200})
    assert record["task"] == "retrieval" and record["protocol"] == 1 and record["images"] == 200
    assert record["run"]["name"] == "toy_model" and record["data"]["name"] == "benchmark"
    assert {"torch", "python", "align-edu"} <= set(record["versions"])


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a\\b", "a\0b", 300 * "a"])
def test_a_result_stays_in_its_folder(name, tmp_path, capsys):
    with pytest.raises(InputError, match="give a short file name without folders"):
        result_file(tmp_path / "run", name)
    if name:
        run = str(tmp_path / "missing")  # refused before the model is looked for
        assert main(["evaluate", run, "--benchmark", "b", "--name", name]) == 2
        assert "result name" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_other_weights_or_other_data_give_another_fingerprint(tmp_path):
    before = make_record("retrieval", MODEL, BENCHMARK, {})
    folder = shutil.copytree(BENCHMARK, tmp_path / "benchmark")
    assert make_record("retrieval", MODEL, folder, {}) == before
    named = make_record("retrieval", MODEL, f"food101:{folder}", {})
    assert named["data"]["sha256"] == before["data"]["sha256"]
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"1")
    (tmp_path / "model.safetensors").write_bytes(b"other")
    after = make_record("retrieval", tmp_path, folder, {})
    assert after["run"]["sha256"] != before["run"]["sha256"]
    assert after["data"]["sha256"] != before["data"]["sha256"]
