"""The lab: checks name the mistake, right answers pass, stubs run, quizzes give feedback."""

import ast
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models.efficientnet import MBConvConfig

from align_edu import lab
from align_edu.evaluation import retrieval_recall
from align_edu.io import InputError
from align_edu.lab.__main__ import start_command
from align_edu.lab.checks import CheckFailed, find_mistake, is_stub
from align_edu.lab.course import COURSE, find_lesson
from align_edu.lab.exercises import EXERCISES, find_exercise

Answer = Callable[..., Any]
WRONG = [(name, wrong) for name, exercise in EXERCISES.items() for wrong in exercise.wrong]


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_each_wrong_answer_is_rejected_and_named(name: str, wrong: Any, seed: int) -> None:
    problem = find_mistake(find_exercise(name), wrong.function, seed)
    assert problem is not None
    assert problem.endswith(wrong.mistake)


def test_each_exercise_knows_six_wrong_answers_with_names_of_their_own() -> None:
    for exercise in EXERCISES.values():
        names = {wrong.mistake for wrong in exercise.wrong}
        assert len(names) == len(exercise.wrong) >= 6


def test_an_unknown_mistake_says_what_was_expected_and_what_came() -> None:
    problem = find_mistake(find_exercise("chance_loss"), lambda n: 7.0)
    assert problem == "chance_loss(2): expected 1.38629, got 7."


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda n: undefined_name, "NameError"),  # type: ignore[name-defined]  # noqa: F821
        (lambda n: [1, 2], "got the list of 1, 2"),
        (lambda n: print(end=""), "got nothing"),
        (lambda: 1.0, "TypeError"),
    ],
)
def test_a_broken_answer_is_told_and_does_not_break_the_check(function: Answer, words: str) -> None:
    assert words in str(find_mistake(find_exercise("chance_loss"), function))


def test_an_answer_that_changes_its_input_is_judged_by_what_it_returns() -> None:
    def recall_at_1(similarity: torch.Tensor) -> float:
        result = find_exercise("recall_at_1").reference(similarity)
        similarity.zero_()
        return result

    lab.check(recall_at_1)
    assert find_mistake(find_exercise("recall_at_1"), recall_at_1) is None


def test_references_agree_with_the_library_and_with_the_paper() -> None:
    recall = find_exercise("recall_at_1").reference
    for seed in range(5):
        matrix = torch.randn(20, 20, generator=torch.Generator().manual_seed(seed))
        matrix += 2 * torch.eye(20)
        library = retrieval_recall(matrix, torch.eye(20), range(20), ks=(1,))
        assert recall(matrix) == pytest.approx(library["image_to_text"]["R@1"])
    widen = find_exercise("round_channels").reference
    for width in range(2, 45):
        for channels in range(1, 400):
            library = MBConvConfig.adjust_channels(channels, width / 10)
            assert widen(channels, width / 10) == library
    assert [widen(320, w) for w in (2.0, 4.3)] == [640, 1376]  # Section 6.1
    rate = find_exercise("learning_rate_at").reference
    assert rate(5_000, 1_200_000, 10_000, 1e-3) == pytest.approx(5e-4)  # Section 5
    assert rate(10_000, 1_200_000, 10_000, 1e-3) == pytest.approx(1e-3)
    assert rate(1_200_000, 1_200_000, 10_000, 1e-3) == 0


def test_check_finds_the_exercise_by_name_and_raises_one_sentence() -> None:
    def chance_loss(n: int) -> float:
        return math.log(n)

    with pytest.raises(CheckFailed, match="expected 1.38629, got 0.693147") as caught:
        lab.check(chance_loss)
    lines = caught.value._render_traceback_()
    assert " ".join(lines) == str(caught.value) and max(map(len, lines)) <= 88


def test_check_says_that_a_right_answer_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    lab.check(find_exercise("learning_rate_at").reference)
    assert capsys.readouterr().out == "learning_rate_at: right.\n"


def test_an_unknown_exercise_says_which_exist() -> None:
    with pytest.raises(InputError, match="chance_loss"):
        lab.check(math.sqrt)


