"""What every test can rely on: no network, no user settings, a temporary folder of its run."""

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

NETWORK_CUT = Path(__file__).resolve().parent / "network_cut"
WORKER = "PYTEST_XDIST_WORKER" in os.environ
# Files that take minutes, longest first: begun last, one would keep a single worker busy.
LONGEST = (
    "test_notebooks_are_clean.py", "test_grade.py", "test_processes.py", "test_xla.py",
    "test_training.py", "test_browser.py", "08_training_on_toy_cc3m.ipynb",
    "16_full_scale_on_tpu.ipynb", "test_towers.py", "test_filters.py", "test_training_inputs.py",
    "test_loss.py", "test_lab.py", "test_nbgrader.py",
)  # fmt: skip
if not WORKER:
    os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="align_edu_tests_")
tempfile.tempdir = os.environ["TMPDIR"]  # of this run, its workers and their children
TEMPORARY = Path(tempfile.tempdir)
OFFENDERS = TEMPORARY / "refused.txt"


def _cut_the_network() -> None:
    """Cut it here, and by the environment in each child process and notebook kernel."""
    paths = [str(NETWORK_CUT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, paths)))
    os.environ["ALIGN_EDU_NETWORK_LOG"] = str(OFFENDERS)
    spec = importlib.util.spec_from_file_location("network_cut", NETWORK_CUT / "sitecustomize.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["network_cut"] = module
    spec.loader.exec_module(module)


_cut_the_network()
os.environ["ALIGN_EDU_PROGRESS"] = ""  # that of who runs the tests stays as it is


@pytest.fixture(scope="session")
def released(tmp_path_factory):
    """A folder like that of the released weights, tiny and random; not to be changed."""
    from tests.tiny_released import save_released

    return save_released(tmp_path_factory.mktemp("released") / "align-tiny")


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """Shards of 200 pairs of the toy world; not to be changed."""
    from align_edu import World

    return World(seed=3, image_size=40).write(tmp_path_factory.mktemp("toy") / "w", 200, workers=1)


@pytest.fixture
def answer(capsys):
    """A function that runs a command of align-edu and returns its JSON."""
    from align_edu.cli import main

    def run(*command):
        capsys.readouterr()
        assert main([*map(str, command), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def copy(released, tmp_path):
    return shutil.copytree(released, tmp_path / "copy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which some library tried a connection; else remove what is temporary."""
    if OFFENDERS.exists():
        print(f"\nThe network was asked for:\n{OFFENDERS.read_text()}", file=sys.stderr)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if not WORKER and session.exitstatus == pytest.ExitCode.OK:
        shutil.rmtree(TEMPORARY, ignore_errors=True)
