"""The nbgrader converter: nbgrader takes its assignments, and grades submissions as it should."""

import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path

import nbformat
import pytest
from traitlets.config.loader import PyFileConfigLoader

from align_edu.lab import CheckFailed
from align_edu.lab.course import COURSE, find_lesson
from align_edu.lab.exercises import EXERCISES, find_exercise
from align_edu.lab.nbgrader_assignment import DATA, NOTEBOOKS, STUB, main, write_assignment
from tests.samples import refused
from tests.submissions import MINE, source_of

pytest.importorskip("nbgrader", reason="nbgrader is not installed")

WRITTEN = [each.number for each in COURSE if (NOTEBOOKS / f"{each.file}.ipynb").exists()]
START, LOSS = "00_start_here", "06_the_contrastive_loss_by_hand"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return cache(lambda number: write_assignment(number, tmp_path_factory.mktemp("whole")))


def hand_in(course: Path, assignment: str, student: str, answers: dict[str, str]) -> None:
    """Submit the notebook with these cells in place of their stubs."""
    notebook = nbformat.read(course / "release" / assignment / f"{assignment}.ipynb", 4)
    for cell in notebook.cells:
        if stub := STUB.search(cell.source):
            cell.source = answers.get(stub[1], cell.source)
    folder = course / "submitted" / student / assignment
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{assignment}.ipynb")


def reference(name: str) -> str:
    imports = "from torch import Tensor\nfrom align_edu import lab\n"
    return f"{imports}{source_of(name)[0]}\nlab.check({name})"


@pytest.fixture(scope="module")
def nbgrader(tmp_path_factory):
    """nbgrader's interface to a course, whose notebook 00 has an exercise of the lecturer's."""
    from nbgrader.apps.api import NbGraderAPI

    course, folder = tmp_path_factory.mktemp("course"), tmp_path_factory.mktemp("notebooks")
    notebook = nbformat.read(NOTEBOOKS / f"{START}.ipynb", 4)
    notebook.cells.append(nbformat.v4.new_code_cell("def half(x):\n    ..."))
    nbformat.write(notebook, folder / f"{START}.ipynb")
    shutil.copytree(NOTEBOOKS / "images", folder / "images")  # which the notebook shows
    (folder / "mine.py").write_text(MINE)
    options = {"seed": 23, "only_exercises": True}
    write_assignment("00", course, notebooks=folder, exercises=folder / "mine.py", **options)
    EXERCISES.pop("half")
    write_assignment("06", course, **options)
    config = PyFileConfigLoader("nbgrader_config.py", path=str(course)).load_config()
    config.CourseDirectory.root = str(course)
    with pytest.MonkeyPatch.context() as patch:
        # It calls the program `alembic`, which stands beside this Python.
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        api = NbGraderAPI(config=config)
        for assignment in (START, LOSS):
            done = api.generate_assignment(assignment)
            assert done["success"], done["log"]
        yield api


