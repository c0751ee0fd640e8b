"""Grading: a class of odd, wrong and hostile submissions is marked right, and touches nothing."""

import ast
import csv
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from align_edu import lab
from align_edu.cli import main
from align_edu.lab import jail, jailed
from align_edu.lab.exercises import EXERCISES
from align_edu.lab.extract import find_function, read_code
from align_edu.lab.grade import NOT_ISOLATED, Grades, grade_folder
from align_edu.lab.jail import bwrap_problem
from align_edu.lab.judge import answer_key, judge
from align_edu.lab.outcomes import decode, encode, outcome_of
from tests import hostile_submissions as hostile
from tests.submissions import MINE, Expected, hand_in, hand_in_code, hand_in_right, hand_in_wrong

SEED = 12
PROBLEM = bwrap_problem()
required = os.environ.get("ALIGN_EDU_BWRAP") == "required"
isolated = pytest.mark.skipif(PROBLEM is not None and not required, reason=str(PROBLEM))
LONG = os.environ.get("ALIGN_EDU_LONG") == "1"  # make test-long
# What runs in the jail; the other odd ones are taken out and run in the test's own process.
IN_THE_JAIL = ("writes_in_its_folder", "prints_much", "threads", "shows", "library", "object")


@dataclass
class Class:
    """A class that was graded, what it must have got, and what it must not have touched."""

    grades: Grades
    expected: list[Expected]
    outside: Path
    neighbour: Path
    before: tuple[bytes, bytes]
    connections: list[str]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, list[str]]]:
    """A local server, and who connected to it."""
    listener, seen = socket.create_server(("127.0.0.1", 0)), list[str]()

    def serve() -> None:
        while True:
            try:
                client, address = listener.accept()
            except OSError:
                return
            seen.append(str(address))
            client.close()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1], seen
    listener.close()


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory, server: tuple[int, list[str]]) -> Class:
    """All broken and hostile submissions, and a sample of the others, graded at once.

    ALIGN_EDU_LONG hands in a third of all known mistakes, each right answer, and all odd ones.
    """
    folder = tmp_path_factory.mktemp("class")
    outside = tmp_path_factory.mktemp("outside") / "file.txt"
    outside.write_text("untouched")
    out = tmp_path_factory.mktemp("out") / "grades.csv"
    neighbour = hand_in(folder, "neighbour", "00", {"chance_loss": [hostile.RIGHT]})
    expected = [Expected("neighbour", "chance_loss", "right")]
    expected += hand_in_right(folder, every=1 if LONG else 12)
    expected += hand_in_wrong(folder, every=3 if LONG else 24)
    names = hostile.ODD_BUT_RIGHT if LONG else IN_THE_JAIL
    odd = [(name, "right", hostile.ODD_BUT_RIGHT[name]) for name in names]
    spies = hostile.spies(neighbour, outside, out, server[0])
    bad = [
        (name, outcome, hostile.function(body))
        for name, (outcome, body) in (hostile.WRONG_OR_BROKEN | spies).items()
    ]
    expected += hand_in_code(folder, [*odd, *bad])
    for name, data in hostile.UNREADABLE.items():
        (folder / f"00_start_here_{name}.ipynb").write_bytes(data)
        expected.append(Expected(name, "chance_loss", "unreadable"))
    hostile.hand_in_reordered(folder)
    expected += [Expected(name, "chance_loss", "right") for name in ("reversed", "bare")]
    before = (outside.read_bytes(), neighbour.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jail, "LEAST_WALL_SECONDS", 15.0)  # for the one that sleeps
        grades = grade_folder(folder, SEED, out, seconds=1, workers=2)
    return Class(grades, expected, outside, neighbour, before, server[1])


@pytest.mark.longer
@isolated
def test_each_submission_gets_its_mark_and_every_mistake_is_named(graded: Class) -> None:
    assert graded.grades.to_dict()["students"] >= (200 if LONG else 80)
    marks = {(mark.student, mark.exercise): mark for mark in graded.grades.marks}
    wrong = []
    for each in graded.expected:
        mark = marks[each.student, each.exercise]
        named = each.words in mark.mistake and bool(each.words) == bool(mark.mistake)
        if each.student == "spoilt":
            named = "one direction only" in mark.mistake
        if mark.outcome != each.outcome or not named or mark.mark != (each.outcome == "right"):
            wrong.append(f"{each} but {mark.outcome}: {mark.mistake} {mark.note} {mark.said}")
    assert not wrong, "\n".join(wrong)


@isolated
def test_nothing_outside_was_touched_and_nobody_connected(graded: Class) -> None:
    assert (graded.outside.read_bytes(), graded.neighbour.read_bytes()) == graded.before
    assert list(graded.outside.parent.iterdir()) == [graded.outside]
    assert graded.connections == []
    assert graded.outside.stat().st_mode & 0o777 != 0o777


