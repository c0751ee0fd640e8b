"""The nbgrader converter: nbgrader takes its assignments, and grades submissions as it should."""

import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from align_edu.io import InputError
from align_edu.lab.checks import CheckFailed
from align_edu.lab.course import COURSE, find_lesson
from align_edu.lab.exercises import EXERCISES, find_exercise
from align_edu.lab.nbgrader_assignment import (
    DATA,
    NOTEBOOKS,
    STUB,
    assert_right,
    main,
    write_assignment,
)
from tests.submissions import MINE

pytest.importorskip("nbgrader", reason="nbgrader is not installed")

WRITTEN = [each.number for each in COURSE if (NOTEBOOKS / f"{each.file}.ipynb").exists()]
START, LOSS = "00_start_here", "06_the_contrastive_loss_by_hand"


def bodies_of(lines: Callable[[str], str], *names: str) -> dict[str, str]:
    return {name: textwrap.indent(lines(name), "    ") for name in names}


def by_reference(name: str) -> str:
    """The body between nbgrader's marks, as an assignment has it."""
    with tempfile.TemporaryDirectory() as folder:
        written = write_assignment(EXERCISES[name].notebook, folder, only_exercises=True)
        cells = nbformat.read(written, 4).cells
    source = next(cell.source for cell in cells if f"def {name}(" in cell.source)
    return textwrap.dedent(source.split("### BEGIN SOLUTION\n")[1].split("    ### END")[0])


def hand_in(
    course: Path, assignment: str, student: str, bodies: dict[str, str], *more: str
) -> None:
    """Write a body in place of the dots of each stub, add cells, and submit the notebook.

    Where what is to be written binds the name itself, it replaces the whole stub.
    """
    notebook = nbformat.read(course / "release" / assignment / f"{assignment}.ipynb", 4)
    for cell in notebook.cells:
        stub = STUB.search(cell.source)
        if stub and stub[1] in bodies:
            body = bodies[stub[1]]
            binds = f"\n{stub[1]} = " in body
            cell.source = body if binds else cell.source.replace("    ...", body)
    notebook.cells += [nbformat.v4.new_code_cell(text) for text in more]
    folder = course / "submitted" / student / assignment
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{assignment}.ipynb")


