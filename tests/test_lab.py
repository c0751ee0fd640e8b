"""The lab: checks name the mistake, right answers pass; progress, the model, the composer."""

import contextlib
import datetime
import functools
import json
import math
import os
import pwd
import re
import shutil
import sys
import time
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from align_edu import lab, load_run
from align_edu.lab import CheckFailed, find_mistake
from align_edu.lab.__main__ import start_command
from align_edu.lab.composer import Composer
from align_edu.lab.exercises import EXERCISES, find_exercise
from align_edu.lab.outcomes import decode, encode, is_stub, outcome_of, said, same
from align_edu.lab.quiz import Progress, progress_file
from align_edu.search import ImageIndex
from align_edu.world.draw import draw
from align_edu.world.scene import scene_from_facts
from tests.samples import DATA, MODEL, cases, refused
from tests.submissions import MINE

SHIPPED = [exercise for exercise in EXERCISES.values() if exercise.notebook.isdecimal()]
each_exercise = pytest.mark.parametrize("exercise", SHIPPED, ids=lambda exercise: exercise.name)
right = find_exercise("chance_loss").reference
COSINES = (3, [], {"tries": "many"}, {"tries": math.inf})
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SCENE = {"kind": "cat", "colour": "pink", "place": "beach"}


@each_exercise
def test_each_wrong_answer_is_rejected_and_named(exercise):
    assert len({w.mistake for w in exercise.wrong}) == len(exercise.wrong)
    assert len(exercise.wrong) >= (40 if exercise.name == "align_loss" else 8)
    for seed in (0, 1, 5):
        assert find_mistake(exercise, exercise.reference, seed) is None
        for wrong in exercise.wrong:
            assert str(find_mistake(exercise, wrong.function, seed)).endswith(wrong.mistake)


@each_exercise
def test_an_answer_is_shown_whole_and_runs_alone(exercise, capsys):
    lab.reveal(exercise.name)
    alone = {}
    exec("from __future__ import annotations\n" + capsys.readouterr().out, alone)
    assert find_mistake(exercise, alone[exercise.name], seed=3) is None


@cases(
    "function, words",
    (lambda n: 7.0, "chance_loss(2): expected 1.38629, got 7."),
    (lambda n: torch.ones(n, n) @ torch.ones(3, 1), "@ torch.ones(3, 1)"),  # its line
    (lambda n: [1, 2], "got the list of 1, 2"),
    (lambda n: print(end=""), "got nothing"),
    (lambda: 1.0, "TypeError"),
)
def test_an_unknown_mistake_says_what_was_expected_and_what_came(function, words):
    assert words in str(find_mistake(find_exercise("chance_loss"), function))


def test_a_wrong_answer_prints_its_diagnosis_and_the_notebook_goes_on(capsys, monkeypatch):
    def chance_loss(n: int) -> float:
        return math.log(n)

    lab.check(chance_loss)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 88
    mistake = find_exercise("chance_loss").wrong[0].mistake
    begin = "chance_loss(2): expected 1.38629, got 0.693147."
    assert " ".join(lines[:-1]) == f"{begin} {mistake}"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    lab.check(chance_loss)
    assert "\x1b[1;31mchance_loss(2): expected" in capsys.readouterr().out
    assert lab.yours_or_ours(chance_loss) is find_exercise("chance_loss").reference
    assert "ours is in use until yours passes its check" in capsys.readouterr().out
    with pytest.raises(CheckFailed, match="expected 1.38629, got 0.693147") as caught:
        lab.check(chance_loss, strict=True)
    assert "".join(caught.value._render_traceback_()[0]).startswith(begin)


def test_the_case_that_failed_can_be_called_however_a_function_changes_it(capsys):
    right = find_exercise("recall_at_1").reference

    def recall_at_1(similarity: torch.Tensor) -> float:
        result = right(similarity.T)
        similarity.zero_()
        return result

    lab._failed_cases.pop("recall_at_1", None)
    refused("no check of recall_at_1 has failed", lab.case, "recall_at_1")
    lab.check(recall_at_1)
    assert capsys.readouterr().out.endswith('recall_at_1(*lab.case("recall_at_1"))\n')
    for _ in range(2):
        assert recall_at_1(*lab.case(recall_at_1)) != right(*lab.case("recall_at_1"))


