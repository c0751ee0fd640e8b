"""Grading: a class of odd, wrong and hostile submissions is marked right, and touches nothing."""

import csv
import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from align_edu import lab
from align_edu.cli import main
from align_edu.io import InputError
from align_edu.lab import jail
from align_edu.lab.exercises import EXERCISES
from align_edu.lab.grade import grade_folder
from align_edu.lab.marks import NOT_ISOLATED, Grades
from tests import submissions as tests
from tests.submissions import Expected, function, hand_in, hand_in_code

SEED = 12
LONG = os.environ.get("ALIGN_EDU_LONG") == "1"  # make test-long
# What the short form hands in: one of each kind of attack, and what only the jail can show.
SOME = (
    "writes_in_its_folder", "prints_much", "threads", "shows", "library", "object",
    "none", "liars", "patches_the_judge", "huge_tensor", "writes_with_c", "connects_with_c",
    "undefined", "raises_strangely", "interrupts", "no_function", "crash", "forges", "chatter",
    "fills_the_disk", "saves_outside", "loop_before", "stubborn_loop", "asleep", "digs_down",
    "growing", "sys_exit", "closes_its_pipe", "fork_bomb", "hidden_fork", "program",
    "reads_its_neighbour", "overwrites_and_answers", "removes_the_class", "links_to_a_file",
    "connects", "syntax_error", "only_words", "not_implemented_below", "forks_with_c",
    "writes_settings_with_c", "sees_no_secrets", "spoilt",
)  # fmt: skip
DRAWS = "import random\nreturn [random.random(), np.random.rand(), torch.rand(1).item()]"
ADDRESS = "raise ValueError(object(), {str(i) for i in range(20)})"
VARIES = [("draws", "wrong", function(DRAWS)), ("address", "error", function(ADDRESS))]


def why_not_isolated() -> str:
    try:
        jail.find_namespaces()
    except InputError as error:
        return str(error)
    return ""


required = os.environ.get("ALIGN_EDU_BWRAP") == "required"
isolated = pytest.mark.skipif(bool(why_not_isolated()) and not required, reason="no bubblewrap")


