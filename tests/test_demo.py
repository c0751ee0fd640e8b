"""The main job in small: every stage, its report, and going on after an interruption."""

import json
import shutil

import pytest

from align_edu.demo import demo_table, run_demo
from align_edu.presets import get_preset
from tests.samples import refused

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
    out = tmp_path / "out"
    shutil.copytree(demo[0], out)
    for name in ("results.json", "report.html"):
        (out / name).unlink()
    before = modified(out)
    assert run_demo(out, **SMALL)["retrieval"] == demo[1]["retrieval"]
    after = modified(out)
    for part in ("world", "filtered", "benchmark"):
        assert all(after[path] == before[path] for path in after if path.is_relative_to(out / part))
    assert after[out / "run" / "model.safetensors"] == before[out / "run" / "model.safetensors"]
    assert (out / "report.html").exists()
