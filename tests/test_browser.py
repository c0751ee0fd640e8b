"""Notebooks in JupyterLab in a real browser: they run, and a student can click, slide and be wrong.

All is on this machine, in a copy, without a network. ALIGN_EDU_BROWSER=required makes a missing
browser a failure."""

import contextlib
import io
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from align_edu.lab import find_mistake
from align_edu.lab.course import find_lesson
from align_edu.lab.exercises import find_exercise
from align_edu.lab.quiz import LETTERS, load_questions
from align_edu.world.draw import draw
from align_edu.world.scene import scene_from_facts

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120.0  # seconds, for machines that are slow or busy
RUN = 600.0  # seconds for all cells of a notebook
# Off-screen cells too are in the page.
ALL_CELLS = {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}
# No name is looked up but this machine's; the browser asks for no updates, lists or models.
QUIET = (
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--disable-background-networking", "--disable-component-update",
    "--disable-domain-reliability", "--disable-sync", "--no-pings",
)  # fmt: skip
_RED = """.jp-RenderedText[data-mime-type="application/vnd.jupyter.stderr"],
          .jp-RenderedText[data-mime-type="application/vnd.jupyter.error"],
          .jp-Dialog, .Toastify__toast--error, .Toastify__toast--warning"""
_PROMPT = ".jp-CodeCell .jp-InputArea-prompt"


def why_not() -> str | None:
    """Return why no notebook can be opened in a browser here and what to do, or None."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "playwright is not installed: pip install playwright (no browser of its own)"
    if find_browser() is None:
        return "no chromium here, so no notebook was opened in a browser: apt install chromium"
    return None


def find_browser() -> str | None:
    for path in filter(None, map(shutil.which, BROWSERS)):
        said = subprocess.run([path, "--version"], capture_output=True, text=True)
        if said.returncode == 0:  # Ubuntu's chromium-browser may only say what to install
            return path
    return None


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    root = ["--no-sandbox"] if os.getuid() == 0 else []  # root has no sandbox to use
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=find_browser(), args=[*QUIET, *root], timeout=1000 * PATIENCE
        )
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def start_lab(folder: Path) -> Iterator[str]:
    """Start JupyterLab on copies, with the course's settings alone; give its address."""
    for name in ("notebooks", "data_samples"):
        shutil.copytree(ROOT / name, folder / name)
    overrides = folder / "config" / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir(parents=True)
    overrides.write_text(json.dumps(ALL_CELLS))
    own = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "IPYTHONDIR": "ipython"}
    own |= {"JUPYTER_RUNTIME_DIR": "runtime", "ALIGN_EDU_PROGRESS": "progress.json"}
    token = secrets.token_hex(16)
    environment = os.environ | {name: str(folder / path) for name, path in own.items()}
    command = [sys.executable, "-m", "align_edu.lab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", "--port=0", f"--ServerApp.root_dir={folder / 'notebooks'}"]
    command += [f"--LabApp.workspaces_dir={folder}", f"--LabApp.user_settings_dir={folder}"]
    with (folder / "log.txt").open("w") as log:
        server = subprocess.Popen(
            command, env=environment | {"JUPYTER_TOKEN": token}, stdout=log, stderr=log, cwd=folder
        )
    try:
        yield f"{_wait_until_it_answers(server, folder, token)}lab/tree/{{}}?reset&token={token}"
    finally:
        server.terminate()  # it stops its kernels; one that it leaves sees its parent die
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_it_answers(server: subprocess.Popen[bytes], folder: Path, token: str) -> str:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        for file in folder.glob("runtime/jpserver-*.json"):
            with contextlib.suppress(json.JSONDecodeError, OSError):  # half written; not yet there
                address = str(json.loads(file.read_text())["url"])
                with urllib.request.urlopen(f"{address}api/status?token={token}"):
                    return address
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{(folder / 'log.txt').read_text()[-3000:]}")