def test_a_check_ends_a_function_that_does_not_whatever_it_catches(capsys, monkeypatch):
    def counts(n: int) -> float:
        while True:
            n += 1

    def suppresses(n: int) -> float:
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(0.01)

    monkeypatch.setattr(lab, "SECONDS", 0.2)
    for chance_loss in (counts, suppresses):
        lab._failed_cases.clear()
        tracer, begin = sys.gettrace(), time.monotonic()
        lab.check(chance_loss)
        assert "no answer after 0.2 s. Does a loop ever end?" in capsys.readouterr().out
        assert lab.case("chance_loss") == (2,)
        assert time.monotonic() - begin < 5 and sys.gettrace() is tracer


def test_what_a_function_prints_is_shown_once_and_cut(capsys):
    def chance_loss(n: int) -> float:
        print("n =", n, "x" * 10**6)
        print("y" * 10**6, file=sys.stderr)
        return 2 * math.log(n)

    lab.check(chance_loss)
    shown = capsys.readouterr()
    assert shown.out.startswith("n = 2 xxx") and shown.err == ""
    assert len(shown.out) == lab.LETTERS + len("…\nchance_loss: right.\n")


def test_a_callable_without_a_name_is_known_by_the_variable_that_holds_it(capsys):
    chance_loss = functools.partial(lambda factor, n: factor * math.log(n), 2.0)
    lab.check(chance_loss)
    assert lab.yours_or_ours(chance_loss) is chance_loss
    lab.hint(chance_loss, 1)
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == ["chance_loss: right.", "chance_loss: yours is in use."]
    assert told[2].startswith("How likely is a blind guess?")
    refused("no exercise is called '<lambda>'; choose.*chance_loss", lab.check, lambda n: n)
    lab.hint("recall_at_1")
    assert len(capsys.readouterr().out.splitlines()) == 3


class Label(str):
    def __float__(self) -> float:
        return 3.5


@dataclass
class Point:
    x: float
    y: float


@cases(
    "right, equal, others",
    ("red", "red", ["blue", "Red", None, ["red"]]),
    (3.5, Fraction(7, 2), ["3.5", b"3.5", 3.6, [3.5], float("nan")]),
    (3.5, Decimal("3.5"), [np.str_("3.5"), Label("3.5"), torch.tensor([3.5, 3.5])]),
    (True, 1, ["True", False, None]),
    ([0.1 + 0.2, "a"], (0.3, "a"), [[0.3, "b"], [0.31, "a"], [0.3], {0.3, "a"}, "0.3a"]),
    ([[1, 2.0]], [(1, 2 + 1e-9)], [[[1, 2.1]], [1, 2.0]]),
    ({"a": 0.3, 1: [2]}, {1: [2], "a": 0.1 + 0.2}, [{"a": 0.3}, {"a": 0.4, 1: [2]}, {}]),
    ({"a", "b"}, frozenset("ab"), [{"a"}, ["a", "b"], {"a": 1, "b": 2}]),
    (Point(0.3, 1), Point(0.1 + 0.2, 1), [Point(0.3, 2), {"x": 0.3, "y": 1}, [0.3, 1]]),
    (datetime.date(2021, 2, 11), datetime.date(2021, 2, 11), [datetime.date(2021, 6, 11)]),
    (torch.eye(2), torch.eye(2).double().numpy(), [torch.eye(3), 2 * torch.eye(2), [[1, 0]]]),
    (torch.tensor([True, False]), torch.tensor([1, 0]), [torch.tensor([1, 1])]),
    ids=lambda value: type(value).__name__,
)
def test_results_are_equal_only_if_what_they_hold_is(right, equal, others):
    def outcome(value):
        made = outcome_of(lambda: value, ())
        assert same(decode(encode(made)), made)  # on its way as JSON, too
        return made

    assert same(outcome(right), outcome(equal))
    for other in others:
        assert not same(outcome(right), outcome(other)), said(outcome(other))


def test_what_is_not_written_is_said_to_be_so_everywhere(capsys):
    class Empty:
        def __call__(self, n: int) -> int: ...

    def positive_only(n: int) -> float:
        if n > 0:
            raise NotImplementedError("the positive case")
        return 0.0

    stubs = [Empty(), positive_only]
    for body in ("...", "pass", "return", "'To do.'", "raise NotImplementedError('later')"):
        exec(f"def chance_loss(n):\n    {body}", names := {})
        stubs += [names["chance_loss"], functools.partial(names["chance_loss"])]
    for chance_loss in stubs:
        lab.check(chance_loss)
        assert lab.yours_or_ours(chance_loss) is find_exercise("chance_loss").reference
        assert capsys.readouterr().out.splitlines() == [
            "chance_loss: still to be written.",
            "chance_loss: ours is in use until yours is written.",
        ]
        with pytest.raises(CheckFailed, match="chance_loss: still to be written"):
            lab.check(chance_loss, strict=True)
        assert outcome_of(chance_loss, (2,)).kind == "NotImplementedError"  # as it is graded
    written = [lambda: 0, lambda: print(), lambda n: n.fails, len, functools.partial(lambda: 0)]
    assert not any(map(is_stub, written))