@isolated
def test_the_table_of_marks_has_a_row_for_each_function(graded: Class) -> None:
    with graded.grades.out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(graded.grades.marks)
    first = ["student", "notebook", "exercise", "mark", "outcome", "mistake"]
    assert list(rows[0])[:6] == first
    assert [row["student"] for row in rows] == sorted(row["student"] for row in rows)
    notes = {row["student"]: row["note"] for row in rows if row["exercise"] == "chance_loss"}
    assert notes["spoilt"] == "2 definitions; the last one counts; not imported: math"
    assert "uses align_edu" in notes["library"]
    assert "not imported: math" in notes["bare"]
    assert "NameError: name 'undefined_name' is not defined" in notes["undefined"]
    assert "tried: the network" in notes["connects"]


@isolated
def test_each_student_reads_the_sentence_of_the_check(graded: Class) -> None:
    folder = graded.grades.out.with_name("grades_feedback")
    students = {mark.student for mark in graded.grades.marks}
    assert {file.stem for file in folder.iterdir()} == students
    text = " ".join((folder / "spoilt.txt").read_text(encoding="utf-8").split())
    exercise = EXERCISES["chance_loss"]
    assert str(lab.checks.find_mistake(exercise, exercise.wrong[0].function, SEED)) in text
    assert "recall_at_1: still to be written." in text
    assert NOT_ISOLATED not in text


@isolated
def test_the_misconceptions_of_the_class_are_counted_by_student(graded: Class) -> None:
    file = graded.grades.out.with_name("grades_misconceptions.csv")
    rows = list(csv.DictReader(file.open(encoding="utf-8", newline="")))
    counts = [int(row["students"]) for row in rows]
    assert counts == sorted(counts, reverse=True)
    for row in rows:
        students = {
            mark.student
            for mark in graded.grades.marks
            if (mark.exercise, mark.mistake) == (row["exercise"], row["mistake"])
        }
        assert int(row["students"]) == len(students) > 0