def grade(nbgrader, assignment: str, student: str) -> tuple[float, float, str]:
    done = nbgrader.autograde(assignment, student)
    assert done["success"], done["log"]
    with nbgrader.gradebook as book:
        found = book.find_submission(assignment, student)
        points, most = found.score, found.max_score
    course = Path(nbgrader.coursedir.root)
    cells = nbformat.read(course / "autograded" / student / assignment / f"{assignment}.ipynb", 4)
    graded = [cell for cell in cells.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    return points, most, str([output for cell in graded for output in cell.outputs])


@pytest.mark.filterwarnings("ignore:Object of type")  # nbgrader's use of its database
def test_nbgrader_grades_each_exercise_and_keeps_no_progress(nbgrader, tmp_path, monkeypatch):
    monkeypatch.setenv("ALIGN_EDU_PROGRESS", str(tmp_path / "progress.json"))
    course = Path(nbgrader.coursedir.root)
    answers = {
        "recall_at_1": reference("recall_at_1"),
        "chance_loss": "import math\ndef chance_loss(n):\n    return math.log(n)",
        "half": "import functools, operator\nhalf = functools.partial(operator.mul, 0.5)",
    }
    hand_in(course, START, "anna", answers)
    points, most, said = grade(nbgrader, START, "anna")
    assert (points, most) == (3, 4)
    assert "That is one direction only." in said
    hand_in(course, LOSS, "ben", {"align_loss": reference("align_loss")})
    points, most, said = grade(nbgrader, LOSS, "ben")
    assert (points, most) == (3, 6)
    assert "align_loss: right." in said and "smoothed_loss: still to be written." in said
    assert list(tmp_path.iterdir()) == []


def test_a_released_exercise_is_the_stub_of_the_course_and_hides_the_tests(nbgrader):
    def stubs(file: Path) -> list[str]:
        return [cell.source for cell in nbformat.read(file, 4).cells if STUB.search(cell.source)]

    for assignment, mine in ((START, ["def half(x):\n    ..."]), (LOSS, [])):
        file = Path(nbgrader.coursedir.root) / "release" / assignment / f"{assignment}.ipynb"
        assert stubs(file) == stubs(NOTEBOOKS / file.name) + mine
        text = file.read_text(encoding="utf-8")
        hidden = ("SOLUTION", "HIDDEN", "assert_right", "seed=23", "add_exercise")
        assert all(word not in text for word in hidden)


@pytest.mark.parametrize("number", WRITTEN)
def test_an_assignment_differs_in_its_exercises_only_and_has_its_samples(number, written):
    from nbgrader.nbgraderformat import MetadataValidator

    file = written(number)
    book, shipped = nbformat.read(file, 4), nbformat.read(NOTEBOOKS / file.name, 4)
    nbformat.validate(book)
    MetadataValidator().validate_nb(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    plain = [cell for cell in book.cells if "nbgrader" not in cell.metadata]
    expected = [cell for cell in shipped.cells if not STUB.search(cell.source)]
    for ours, theirs in zip(plain, expected, strict=True):
        assert (ours.id, ours.metadata) == (theirs.id, theirs.metadata)
        source = theirs.source
        assert ours.source == (source.replace(DATA, DATA[3:]) if "outputs" in theirs else source)
    graded = [cell.metadata["nbgrader"] for cell in book.cells if "nbgrader" in cell.metadata]
    names = [name for name, exercise in EXERCISES.items() if exercise.notebook == number]
    assert sorted(each["grade_id"] for each in graded if each["solution"]) == sorted(names)
    assert all(1 <= each["points"] <= 5 for each in graded if each["grade"])
    assert len(graded) == 2 * len(names)
    text = file.read_text(encoding="utf-8").replace("\\", "")
    for name in ("toy_model", "benchmark", "raw_pairs", "cc3m_sample.tsv"):
        reads = "data_samples" in text and f'"{name}"' in text
        assert not reads or (file.parent / "data_samples" / name).exists(), name
    assert all((file.parent / shown).exists() for shown in re.findall(r"\]\((images/.+?)\)", text))


def test_the_hidden_tests_refuse_another_function_under_the_name(tmp_path):
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


def test_a_config_and_an_assignment_that_exist_are_not_overwritten(tmp_path, capsys):
    config = tmp_path / "nbgrader_config.py"
    config.write_text("c = get_config()\n")
    assert main(["06", "--out", str(tmp_path), "--only-exercises"]) == 0
    assert config.read_text() == "c = get_config()\n"
    assert 'add to it: c.ClearSolutions.code_stub = {"python": "..."}' in capsys.readouterr().out
    file = tmp_path / "source" / LOSS / f"{LOSS}.ipynb"
    before = file.read_bytes()
    refused("remove it", write_assignment, "06", tmp_path, seed=1)
    assert file.read_bytes() == before


def test_bad_input_is_one_line_and_status_2(tmp_path, capsys):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook = nbformat.read(NOTEBOOKS / f"{find_lesson('00').file}.ipynb", 4)
    notebook.cells = [cell for cell in notebook.cells if "def recall_at_1" not in cell.source]
    nbformat.write(notebook, folder / f"{START}.ipynb")
    errors = {"06": "no such notebook", "99": "99", "00": "no stub for recall_at_1"}
    for number, words in errors.items():
        command = [number, "--out", str(tmp_path / "course"), "--notebooks", str(folder)]
        assert main(command) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert not (tmp_path / "course").exists()
