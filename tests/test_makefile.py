"""`make setup`: builds once, reuses, repairs itself, and never takes a failed build for a good one.

Python is played by a small script, so that nothing is installed.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

# Plays both python3 (version check, venv) and .venv/bin/python (pip); writes down its arguments.
PYTHON = """#!/bin/sh
echo "$@" >> "{log}"
case "$*" in
  *version_info*) exit {old} ;;
  *"venv --clear"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"pip "*"install"*) test ! -e "{fail}" ;;
esac
"""

Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "a clone (with spaces)"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def make(checkout: Path, tmp_path: Path) -> Make:
    def run(folder: Path = checkout, old: int = 0) -> subprocess.CompletedProcess[str]:
        python = tmp_path / "python3"
        python.write_text(PYTHON.format(log=tmp_path / "log", fail=tmp_path / "fail", old=old))
        python.chmod(0o755)
        environment = {"PATH": os.environ["PATH"], "PYTHON": str(python)}  # no HOME
        return subprocess.run(
            ["make", "setup"], cwd=folder, env=environment, capture_output=True, text=True
        )

    return run


def calls(tmp_path: Path) -> list[str]:
    """What was asked of Python since the last time."""
    log = tmp_path / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def test_the_first_call_builds_says_so_and_the_second_does_nothing(
    make: Make, tmp_path: Path
) -> None:
    first = make()
    assert first.returncode == 0, first.stderr
    assert "about 5 minutes, 8 GB" in first.stdout
    installs = [line for line in calls(tmp_path) if " install " in line]
    assert "--no-deps --no-compile --requirement requirements.lock" in installs[0]
    assert installs[1].endswith("--editable .")
    assert make().returncode == 0
    assert calls(tmp_path) == []


def test_a_python_that_does_not_fit_is_refused_with_the_remedy(make: Make, checkout: Path) -> None:
    refused = make(old=1)
    assert refused.returncode != 0
    assert "PYTHON=python3.12" in refused.stderr
    assert not (checkout / ".venv").exists()


def test_a_failed_install_is_not_taken_for_a_good_one(
    make: Make, checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "fail").touch()
    assert make().returncode != 0
    assert not (checkout / ".venv" / ".ready").exists()
    (tmp_path / "fail").unlink()
    calls(tmp_path)
    assert make().returncode == 0
    assert not any("venv --clear" in line for line in calls(tmp_path)), "it begins anew"


def test_a_changed_lock_is_installed_into_the_same_environment(
    make: Make, checkout: Path, tmp_path: Path
) -> None:
    make()
    calls(tmp_path)
    later = (checkout / ".venv" / ".ready").stat().st_mtime + 10
    os.utime(checkout / "requirements.lock", (later, later))
    assert make().returncode == 0
    asked = calls(tmp_path)
    assert any("requirements.lock" in line for line in asked)
    assert not any("venv --clear" in line for line in asked)


def test_a_moved_folder_is_installed_again(make: Make, checkout: Path, tmp_path: Path) -> None:
    make()
    calls(tmp_path)
    moved = checkout.rename(tmp_path / "elsewhere")
    assert make(moved).returncode == 0
    assert any(line.endswith("--editable .") for line in calls(tmp_path))
    assert (moved / ".venv" / ".ready").read_text() == str(moved)
