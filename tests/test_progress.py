"""A student's progress: kept in one file, never lost, never in the way of the lesson."""

import json
import math
import pwd
import sys

import pytest

from align_edu import lab
from align_edu.lab.checks import CheckFailed
from align_edu.lab.exercises import EXERCISES, find_exercise
from align_edu.lab.progress import Progress, progress_file
from tests.submissions import MINE


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "home" / "progress.json"
    monkeypatch.setenv("ALIGN_EDU_PROGRESS", str(path))
    sys.modules["align_edu.lab.progress"]._complain.cache_clear()
    return path


def chance_loss(n: int) -> float:
    """Wrong: one direction."""
    return math.log(n)


right = find_exercise("chance_loss").reference


def test_tries_solutions_and_looks_at_the_answer_are_told_apart(file):
    def cosine(x: object, y: object) -> None: ...

    lab.check(cosine)  # a stub is not a try
    assert lab.progress() == Progress() and not file.exists()
    for _ in range(2):
        lab.check(chance_loss)
    assert lab.progress().state("chance_loss") == "tried"
    lab.check(right)
    assert lab.progress().state("chance_loss") == "solved"
    lab.check(chance_loss)  # a later mistake takes nothing away
    lab.reveal("chance_loss")  # nor does a later look at the answer
    kept = {"tries": 4, "solved": True, "shown": False}
    assert json.loads(file.read_text())["exercises"]["chance_loss"] == kept
    lab.check(right, strict=True)  # grading leaves the progress alone
    with pytest.raises(CheckFailed):
        lab.check(chance_loss, strict=True)
    assert json.loads(file.read_text())["exercises"]["chance_loss"] == kept
    lab.reveal("recall_at_1")
    lab.check(find_exercise("recall_at_1").reference)
    assert lab.progress().state("recall_at_1") == "shown"


def test_the_last_answer_to_a_question_counts(file):
    lab.quiz("00", "ba")
    lab.quiz("00", "aa")
    assert lab.progress().answers == {"00": {"1": False, "2": True}}
    widget = lab.quiz("00")
    assert widget is not None
    widget.widget().children[0].children[1].value = "b"
    assert lab.progress().answers == {"00": {"1": True, "2": True}}


def test_the_table_has_notebooks_core_questions_and_exercises_of_ones_own(file):
    lab.check(right)
    lab.quiz("00", "b")
    assert "core" not in str(lab.progress())
    lab.quiz("core", "aaa")
    try:
        exec(MINE, names := {"__name__": "mine"})
        lab.check(names["half"])
        progress = lab.progress()
        rows = {row[0]: row[1:] for row in progress.rows()}
        text, page = str(progress), progress._repr_html_()
    finally:
        EXERCISES.pop("half", None)
    assert rows["mine"] == ("Exercises of your own", ["solved"], 0, 0)
    assert rows["core"][3] == 26 and 0 <= rows["core"][2] <= 3
    assert text.splitlines()[0].split("exercises")[1].split() == ["●", "·", "quiz", "1", "of", "4"]
    assert text.splitlines()[-1].startswith("2 of ")
    assert page.count("<tr>") == len(text.splitlines()) and 'value="1" max="4"' in page


@pytest.mark.parametrize(
    "damage",
    [
        *("{", "[]", "null", "3", '"text"', "\x00", "{}", '{"exercises": {}}'),
        '{"exercises": 3, "answers": {}}',
        '{"exercises": {"cosine": 3}, "answers": {}}',
        '{"exercises": {"cosine": []}, "answers": {}}',
        '{"exercises": {"cosine": {"tries": "many"}}, "answers": {}}',
        '{"exercises": {"cosine": {"tries": Infinity}}, "answers": {}}',
        '{"exercises": {"cosine": {"tries": null}}, "answers": {}}',
        '{"exercises": {}, "answers": {"00": true}}',
        '{"exercises": {}, "answers": [["00", 1]]}',
        "[" * 100_000,
    ],
    ids=lambda damage: damage[:50],
)
def test_a_file_of_odd_shape_is_kept_aside(file, damage, capsys):
    file.parent.mkdir()
    file.write_text(damage)
    assert lab.progress() == Progress()
    assert file.with_suffix(".damaged.json").read_text() == damage
    assert "was damaged" in capsys.readouterr().out


def test_values_of_odd_type_in_the_file_are_read_as_what_they_mean(file):
    file.parent.mkdir()
    odd = {"exercises": {"cosine": {"solved": 1}}, "answers": {"core": {"1": "yes"}, "99": {}}}
    file.write_text(json.dumps(odd))
    assert lab.progress().state("cosine") == "solved" and "1 of 26" in str(lab.progress())


def test_a_place_that_cannot_be_written_does_not_stop_the_lesson_and_is_reported_once(file, capsys):
    file.parent.write_text("a file")
    for _ in range(3):
        lab.quiz("00", "b")
        lab.check(right)
    assert capsys.readouterr().out.count("Progress is not kept") == 1


def test_it_lies_in_the_home_folder_and_without_one_the_lesson_goes_on_and_says_so_once(
    file, monkeypatch, capsys
):
    def no_entry(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setenv("ALIGN_EDU_PROGRESS", "")
    lab.quiz("00", "b")
    assert progress_file() is None and lab.progress() == Progress()
    monkeypatch.delenv("ALIGN_EDU_PROGRESS")
    monkeypatch.setenv("HOME", str(file.parent))
    assert progress_file() == file.parent / ".align_edu" / "progress.json"
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    for _ in range(3):
        lab.check(right)
        assert lab.progress() == Progress()
    assert capsys.readouterr().out.count("Progress is not kept: no home folder") == 1