@dataclass
class Notebook:
    page: Any
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        note, own = self.complaints.append, ("http://127.0.0.1:", "data:", "blob:")
        self.page.on("pageerror", lambda error: note(f"error: {error}"))
        self.page.on("console", lambda said: said.type == "error" and note(f"console: {said.text}"))
        self.page.on("request", lambda out: out.url.startswith(own) or note(f"asks {out.url}"))

    def menu(self, *words: str) -> None:
        self.page.locator(".lm-MenuBar-itemLabel").get_by_text(words[0], exact=True).click()
        for word in words[1:]:
            self.page.locator(".lm-Menu-itemLabel").get_by_text(word, exact=True).click()

    def red(self) -> list[str]:
        return [text.strip() for text in self.page.locator(_RED).all_inner_texts()]

    def cell(self, text: str) -> Any:
        return self.page.locator(".jp-CodeCell").filter(has_text=text).first

    def outputs(self, cell: Any) -> list[str]:
        found = cell.locator(".jp-OutputArea-output").all_inner_texts()
        return [" ".join(text.split()) for text in found]

    def run_all(self) -> None:
        """Forget the stored outputs, and set all cells running."""
        self.menu("Edit", "Clear Outputs of All Cells")
        self.page.locator(_PROMPT).get_by_text("[ ]:").first.wait_for()
        self.menu("Run", "Run All Cells")

    def wait_until_ran(self, after: int = 0) -> None:
        """Wait until something is red, or the last cell has run with a number above ``after``."""
        ran, options = "asked => askRan(asked)", {"timeout": 1000 * RUN, "polling": 200}
        self.page.wait_for_function(ran, arg=[_RED, after], **options)

    def counts(self) -> list[str]:
        return [text.strip(" []:") for text in self.page.locator(_PROMPT).all_inner_texts()]

    def run_instead(self, cell: Any, source: str) -> int:
        """Write another text into a cell and run it; return its count. Selects the next cell."""
        before = max(map(int, self.counts()))
        cell.locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(source)
        self.page.keyboard.press("Shift+Enter")
        cell.locator(".jp-InputArea-prompt").get_by_text(f"[{before + 1}]:").wait_for()
        return before + 1

    def figure(self, box: Any, before: str = "") -> str:
        """Return the figure below widgets, its bytes in letters, once it is not what it was."""
        changed, asked = "asked => askChanged(asked)", [box.element_handle(), before]
        return str(self.page.wait_for_function(changed, arg=asked, polling=50).json_value())


def open_notebook(browser: Any, address: str, name: str) -> Notebook:
    """Open a notebook in a window of its own, and wait for its kernel."""
    window = browser.new_context(viewport={"width": 1280, "height": 900})
    window.set_default_timeout(1000 * PATIENCE)
    window.add_init_script(path=Path(__file__).with_name("in_the_page.js"))
    notebook = Notebook(window.new_page())
    notebook.listen()
    notebook.page.goto(address.format(name))
    notebook.page.get_by_title("Change kernel").get_by_text("| Idle").wait_for()
    return notebook


