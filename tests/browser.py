"""JupyterLab and a real browser for tests: all on this machine, without a network, in a copy."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120.0  # seconds, for machines that are slow or busy
RUN = 600.0  # seconds for all cells of a notebook
VIEW = {"width": 1280, "height": 900}

# Off-screen cells too are in the page.
ALL_CELLS = {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}

# No name is looked up but this machine's; the browser asks for no updates, lists or models.
QUIET = (
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-pings",
)

_RED = """.jp-RenderedText[data-mime-type="application/vnd.jupyter.stderr"],
          .jp-RenderedText[data-mime-type="application/vnd.jupyter.error"],
          .jp-Dialog, .Toastify__toast--error, .Toastify__toast--warning"""

_PROMPT = ".jp-CodeCell .jp-InputArea-prompt"

# Whether all cells have run, the last one after a given count; or something new is red.
_RAN = """([red, known, after]) => {
    if (document.querySelectorAll(red).length > known) return true;
    const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputArea-prompt")];
    const counts = prompts.map(each => parseInt(each.textContent.slice(1)));
    const kernel = document.querySelector('[title^="Change kernel"]').textContent;
    return !counts.some(isNaN) && counts.at(-1) > after && kernel.endsWith("Idle");
}"""

_CHANGED = """([box, part, before]) => {
    const found = box.querySelector(".widget-output " + part);
    const shown = found && (found.src || found.textContent);
    const kernel = document.querySelector('[title^="Change kernel"]').textContent;
    return shown && shown !== before && kernel.endsWith("Idle") ? shown : null;
}"""


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
    """Return the path of the first installed browser that starts, or None."""
    for path in filter(None, map(shutil.which, BROWSERS)):
        said = subprocess.run([path, "--version"], capture_output=True, text=True)
        if said.returncode == 0:  # Ubuntu's chromium-browser may only say what to install
            return path
    return None


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    """Start a headless browser, and stop it at the end; gives playwright's Browser."""
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


@dataclass(frozen=True)
class Lab:
    """A JupyterLab and its folder: copies of notebooks and data, and all that it writes."""

    folder: Path
    token: str
    address: str = ""

    def ask(self, path: str, method: str = "GET") -> Any:
        """Return what the server's interface answers."""
        request = urllib.request.Request(
            f"{self.address}{path}", method=method, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.loads(answer.read() or b"null")

    def stop_kernel(self, notebook: str) -> None:
        """Stop the kernel of a notebook, so that the next one has the machine's memory."""
        for session in self.ask("api/sessions"):
            if session["path"] == notebook:
                self.ask(f"api/sessions/{session['id']}", "DELETE")


@contextlib.contextmanager
def start_lab(folder: Path) -> Iterator[Lab]:
    """Start JupyterLab in an empty folder that gets copies of the notebooks; stop it at the end."""
    for name in ("notebooks", "data_samples"):
        shutil.copytree(ROOT / name, folder / name)
    overrides = folder / "config" / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir(parents=True)
    overrides.write_text(json.dumps(ALL_CELLS))
    lab = Lab(folder, secrets.token_hex(16))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]  # where it is taken meanwhile, the next free one
    command = [sys.executable, "-m", "align_edu.lab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={folder / 'notebooks'}"]
    command += [f"--LabApp.workspaces_dir={folder}", f"--LabApp.user_settings_dir={folder}"]
    with (folder / "log.txt").open("w") as log:
        server = subprocess.Popen(
            command, env=_environment(lab), stdout=log, stderr=log, cwd=folder
        )
    try:
        yield _wait_until_it_answers(server, lab)
    finally:
        server.terminate()  # it stops its kernels; one that it leaves sees its parent die
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _environment(lab: Lab) -> dict[str, str]:
    """The environment of the server: the course's settings, and nothing of this user's."""
    own = {
        "JUPYTER_CONFIG_DIR": lab.folder / "config",
        "JUPYTER_DATA_DIR": lab.folder / "data",
        "JUPYTER_RUNTIME_DIR": lab.folder / "runtime",
        "IPYTHONDIR": lab.folder / "ipython",
        "ALIGN_EDU_PROGRESS": lab.folder / "progress.json",
    }
    return {**os.environ, **{name: str(path) for name, path in own.items()}} | {
        "JUPYTER_TOKEN": lab.token
    }


