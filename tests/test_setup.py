"""The packages that are named, locked, imported and shipped agree; `make setup` builds them."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from typing import Any

import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.samples import ROOT

MODULE_OF = {"PIL": "pillow", "faiss": "faiss-cpu", "open_clip": "open-clip-torch"}
MODULE_OF |= {"sklearn": "scikit-learn", "torch_xla": "torch-xla", "yaml": "pyyaml"}
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
PIP = next(part["pip"] for part in CONDA if isinstance(part, dict))


def named(lines: list[str]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines if not line.startswith(("#", "-"))]
    return {canonicalize_name(each.name): each for each in found}


WANTED = named([*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])])
LOCKED = named((ROOT / "requirements.lock").read_text().splitlines())


def exact(requirement: Requirement) -> str:
    (bound,) = requirement.specifier
    assert bound.operator == "==", requirement
    return bound.version


def test_the_lock_holds_exact_versions_no_address_and_every_wanted_package_in_its_range():
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|--index|--find-links|@ ", text)
    assert len({name: exact(each) for name, each in LOCKED.items()}) > 100
    for name, each in WANTED.items():
        assert each.specifier.contains(exact(LOCKED[name])), each


def test_conda_has_the_same_python_and_top_level_packages_at_the_same_versions():
    found = {name: exact(each) for name, each in named(PIP).items()}
    assert found == {name: exact(LOCKED[name]) for name in WANTED}
    options = [line for line in PIP if line.startswith("-")]
    assert options == ["--constraint requirements.lock", "--editable ."]
    assert "python=3.11" in CONDA and PROJECT["requires-python"] == ">=3.11,<3.14"


def test_torch_and_its_companions_fit_and_xla_is_left_out_where_it_has_no_wheel():
    companions = ("torch", "torchvision", "torch-xla")
    assert [exact(LOCKED[name]) for name in companions] == ["2.9.0", "0.24.0", "2.9.0"]
    for found in (WANTED, LOCKED, named(PIP)):
        assert (marker := found["torch-xla"].marker) is not None
        assert marker.evaluate({"sys_platform": "linux", "platform_machine": "x86_64"})
        assert not marker.evaluate({"sys_platform": "darwin", "platform_machine": "arm64"})


def imported_packages(folder: str) -> set[str]:
    """Packages that the Python files of a folder import, without Python's own and ours."""
    own = {"align_edu", "tests", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    names: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module or "")
    foreign = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - own
    return {canonicalize_name(MODULE_OF.get(name, name)) for name in foreign}


def test_what_is_imported_is_asked_for_and_every_core_dependency_is_imported():
    imported = imported_packages("align_edu")
    assert imported | imported_packages("tests") <= set(WANTED)
    assert set(named(PROJECT["dependencies"])) <= imported


def test_the_installed_package_is_this_one():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert metadata.version("align-edu") == citation["version"] == PROJECT["version"]


def test_the_wheel_holds_the_package_and_the_course_and_keeps_what_a_student_has_begun(tmp_path):
    wheel, content = tmp_path / "site", tmp_path / "content"  # pip unpacks it, as here
    for file in WheelBuilder(str(ROOT)).build(directory=str(wheel), versions=["standard"]):
        zipfile.ZipFile(file).extractall(wheel)
    for path in (ROOT / "align_edu").rglob("*"):
        assert path.suffix == ".pyc" or (wheel / path.relative_to(ROOT)).exists(), path
    begun = content / "mine" / "notebooks" / "00_start_here.ipynb"
    begun.parent.mkdir(parents=True)
    begun.write_text("mine")
    # The last two are what a notebook does that was uploaded alone, as to Colab.
    code = """import align_edu.cli, align_edu.lab as lab; print(align_edu.__file__)
    align_edu.cli.main(['lab', 'mine', '--only-copy'])
    lab.start('05')
    lab.model()"""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'tests' / 'network_cut'}:{wheel}"}
    command = [sys.executable, "-c", re.sub("\n +", "\n", code)]
    options = {"cwd": content, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    for words in (str(wheel), "mine/notebooks", "data samples: ../data_samples", "the bundled one"):
        assert words in done.stdout
    assert begun.read_text() == "mine"
    for part in ("notebooks/05_one_shared_space.ipynb", "data_samples/toy_model/config.json"):
        assert (content / "mine" / part).read_bytes() == (ROOT / part).read_bytes()


# Plays both python3 (version check, venv) and .venv/bin/python (pip); writes down its arguments.
PYTHON = """#!/bin/sh
echo "$@" >> "{log}"
case "$*" in
  *version_info*) exit {old} ;;
  *"venv --clear"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"pip "*"install"*) test ! -e "{fail}" ;;
esac
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_builds_once_renews_a_changed_lock_and_mends_a_moved_folder(tmp_path):
    folder, python, log = tmp_path / "a clone (with spaces)", tmp_path / "python3", tmp_path / "log"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)

    def make(folder=folder, old=0):
        log.write_text("")
        python.write_text(PYTHON.format(log=log, fail=tmp_path / "fail", old=old))
        python.chmod(0o755)
        environment = {"PATH": os.environ["PATH"], "PYTHON": str(python)}  # no HOME
        options = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
        done = subprocess.run(["make", "setup"], **options)
        return done, log.read_text().splitlines()

    def begins_anew(calls):
        return any("venv --clear" in line for line in calls)

    refused, _ = make(old=1)
    assert refused.returncode != 0 and "PYTHON=python3.12" in refused.stderr
    assert not (folder / ".venv").exists()
    (tmp_path / "fail").touch()
    failed, calls = make()
    assert failed.returncode != 0 and "about 5 minutes, 8 GB" in failed.stdout
    assert begins_anew(calls) and not (folder / ".venv" / ".ready").exists()
    (tmp_path / "fail").unlink()
    mended, calls = make()
    assert mended.returncode == 0 and not begins_anew(calls)
    installs = [line for line in calls if " install " in line]
    assert "--no-deps --no-compile --requirement requirements.lock" in installs[0]
    assert installs[1].endswith("--editable .")
    again, calls = make()
    assert (again.returncode, calls) == (0, [])
    later = (folder / ".venv" / ".ready").stat().st_mtime + 10
    os.utime(folder / "requirements.lock", (later, later))
    renewed, calls = make()
    assert renewed.returncode == 0 and any("requirements.lock" in line for line in calls)
    assert not begins_anew(calls)
    moved = folder.rename(tmp_path / "elsewhere")
    done, calls = make(moved)
    assert done.returncode == 0 and any(line.endswith("--editable .") for line in calls)
    assert (moved / ".venv" / ".ready").read_text() == str(moved)
