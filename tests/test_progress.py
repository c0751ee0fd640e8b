"""A student's progress: kept in one file, never lost, never in the way of the lesson."""

import json
import math
import pwd
import sys
from pathlib import Path

import pytest

from align_edu import lab
from align_edu.lab.checks import CheckFailed
from align_edu.lab.exercises import EXERCISES, find_exercise
from align_edu.lab.progress import Progress, progress_file


@pytest.fixture(autouse=True)
def nothing_reported_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["align_edu.lab.progress"], "_reported", set())


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home" / "progress.json"
    monkeypatch.setenv("ALIGN_EDU_PROGRESS", str(path))
    return path


def chance_loss(n: int) -> float:
    """Wrong: one direction."""
    return math.log(n)


right = find_exercise("chance_loss").reference


def test_tries_solutions_and_looks_at_the_answer_are_told_apart(file: Path) -> None:
    assert lab.progress().state("chance_loss") == "open"
    for _ in range(2):
        lab.check(chance_loss)
    assert lab.progress().state("chance_loss") == "tried"
    lab.check(right)
    assert lab.progress().state("chance_loss") == "solved"
    lab.check(chance_loss)  # a later mistake takes nothing away
    kept = {"tries": 4, "solved": True, "shown": False}
    assert json.loads(file.read_text())["exercises"]["chance_loss"] == kept
    lab.check(right, strict=True)  # grading leaves the progress alone
    with pytest.raises(CheckFailed):
        lab.check(chance_loss, strict=True)
    assert json.loads(file.read_text())["exercises"]["chance_loss"] == kept


def test_an_answer_looked_at_before_is_marked_and_after_is_not(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recall_at_1 = find_exercise("recall_at_1").reference
    lab.reveal("chance_loss")
    lab.check(right)
    assert lab.progress().state("chance_loss") == "shown"
    lab.check(recall_at_1)
    lab.reveal("recall_at_1")
    assert lab.progress().state("recall_at_1") == "solved"
    assert "math.log" in capsys.readouterr().out


def test_a_stub_is_not_a_try(file: Path) -> None:
    def cosine(x: object, y: object) -> None: ...

    lab.check(cosine)
    assert lab.progress() == Progress() and not file.exists()


def test_the_last_answer_to_a_question_counts(file: Path) -> None:
    lab.quiz("00", "ba")
    lab.quiz("00", "aa")
    assert lab.progress().answers == {"00": {"1": False, "2": True}}
    widget = lab.quiz("00")
    assert widget is not None
    choice = widget.widget().children[0].children[1]
    choice.value = "b"
    assert lab.progress().answers == {"00": {"1": True, "2": True}}


def test_the_table_shows_every_notebook_with_exercises(file: Path) -> None:
    lab.check(right)
    lab.quiz("00", "b")
    text = str(lab.progress())
    assert text.splitlines()[0].split("exercises")[1].split() == ["●", "·", "quiz", "1", "of", "4"]
    assert "1 of " in text.splitlines()[-1]
    page = lab.progress()._repr_html_()
    assert page.count("<tr>") == len(text.splitlines()) and 'value="1" max="4"' in page


def test_the_core_questions_are_counted_once_they_are_begun(file: Path) -> None:
    assert "core" not in str(lab.progress())
    lab.quiz("core", "aaa")
    (row,) = (row for row in lab.progress().rows() if row[0] == "core")
    assert row[4] == 26 and 0 <= row[3] <= 3
    assert "of 26" in str(lab.progress()) and "of 26" in lab.progress()._repr_html_()


def test_exercises_of_ones_own_are_in_the_table(file: Path) -> None:
    def half(x: float) -> float:
        return x / 2

    wrong = lab.WrongAnswer(lambda x: x // 2, "That rounds down: use /.")
    hints = find_exercise("cosine").hints
    try:
        lab.add_exercise(lab.Exercise("mine", half, lambda generator: [(3,)], (wrong,), hints))
        lab.check(half)
        rows = [row for row in lab.progress().rows() if row[0] == "mine"]
        assert rows == [("mine", "Exercises of your own", ["solved"], 0, 0)]
        assert "mine" in str(lab.progress()) and "mine" in lab.progress()._repr_html_()
    finally:
        EXERCISES.pop("half", None)


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
def test_a_file_of_odd_shape_is_kept_aside(
    file: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file.parent.mkdir()
    file.write_text(damage)
    assert lab.progress() == Progress()
    assert file.with_suffix(".damaged.json").read_text() == damage
    assert "was damaged" in capsys.readouterr().out
    file.write_text(damage)
    lab.check(right)
    lab.quiz("00", "b")
    assert lab.progress().state("chance_loss") == "solved"


def test_values_of_odd_type_in_the_file_are_read_as_what_they_mean(file: Path) -> None:
    file.parent.mkdir()
    odd = {"exercises": {"cosine": {"solved": 1}}, "answers": {"core": {"1": "yes"}, "99": {}}}
    file.write_text(json.dumps(odd))
    assert lab.progress().state("cosine") == "solved"
    assert "1 of 26" in str(lab.progress()) and "1 of 26" in lab.progress()._repr_html_()


def test_a_place_that_cannot_be_written_does_not_stop_the_lesson_and_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("ALIGN_EDU_PROGRESS", str(tmp_path / "a file" / "progress.json"))
    for _ in range(3):
        lab.quiz("00", "b")
        lab.check(right)
    assert capsys.readouterr().out.count("Progress is not kept") == 1


def test_without_home_and_passwd_entry_the_lesson_goes_on_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_entry(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for name in ("ALIGN_EDU_PROGRESS", "HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    for _ in range(3):
        lab.check(right)
        assert lab.progress() == Progress()
    assert capsys.readouterr().out.count("Progress is not kept: no home folder") == 1


def test_without_a_name_it_lies_in_the_home_folder_and_an_empty_name_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALIGN_EDU_PROGRESS", "")
    lab.quiz("00", "b")
    assert progress_file() is None and lab.progress() == Progress()
    monkeypatch.delenv("ALIGN_EDU_PROGRESS")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert progress_file() == tmp_path / ".align_edu" / "progress.json"
