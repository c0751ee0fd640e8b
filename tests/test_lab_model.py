"""The model of a notebook: the student's newest own run, else the bundled one."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from align_edu import lab
from align_edu.io import InputError

ROOT = Path(__file__).resolve().parents[1]
BUNDLED = ROOT / "data_samples" / "toy_model"


def own_run(folder: Path, age: float = 1, name: str = "toy") -> Path:
    """A copy of the bundled run, finished ``age`` seconds ago."""
    folder.mkdir(parents=True)
    for file in ("config.json", "tokenizer.json", "model.safetensors"):
        shutil.copyfile(BUNDLED / file, folder / file)
    config = json.loads((folder / "config.json").read_text())
    config["preset"]["name"] = name
    (folder / "config.json").write_text(json.dumps(config))
    moment = 2_000_000_000 - age
    os.utime(folder / "model.safetensors", (moment, moment))
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALIGN_EDU_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_the_newest_finished_toy_run_is_taken_however_deep_it_lies(runs, capsys):
    own_run(runs / "old", age=9)
    newest = own_run(runs / "demo" / "run", age=5)
    own_run(runs / "photographs", name="cc3m")
    (own_run(runs / "unfinished") / "tokenizer.json").unlink()
    (own_run(runs / "broken") / "config.json").write_text("{")
    (own_run(runs / "strange") / "config.json").write_text('{"preset": 3}')
    (own_run(runs / "younger", age=0) / "model.safetensors").unlink()
    assert lab.model().folder == newest
    assert capsys.readouterr().out == f"model: your run {newest}\n"


def test_without_an_own_run_it_is_the_bundled_one(runs, capsys):
    assert lab.model().folder.samefile(BUNDLED)
    (runs / "nothing").mkdir(parents=True)
    capsys.readouterr()
    run = lab.model()
    assert run.folder.samefile(BUNDLED)
    assert run.encode_texts(["a cat"]).norm().item() == pytest.approx(1.0, abs=1e-5)
    assert capsys.readouterr().out == "model: the bundled one, data_samples/toy_model\n"


def test_tests_see_the_bundled_one_unless_a_folder_is_named(runs, monkeypatch):
    own_run(runs / "own")
    monkeypatch.setenv("ALIGN_EDU_RUNS", "")
    assert lab.model().folder.samefile(BUNDLED)
    monkeypatch.delenv("ALIGN_EDU_RUNS")
    assert lab.model().folder.samefile(BUNDLED)


@pytest.mark.parametrize("where", ["runs/own", "../runs/own"])
def test_a_student_needs_name_no_folder(runs, monkeypatch, where):
    notebooks = runs.parent / "notebooks"
    notebooks.mkdir()
    monkeypatch.chdir(notebooks)
    monkeypatch.delenv("ALIGN_EDU_RUNS")
    monkeypatch.delenv("PYTEST_VERSION")
    own = own_run(notebooks / where)
    assert lab.model().folder.samefile(own)


def test_where_neither_exists_one_sentence_says_so(runs, monkeypatch):
    module = sys.modules["align_edu.lab.course"]
    monkeypatch.setattr(module, "__file__", str(runs / "a" / "b" / "c.py"))
    with pytest.raises(InputError, match="data_samples/toy_model: not found"):
        lab.model()
