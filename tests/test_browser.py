"""Notebooks in JupyterLab in a real browser: they run, and a student can click, slide and be wrong.

ALIGN_EDU_BROWSER=required makes a missing browser a failure.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from align_edu.lab.checks import find_mistake
from align_edu.lab.exercises import find_exercise
from align_edu.lab.quiz import LETTERS, load_questions
from tests.browser import Lab, Notebook, open_browser, open_notebook, start_lab, why_not


@dataclass(frozen=True)
class Visit:
    """What there is to try in a notebook: its first slider, and an exercise to answer.

    slider: what it moves, "img" for a figure or "pre" for a text.
    """

    slider: str = ""
    exercise: str = ""
    wrong: str = ""
    right: str = ""


VISITS = {  # a new notebook is one line here
    "00": Visit(
        exercise="chance_loss",
        wrong="def chance_loss(n):\n    import math\n    return math.log(n)",
        right="def chance_loss(n):\n    import math\n    return 2 * math.log(n)",
    ),
    "06": Visit(slider="img"),
}

WHY_NOT = why_not()
REQUIRED = os.environ.get("ALIGN_EDU_BROWSER") == "required"
pytestmark = pytest.mark.skipif(bool(WHY_NOT) and not REQUIRED, reason=WHY_NOT or "")


class Windows:
    """The open notebooks. While one is tried, the next one runs already: there are two cores."""

    def __init__(self, browser: Any, lab: Lab) -> None:
        self.browser, self.lab = browser, lab
        self.open: dict[str, contextlib.ExitStack] = {}
        self.notebooks: dict[str, Notebook] = {}

    def start(self, number: str) -> None:
        """Open a notebook, unless it is open, and set all of its cells running."""
        if number in self.open:
            return
        self.open[number] = stack = contextlib.ExitStack()
        notebook = stack.enter_context(open_notebook(self.browser, self.lab, number))
        self.notebooks[number] = notebook
        with notebook.pictured():
            assert notebook.red() == [], "as stored"
            notebook.run_all()

    def close(self, number: str) -> None:
        """Close a notebook's window and stop its kernel."""
        self.open.pop(number).close()


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Windows]:
    assert WHY_NOT is None, WHY_NOT
    folder = tmp_path_factory.mktemp("lab")
    with start_lab(folder) as lab, open_browser() as browser:
        windows = Windows(browser, lab)
        yield windows
        for number in list(windows.open):
            windows.close(number)


@pytest.fixture(scope="module", params=VISITS)
def number(request: pytest.FixtureRequest, windows: Windows) -> Iterator[str]:
    numbers = list(VISITS)
    windows.start(request.param)
    for following in numbers[numbers.index(request.param) + 1 :][:1]:
        windows.start(following)
    yield request.param
    windows.close(request.param)


@pytest.fixture
def notebook(number: str, windows: Windows, tmp_path: Path) -> Notebook:
    """The notebook, once its cells have run."""
    notebook = windows.notebooks[number]
    notebook.pictures = tmp_path
    with notebook.pictured():
        notebook.wait_until_ran()
    return notebook


def pictured(test: Callable[..., None]) -> Callable[..., None]:
    """A test that leaves a picture of the browser when it fails."""

    @functools.wraps(test)
    def tried(notebook: Notebook, **others: Any) -> None:
        with notebook.pictured():
            test(notebook=notebook, **others)

    return tried


@pictured
def test_all_cells_run_and_nothing_is_red(notebook: Notebook) -> None:
    assert notebook.red() == []
    assert notebook.counts() == [str(i + 1) for i in range(len(notebook.counts()))]


@pictured
def test_nothing_but_the_notebook_asks_for_attention(notebook: Notebook) -> None:
    own = ["File", "Edit", "View", "Run", "Kernel", "Tabs", "Settings", "Help"]
    assert notebook.menus() == own
    assert notebook.page.locator(".Toastify__toast").count() == 0


@pictured
def test_a_clicked_answer_gives_its_feedback(notebook: Notebook, number: str) -> None:
    for place, question in enumerate(load_questions(number)):
        box = notebook.page.locator(".widget-vbox .widget-vbox").nth(place)
        rights = [option.right for option in question.options]
        for choice in (rights.index(False), rights.index(True)):
            box.locator("label:has(input)").nth(choice).click()
            box.get_by_text(question.feedback(LETTERS[choice]), exact=True).wait_for()


@pictured
def test_a_slider_moves_its_figure(notebook: Notebook, number: str) -> None:
    part = VISITS[number].slider
    if not part:
        pytest.skip(f"notebook {number} has no slider")
    box = notebook.page.locator(".widget-interact").filter(has=notebook.page.locator(".slider"))
    box, handle = box.first, box.get_by_role("slider").first
    before = notebook.below(box, part)
    handle.press("ArrowRight")
    moved = notebook.below(box, part, before)
    handle.press("ArrowLeft")
    assert notebook.below(box, part, moved) == before, "the slider is back, its figure is not"


@pictured
def test_a_wrong_answer_shows_its_diagnosis_and_run_all_goes_on(
    notebook: Notebook, number: str
) -> None:
    visit = VISITS[number]
    if not visit.exercise:
        pytest.skip(f"no exercise of notebook {number} is tried here")
    check = f"\n\n\nlab.check({visit.exercise})"
    cell = notebook.cell(f"def {visit.exercise}(")
    count = notebook.run_instead(cell, visit.wrong + check)
    (shown,) = notebook.outputs(cell)
    assert shown.startswith(sentence_for(visit)) and "lab.case(" in shown
    assert cell.locator(".ansi-red-intense-fg, .ansi-red-fg").count() > 0
    notebook.menu("Run", "Run All Cells")
    notebook.wait_until_ran(after=count)
    assert notebook.red() == []
    notebook.run_instead(cell, visit.right + check)
    assert notebook.outputs(cell) == [f"{visit.exercise}: right."]


def sentence_for(visit: Visit) -> str:
    """What the check says of the wrong answer, found without a browser."""
    names: dict[str, Any] = {}
    exec(visit.wrong, names)  # the two answers above
    sentence = find_mistake(find_exercise(visit.exercise), names[visit.exercise])
    assert sentence is not None
    return " ".join(sentence.split())


@pictured
def test_the_page_complains_of_nothing(notebook: Notebook) -> None:
    assert notebook.complaints == []