def test_start_tells_what_a_notebook_is_and_its_random_numbers_depend_on_it_alone(capsys):
    def draw(number: str, name: str) -> list[float]:
        lab.start(number)
        return torch.rand(4, generator=lab.rng(name)).tolist()

    before, first = torch.get_rng_state(), draw("08", "crops")
    told = capsys.readouterr().out
    assert told.startswith("Training on toy CC-3M: ")
    assert torch.__version__ in told and "no network" in told
    assert draw("08", "crops") == first != draw("08", "negatives")
    assert draw("00", "crops") != first
    lab.check(find_exercise("recall_at_1").reference)
    assert torch.equal(before, torch.get_rng_state())  # the global generator is left alone
    refused("00 to 20", lab.start, "21")


def test_the_model_code_never_imports_the_lab():
    package = Path(lab.__file__).parent.parent
    lab_import = re.compile(r"^ *(from|import) align_edu(\.lab| import.*\blab\b)", re.MULTILINE)
    for path in package.rglob("*.py"):
        if "lab" not in path.relative_to(package).parts and path.name != "cli.py":
            assert not lab_import.search(path.read_text(encoding="utf-8")), path


def test_jupyterlab_starts_with_the_settings_of_the_course_before_the_users_own():
    command, environment = start_command(["--no-browser"], {"JUPYTER_CONFIG_PATH": "/mine"})
    assert command[1:] == ["-m", "jupyterlab", "--no-browser", "notebooks/00_start_here.ipynb"]
    course, mine = environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert (Path(course) / "labconfig" / "page_config.json").is_file() and mine == "/mine"
    command, environment = start_command(["notebooks/06.ipynb"], {})
    assert command[-1] == "notebooks/06.ipynb" and environment["JUPYTER_CONFIG_PATH"] == course


def own_run(folder: Path, age: float = 1, name: str = "toy") -> Path:
    shutil.copytree(MODEL, folder)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"name": "toy"', f'"name": "{name}"'))
    moment = 2_000_000_000 - age
    os.utime(folder / "model.safetensors", (moment, moment))
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALIGN_EDU_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_the_newest_finished_toy_run_is_taken_however_deep_it_lies(runs, capsys):
    own_run(runs / "old", age=9)
    newest = own_run(runs / "demo" / "run", age=5)
    own_run(runs / "photographs", name="cc3m")
    (own_run(runs / "unfinished") / "tokenizer.json").unlink()
    (own_run(runs / "broken") / "config.json").write_text("{")
    (own_run(runs / "strange") / "config.json").write_text('{"preset": 3}')
    (own_run(runs / "younger", age=0) / "model.safetensors").unlink()
    assert lab.model().folder == newest
    assert capsys.readouterr().out == f"model: your run {newest}\n"


def test_without_an_own_run_it_is_the_bundled_one_or_an_error(runs, monkeypatch, capsys):
    assert lab.model().folder.samefile(MODEL)
    assert capsys.readouterr().out == "model: the bundled one, data_samples/toy_model\n"
    own_run(runs / "own")
    monkeypatch.delenv("ALIGN_EDU_RUNS")  # tests look at no folder that is not named
    assert lab.model().folder.samefile(MODEL)
    monkeypatch.setattr(sys.modules["align_edu.lab.course"], "_SOURCE", runs)
    refused("data_samples/toy_model: not found", lab.model)


@pytest.mark.parametrize("where", ["runs/own", "../runs/own"])
def test_a_student_needs_name_no_folder(runs, monkeypatch, where):
    notebooks = runs.parent / "notebooks"
    notebooks.mkdir()
    monkeypatch.chdir(notebooks)
    monkeypatch.delenv("ALIGN_EDU_RUNS")
    monkeypatch.delenv("PYTEST_VERSION")
    own = own_run(notebooks / where)
    assert lab.model().folder.samefile(own)


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "home" / "progress.json"
    monkeypatch.setenv("ALIGN_EDU_PROGRESS", str(path))
    sys.modules["align_edu.lab.quiz"]._complain.cache_clear()
    return path


