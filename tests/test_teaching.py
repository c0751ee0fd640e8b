"""TEACHING.md: its example runs, its exercises exist, and its table covers the course."""

import re
from pathlib import Path

import pytest

from align_edu import lab
from align_edu.io import InputError
from align_edu.lab.course import COURSE
from align_edu.lab.exercises import EXERCISES, find_exercise

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "notebooks" / "TEACHING.md").read_text(encoding="utf-8")


def table() -> list[list[str]]:
    rows = re.findall(r"^\| (\d\d) \|(.*)\|$", PAGE, re.MULTILINE)
    cells = [[number, *(cell.strip() for cell in rest.split("|"))] for number, rest in rows]
    return [row for row in cells if len(row) == 5]  # the plans of weeks have fewer columns


def test_the_table_has_every_notebook_its_exercises_and_what_it_costs():
    written = [lesson.number for lesson in COURSE if lesson.minutes]
    assert [row[0] for row in table()] == written
    for number, _, exercises, minutes, memory in table():
        names = [name for name, each in EXERCISES.items() if each.notebook == number]
        assert sorted(re.findall(r"`(\w+)`", exercises)) == sorted(names), number
        assert float(minutes) <= (2.0 if number == "08" else 1.0), number
        assert 0.2 < float(memory.removesuffix(" GiB")) <= 2.0, number


def test_what_the_page_names_exists():
    for name in re.findall(r"(?<!\.)\blab\.(\w+)", PAGE):
        assert hasattr(lab, name), name
    for path in re.findall(r"tests/benchmarks/\w+\.py", PAGE):
        assert (ROOT / path).is_file(), path
    numbers = set(re.findall(r"\b([012]\d)\b", re.sub(r"\b\d{4,}\b", "", PAGE)))
    assert numbers <= {lesson.number for lesson in COURSE}


def test_the_example_of_an_exercise_of_ones_own_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    try:
        mine = find_exercise("mean_square")
        lab.check(mine.reference)
        lab.hint("mean_square", 2)
        assert capsys.readouterr().out == "mean_square: right.\nAnd then? Their sum.\n"

        def mean_square(values: list[float]) -> float:
            return (sum(values) / len(values)) ** 2

        lab.check(mean_square)
        assert "That is the square of the mean" in " ".join(capsys.readouterr().out.split())
        exec(example, names)  # a cell that is run again
    finally:
        EXERCISES.pop("mean_square", None)


@pytest.mark.parametrize(
    ("notebook", "name", "function", "words"),
    [
        ("mine", "cosine", lambda x: x, "an exercise of notebook 05; choose another name"),
        ("06", "thrice", lambda x: 3 * x, "'06' is part of the course"),
        ("mine", "<lambda>", lambda x: 3 * x, "use def"),
        ("mine", "twice", lambda x: 2 * x, "no case tells the right answer.*square.*add a case"),
        ("mine", "numbers", lambda x: (i for i in range(x)), "its results cannot be compared"),
    ],
)
def test_an_exercise_that_takes_a_name_or_checks_nothing_is_refused(
    notebook, name, function, words
):
    function.__name__ = name
    square = lab.WrongAnswer(lambda x: x * x, "That is the square.")
    hints, before = find_exercise("cosine").hints, dict(EXERCISES)
    with pytest.raises(InputError, match=words):
        lab.add_exercise(lab.Exercise(notebook, function, lambda _: [(2,)], (square,), hints))
    assert before == EXERCISES
