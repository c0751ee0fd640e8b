"""pyproject.toml, requirements.lock and environment.yml agree, and name all that is imported."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
MODULE_OF = {
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "open_clip": "open-clip-torch",
    "sklearn": "scikit-learn",
    "torch_xla": "torch-xla",
    "yaml": "pyyaml",
}
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


def test_make_and_ci_name_the_same_check():
    commands = (ROOT / ".ci" / "run").read_text()
    assert "\nmake test COVERAGE=1\nmake test-long COVERAGE=1\n" in commands
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test", "test-long", "lab", "notebooks", "lint", "clean", "setup"):
        assert f"\n{target}:" in makefile