@pytest.fixture(scope="module")
def nbgrader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """nbgrader's interface to a course, whose notebook 00 has an exercise of the lecturer's."""
    from nbgrader.apps.api import NbGraderAPI
    from traitlets.config.loader import PyFileConfigLoader

    course, folder = tmp_path_factory.mktemp("course"), tmp_path_factory.mktemp("notebooks")
    notebook = nbformat.read(NOTEBOOKS / f"{START}.ipynb", 4)
    notebook.cells.append(nbformat.v4.new_code_cell("def half(x):\n    ..."))
    nbformat.write(notebook, folder / f"{START}.ipynb")
    (folder / "mine.py").write_text(MINE)
    options: dict[str, Any] = {"seed": 23, "only_exercises": True}
    write_assignment("00", course, notebooks=folder, exercises=folder / "mine.py", **options)
    EXERCISES.pop("half")
    write_assignment("06", course, **options)
    config = PyFileConfigLoader("nbgrader_config.py", path=str(course)).load_config()
    config.CourseDirectory.root = str(course)
    with pytest.MonkeyPatch.context() as patch:
        # It calls the program `alembic`, which stands beside this Python.
        patch.setenv(
            "PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        )
        api = NbGraderAPI(config=config)
        for assignment in (START, LOSS):
            done = api.generate_assignment(assignment)
            assert done["success"], done["log"]
        yield api


def grade(nbgrader: Any, assignment: str, student: str) -> tuple[float, float, str]:
    """Autograde one submission: points, points to be had, and what the graded cells print."""
    done = nbgrader.autograde(assignment, student)
    assert done["success"], done["log"]
    with nbgrader.gradebook as book:
        found = book.find_submission(assignment, student)
        points, most = found.score, found.max_score
    course = Path(nbgrader.coursedir.root)
    file = course / "autograded" / student / assignment / f"{assignment}.ipynb"
    graded = [
        cell
        for cell in nbformat.read(file, 4).cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    ]
    return points, most, str([output for cell in graded for output in cell.outputs])


NBGRADERS_OWN = "ignore:Object of type"  # a warning about its use of its database


@pytest.mark.filterwarnings(NBGRADERS_OWN)
def test_nbgrader_grades_right_answers_however_bound_and_keeps_no_progress(
    nbgrader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALIGN_EDU_PROGRESS", str(tmp_path / "progress.json"))
    course = Path(nbgrader.coursedir.root)
    bodies = bodies_of(by_reference, "recall_at_1")
    bodies["chance_loss"] = "import math\nchance_loss = lambda n: 2 * math.log(n)"
    bodies["half"] = "import functools, operator\nhalf = functools.partial(operator.mul, 0.5)"
    check = "from align_edu import lab\nlab.check(recall_at_1)"
    hand_in(course, START, "right", bodies, check)
    assert grade(nbgrader, START, "right")[:2] == (4, 4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings(NBGRADERS_OWN)
def test_nbgrader_grades_each_exercise_by_itself(nbgrader: Any) -> None:
    """A right answer beside a stub; mistakes beside a stub that raises."""
    course = Path(nbgrader.coursedir.root)
    hand_in(course, LOSS, "half", bodies_of(by_reference, "align_loss"))
    points, most, said = grade(nbgrader, LOSS, "half")
    assert (points, most) == (3, 6)
    assert "align_loss: right." in said
    assert "smoothed_loss: still to be written." in said
    one_direction = "    import math\n    return math.log(n)"
    hand_in(
        course,
        START,
        "mistaken",
        {"chance_loss": one_direction, "half": "    raise NotImplementedError"},
    )
    points, most, said = grade(nbgrader, START, "mistaken")
    assert (points, most) == (0, 4)
    assert "That is one direction only." in said
    assert "half: still to be written." in said


def test_a_released_exercise_is_the_stub_of_the_course_and_hides_the_tests(nbgrader: Any) -> None:
    for assignment in (START, LOSS):
        file = Path(nbgrader.coursedir.root) / "release" / assignment / f"{assignment}.ipynb"
        shipped = nbformat.read(NOTEBOOKS / f"{assignment}.ipynb", 4)
        stubs = [cell.source for cell in shipped.cells if STUB.search(cell.source)]
        stubs += ["def half(x):\n    ..."] if assignment == START else []
        released = nbformat.read(file, 4)
        assert [cell.source for cell in released.cells if STUB.search(cell.source)] == stubs
        text = file.read_text(encoding="utf-8")
        hidden = ("SOLUTION", "HIDDEN", "assert_right", "seed=23", "add_exercise")
        assert all(word not in text for word in hidden)


@pytest.mark.parametrize("number", WRITTEN)
def test_an_assignment_differs_from_the_notebook_in_its_exercises_only_and_has_its_samples(
    number: str, tmp_path: Path
) -> None:
    from nbgrader.nbgraderformat import MetadataValidator

    file = write_assignment(number, tmp_path)
    written = nbformat.read(file, 4)
    shipped = nbformat.read(NOTEBOOKS / f"{find_lesson(number).file}.ipynb", 4)
    nbformat.validate(written)
    MetadataValidator().validate_nb(written)
    assert len({cell.id for cell in written.cells}) == len(written.cells)
    code = [cell for cell in written.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    plain = [cell for cell in written.cells if "nbgrader" not in cell.metadata]
    expected = [cell for cell in shipped.cells if not STUB.search(cell.source)]
    for ours, theirs in zip(plain, expected, strict=True):
        assert (ours.id, ours.metadata) == (theirs.id, theirs.metadata)
        code = theirs.cell_type == "code"
        assert ours.source == (theirs.source.replace(DATA, DATA[3:]) if code else theirs.source)
    graded = [cell.metadata["nbgrader"] for cell in written.cells if "nbgrader" in cell.metadata]
    names = [name for name, exercise in EXERCISES.items() if exercise.notebook == number]
    assert sorted(each["grade_id"] for each in graded if each["solution"]) == sorted(names)
    assert all(1 <= each["points"] <= 5 for each in graded if each["grade"])
    assert len(graded) == 2 * len(names)
    text = file.read_text(encoding="utf-8").replace("\\", "")
    for name in ("toy_model", "benchmark", "raw_pairs", "cc3m_sample.tsv"):
        reads = "data_samples" in text and f'"{name}"' in text
        assert not reads or (file.parent / "data_samples" / name).exists(), name


@pytest.mark.parametrize("name", EXERCISES)
def test_an_answer_stands_on_its_own_below_the_stub(name: str) -> None:
    notebook = NOTEBOOKS / f"{find_lesson(EXERCISES[name].notebook).file}.ipynb"
    sources = [cell.source for cell in nbformat.read(notebook, 4).cells]
    stub = next(m[0] for source in sources if (m := STUB.search(source)) and m[1] == name)
    body = bodies_of(by_reference, name)[name]
    alone: dict[str, Any] = {}
    exec(stub.replace("    ...", body), alone)  # in an empty module
    assert_right(name, alone[name], seed=3)


def test_the_hidden_tests_refuse_another_function_under_the_name(tmp_path: Path) -> None:
    cells = nbformat.read(write_assignment("06", tmp_path, seed=9), 4).cells
    graded = [cell for cell in cells if cell.metadata.get("nbgrader", {}).get("grade")]
    assert [cell.metadata["nbgrader"]["points"] for cell in graded] == [3, 3]  # the difficulty
    assert all("seed=9)" in cell.source for cell in graded)
    tests = next(cell.source for cell in graded if "tests-align_loss" in cell.id)
    with pytest.raises(CheckFailed):
        exec(tests, {"align_loss": find_exercise("smoothed_loss").reference})
    with pytest.raises(CheckFailed, match="still to be written"):
        exec(tests, {"align_loss": lambda image, text, sigma: ...})
    exec(tests, {"align_loss": find_exercise("align_loss").reference})


def test_a_config_and_an_assignment_that_exist_are_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "nbgrader_config.py"
    config.write_text("c = get_config()\n")
    assert main(["06", "--out", str(tmp_path), "--only-exercises"]) == 0
    assert config.read_text() == "c = get_config()\n"
    assert 'add to it: c.ClearSolutions.code_stub = {"python": "..."}' in capsys.readouterr().out
    written = tmp_path / "source" / LOSS / f"{LOSS}.ipynb"
    before = written.read_bytes()
    with pytest.raises(InputError, match="remove it"):
        write_assignment("06", tmp_path, seed=1)
    assert written.read_bytes() == before


def test_bad_input_is_one_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, more in (("06", ["--notebooks", str(tmp_path)]), ("20", []), ("99", [])):
        assert main([number, "--out", str(tmp_path), *more]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "no such notebook" in lines[0]
    assert "99" in lines[2]
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_whose_stub_is_gone_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook = nbformat.read(NOTEBOOKS / f"{START}.ipynb", 4)
    notebook.cells = [cell for cell in notebook.cells if "def recall_at_1" not in cell.source]
    nbformat.write(notebook, folder / f"{START}.ipynb")
    with pytest.raises(InputError, match="no stub for recall_at_1"):
        write_assignment("00", tmp_path / "course", notebooks=folder)
    assert not (tmp_path / "course").exists()
