"""The front door as a user meets it: commands, exit statuses, one-line errors."""

import ast
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

import align_edu
from align_edu.cli import _build_parser, main
from align_edu.evaluation.protocols import PROTOCOLS
from align_edu.io import InputError
from align_edu.world import World
from tests.test_training import TINY

SETS = [
    f"--set={part}.{name}={json.dumps(value)}"
    for part in ("image", "text", "loss", "recipe")
    for name, value in vars(getattr(TINY, part)).items()
]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return World(seed=5, image_size=40).write(tmp_path_factory.mktemp("cli") / "w", 160, workers=1)


def answer(capsys, *argv):
    """Run a command that must succeed; return its JSON object, which is all that it prints."""
    assert main([*map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def fails(capsys, *argv):
    """Run a command that must fail with status 2 and one line; return the line."""
    assert main([str(word) for word in argv]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "Traceback" not in told.err
    return told.err


def test_the_whole_chain_works_from_the_command_line(shards, tmp_path, capsys):
    run, world, bench, kept = (tmp_path / name for name in ("run", "w", "b", "kept"))
    trained = answer(capsys, "train", "--data", shards, "--out", run, "--steps", 6, *SETS)
    assert trained["step"] == 6 and trained["learning_rate"] > 0
    answer(capsys, "world", bench, "--pairs", 12, "--seed", 9, "--benchmark")
    command = ["world", world, "--pairs", 60, "--seed", 2, "--workers", 1]
    answer(capsys, *command, "--against", bench)
    funnel = answer(capsys, "filter", world, kept, "--against", bench)
    assert funnel["raw"] == 60 and 0 < funnel["kept"] < 60
    assert answer(capsys, "vocabulary", kept, tmp_path, "--size", 120)["size"] == 120
    assert json.loads((tmp_path / "tokenizer.json").read_text())["model"]["type"] == "WordPiece"

    result = answer(capsys, "evaluate", run, "--benchmark", bench)
    assert result["images"] == 12 and 0 <= result["image_to_text"]["R@1"] <= 1
    assert json.loads((run / "results" / "retrieval.json").read_text()) == result

    scores = {}
    for kind in ("exact", "approximate"):
        index = tmp_path / kind
        assert answer(capsys, "index", run, bench / "images", index, "--kind", kind)["kind"] == kind
        found = answer(capsys, "search", index, "a red cat", "--top", 3)
        scores[kind] = [hit["score"] for hit in found["hits"]]
        assert Image.open(found["picture"]).width > 100
    assert len(scores["exact"]) == 3 and scores["exact"] == sorted(scores["exact"], reverse=True)
    assert scores["approximate"] == pytest.approx(scores["exact"], abs=1e-3)
    some = str(next((bench / "images").iterdir()))
    assert main(["search", str(index), "--image", some, "--plus", "snow", "--minus", "red"]) == 0
    assert "picture:" in capsys.readouterr().out


def test_bad_input_is_one_line_with_status_2_and_leaves_nothing(shards, tmp_path, capsys):
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "one.tsv").write_text("a caption without an address\n")
    with tarfile.open(tmp_path / "no_pairs.tar", "w"):
        pass
    train = ["train", "--out", out, "--steps", 2, *SETS, "--data"]
    for words, told in (
        ([*train, "/nowhere"], "/nowhere"),
        ([*train, empty], "empty"),
        ([*train, tmp_path / "no_pairs.tar"], "no_pairs.tar"),
        ([*train, shards, "--set", "recipe.batch_size=0.5"], "recipe.batch_size: 0.5"),
        ([*train, shards, "--preset", "huge"], "huge"),
        (["filter", tmp_path / "one.tsv", out], "row #1"),
        (["filter", "/nowhere", out], "/nowhere"),
        (["vocabulary", shards, out, "--size", 10_000_000], "10000000"),
        (["evaluate", empty, "--benchmark", empty], "config.json"),
        (["index", "/nowhere", empty, out], "/nowhere"),
        (["search", empty, "a cat"], "no index in it"),
        (["world", out, "--pairs", 0], "pairs 0"),
        (["world", out, "--pairs", 10, "--noise", 2], "noise 2.0"),
        (["trane"], "choose from 'demo', 'world', 'vocabulary', 'pairs', 'filter', 'train'"),
    ):
        assert told.lower() in fails(capsys, *words).lower()
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        *[
            (["--minutes", bad], "the length of the run must be a number above zero")
            for bad in ("inf", "nan", "0")
        ],
        (["--steps", "0"], "the length of the run must be a number above zero"),
        (["--set", "loss.kind=softmx"], 'loss.kind: "softmx" is not allowed; give softmax or'),
        (["--steps", "1", "--minutes", "1"], "--minutes and --steps: give only one"),
        (["--preset", "toy", "--from", "run"], "--preset and --from: give only one"),
        (["--set", "batch_size"], "--set batch_size: write part.field=value"),
        (["--processes", "3"], "--processes 3: must divide the batch of 16 pairs"),
        (["--processes", "0"], "--processes 0"),
        (["--processes", "-1"], "--processes -1"),
    ],
)
def test_a_setting_that_no_run_can_have_is_named_before_anything_is_written(
    shards, tmp_path, capsys, words, told
):
    length = [] if words[0] in ("--minutes", "--steps") else ["--steps", 1]
    train = ["train", "--data", shards, "--out", tmp_path / "out", *SETS, *length]
    assert told in fails(capsys, *train, *words)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--benchmark", "--noise", "0.5"], "--noise and --benchmark: give only one"),
        (["--task", "colour", "--workers", "2"], "--workers and --task: give only one"),
        (["--twins", "2"], "--twins: takes effect only with --benchmark"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(words, told, tmp_path, capsys):
    assert told in fails(capsys, "world", tmp_path / "out", "--pairs", "9", *words)
    assert not (tmp_path / "out").exists()


def test_standard_output_is_the_answer_alone(shards, tmp_path, capfd):
    command = ["train", "--data", shards, "--out", tmp_path / "run", "--steps", 1, *SETS]
    assert answer(capfd, *command, "--processes", 1)["learning_rate"] > 0
    main(["doctor", "--json"])
    findings = json.loads(capfd.readouterr().out)["findings"]
    assert {"torch", "torchvision"} <= {finding["name"] for finding in findings}


def test_every_command_explains_itself(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = capsys.readouterr().out
    for name in (
        "demo", "world", "vocabulary", "pairs", "filter", "train", "evaluate", "index", "search",
        "plan", "doctor", "grade",
    ):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0 and "usage: align-edu" in capsys.readouterr().out
        assert f"\n    {name}" in listed


def parsed(*words):
    return vars(_build_parser(words).parse_args(words))


def test_the_table_of_commands_gives_types_defaults_and_repeated_options():
    demo = parsed("demo", "--out", "d", "--minutes", "2")
    assert (demo["out"], demo["minutes"], demo["pairs"]) == (Path("d"), 2.0, 100_000)
    train = parsed("train", "--data", "a", "b", "--out", "r", "--set", "x=1", "--set", "y=2")
    assert train["data"] == [Path("a"), Path("b")] and train["set"] == ["x=1", "y=2"]
    assert train["resume"] is False and train["steps"] is None and train["json"] is False
    for task in PROTOCOLS:
        assert parsed("evaluate", "run", "--task", task)["task"] == task
    for words in (
        ["train", "--out", "r"], ["index", "run"], ["plan", "--chips", "1.5"],
        ["evaluate", "run", "--task", "guessing"],
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"see align-edu {words[0]} --help"):
            parsed(*words)


def test_importing_the_package_loads_nothing_heavy_beside_torch():
    """tests/benchmarks/import_time.py times it."""
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
