"""The main job in small, its report and its resuming; the samples that such a job has made."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from align_edu import World, load_run
from align_edu.cli import main
from align_edu.demo import demo_table, run_demo
from align_edu.evaluation import evaluate_zero_shot
from align_edu.pairs import read_split
from align_edu.presets import get_preset
from tests.samples import DATA, MODEL, ROOT, refused

SMALL = {"minutes": 0.05, "pairs": 700, "scenes": 20, "progress": False}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("align_edu.demo.NAMED_PICTURES", 40)
        yield out, run_demo(out, **SMALL)


def test_the_results_and_the_report_hold_what_is_promised(demo):
    out, results = demo
    assert json.loads((out / "results.json").read_text()) == results
    assert results["retrieval"]["images"] == results["retrieval_hard"]["images"] == 20
    assert results["pairs"]["raw"] == 700 > results["pairs"]["kept"] > 300
    assert results["pairs"]["seen"] == results["steps"] * get_preset("toy").recipe.batch_size
    assert results["parameters"] > 100_000 and 0 < results["temperature"] < 1
    stages = ["benchmark", "world", "filter", "vocabulary", "train", "evaluate", "index", "report"]
    assert list(results["seconds"]) == stages and results["seconds"]["train"] >= 3
    assert results["seed"] == 0 and results["versions"]["torch"] and results["machine"]["cores"]
    assert list(results["zero_shot"]) == ["object", "colour", "place"]
    shares = [named["ensemble"]["top-1"] for named in results["zero_shot"].values()]
    shares += [results["retrieval_hard"]["image_to_text"]["R@1"]]
    shares += [results["kind_search"]["precision@10"]]
    for direction in ("image_to_text", "text_to_image"):
        recalls = [results["retrieval"][direction][f"R@{k}"] for k in (1, 5, 10)]
        assert recalls == sorted(recalls)
        shares += recalls
    assert all(0 <= share <= 1 for share in shares)
    rows = json.loads((out / "hard" / "dataset_toy.json").read_text())["images"]
    assert [row["twin_of"] is None for row in rows] == [True, *[False] * 4] * 4
    table, report = demo_table(results), (out / "report.html").read_text(encoding="utf-8")
    for line in ("names the object", 'search for "a KIND"', "near twins, text to image, R@1"):
        assert line in table
    assert all(heading in report for heading in ("Raw pairs", "Training", "R@1"))


def modified(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def test_a_finished_demo_is_only_read_and_another_one_is_refused(demo):
    out, results = demo
    before = modified(out)
    assert run_demo(out, **SMALL) == results
    for folder in (out, out / "run"):
        refused("holds something else", run_demo, folder, **(SMALL | {"seed": 1}))
    assert modified(out) == before


def test_a_demo_broken_off_after_training_makes_nothing_twice(demo, tmp_path):
    out = shutil.copytree(demo[0], tmp_path / "out")
    for name in ("results.json", "report.html"):
        (out / name).unlink()
    before = modified(out)
    assert run_demo(out, **SMALL)["retrieval"] == demo[1]["retrieval"]
    after = modified(out)
    for part in ("world", "filtered", "benchmark"):
        assert all(after[path] == before[path] for path in after if path.is_relative_to(out / part))
    assert after[out / "run" / "model.safetensors"] == before[out / "run" / "model.safetensors"]
    assert (out / "report.html").exists()


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