def chance_loss(n: int) -> float:
    return math.log(n)


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


def test_a_click_shows_the_feedback_and_the_last_answer_to_a_question_counts(file):
    lab.quiz("00", "ba")
    lab.quiz("00", "aa")
    assert lab.progress().answers == {"00": {"1": False, "2": True}}
    quiz = lab.quiz("00")
    _, choice, feedback = quiz.widget().children[0].children
    choice.value = "b"
    assert quiz.questions[0].options[1].feedback in feedback.value
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


@cases(
    "damage",
    *("{", "\x00", "[" * 100_000),
    *map(json.dumps, ([], None, 3, "text", {}, {"exercises": {}})),
    *(json.dumps({"exercises": {}, "answers": each}) for each in ({"00": True}, [["00", 1]])),
    *(json.dumps({"exercises": {"cosine": each}, "answers": {}}) for each in COSINES),
    ids=lambda damage: damage[:50],
)
def test_a_file_of_odd_shape_is_kept_aside(file, damage, capsys):
    file.parent.mkdir()
    file.write_text(damage)
    assert lab.progress() == Progress()
    assert file.with_suffix(".damaged.json").read_text() == damage
    assert "was damaged" in capsys.readouterr().out


def test_where_progress_cannot_be_kept_the_lesson_goes_on(file, monkeypatch, capsys):
    monkeypatch.setenv("ALIGN_EDU_PROGRESS", "")
    lab.quiz("00", "b")
    assert progress_file() is None and lab.progress() == Progress()
    monkeypatch.delenv("ALIGN_EDU_PROGRESS")
    monkeypatch.setenv("HOME", str(file.parent))
    assert progress_file() == file.parent / ".align_edu" / "progress.json"
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    for _ in range(3):
        lab.check(right)
        assert lab.progress() == Progress()
    assert capsys.readouterr().out.count("Progress is not kept: no home folder") == 1
    monkeypatch.setenv("ALIGN_EDU_PROGRESS", str(file))
    file.parent.write_text("a file, no folder")
    for _ in range(3):
        lab.check(right)
    assert capsys.readouterr().out.count("Progress is not kept") == 1


@pytest.fixture(scope="module")
def compose():
    run = load_run(MODEL)
    return Composer(run, ImageIndex.build(run, DATA / "benchmark" / "images"))


def test_the_right_caption_comes_first_and_classes_have_their_share(compose, capsys):
    run = compose.run
    figure = compose(**SCENE, words="a pink cat on the beach, a bus")
    lines = capsys.readouterr().out.splitlines()
    facts = {"weather": "clear", "count": 1, "size": "large", "style": "photo", "other_kind": ""}
    picture = draw(scene_from_facts(SCENE | facts), np.random.default_rng(0), 192)
    texts = ["a pink cat on the beach", "a bus"]
    right, other = (run.encode_texts(texts) @ run.encode_images([picture])[0]).tolist()
    assert lines[1] == f"  {right:.2f}  {texts[0]}"
    share = 1 / (1 + np.exp((other - right) / run.model.temperature().item()))
    assert lines[-1] == f"yours   {texts[0]} {share:.0%}"
    assert [line.split()[1] for line in lines[-4:-2]] == ["cat", "pink"]
    assert len(figure.axes) == 5  # the scene and the four nearest pictures


def test_each_choice_is_answered_and_an_unknown_name_is_refused(compose, capsys):
    compose.widget().children[0].value = "rocket"
    *_, answer = capsys.readouterr().out.split("captions by cosine\n")
    assert " rocket " in answer.splitlines()[0]
    compose(kind="dog", place="kitchen", weather="rain")
    assert "rain" not in capsys.readouterr().out
    refused("'unicorn' is none of: dog, car", compose, kind="unicorn")


def test_an_uploaded_picture_is_named_instead_of_the_drawing(compose, capsys):
    widget, file = compose.widget(), DATA / "benchmark" / "images" / "000040.jpg"  # a cat
    upload = {"name": file.name, "type": "image/jpeg", "size": 1, "last_modified": NOW}
    steps = ((0, "rocket"), (-3, [upload | {"content": file.read_bytes()}]), (-3, ()))
    steps += ((-2, str(file.parent)),)  # its first picture shows a bus
    for (child, value), kind in zip(steps, ("rocket", "cat", "rocket", "bus"), strict=True):
        widget.children[child].value = value
        assert f"\nobject  {kind} " in capsys.readouterr().out