@dataclass
class Class:
    """A class that was graded, and what it must have got."""

    grades: Grades
    expected: list[Expected]


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Submissions of each kind, graded at once.

    ALIGN_EDU_LONG hands in all of them, each right answer, and a third of all known mistakes.
    """
    folder, out = tmp_path_factory.mktemp("class"), tmp_path_factory.mktemp("out") / "grades.csv"
    outside = tmp_path_factory.mktemp("outside") / "file.txt"
    outside.write_text("untouched")
    neighbour = hand_in(folder, "neighbour", "00", {"chance_loss": [tests.RIGHT]})
    places = {"neighbour": neighbour, "class": neighbour.parent, "outside": outside, "marks": out}
    rows = [(name, "right", cells) for name, cells in tests.ODD.items()]
    server = socket.create_server(("127.0.0.1", 0))
    rows += tests.hostile_rows(**places, port=server.getsockname()[1])
    expected = hand_in_code(folder, [row for row in rows if LONG or row[0] in SOME] + VARIES)
    expected += tests.hand_in_right(folder, every=1 if LONG else 12)
    expected += tests.hand_in_wrong(folder, every=3 if LONG else 24)
    expected += tests.hand_in_reordered(folder)
    for name, data in tests.UNREADABLE.items():
        (folder / f"00_start_here_{name}.ipynb").write_bytes(data)
        expected.append(Expected(name, "chance_loss", "unreadable"))
    before = neighbour.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jail, "LEAST_WALL_SECONDS", 15.0)  # for the one that sleeps
        grades = grade_folder(folder, SEED, out, seconds=1, workers=2)
    assert (outside.read_text(), neighbour.read_bytes()) == ("untouched", before)
    assert list(outside.parent.iterdir()) == [outside]
    assert outside.stat().st_mode & 0o777 != 0o777
    server.setblocking(False)
    with server, pytest.raises(BlockingIOError):  # nobody connected
        server.accept()
    return Class(grades, [Expected("neighbour", "chance_loss", "right"), *expected])


@pytest.mark.longer
@isolated
def test_each_submission_gets_its_mark_every_mistake_is_named_and_nothing_outside_is_touched(
    graded,
):
    assert graded.grades.to_dict()["students"] >= (200 if LONG else 60)
    marks = {(mark.student, mark.exercise): mark for mark in graded.grades.marks}
    wrong = []
    for each in graded.expected:
        mark = marks[each.student, each.exercise]
        named = each.words in mark.mistake and bool(each.words) == bool(mark.mistake)
        if each.student == "spoilt":
            named = "one direction only" in mark.mistake
        if mark.outcome != each.outcome or not named or mark.mark != (each.outcome == "right"):
            wrong.append(f"{each} but {mark}")
    assert not wrong, "\n".join(wrong)


@isolated
def test_the_files_have_a_row_for_each_function_the_sentence_of_the_check_and_the_mistakes(graded):
    out, marks = graded.grades.out, graded.grades.marks
    rows = rows_of(out)
    first = ["student", "notebook", "exercise", "mark", "outcome", "mistake"]
    assert len(rows) == len(marks) and list(rows[0])[:6] == first
    assert [row["student"] for row in rows] == sorted(row["student"] for row in rows)
    notes = {row["student"]: row["note"] for row in rows if row["exercise"] == "chance_loss"}
    assert notes["spoilt"] == "2 definitions; the last one counts; not imported: math"
    assert "uses align_edu" in notes["library"] and "not imported: math" in notes["bare"]
    assert "NameError: name 'undefined_name' is not defined" in notes["undefined"]
    assert "tried: the network" in notes["connects"]
    folder = out.with_name("grades_feedback")
    assert {file.stem for file in folder.iterdir()} == {mark.student for mark in marks}
    text = " ".join((folder / "spoilt.txt").read_text(encoding="utf-8").split())
    exercise = EXERCISES["chance_loss"]
    assert str(lab.checks.find_mistake(exercise, exercise.wrong[0].function, SEED)) in text
    assert "recall_at_1: still to be written." in text and NOT_ISOLATED not in text
    rows = rows_of(out.with_name("grades_misconceptions.csv"))
    counts = [int(row["students"]) for row in rows]
    assert counts == sorted(counts, reverse=True)
    for row, count in zip(rows, counts):
        mistake = (row["exercise"], row["mistake"])
        assert count == len({m.student for m in marks if (m.exercise, m.mistake) == mistake}) > 0


@isolated
def test_the_same_submissions_and_seed_give_the_same_bytes(graded, tmp_path):
    (tmp_path / "class").mkdir()
    hand_in_code(tmp_path / "class", VARIES)
    grade_folder(tmp_path / "class", SEED, tmp_path / "grades.csv", seconds=1, workers=1)
    names, out = [name for name, *_ in VARIES], graded.grades.out
    first = [row for row in rows_of(out) if row["student"] in names]
    assert rows_of(tmp_path / "grades.csv") == first
    for name in names:
        text = out.with_name("grades_feedback") / f"{name}.txt"
        assert (tmp_path / "grades_feedback" / text.name).read_bytes() == text.read_bytes()


@isolated
def test_waiting_costs_no_mark_one_crash_spares_the_others_and_own_exercises_count(
    tmp_path, capsys
):
    """The limit is one of computing: a loaded machine, like one that sleeps, takes nothing off."""
    folder, file, out = tmp_path / "class", tmp_path / "mine.py", tmp_path / "g.csv"
    folder.mkdir()
    file.write_text(tests.MINE)
    reference = "def recall_at_1(similarity):\n    own = similarity.diagonal()[:, None]\n"
    reference += "    return ((similarity >= own).sum(1) == 1).float().mean().item()"
    crash = function("import os\nos.abort()")
    hand_in(folder, "crashes", "00", {"chance_loss": crash, "recall_at_1": [reference]})
    sleeps = function("import time\ntime.sleep(1)\nreturn 2 * math.log(n)")
    hand_in(folder, "sleeps", "00", {"chance_loss": [*sleeps, "half = lambda x: x // 2"]})
    mine = hand_in(folder, "carl", "00", {"chance_loss": ["def half(x):\n    return x / 2"]})
    mine.rename(folder / "mine_carl.ipynb")
    command = ["grade", str(folder), "--seed", "1", "--out", str(out), "--seconds", "1"]
    try:
        assert main([*command, "--exercises", str(file), "--json"]) == 0
    finally:
        EXERCISES.pop("half", None)
    answer = json.loads(capsys.readouterr().out)
    rows = {(row["student"], row["exercise"]): row for row in rows_of(out)}
    outcomes = {where: row["outcome"] for where, row in rows.items()}
    assert outcomes["crashes", "chance_loss"] == "error"
    assert outcomes["crashes", "recall_at_1"] == outcomes["sleeps", "chance_loss"] == "right"
    assert outcomes["carl", "half"] == "right"
    assert rows["sleeps", "half"]["mistake"] == "That rounds down: use /."
    assert answer["students"] == 3 and answer["guards"] == ["bubblewrap"]
    assert answer["outcomes"]["wrong"] == 1
    assert [each["exercise"] for each in answer["misconceptions"]] == ["half"]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (None, "bubblewrap is missing: install it"),
        ("#!/bin/sh\necho 'bwrap: No permissions' >&2\nexit 1\n", "(bwrap: No permissions)"),
    ],
)
def test_without_bubblewrap_grading_is_refused_or_says_that_nothing_was_isolated(
    program, words, tmp_path, monkeypatch, capsys
):
    bin_, folder, out = tmp_path / "bin", tmp_path / "class", tmp_path / "g.csv"
    bin_.mkdir()
    if program is not None:
        (bin_ / "bwrap").write_text(program)
        (bin_ / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_))
    monkeypatch.setattr(sys, "platform", "linux")
    (folder / "one" / "zoe").mkdir(parents=True)
    hand_in(folder / "one", "anna", "00", {"chance_loss": [tests.WRONG]})
    hand_in(folder / "one", "ben", "00", {})
    command = ["grade", str(folder), "--seed", "5", "--out", str(out)]
    assert main(command) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and words in told.err and "--unprotected" in told.err
    assert not out.exists()
    if program is None:
        assert main([*command, "--unprotected"]) == 0
        said = capsys.readouterr().out
        assert "1  chance_loss       That is one direction only." in said
        assert "2 students, 4 functions: 3 not attempted, 1 wrong" in said
        assert f"note: one/zoe: no notebook in it\nnote: {NOT_ISOLATED}" in said
        page = (tmp_path / "g_feedback" / "one" / "anna.txt").read_text()
        assert "That is one direction only." in page and page.endswith(f"{NOT_ISOLATED}\n")


@pytest.mark.parametrize(
    ("folder", "options", "words"),
    [
        ("/nowhere", [], "no such folder"),
        ("{here}/empty", [], "no notebook"),
        ("{here}/class", ["--out", "{here}/no/g.csv"], "in a folder that exists"),
        ("{here}/class", ["--out", "{here}/class"], "name a file"),
        ("{here}/class", ["--seed", "-1"], "whole number from 0"),
        ("{here}/class", ["--seconds", "0"], "seconds"),
        ("{here}/class", ["--workers", "0"], "worker"),
        ("{here}/class", ["--exercises", "{here}/no.py"], "FileNotFoundError"),
        ("{here}/class", ["--seed"], "--seed"),
    ],
)
def test_bad_input_is_one_line_with_status_2(folder, options, words, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "00_start_here_anna.ipynb").write_text("{}")
    command = ["grade", folder, "--seed", "1", "--out", "{here}/g.csv", *options]
    assert main([word.format(here=tmp_path) for word in command]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and words in told.err
    assert not (tmp_path / "g.csv").exists()


def test_the_answer_stays_closed_where_work_is_graded(monkeypatch, capsys):
    monkeypatch.setenv("ALIGN_EDU_LAB", "graded")
    lab.reveal("chance_loss")
    said = capsys.readouterr().out
    assert "def " not in said and said.count("\n") == 1
