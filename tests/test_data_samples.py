"""The bundled samples: made again and compared, in the documented formats, small."""

import json
import subprocess
from pathlib import Path

import pytest

from align_edu import World, load_run
from align_edu.cli import main
from align_edu.evaluation import evaluate_retrieval, evaluate_zero_shot
from align_edu.pairs import read_split
from align_edu.training.metrics import read_metrics
from tests.samples import DATA, MODEL, ROOT


def bytes_of(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_raw_pairs_their_tsv_and_the_benchmark_are_made_again_bit_for_bit(tmp_path):
    raw, tsv, benchmark = (str(tmp_path / name) for name in ("raw", "pairs.tsv", "b"))
    assert main(["world", raw, "--pairs", "300", "--seed", "1", "--tsv", tsv]) == 0
    assert bytes_of(tmp_path / "raw") == bytes_of(DATA / "raw_pairs")
    assert (tmp_path / "pairs.tsv").read_bytes() == (DATA / "cc3m_sample.tsv").read_bytes()
    assert main(["world", benchmark, "--pairs", "200", "--seed", "2", "--benchmark"]) == 0
    assert bytes_of(tmp_path / "b") == bytes_of(DATA / "benchmark")


def test_the_samples_hold_what_their_page_says():
    assert 10 < sum(read_split(DATA / "benchmark").held_out) < 60
    sizes = {p: p.stat().st_size for p in DATA.rglob("*") if p.is_file()}
    assert sum(sizes.values()) < 30e6 and sizes[MODEL / "model.safetensors"] < 10e6


def test_the_toy_model_searches_as_well_as_its_record_says():
    result = evaluate_retrieval(load_run(MODEL), DATA / "benchmark")
    record = json.loads((MODEL / "results" / "retrieval.json").read_text())
    for direction in ("image_to_text", "text_to_image"):
        measured = result[direction]["R@1"]
        # Another processor may round differently; a tie may then fall the other way.
        assert measured == pytest.approx(record[direction]["R@1"], abs=0.01)
        assert measured >= 0.8
    last = read_metrics(MODEL)[-1]
    assert last["loss"] < 0.4 * last["chance"]


@pytest.mark.parametrize("task", ["object", "colour", "place"])
def test_the_toy_model_names_new_pictures_as_well_as_its_record_says(task, tmp_path):
    sizes = {"train": 0, "val": 0, "test": 240, "image_size": 48}
    data = World(seed=987).write_task(tmp_path / task, task, **sizes)
    measured = evaluate_zero_shot(load_run(MODEL), data)["ensemble"]["top-1"]
    record = json.loads((MODEL / "results.json").read_text())
    recorded = record["zero_shot"][task]["ensemble"]["top-1"]
    assert measured >= max(0.9, recorded - 0.05)  # other pictures of the same kind


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_no_checkout_changes_the_line_ends_of_a_binary_file():
    """Of every file that git holds and that is no text, .gitattributes says so."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--eol"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [row.partition("\t") for row in listed.split("\0") if row]
    binary = {name for kinds, _, name in rows if kinds.startswith("i/-text")}
    marked = {name for kinds, _, name in rows if "attr/-text" in kinds}
    assert len(binary) > 10 and binary <= marked
    assert not {name for name in marked - binary if name.endswith((".py", ".json", ".md", ".tsv"))}
