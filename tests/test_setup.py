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
        marker = found["torch-xla"].marker
        assert marker is not None
        assert marker.evaluate({"sys_platform": "linux", "platform_machine": "x86_64"})
        assert not marker.evaluate({"sys_platform": "darwin", "platform_machine": "arm64"})


def imported_packages(folder: str) -> set[str]:
    """Packages that the Python files of a folder import, without Python's own and ours."""
    own = {"align_edu", "tests", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    names: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    foreign = names - set(sys.stdlib_module_names) - own
    return {canonicalize_name(MODULE_OF.get(name, name)) for name in foreign}


def test_what_is_imported_is_asked_for_and_every_core_dependency_is_imported():
    imported = imported_packages("align_edu")
    assert imported | imported_packages("tests") <= set(WANTED)
    assert set(named(PROJECT["dependencies"])) <= imported


def test_the_installed_package_is_this_one():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert metadata.version("align-edu") == citation["version"] == PROJECT["version"]


def test_the_wheel_holds_every_file_of_the_package():
    shipped = {f.distribution_path for f in WheelBuilder(str(ROOT)).recurse_included_files()}
    files = [path for path in (ROOT / "align_edu").rglob("*") if path.is_file()]
    kept = {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".pyc"}
    assert kept <= shipped and {path.suffix for path in files} > {".py", ".toml", ".txt", ".j2"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A folder in which the wheel is unpacked, as pip installs it."""
    folder = tmp_path_factory.mktemp("site")
    for file in WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"]):
        with zipfile.ZipFile(file) as packed:
            packed.extractall(folder)
    return folder


def run_there(wheel, folder, code):
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'tests' / 'network_cut'}:{wheel}"}
    command = [sys.executable, "-c", f"import align_edu.cli, align_edu.lab as lab; {code}"]
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wheel_brings_the_course_and_keeps_what_a_student_has_begun(wheel, tmp_path):
    command = "align_edu.cli.main(['lab', 'mine', '--only-copy'])"
    begun = tmp_path / "mine" / "notebooks" / "00_start_here.ipynb"
    begun.parent.mkdir(parents=True)
    begun.write_text("mine")
    said = run_there(wheel, tmp_path, f"print(align_edu.__file__); {command}")
    assert str(wheel) in said and "mine/notebooks" in said
    assert begun.read_text() == "mine"
    for part in ("notebooks/05_one_shared_space.ipynb", "data_samples/toy_model/config.json"):
        assert (tmp_path / "mine" / part).read_bytes() == (ROOT / part).read_bytes()


def test_a_notebook_alone_finds_its_data_once_the_wheel_is_installed(wheel, tmp_path):
    folder = tmp_path / "content"
    folder.mkdir()
    said = run_there(wheel, folder, "lab.start('05'); lab.model()")
    assert "data samples: ../data_samples" in said and "the bundled one" in said


def test_make_and_ci_name_the_same_check():
    commands = (ROOT / ".ci" / "run").read_text()
    assert "\nmake test COVERAGE=1\nmake test-long COVERAGE=1\n" in commands
    makefile = (ROOT / "Makefile").read_text()
    targets = "demo test test-long lab notebooks site lint clean setup"
    for target in targets.split():
        assert f"\n{target}:" in makefile


# Plays both python3 (version check, venv) and .venv/bin/python (pip); writes down its arguments.
PYTHON = """#!/bin/sh
echo "$@" >> "{log}"
case "$*" in
  *version_info*) exit {old} ;;
  *"venv --clear"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"pip "*"install"*) test ! -e "{fail}" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "a clone (with spaces)"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def make(checkout, tmp_path):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    python, log = tmp_path / "python3", tmp_path / "log"

    def run(folder=checkout, old=0):
        log.write_text("")
        python.write_text(PYTHON.format(log=log, fail=tmp_path / "fail", old=old))
        python.chmod(0o755)
        environment = {"PATH": os.environ["PATH"], "PYTHON": str(python)}  # no HOME
        options = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
        done = subprocess.run(["make", "setup"], **options)
        return done, log.read_text().splitlines()

    return run


def test_it_builds_once_renews_a_changed_lock_and_mends_a_moved_folder(make, checkout, tmp_path):
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
