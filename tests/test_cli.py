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

from align_edu.cli import _build_parser, main
from align_edu.io import InputError
from align_edu.world import World
from tests.test_training import TINY

SETS = [
    f"--set={part}.{name}={json.dumps(value)}"
    for part in ("image", "text", "loss", "recipe")
    for name, value in vars(getattr(TINY, part)).items()
]

COMMANDS = (
    "demo", "world", "filter", "vocabulary", "train", "evaluate", "index", "search", "plan",
    "grade", "doctor",
)  # fmt: skip


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return World(seed=5, image_size=40).write(tmp_path_factory.mktemp("cli") / "w", 160, workers=1)


@pytest.fixture(scope="module")
def trained(shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "run"
    command = ["train", "--preset", "toy", "--data", str(shards), "--out", str(out), "--steps", "6"]
    assert main([*command, *SETS]) == 0
    return out


def fails(capsys, *argv):
    """Run a command that must fail with status 2 and one line; return the line."""
    assert main([str(word) for word in argv]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "Traceback" not in told.err
    return told.err


def test_the_whole_chain_works_from_the_command_line(shards, trained, tmp_path, capsys):
    world, bench = tmp_path / "w", tmp_path / "b"
    assert main(["world", str(bench), "--pairs", "12", "--seed", "9", "--benchmark"]) == 0
    command = ["world", str(world), "--pairs", "60", "--seed", "2", "--workers", "1"]
    assert main([*command, "--against", str(bench)]) == 0
    capsys.readouterr()
    assert (
        main(["filter", str(world), str(tmp_path / "kept"), "--against", str(bench), "--json"]) == 0
    )
    funnel = json.loads(capsys.readouterr().out)
    assert funnel["raw"] == 60 and 0 < funnel["kept"] < 60
    assert main(["vocabulary", str(tmp_path / "kept"), str(tmp_path), "--size", "120"]) == 0
    assert json.loads((tmp_path / "tokenizer.json").read_text())["model"]["type"] == "WordPiece"
    capsys.readouterr()

    assert main(["evaluate", str(trained), "--benchmark", str(bench), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == 12 and 0 <= result["image_to_text"]["R@1"] <= 1
    assert json.loads((trained / "results" / "retrieval.json").read_text()) == result

    index = tmp_path / "index"
    assert main(["index", str(trained), str(bench / "images"), str(index)]) == 0
    capsys.readouterr()
    assert main(["search", str(index), "a red cat", "--top", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    scores = [hit["score"] for hit in found["hits"]]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    assert Image.open(found["picture"]).width > 100
    some = str(next((bench / "images").iterdir()))
    assert main(["search", str(index), "--image", some, "--plus", "snow", "--minus", "red"]) == 0
    assert "picture:" in capsys.readouterr().out

    graph = tmp_path / "graph"
    built = ["index", str(trained), str(bench / "images"), str(graph), "--kind", "approximate"]
    assert main([*built, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "approximate"
    assert main(["search", str(graph), "a red cat", "--top", "3", "--json"]) == 0
    near = json.loads(capsys.readouterr().out)["hits"]
    assert [hit["score"] for hit in near] == pytest.approx(scores, abs=1e-3)


def test_bad_input_is_one_line_with_status_2_and_leaves_nothing(shards, tmp_path, capsys):
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "one.tsv").write_text("a caption without an address\n")
    with tarfile.open(tmp_path / "no_pairs.tar", "w"):
        pass
    train = ["train", "--out", out, "--steps", 2, *SETS, "--data"]
    assert "/nowhere" in fails(capsys, *train, "/nowhere")
    fails(capsys, *train, empty)
    fails(capsys, *train, tmp_path / "no_pairs.tar")
    assert "row #1" in fails(capsys, "filter", tmp_path / "one.tsv", out).lower()
    fails(capsys, "filter", "/nowhere", out)
    fails(capsys, "vocabulary", shards, out, "--size", 10_000_000)
    fails(capsys, *train, shards, "--set", "recipe.batch_size=0.5")
    fails(capsys, *train, shards, "--preset", "huge")
    fails(capsys, "evaluate", empty, "--benchmark", empty)
    fails(capsys, "index", "/nowhere", empty, out)
    fails(capsys, "search", empty, "a cat")
    fails(capsys, "world", out, "--pairs", 0)
    fails(capsys, "world", out, "--pairs", 10, "--noise", 2)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--minutes", "inf"], "the length of the run must be a number above zero"),
        (["--minutes", "nan"], "the length of the run must be a number above zero"),
        (["--minutes", "0"], "the length of the run must be a number above zero"),
        (["--steps", "0"], "the length of the run must be a number above zero"),
        (
            ["--set", "recipe.warmup=1"],
            "recipe.warmup: 1.0 is not allowed; give a number from 0 to",
        ),
        (
            ["--set", "loss.kind=softmx"],
            'loss.kind: "softmx" is not allowed; give softmax or sigmoid',
        ),
        (["--set", "recipe.batch_size=null"], "recipe.batch_size: null is not allowed"),
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


def test_one_step_trains_and_standard_output_is_the_answer_alone(shards, tmp_path, capfd):
    out = tmp_path / "run"
    command = ["train", "--data", str(shards), "--out", str(out), "--steps", "1", "--json"]
    assert main([*command, "--processes", "1", *SETS]) == 0
    told = capfd.readouterr()
    assert json.loads(told.out)["learning_rate"] > 0
    assert "training on 1 of " in told.err


def test_a_shard_without_texts_is_refused(tmp_path, capsys):
    real = Path(__file__).parents[2] / "shared" / "real" / "shards"
    if not real.exists():
        pytest.skip("the real shards are not on this machine")
    assert "text" in fails(
        capsys, "train", "--data", real / "image1.tar", "--out", tmp_path / "r", "--steps", 1
    )
    assert not (tmp_path / "r").exists()


def test_a_checkpoint_of_another_preset_is_refused(shards, trained, capsys):
    command = ["train", "--data", shards, "--out", trained, "--steps", "6", "--resume"]
    assert "preset differs" in fails(capsys, *command)
    assert "already holds a run" in fails(capsys, *command[:-1], *SETS)


def test_an_unknown_command_says_which_exist(capsys):
    line = fails(capsys, "trane")
    for name in COMMANDS:
        assert name in line


def test_the_doctor_answers_in_json_too(capsys):
    main(["doctor", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert {"torch", "torchvision"} <= {finding["name"] for finding in answer["findings"]}


def test_every_command_explains_itself(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0 and "usage: align-edu" in capsys.readouterr().out


def parsed(*words):
    return vars(_build_parser(words).parse_args(words))


def test_the_table_of_commands_gives_types_defaults_and_repeated_options():
    demo = parsed("demo", "--out", "d", "--minutes", "2")
    assert (demo["out"], demo["minutes"], demo["pairs"]) == (Path("d"), 2.0, 100_000)
    train = parsed("train", "--data", "a", "b", "--out", "r", "--set", "x=1", "--set", "y=2")
    assert train["data"] == [Path("a"), Path("b")] and train["set"] == ["x=1", "y=2"]
    assert train["resume"] is False and train["steps"] is None and train["json"] is False
    assert parsed("search", "i")["text"] is None and parsed("search", "i", "cat")["text"] == "cat"
    for words in (["train", "--out", "r"], ["index", "run"], ["plan", "--chips", "1.5"]):
        with pytest.raises(InputError, match=f"see align-edu {words[0]} --help"):
            parsed(*words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--benchmark", "--noise", "0.5"], "--noise and --benchmark: give only one"),
        (["--task", "colour", "--workers", "2"], "--workers and --task: give only one"),
        (["--benchmark", "--task", "colour"], "--task and --benchmark: give only one"),
        (["--twins", "2"], "--twins: takes effect only with --benchmark"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(words, told, tmp_path, capsys):
    assert told in fails(capsys, "world", tmp_path / "out", "--pairs", "9", *words)
    assert not (tmp_path / "out").exists()


def test_the_help_of_evaluate_lists_every_protocol():
    from align_edu.evaluation.protocols import PROTOCOLS

    for task in PROTOCOLS:
        assert parsed("evaluate", "run", "--task", task)["task"] == task
    with pytest.raises(InputError, match="choose from 'retrieval'"):
        parsed("evaluate", "run", "--task", "guessing")


def test_importing_the_package_loads_nothing_heavy_beside_torch() -> None:
    """tests/benchmarks/import_time.py times it."""
    code = (
        "import sys, torch; before = set(sys.modules); import align_edu;"
        "print({name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ast.literal_eval(done.stdout) - set(sys.stdlib_module_names)
    assert loaded == {"align_edu"}


def test_each_promised_name_is_there_and_an_unknown_one_is_refused():
    import align_edu

    for name in align_edu.__all__:
        assert getattr(align_edu, name) is not None and name in dir(align_edu)
    with pytest.raises(AttributeError, match="contrastive_loss"):
        align_edu.contrastive_los  # noqa: B018
