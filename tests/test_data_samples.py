"""The bundled samples: made again and compared, in the documented formats, small."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from align_edu import World, load_run, read_pairs
from align_edu.cli import main
from align_edu.evaluation import evaluate_retrieval, evaluate_zero_shot
from align_edu.pairs import open_pairs, read_split
from align_edu.training.metrics import read_metrics

SAMPLES = Path(__file__).parents[1] / "data_samples"


def bytes_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_raw_pairs_and_their_tsv_are_made_again_bit_for_bit(tmp_path):
    command = ["world", str(tmp_path / "raw"), "--pairs", "300", "--seed", "1"]
    assert main([*command, "--tsv", str(tmp_path / "pairs.tsv")]) == 0
    assert bytes_of(tmp_path / "raw") == bytes_of(SAMPLES / "raw_pairs")
    assert (tmp_path / "pairs.tsv").read_bytes() == (SAMPLES / "cc3m_sample.tsv").read_bytes()


def test_the_benchmark_is_made_again_bit_for_bit(tmp_path):
    command = ["world", str(tmp_path / "b"), "--pairs", "200", "--seed", "2", "--benchmark"]
    assert main(command) == 0
    assert bytes_of(tmp_path / "b") == bytes_of(SAMPLES / "benchmark")


def test_the_tsv_has_cc3ms_form():
    lines = (SAMPLES / "cc3m_sample.tsv").read_text(encoding="utf-8").splitlines()
    clean = pq.read_table(SAMPLES / "raw_pairs" / "00000.parquet")["noise"].to_pylist()
    assert len(lines) == clean.count("clean")
    for line in lines:
        caption, url = line.split("\t")
        assert caption == caption.lower() and url.startswith("https://")
    assert read_pairs(SAMPLES / "cc3m_sample.tsv").column_names == ["caption", "url"]


def test_the_raw_pairs_hold_noise_of_many_kinds():
    kinds = set(read_pairs(SAMPLES / "raw_pairs")["noise"].to_pylist())
    assert {"clean", "file_name", "boilerplate", "other_caption", "too_small"} <= kinds
    assert len(open_pairs([SAMPLES / "raw_pairs"])) == 300


def test_the_toy_model_searches_as_well_as_its_record_says():
    run = load_run(SAMPLES / "toy_model")
    result = evaluate_retrieval(run, SAMPLES / "benchmark")
    record = json.loads((SAMPLES / "toy_model" / "results" / "retrieval.json").read_text())
    for direction in ("image_to_text", "text_to_image"):
        measured = result[direction]["R@1"]
        # Another processor may round differently; a tie may then fall the other way.
        assert measured == pytest.approx(record[direction]["R@1"], abs=0.01)
        assert measured >= 0.8
    last = read_metrics(SAMPLES / "toy_model")[-1]
    assert last["loss"] < 0.4 * last["chance"]


@pytest.mark.parametrize("task", ["object", "colour", "place"])
def test_the_toy_model_names_new_pictures_as_well_as_its_record_says(task, tmp_path):
    data = World(seed=987).write_task(
        tmp_path / task, task, train=0, val=0, test=240, image_size=48
    )
    measured = evaluate_zero_shot(load_run(SAMPLES / "toy_model"), data)["ensemble"]["top-1"]
    record = json.loads((SAMPLES / "toy_model" / "results.json").read_text())
    recorded = record["zero_shot"][task]["ensemble"]["top-1"]
    assert measured >= max(0.9, recorded - 0.05)  # other pictures of the same kind


def test_the_samples_are_small():
    sizes = {p: p.stat().st_size for p in SAMPLES.rglob("*") if p.is_file()}
    assert sum(sizes.values()) < 30e6
    assert sizes[SAMPLES / "toy_model" / "model.safetensors"] < 10e6


def test_the_benchmark_has_two_hundred_scenes_with_five_captions():
    benchmark = read_split(SAMPLES / "benchmark")
    assert len(benchmark.images) == 200 and len(benchmark.texts) == 1000
    assert 10 < sum(benchmark.held_out) < 60
