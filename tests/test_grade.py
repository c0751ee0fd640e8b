"""Grading: odd, wrong and hostile submissions are found and marked right, and touch nothing."""

import csv
import json
import os
import socket
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from align_edu import lab
from align_edu.cli import main
from align_edu.io import InputError
from align_edu.lab import jail
from align_edu.lab import submissions as handed_in
from align_edu.lab.exercises import EXERCISES, answer_key, find_exercise, judge
from align_edu.lab.grade import NOT_ISOLATED, grade_folder
from align_edu.lab.outcomes import decode, encode, outcome_of
from align_edu.lab.submissions import find_submissions, read_cells
from tests import submissions as tests
from tests.samples import LONG, cases, refused
from tests.submissions import Expected, code_cell, function, hand_in, hand_in_code, taken_out

SEED = 12
# What the short form hands in: one of each kind of attack, and what only the jail can show.
SOME = (
    "writes_in_its_folder", "library", "liars", "patches_the_judge", "connects_with_c",
    "undefined", "crash", "forges", "fills_the_disk", "stubborn_loop", "growing", "sys_exit",
    "fork_bomb", "program", "reads_its_neighbour", "removes_the_class", "links_to_a_file",
    "connects", "sees_no_secrets", "spoilt",
)  # fmt: skip
DRAWS = "import random\nreturn [random.random(), np.random.rand(), torch.rand(1).item()]"
ADDRESS = "raise ValueError(object(), {str(i) for i in range(20)})"
VARIES = [("draws", "wrong", function(DRAWS)), ("address", "error", function(ADDRESS))]
A, B = "00_start_here.ipynb", "06_the_contrastive_loss_by_hand.ipynb"
TEXT = json.dumps({"cells": [code_cell("x = 1")]})
KEY = answer_key(find_exercise("chance_loss"), 12)


def why_not_isolated() -> str:
    try:
        jail.find_namespaces()
    except InputError as error:
        return str(error)
    return ""