def _wait_until_it_answers(server: subprocess.Popen[bytes], lab: Lab) -> Lab:
    """Return the lab with the address that the server wrote down, once it answers there."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for file in lab.folder.glob("runtime/jpserver-*.json"):
            with contextlib.suppress(json.JSONDecodeError, OSError):  # half written; not yet there
                found = replace(lab, address=json.loads(file.read_text())["url"])
                found.ask("api/status")
                return found
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.1)
            break
    log = (lab.folder / "log.txt").read_text()
    raise AssertionError(f"JupyterLab did not start:\n{log[-3000:]}")


@dataclass
class Notebook:
    """A notebook that is open in the browser, and what its page complained of so far."""

    page: Any
    name: str
    pictures: Path
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Write down each error of the page, and each request that leaves this machine."""
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("console", self._hear)
        self.page.on("request", self._follow)

    def _hear(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text} ({message.location.get('url')})")

    def _follow(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.complaints.append(f"request that leaves this machine: {request.url}")

    def menus(self) -> list[str]:
        """Return the names of the menus."""
        return list(self.page.locator(".lm-MenuBar-itemLabel").all_inner_texts())

    def menu(self, *words: str) -> None:
        """Click through the menus of JupyterLab."""
        self.page.locator(".lm-MenuBar-itemLabel").get_by_text(words[0], exact=True).click()
        for word in words[1:]:
            self.page.locator(".lm-Menu-itemLabel").get_by_text(word, exact=True).click()

    def red(self) -> list[str]:
        """Return the texts of all errors, warnings and dialogs that can be seen."""
        return [text.strip() for text in self.page.locator(_RED).all_inner_texts()]

    def cell(self, text: str) -> Any:
        """Return the first code cell with a text in it."""
        return self.page.locator(".jp-CodeCell").filter(has_text=text).first

    def outputs(self, cell: Any) -> list[str]:
        """Return the texts below a cell, each in one line."""
        found = cell.locator(".jp-OutputArea-output").all_inner_texts()
        return [" ".join(text.split()) for text in found]

    def run_all(self) -> None:
        """Forget the stored outputs, and set all cells running."""
        self.menu("Edit", "Clear Outputs of All Cells")
        self.page.locator(_PROMPT).get_by_text("[ ]:").first.wait_for()
        self.menu("Run", "Run All Cells")

    def wait_until_ran(self, after: int = 0, known: int = 0) -> None:
        """Wait until all cells have run, the last of them later than number ``after``.

        Ends early where more is red than what is known: then no cell below that one runs.
        """
        asked = [_RED, known, after]
        self.page.wait_for_function(_RAN, arg=asked, timeout=1000 * RUN, polling=200)

    def counts(self) -> list[str]:
        """Return what stands in brackets beside each code cell."""
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

    def below(self, box: Any, part: str, before: str = "") -> str:
        """Return what widgets show below them once it is not what was before.

        part: "img" gives the bytes of a figure, in letters; "pre" a text.
        """
        asked = [box.element_handle(), part, before]
        return str(self.page.wait_for_function(_CHANGED, arg=asked, polling=50).json_value())

    @contextlib.contextmanager
    def pictured(self) -> Iterator[None]:
        """Save what the browser shows when something in the block fails, and say where."""
        try:
            yield
        except Exception as error:
            path = self.pictures / f"{self.name}.png"
            self.page.screenshot(path=path)
            error.add_note(f"What the browser showed: {path}")
            raise


@contextlib.contextmanager
def open_notebook(browser: Any, lab: Lab, number: str) -> Iterator[Notebook]:
    """Open a notebook in a window of its own, wait for its kernel; close both at the end."""
    (path,) = lab.folder.glob(f"notebooks/{number}_*.ipynb")
    window = browser.new_context(viewport=VIEW)
    window.set_default_timeout(1000 * PATIENCE)
    notebook = Notebook(window.new_page(), path.stem, lab.folder)
    notebook.listen()
    try:
        with notebook.pictured():
            notebook.page.goto(f"{lab.address}lab/tree/{path.name}?reset&token={lab.token}")
            notebook.page.get_by_title("Change kernel").get_by_text("| Idle").wait_for()
        yield notebook
    finally:
        window.close()
        lab.stop_kernel(path.name)
