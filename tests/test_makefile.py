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

Make = Callable[..., tuple[subprocess.CompletedProcess[str], list[str]]]


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "a clone (with spaces)"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def make(checkout, tmp_path):
    """Run `make setup`; return how it ended, and what was asked of Python."""
    python, log = tmp_path / "python3", tmp_path / "log"

    def run(
        folder: Path = checkout, old: int = 0
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        log.write_text("")
        python.write_text(PYTHON.format(log=log, fail=tmp_path / "fail", old=old))
        python.chmod(0o755)
        environment = {"PATH": os.environ["PATH"], "PYTHON": str(python)}  # no HOME
        done = subprocess.run(
            ["make", "setup"], cwd=folder, env=environment, capture_output=True, text=True
        )
        return done, log.read_text().splitlines()

    return run


def test_it_builds_once_renews_a_changed_lock_and_installs_a_moved_folder_again(
    make, checkout, tmp_path
):
    first, calls = make()
    assert first.returncode == 0, first.stderr
    assert "about 5 minutes, 8 GB" in first.stdout
    installs = [line for line in calls if " install " in line]
    assert "--no-deps --no-compile --requirement requirements.lock" in installs[0]
    assert installs[1].endswith("--editable .")
    again, calls = make()
    assert (again.returncode, calls) == (0, [])
    later = (checkout / ".venv" / ".ready").stat().st_mtime + 10
    os.utime(checkout / "requirements.lock", (later, later))
    renewed, calls = make()
    assert renewed.returncode == 0 and any("requirements.lock" in line for line in calls)
    assert not any("venv --clear" in line for line in calls)
    moved = checkout.rename(tmp_path / "elsewhere")
    done, calls = make(moved)
    assert done.returncode == 0 and any(line.endswith("--editable .") for line in calls)
    assert (moved / ".venv" / ".ready").read_text() == str(moved)


def test_a_python_that_does_not_fit_is_refused_with_the_remedy(make, checkout):
    refused, _ = make(old=1)
    assert refused.returncode != 0 and "PYTHON=python3.12" in refused.stderr
    assert not (checkout / ".venv").exists()


def test_a_failed_install_is_not_taken_for_a_good_one(make, checkout, tmp_path):
    (tmp_path / "fail").touch()
    assert make()[0].returncode != 0
    assert not (checkout / ".venv" / ".ready").exists()
    (tmp_path / "fail").unlink()
    done, calls = make()
    assert done.returncode == 0
    assert not any("venv --clear" in line for line in calls), "it begins anew"
