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
IN_THE_JAIL = ["writes_in_its_folder", "prints_much", "threads", "shows", "library", "object"]
Rows = list[dict[str, str]]


@dataclass
class Class:
    """A class that was graded, and what it must have got."""

    grades: Grades
    expected: list[Expected]


def rows_of(file: Path) -> Rows:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


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
    """Half of the broken and hostile submissions, and a sample of the others, graded at once.

    ALIGN_EDU_LONG hands in all of them, each right answer, and a third of all known mistakes.
    """
    folder = tmp_path_factory.mktemp("class")
    outside = tmp_path_factory.mktemp("outside") / "file.txt"
    outside.write_text("untouched")
    out = tmp_path_factory.mktemp("out") / "grades.csv"
    neighbour = hand_in(folder, "neighbour", "00", {"chance_loss": [hostile.RIGHT]})
    expected = [Expected("neighbour", "chance_loss", "right")]
    expected += hand_in_right(folder, every=1 if LONG else 12)
    expected += hand_in_wrong(folder, every=3 if LONG else 24)
    names = list(hostile.ODD_BUT_RIGHT) if LONG else IN_THE_JAIL
    odd = [(name, "right", hostile.ODD_BUT_RIGHT[name]) for name in names]
    bad = hostile.WRONG_OR_BROKEN | hostile.spies(neighbour, outside, out, server[0])
    names = list(bad) if LONG else [*dict.fromkeys([*list(bad)[::2], "undefined", "connects"])]
    rows = [(name, bad[name][0], hostile.function(bad[name][1])) for name in names]
    expected += hand_in_code(folder, [*odd, *rows])
    for name, data in hostile.UNREADABLE.items():
        (folder / f"00_start_here_{name}.ipynb").write_bytes(data)
        expected.append(Expected(name, "chance_loss", "unreadable"))
    hostile.hand_in_reordered(folder)
    expected += [Expected(name, "chance_loss", "right") for name in ("reversed", "bare")]
    before = neighbour.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jail, "LEAST_WALL_SECONDS", 15.0)  # for the one that sleeps
        grades = grade_folder(folder, SEED, out, seconds=1, workers=2)
    assert (outside.read_text(), neighbour.read_bytes()) == ("untouched", before)
    assert list(outside.parent.iterdir()) == [outside]
    assert outside.stat().st_mode & 0o777 != 0o777
    assert server[1] == [], "somebody connected"
    return Class(grades, expected)


@pytest.mark.longer
@isolated
def test_each_submission_gets_its_mark_every_mistake_is_named_and_nothing_outside_is_touched(
    graded: Class,
) -> None:
    assert graded.grades.to_dict()["students"] >= (200 if LONG else 60)
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
def test_the_table_of_marks_has_a_row_for_each_function(graded: Class) -> None:
    rows = rows_of(graded.grades.out)
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
    rows = rows_of(graded.grades.out.with_name("grades_misconceptions.csv"))
    counts = [int(row["students"]) for row in rows]
    assert counts == sorted(counts, reverse=True)
    for row in rows:
        mistake = (row["exercise"], row["mistake"])
        made = [m for m in graded.grades.marks if (m.exercise, m.mistake) == mistake]
        assert int(row["students"]) == len({mark.student for mark in made}) > 0


@pytest.mark.parametrize("name", hostile.ODD_BUT_RIGHT)
def test_a_right_answer_is_taken_out_of_an_odd_notebook(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = ["import math, torch\nimport numpy as np", *hostile.ODD_BUT_RIGHT[name]]
    needed = find_function(read_code(cells)[0], "chance_loss") or []
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(jailed, "report", lambda **message: pytest.fail(str(message)))
    monkeypatch.chdir(tmp_path)
    steps = [(each.cell, ast.unparse(each.node)) for each in needed]
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
def test_waiting_costs_no_mark_one_crash_spares_the_others_and_own_exercises_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The limit is one of computing: a loaded machine, like one that sleeps, takes nothing off."""
    folder, file, out = tmp_path / "class", tmp_path / "mine.py", tmp_path / "g.csv"
    folder.mkdir()
    file.write_text(MINE)
    reference = "def recall_at_1(similarity):\n    own = similarity.diagonal()[:, None]\n"
    reference += "    return ((similarity >= own).sum(1) == 1).float().mean().item()"
    crash = hostile.function("import os\nos.abort()")
    hand_in(folder, "crashes", "00", {"chance_loss": crash, "recall_at_1": [reference]})
    sleeps = hostile.function("import time\ntime.sleep(1)\nreturn 2 * math.log(n)")
    hand_in(folder, "sleeps", "00", {"chance_loss": sleeps})
    mine = hand_in(folder, "carl", "00", {"chance_loss": ["def half(x):\n    return x / 2"]})
    mine.rename(folder / "mine_carl.ipynb")
    hand_in(folder, "dora", "00", {"chance_loss": [hostile.RIGHT, "half = lambda x: x // 2"]})
    wrong = hand_in(folder, "wrong", "00", {"chance_loss": [hostile.WRONG]})
    wrong.rename(folder / "00_start_here_emil.ipynb")
    command = ["grade", str(folder), "--seed", "1", "--out", str(out), "--seconds", "1"]
    try:
        assert main([*command, "--exercises", str(file), "--json"]) == 0
    finally:
        EXERCISES.pop("half", None)
    answer = json.loads(capsys.readouterr().out)
    rows = {(row["student"], row["exercise"]): row for row in rows_of(out)}
    outcomes = {where: row["outcome"] for where, row in rows.items()}
    assert outcomes["crashes", "chance_loss"] == "error"
    assert outcomes["crashes", "recall_at_1"] == "right"
    assert outcomes["sleeps", "chance_loss"] == outcomes["dora", "chance_loss"] == "right"
    assert outcomes["carl", "half"] == "right"
    assert rows["dora", "half"]["mistake"] == "That rounds down: use /."
    assert answer["students"] == 5 and answer["guards"] == ["bubblewrap"]
    assert answer["outcomes"]["wrong"] == 2
    assert [each["exercise"] for each in answer["misconceptions"]] == ["chance_loss", "half"]


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
    (folder / "one" / "zoe").mkdir(parents=True)
    hand_in(folder / "one", "anna", "00", {"chance_loss": [hostile.WRONG]})
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
def test_bad_input_is_one_line_with_status_2(
    folder: str, options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "00_start_here_anna.ipynb").write_text("{}")
    command = ["grade", folder, "--seed", "1", "--out", "{here}/g.csv", *options]
    assert main([word.format(here=tmp_path) for word in command]) == 2
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