@pytest.mark.parametrize("name", hostile.ODD_BUT_RIGHT)
def test_a_right_answer_is_taken_out_of_an_odd_notebook(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements, _ = read_code(
        ["import math, torch\nimport numpy as np", *hostile.ODD_BUT_RIGHT[name]]
    )
    steps = [
        (each.cell, ast.unparse(each.node))
        for each in find_function(statements, "chance_loss") or []
    ]
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(jailed, "report", lambda **message: pytest.fail(str(message)))
    monkeypatch.chdir(tmp_path)
    function = jailed.build({"name": "chance_loss", "steps": steps}, lambda: None)
    key = answer_key(EXERCISES["chance_loss"], SEED)
    assert judge(key, [outcome_of(function, case) for case in key.cases]) is None


@isolated
def test_the_same_folder_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "class"
    folder.mkdir()
    rows = {
        "draws": "import random\nreturn [random.random(), np.random.rand(), torch.rand(1).item()]",
        "address": "raise ValueError(object(), {str(i) for i in range(20)})",
    }
    hand_in_code(folder, [(name, "", hostile.function(body)) for name, body in rows.items()])
    written = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        out.mkdir()
        grade_folder(folder, 3, out / "g.csv", workers=workers)
        files = sorted(file for file in out.rglob("*") if file.is_file())
        written.append([(file.relative_to(out), file.read_bytes()) for file in files])
    assert written[0] == written[1]
    assert len(written[0]) == 2 + len(rows)


@isolated
def test_waiting_costs_no_mark_and_one_crash_spares_the_other_function(tmp_path: Path) -> None:
    """The limit is one of computing: a loaded machine, like one that sleeps, takes nothing off."""
    reference = "def recall_at_1(similarity):\n    own = similarity.diagonal()[:, None]\n"
    reference += "    return ((similarity >= own).sum(1) == 1).float().mean().item()"
    crash = hostile.function("import os\nos.abort()")
    hand_in(tmp_path, "crashes", "00", {"chance_loss": crash, "recall_at_1": [reference]})
    sleeps = hostile.function("import time\ntime.sleep(1)\nreturn 2 * math.log(n)")
    hand_in(tmp_path, "sleeps", "00", {"chance_loss": sleeps})
    grades = grade_folder(tmp_path, 1, tmp_path / "g.csv", seconds=1)
    outcomes = {(mark.student, mark.exercise): mark.outcome for mark in grades.marks}
    assert outcomes["crashes", "chance_loss"] == "error"
    assert outcomes["crashes", "recall_at_1"] == "right"
    assert outcomes["sleeps", "chance_loss"] == "right"


@isolated
def test_an_exercise_of_the_lecturers_own_is_graded_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file, out = tmp_path / "class", tmp_path / "mine.py", tmp_path / "g.csv"
    folder.mkdir()
    file.write_text(MINE)
    hand_in(
        folder, "carl", "00", {"chance_loss": [hostile.RIGHT, "def half(x):\n    return x / 2"]}
    )
    (folder / "carl" / "00_start_here.ipynb").rename(folder / "mine_carl.ipynb")
    hand_in(folder, "dora", "00", {"chance_loss": [hostile.RIGHT, "half = lambda x: x // 2"]})
    try:
        options = ["--seed", "1", "--out", str(out), "--exercises", str(file), "--json"]
        assert main(["grade", str(folder), *options]) == 0
    finally:
        EXERCISES.pop("half", None)
    rows = {(row["student"], row["exercise"]): row for row in csv.DictReader(out.open())}
    assert rows["carl", "half"]["outcome"] == "right"
    assert rows["dora", "half"]["mistake"] == "That rounds down: use /."
    assert rows["dora", "chance_loss"]["outcome"] == "right"
    answer = json.loads(capsys.readouterr().out)
    assert answer["students"] == 2 and answer["guards"] == ["bubblewrap"]
    assert answer["outcomes"]["wrong"] == 1
    (mistake,) = answer["misconceptions"]
    assert (mistake["exercise"], mistake["students"]) == ("half", 1)


@isolated
def test_the_command_prints_the_misconceptions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hand_in(tmp_path, "anna", "00", {"chance_loss": [hostile.WRONG]})
    file = hand_in(tmp_path, "ben", "00", {"chance_loss": [hostile.RIGHT]})
    file.rename(tmp_path / "00_start_here_ben.ipynb")
    assert main(["grade", str(tmp_path), "--seed", "5", "--out", str(tmp_path / "g.csv")]) == 0
    said = capsys.readouterr().out
    assert "1  chance_loss       That is one direction only." in said
    assert "2 students, 4 functions: 2 not attempted, 1 wrong, 1 right" in said


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (None, "bubblewrap is missing: install it"),
        ("#!/bin/sh\necho 'bwrap: No permissions' >&2\nexit 1\n", "(bwrap: No permissions)"),
    ],
)
def test_without_bubblewrap_grading_is_refused_or_says_that_nothing_was_isolated(
    program: str | None,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bin_, folder, out = tmp_path / "bin", tmp_path / "class", tmp_path / "g.csv"
    bin_.mkdir()
    folder.mkdir()
    if program is not None:
        (bin_ / "bwrap").write_text(program)
        (bin_ / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_))
    monkeypatch.setattr(sys, "platform", "linux")
    hand_in(folder, "anna", "00", {"chance_loss": [hostile.RIGHT]})
    command = ["grade", str(folder), "--seed", "5", "--out", str(out)]
    assert main(command) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and words in told.err and "--unprotected" in told.err
    assert not out.exists()
    if program is None:
        assert main([*command, "--unprotected"]) == 0
        assert f"note: {NOT_ISOLATED}" in capsys.readouterr().out
        page = (tmp_path / "g_feedback" / "anna.txt").read_text()
        assert "chance_loss: right." in page and page.endswith(f"{NOT_ISOLATED}\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["/nowhere", "--seed", "1", "--out", "{here}/g.csv"], "no such folder"),
        (["{here}/empty", "--seed", "1", "--out", "{here}/g.csv"], "no notebook"),
        (["{here}/class", "--seed", "1", "--out", "{here}/no/g.csv"], "in a folder that exists"),
        (["{here}/class", "--seed", "1", "--out", "{here}/class"], "name a file"),
        (["{here}/class", "--seed", "-1", "--out", "{here}/g.csv"], "whole number from 0"),
        (["{here}/class", "--seed", "1", "--out", "{here}/g.csv", "--seconds", "0"], "seconds"),
        (["{here}/class", "--seed", "1", "--out", "{here}/g.csv", "--workers", "0"], "worker"),
        (
            ["{here}/class", "--seed", "1", "--out", "{here}/g.csv", "--exercises", "{here}/no.py"],
            "FileNotFoundError",
        ),
        (["{here}/class", "--out", "{here}/g.csv"], "--seed"),
    ],
)
def test_bad_input_is_one_line_with_status_2(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "00_start_here_anna.ipynb").write_text("{}")
    assert main(["grade", *(word.format(here=tmp_path) for word in options)]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and words in told.err
    assert not (tmp_path / "g.csv").exists()


def test_outcomes_survive_the_way_as_json_and_nonsense_is_refused() -> None:
    for name, exercise in EXERCISES.items():
        key = answer_key(exercise, 4)
        for outcomes in (key.expected, *(given for _, given in key.mistakes)):
            there = json.loads(json.dumps([encode(outcome) for outcome in outcomes]))
            problem = judge(key, [decode(outcome) for outcome in there])
            expected = judge(key, outcomes)
            assert getattr(problem, "sentence", "") == getattr(expected, "sentence", ""), name
    for nonsense in (True, None, [], {"words": 1}, {"shape": [2], "numbers": [1.0]}, {"kind": "x"}):
        with pytest.raises((ValueError, RuntimeError)):
            decode(nonsense)


def test_the_answer_stays_closed_where_work_is_graded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALIGN_EDU_LAB", "graded")
    lab.reveal("chance_loss")
    said = capsys.readouterr().out
    assert "def " not in said and said.count("\n") == 1