required = os.environ.get("ALIGN_EDU_BWRAP") == "required"
isolated = pytest.mark.skipif(bool(why_not_isolated()) and not required, reason="no bubblewrap")


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Some of each kind, graded at once; in the long form all, and a third of all mistakes."""
    folder, out = tmp_path_factory.mktemp("class"), tmp_path_factory.mktemp("out") / "grades.csv"
    outside = tmp_path_factory.mktemp("outside") / "file.txt"
    outside.write_text("untouched")
    neighbour = hand_in(folder, "neighbour", "00", {"chance_loss": [tests.RIGHT]})
    places = {"neighbour": neighbour, "class": neighbour.parent, "outside": outside, "marks": out}
    rows = [(name, "right", cells) for name, cells in tests.ODD.items()]
    server = socket.create_server(("127.0.0.1", 0))
    rows += tests.hostile_rows(**places, port=server.getsockname()[1])
    expected = hand_in_code(folder, [row for row in rows if LONG or row[0] in SOME] + VARIES)
    expected += tests.hand_in_right(folder, every=1 if LONG else 16)
    expected += tests.hand_in_wrong(folder, every=3 if LONG else 50)
    expected += tests.hand_in_reordered(folder) + tests.hand_in_several(folder)
    for name, data in tests.UNREADABLE.items():
        (folder / f"00_start_here_{name}.ipynb").write_bytes(data)
        expected.append(Expected(name, "chance_loss", "unreadable"))
    own, before = outside.with_name("mine.py"), neighbour.read_bytes()
    own.write_text(tests.MINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jail, "LEAST_WALL_SECONDS", 15.0)  # for the one that sleeps
        grades = grade_folder(folder, SEED, out, seconds=1, workers=2, exercises=own)
    assert (outside.read_text(), neighbour.read_bytes()) == ("untouched", before)
    assert {file.name for file in outside.parent.iterdir()} == {outside.name, own.name}
    assert outside.stat().st_mode & 0o777 != 0o777
    server.setblocking(False)
    with server, pytest.raises(BlockingIOError):  # nobody connected
        server.accept()
    yield grades, [Expected("neighbour", "chance_loss", "right"), *expected]
    EXERCISES.pop("half")


@pytest.mark.longer
@isolated
def test_each_submission_gets_its_mark_its_mistake_and_touches_nothing_outside(graded):
    grades, expected = graded
    found = grades.to_dict()
    assert found["students"] >= (200 if LONG else 35) and found["guards"] == ["bubblewrap"]
    marks = {(mark.student, mark.exercise): mark for mark in grades.marks}
    amiss = []
    for each in expected:
        mark = marks[each.student, each.exercise]
        words = "one direction only" if each.student == "spoilt" else each.words
        named = words in mark.mistake and bool(words) == bool(mark.mistake)
        if not named or (mark.outcome, mark.mark) != (each.outcome, each.outcome == "right"):
            amiss.append(f"{each} but {mark}")
    assert not amiss, "\n".join(amiss)


@isolated
def test_the_files_have_a_row_for_each_function_the_sentence_of_the_check_and_the_mistakes(graded):
    out, marks = graded[0].out, graded[0].marks
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
    assert str(lab.find_mistake(exercise, exercise.wrong[0].function, SEED)) in text
    assert "recall_at_1: still to be written." in text and NOT_ISOLATED not in text
    students = Counter((mark.exercise, mark.mistake) for mark in marks if mark.mistake)
    counted = rows_of(out.with_name("grades_misconceptions.csv"))
    counts = [((row["exercise"], row["mistake"]), int(row["students"])) for row in counted]
    assert dict(counts) == students
    assert [n for _, n in counts] == sorted(students.values(), reverse=True)


@isolated
def test_the_same_submissions_and_seed_give_the_same_bytes(graded, tmp_path):
    (tmp_path / "class").mkdir()
    hand_in_code(tmp_path / "class", VARIES)
    grade_folder(tmp_path / "class", SEED, tmp_path / "grades.csv", seconds=1, workers=1)
    names, out = [name for name, *_ in VARIES], graded[0].out
    first = [row for row in rows_of(out) if row["student"] in names]
    assert rows_of(tmp_path / "grades.csv") == first
    for name in names:
        text = out.with_name("grades_feedback") / f"{name}.txt"
        assert (tmp_path / "grades_feedback" / text.name).read_bytes() == text.read_bytes()


def test_without_bubblewrap_grading_is_refused_or_warns(tmp_path, monkeypatch, capsys):
    bin_, folder, out = tmp_path / "bin", tmp_path / "class", tmp_path / "g.csv"
    bin_.mkdir()
    bwrap = bin_ / "bwrap"
    bwrap.write_text("#!/bin/sh\necho 'bwrap: No permissions' >&2\nexit 1\n")
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_))
    monkeypatch.setattr(sys, "platform", "linux")
    (folder / "one" / "zoe").mkdir(parents=True)
    hand_in(folder / "one", "anna", "00", {"chance_loss": [tests.WRONG]})
    hand_in(folder / "one", "ben", "00", {})
    command = ["grade", str(folder), "--seed", "5", "--out", str(out)]
    for words in ("(bwrap: No permissions)", "bubblewrap is missing: install it"):
        assert main(command) == 2
        told = capsys.readouterr()
        assert told.err.count("\n") == 1 and words in told.err and "--unprotected" in told.err
        assert not out.exists()
        bwrap.unlink(missing_ok=True)
    assert main([*command, "--unprotected"]) == 0
    said = capsys.readouterr().out
    assert "1  chance_loss       That is one direction only." in said
    assert "2 students, 4 functions: 3 not attempted, 1 wrong" in said
    assert f"note: one/zoe: no notebook in it\nnote: {NOT_ISOLATED}" in said
    page = (tmp_path / "g_feedback" / "one" / "anna.txt").read_text()
    assert "That is one direction only." in page and page.endswith(f"{NOT_ISOLATED}\n")


def test_the_answer_stays_closed_where_work_is_graded(monkeypatch, capsys):
    monkeypatch.setenv("ALIGN_EDU_LAB", "graded")
    lab.reveal("chance_loss")
    said = capsys.readouterr().out
    assert "def " not in said and said.count("\n") == 1


def lay_out(folder: Path, names: list[str]) -> None:
    """Write a notebook at each path; one inside a zip is written as `anna.zip!00.ipynb`."""
    for name in names:
        outer, _, member = name.partition("!")
        (folder / outer).parent.mkdir(parents=True, exist_ok=True)
        if member:
            with zipfile.ZipFile(folder / outer, "a") as archive:
                archive.writestr(member, TEXT)
        elif outer.endswith("/"):
            (folder / outer).mkdir()
        else:
            (folder / outer).write_text(TEXT)


@cases("names, students, notes", *tests.FOLDERS)
def test_each_student_is_found_and_what_is_odd_is_named(names, students, notes, tmp_path):
    names = [name.format(A=A, B=B) for name in names]
    lay_out(tmp_path, names)
    found, said = find_submissions(tmp_path)
    assert [each.student for each in found] == students
    assert notes in "\n".join(said) and len(said) == (1 if notes else 0) + names.count(A)
    assert all(read_cells(each) == ["x = 1"] for each in found)


def test_a_zip_that_unpacks_to_too_much_or_is_damaged_is_never_read_whole(tmp_path, monkeypatch):
    def write_zip(**members: int) -> None:
        with zipfile.ZipFile(tmp_path / "big.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, size in members.items():
                archive.writestr(f"{name}{A}", b" " * size)

    monkeypatch.setattr(handed_in, "MOST_BYTES", 2**20)
    write_zip(one=2**20 + 1)
    (one,), notes = find_submissions(tmp_path)
    assert notes == []
    refused("larger than 1 MB", read_cells, one)
    data = bytearray((tmp_path / "big.zip").read_bytes())
    data[200] ^= 255
    (tmp_path / "big.zip").write_bytes(data)
    refused("cannot be taken out", read_cells, one)
    write_zip(**{f"n{i}": 2**20 for i in range(9)})
    refused("no notebook", find_submissions, tmp_path)


@pytest.mark.parametrize("cells", [*tests.ODD.values(), *tests.MAGICS.values()], ids=str)
def test_a_right_answer_is_taken_out_of_an_odd_notebook(cells, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function = taken_out(cells, monkeypatch)
    assert judge(KEY, [outcome_of(function, case) for case in KEY.cases]) is None


@pytest.mark.parametrize(("cell", "words"), tests.CHECKED.items())
def test_a_check_and_grading_agree_however_a_function_is_made(cell, words, monkeypatch, capsys):
    exec(f"import math\n{cell}\nlab.check(chance_loss)", {"lab": lab})
    assert words in capsys.readouterr().out
    function = taken_out([cell], monkeypatch)
    assert (function is None) == (words == "to be written")
    if function is not None:
        outcomes = [encode(outcome_of(function, case)) for case in KEY.cases]
        problem = judge(KEY, [decode(json.loads(json.dumps(each))) for each in outcomes])
        assert (problem is None) == (words == ": right.")
