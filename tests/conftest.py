"""What every test can rely on: no network, no user settings, no window."""

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NETWORK_CUT = ROOT / "tests" / "network_cut"
OFFENDERS = Path(tempfile.mkdtemp(prefix="align_edu_network_")) / "refused.txt"


def _cut_the_network() -> None:
    """Cut it here, and by the environment in each child process and notebook kernel."""
    paths = [str(NETWORK_CUT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, paths)))
    os.environ["ALIGN_EDU_NETWORK_LOG"] = str(OFFENDERS)
    spec = importlib.util.spec_from_file_location("network_cut", NETWORK_CUT / "sitecustomize.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["network_cut"] = module
    spec.loader.exec_module(module)


_cut_the_network()
os.environ["ALIGN_EDU_PROGRESS"] = ""  # that of who runs the tests stays as it is


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of the released weights, tiny and random; not to be changed."""
    from tests.tiny_released import save_released

    return save_released(tmp_path_factory.mktemp("released") / "align-tiny")


@pytest.fixture
def copy(released: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return shutil.copytree(released, tmp_path / "copy")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A connection that some library tried, and hid, fails the run."""
    if OFFENDERS.exists():
        print(f"\nThe network was asked for:\n{OFFENDERS.read_text()}", file=sys.stderr)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