def test_a_stub_runs_with_our_answer_and_a_written_one_with_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def chance_loss(n: int) -> float:  # type: ignore[empty-body]
        ...

    lab.check(chance_loss)
    assert lab.yours_or_ours(chance_loss)(128) == pytest.approx(9.704, abs=1e-3)
    said = capsys.readouterr().out
    assert "still to be written" in said
    assert "ours is in use" in said

    def chance_loss(n: int) -> float:
        return 1.0

    assert lab.yours_or_ours(chance_loss) is find_exercise("chance_loss").reference
    assert "ours is in use until yours passes its check" in capsys.readouterr().out

    def chance_loss(n: int) -> float:
        return math.log(n) * 2

    assert lab.yours_or_ours(chance_loss) is chance_loss
    assert "yours is in use" in capsys.readouterr().out


def test_only_an_empty_body_is_a_stub() -> None:
    def dots() -> None: ...

    def returns_dots() -> Any:
        return ...

    def zero() -> int:
        return 0

    def calls() -> None:
        print()

    assert [is_stub(f) for f in (dots, returns_dots)] == [True, True]
    assert [is_stub(f) for f in (zero, calls, len)] == [False, False, False]


def test_hints_are_listed_and_given_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    lab.hint("recall_at_1")
    assert len(capsys.readouterr().out.splitlines()) == 3
    lab.hint("recall_at_1", 1)
    assert capsys.readouterr().out.startswith("Rows or columns?")


def test_reveal_shows_the_shipped_code_and_what_it_builds_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lab.reveal("learning_rate_at")
    shown = capsys.readouterr().out
    assert "def learning_rate_at" in shown
    assert "def learning_rate_factor" in shown


def test_start_prints_title_cost_and_versions(capsys: pytest.CaptureFixture[str]) -> None:
    lab.start("08")
    said = capsys.readouterr().out
    assert said.startswith("Training on toy CC-3M: ")
    assert torch.__version__ in said
    assert "no network" in said
    lab.start("20")
    assert "not measured yet" in capsys.readouterr().out


def test_start_refuses_a_notebook_that_does_not_exist() -> None:
    with pytest.raises(InputError, match="00 to 20"):
        lab.start("21")


def test_random_numbers_depend_on_notebook_and_name_only() -> None:
    def draw(number: str, name: str) -> list[float]:
        lab.start(number)
        return torch.rand(4, generator=lab.rng(name)).tolist()

    first = draw("00", "crops")
    torch.rand(100)
    assert draw("00", "crops") == first
    assert draw("00", "negatives") != first
    assert draw("08", "crops") != first


def test_the_lab_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    lab.start("00")
    lab.rng("crops")
    lab.check(find_exercise("recall_at_1").reference)
    assert torch.equal(before, torch.get_rng_state())


def test_the_course_has_21_notebooks_in_order() -> None:
    assert [lesson.number for lesson in COURSE] == [f"{n:02}" for n in range(21)]
    assert find_lesson("03").title == "Words to vectors with BERT"
    assert find_lesson("18").title == "CLIP ALIGN SigLIP"


def test_the_model_code_never_imports_the_lab() -> None:
    """Two commands of the front door load it when they are called."""
    package = Path(lab.__file__).parent.parent
    for path in package.rglob("*.py"):
        inside = path.relative_to(package).as_posix()
        if inside.startswith("lab/"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = tree.body if inside == "cli.py" else list(ast.walk(tree))
        names = [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)]
        names += [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
        names += [
            f"{n.module}.{a.name}" for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names
        ]
        assert not [name for name in names if name.startswith("align_edu.lab")], inside


def test_jupyterlab_starts_with_the_settings_of_the_course_before_the_users_own() -> None:
    command, environment = start_command(["--no-browser"], {"JUPYTER_CONFIG_PATH": "/mine"})
    assert command[1:] == ["-m", "jupyterlab", "--no-browser", "notebooks/00_start_here.ipynb"]
    course, mine = environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert (Path(course) / "labconfig" / "page_config.json").is_file() and mine == "/mine"
    command, environment = start_command(["notebooks/06.ipynb"], {})
    assert command[-1] == "notebooks/06.ipynb" and environment["JUPYTER_CONFIG_PATH"] == course