NUMBERS = ("00", "06")  # one with an exercise to answer, one with a slider
WRONG = "def chance_loss(n):\n    import math\n    return math.log(n)"
WHY_NOT = why_not()
REQUIRED = os.environ.get("ALIGN_EDU_BROWSER") == "required"
pytestmark = pytest.mark.skipif(bool(WHY_NOT) and not REQUIRED, reason=WHY_NOT or "")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Open a notebook by its number, and set all its cells running."""
    assert WHY_NOT is None, WHY_NOT
    with start_lab(tmp_path_factory.mktemp("lab")) as address, open_browser() as browser:

        def open_and_run(number: str) -> Notebook:
            notebook = open_notebook(browser, address, f"{find_lesson(number).file}.ipynb")
            assert notebook.red() == [], "as stored"
            notebook.run_all()
            return notebook

        yield open_and_run


@pytest.fixture(scope="module")
def notebooks(opened):
    return {number: opened(number) for number in NUMBERS}


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
    assert notebook.page.locator(".lm-MenuBar-itemLabel").all_inner_texts() == own
    assert notebook.page.locator(".Toastify__toast").count() == 0


def test_a_clicked_answer_gives_its_feedback(notebook, number):
    for place, question in enumerate(load_questions(number)):
        box = notebook.page.locator(".widget-vbox .widget-vbox").nth(place)
        rights = [option.right for option in question.options]
        for choice in (rights.index(False), rights.index(True)):
            box.locator("label:has(input)").nth(choice).click()
            box.get_by_text(question.feedback(LETTERS[choice])[1], exact=True).wait_for()


def move_the_slider(notebook: Notebook, keys=("ArrowRight", "ArrowLeft")) -> tuple[str, str]:
    """Move the first slider and back; return the text beside it before and in between."""
    box = notebook.page.locator(".widget-interact").filter(has=notebook.page.locator(".slider"))
    box, handle = box.first, box.get_by_role("slider").first
    before, text = notebook.figure(box), box.inner_text()
    handle.press(keys[0])
    moved, there = notebook.figure(box, before), box.inner_text()
    handle.press(keys[1])
    assert notebook.figure(box, moved) == before, "the slider is back, its figure is not"
    return text, there


@pytest.mark.parametrize("number", ["06"], indirect=True)
def test_a_slider_that_turns_a_vector_moves_the_figure_and_the_loss(notebook):
    texts = move_the_slider(notebook, ("PageUp", "PageDown"))  # five steps of five degrees
    before, moved = (re.findall(r"loss ([\d.]+)", text) for text in texts)
    assert before and moved and before != moved


def compose_an_elephant(notebook: Notebook) -> None:
    box = notebook.page.locator(".widget-interact").filter(has_text="captions by cosine").first
    before = notebook.figure(box)
    box.locator("select").first.select_option("elephant")
    notebook.figure(box, before)
    assert "object elephant" in " ".join(box.inner_text().split())


@pytest.mark.parametrize("number", ["00"], indirect=True)
def test_the_scene_composer_answers_a_choice(notebook):
    compose_an_elephant(notebook)


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


def watch_the_training(notebook: Notebook) -> None:
    """Wait until the figure of the training cell has changed three times."""
    drawn = notebook.cell("train_until(40)").locator("img").first
    drawn.wait_for(timeout=1000 * RUN)
    changed = "([img, before]) => !img.isConnected || img.src !== before"
    for _ in range(3):
        asked = [drawn.element_handle(), drawn.get_attribute("src")]
        notebook.page.wait_for_function(changed, arg=asked, polling=50)


def upload_an_elephant(notebook: Notebook, box: Any) -> None:
    scene = {"kind": "elephant", "colour": "pink", "place": "beach", "weather": "clear"}
    scene |= {"count": 1, "size": "large", "style": "photo", "other_kind": ""}
    picture, own = draw(scene_from_facts(scene), np.random.default_rng(0), 192), io.BytesIO()
    picture.save(own, "PNG")
    before = notebook.figure(box)
    with notebook.page.expect_file_chooser() as chooser:
        box.get_by_role("button", name="Upload").click()
    file = {"name": "own.png", "mimeType": "image/png", "buffer": own.getvalue()}
    chooser.value.set_files(file)  # type: ignore[arg-type]
    before = notebook.figure(box, before)
    box.get_by_role("button", name="2", exact=True).click()  # search with the second result
    notebook.figure(box, before)


def search_an_own_photograph(notebook: Notebook) -> None:
    box = notebook.page.locator(".widget-interact").first
    before = notebook.figure(box)
    words = box.locator("input[type=text]").first
    words.fill("a pink elephant on the beach")
    words.press("Enter")
    notebook.figure(box, before)
    upload_an_elephant(notebook, box)  # it is among the five best


def take_another_picture(notebook: Notebook) -> None:
    compose_an_elephant(notebook)
    box = notebook.page.locator(".widget-interact").filter(has_text="found:").first
    before = notebook.figure(box)
    box.locator("select").first.select_option(index=1)
    notebook.figure(box, before)
    upload_an_elephant(notebook, box)  # the query now starts from it


USES = {
    "05": compose_an_elephant,
    "09": search_an_own_photograph,
    "10": compose_an_elephant,
    "11": take_another_picture,
    "19": move_the_slider,
}


@pytest.mark.long
@pytest.mark.parametrize("number", ["05", "08", "09", "10", "11", "19"])
def test_further_notebooks_run_and_answer(number, opened):
    notebook = opened(number)
    if number == "08":
        watch_the_training(notebook)
    notebook.wait_until_ran()
    assert notebook.red() == []
    USES.get(number, lambda _: None)(notebook)
    assert notebook.complaints == []
    notebook.page.context.close()
