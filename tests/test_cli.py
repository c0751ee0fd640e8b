"""The front door as a user meets it: commands, exit statuses, one-line errors."""

import ast
import json
import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from PIL import Image

import align_edu
from align_edu.cli import _build_parser, main
from align_edu.evaluation import PROTOCOLS
from tests.samples import MODEL
from tests.test_training import TINY

TABLES = tomllib.loads(Path(__file__).with_name("refused_commands.toml").read_text("utf-8"))
REFUSED = TABLES["inputs"] | TABLES["settings"] | TABLES["ignored"]
SETS = [
    f"--set={part}.{name}={json.dumps(value)}"
    for part in ("image", "text", "loss", "recipe")
    for name, value in vars(getattr(TINY, part)).items()
]


def test_the_whole_chain_works_from_the_command_line(shards, tmp_path, answer, capsys):
    run, world, bench, kept = (tmp_path / name for name in ("run", "w", "b", "kept"))
    trained = answer("train", "--data", shards, "--out", run, "--steps", 6, *SETS)
    assert trained["step"] == 6 and trained["learning_rate"] > 0
    answer("world", bench, "--pairs", 12, "--seed", 9, "--benchmark")
    command = ["world", world, "--pairs", 60, "--seed", 2, "--workers", 1]
    answer(*command, "--against", bench)
    funnel = answer("filter", world, kept, "--against", bench)
    assert funnel["raw"] == 60 and 0 < funnel["kept"] < 60
    assert answer("vocabulary", kept, tmp_path, "--size", 120)["size"] == 120
    assert json.loads((tmp_path / "tokenizer.json").read_text())["model"]["type"] == "WordPiece"

    assert answer("evaluate", run, "--benchmark", bench)["images"] == 12
    for kind in ("exact", "approximate"):
        index = tmp_path / kind
        assert answer("index", run, bench / "images", index, "--kind", kind)["kind"] == kind
        found = answer("search", index, "a red cat", "--top", 3)
        assert len(found["hits"]) == 3 and Image.open(found["picture"]).width > 100
    some = str(next((bench / "images").iterdir()))
    assert main(["search", str(index), "--image", some, "--plus", "snow", "--minus", "red"]) == 0
    assert "picture:" in capsys.readouterr().out
    findings = {finding["name"] for finding in answer("doctor")["findings"]}
    assert {"torch", "torchvision"} <= findings


@pytest.fixture(scope="module")
def places(shards, tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in ("in", "empty", "class")}
    (folders["in"] / "one.tsv").write_text("a caption without an address\n")
    (folders["class"] / "00_start_here_anna.ipynb").write_text("{}")
    with tarfile.open(folders["in"] / "no_pairs.tar", "w"):
        pass
    return folders | {"shards": shards, "model": MODEL}


@pytest.mark.parametrize(("command", "words"), REFUSED.items())
def test_a_refusal_is_one_line_and_leaves_nothing(command, words, places, tmp_path, capsys):
    name, *rest = command.format(out=tmp_path / "out", **places).split()
    assert main([name, *(SETS if name == "train" else []), *rest]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "Traceback" not in told.err
    assert words.lower() in told.err.lower() and os.listdir(tmp_path) == []


def test_every_command_explains_itself_and_the_table_gives_types_defaults_and_repeats(capsys):
    def parsed(words):
        return vars(_build_parser(words.split()).parse_args(words.split()))

    names = "demo world vocabulary pairs filter train evaluate index search plan doctor grade"
    for name in ("", *names.split()):
        with pytest.raises(SystemExit) as stop:
            main([*name.split(), "--help"])
        assert stop.value.code == 0 and "usage: align-edu" in capsys.readouterr().out
    demo = parsed("demo --out d --minutes 2")
    assert (demo["out"], demo["minutes"], demo["pairs"]) == (Path("d"), 2.0, 100_000)
    train = parsed("train --data a b --out r --set x=1 --set y=2")
    assert train["data"] == [Path("a"), Path("b")] and train["set"] == ["x=1", "y=2"]
    assert train["resume"] is False and train["steps"] is None and train["json"] is False
    for task in PROTOCOLS:
        assert parsed(f"evaluate run --task {task}")["task"] == task


def test_importing_the_package_loads_nothing_heavy_beside_torch():
    code = (
        "import sys, torch; before = set(sys.modules); import align_edu;"
        "print({name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ast.literal_eval(done.stdout) - set(sys.stdlib_module_names)
    assert loaded == {"align_edu"}


def test_each_promised_name_exists_and_an_unknown_one_is_refused():
    for name in align_edu.__all__:
        assert getattr(align_edu, name) is not None and name in dir(align_edu)
    with pytest.raises(AttributeError, match="contrastive_loss"):
        align_edu.contrastive_los  # noqa: B018
