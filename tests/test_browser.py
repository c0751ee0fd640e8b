"""Notebooks in JupyterLab in a real browser: they run, and a student can click, slide and be wrong.

ALIGN_EDU_BROWSER=required makes a missing browser a failure.
"""

import os
from typing import Any

import pytest

from align_edu.lab.checks import find_mistake
from align_edu.lab.course import find_lesson
from align_edu.lab.exercises import find_exercise
from align_edu.lab.quiz import LETTERS, load_questions
from tests.browser import open_browser, open_notebook, start_lab, why_not

NUMBERS = ("00", "06")  # one with an exercise to answer, one with a slider
WRONG = "def chance_loss(n):\n    import math\n    return math.log(n)"
WHY_NOT = why_not()
REQUIRED = os.environ.get("ALIGN_EDU_BROWSER") == "required"
pytestmark = pytest.mark.skipif(bool(WHY_NOT) and not REQUIRED, reason=WHY_NOT or "")


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory):
    assert WHY_NOT is None, WHY_NOT
    with start_lab(tmp_path_factory.mktemp("lab")) as address, open_browser() as browser:
        opened = {}
        for number in NUMBERS:
            name = f"{find_lesson(number).file}.ipynb"
            opened[number] = notebook = open_notebook(browser, address, name)
            assert notebook.red() == [], "as stored"
            notebook.run_all()
        yield opened


@pytest.fixture(params=NUMBERS)
def number(request):
    return str(request.param)


@pytest.fixture
def notebook(number, notebooks, tmp_path, request):
    """The notebook, once its cells have run; a test that fails leaves a picture of the browser."""
    notebook, before = notebooks[number], request.session.testsfailed
    notebook.wait_until_ran()
    yield notebook
    if request.session.testsfailed > before:
        notebook.page.screenshot(path=tmp_path / f"{number}.png")


def test_all_cells_run_nothing_is_red_and_nothing_else_asks_for_attention(notebook):
    assert notebook.red() == []
    assert notebook.counts() == [str(i + 1) for i in range(len(notebook.counts()))]
    own = ["File", "Edit", "View", "Run", "Kernel", "Tabs", "Settings", "Help"]
    assert notebook.menus() == own
    assert notebook.page.locator(".Toastify__toast").count() == 0


def test_a_clicked_answer_gives_its_feedback(notebook, number):
    for place, question in enumerate(load_questions(number)):
        box = notebook.page.locator(".widget-vbox .widget-vbox").nth(place)
        rights = [option.right for option in question.options]
        for choice in (rights.index(False), rights.index(True)):
            box.locator("label:has(input)").nth(choice).click()
            box.get_by_text(question.feedback(LETTERS[choice])[1], exact=True).wait_for()


@pytest.mark.parametrize("number", ["06"], indirect=True)
def test_a_slider_moves_its_figure(notebook):
    box = notebook.page.locator(".widget-interact").filter(has=notebook.page.locator(".slider"))
    box, handle = box.first, box.get_by_role("slider").first
    before = notebook.figure(box)
    handle.press("ArrowRight")
    moved = notebook.figure(box, before)
    handle.press("ArrowLeft")
    assert notebook.figure(box, moved) == before, "the slider is back, its figure is not"


@pytest.mark.parametrize("number", ["00"], indirect=True)
def test_a_wrong_answer_shows_its_diagnosis_and_run_all_goes_on(notebook):
    names: dict[str, Any] = {}
    exec(WRONG, names)
    sentence = find_mistake(find_exercise("chance_loss"), names["chance_loss"]) or "none"
    cell, check = notebook.cell("def chance_loss("), "\n\n\nlab.check(chance_loss)"
    count = notebook.run_instead(cell, WRONG + check)
    (shown,) = notebook.outputs(cell)
    assert shown.startswith(" ".join(sentence.split())) and "lab.case(" in shown
    assert cell.locator(".ansi-red-intense-fg, .ansi-red-fg").count() > 0
    notebook.menu("Run", "Run All Cells")
    notebook.wait_until_ran(after=count)
    assert notebook.red() == []
    notebook.run_instead(cell, WRONG.replace("math.log", "2 * math.log") + check)
    assert notebook.outputs(cell) == ["chance_loss: right."]


def test_the_page_complains_of_nothing(notebook):
    assert notebook.complaints == []
