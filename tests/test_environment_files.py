"""pyproject.toml, requirements.lock and environment.yml agree, and name all that is imported."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

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


def requirements(lines: list[str]) -> list[Requirement]:
    return [Requirement(line) for line in lines]


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def wanted() -> list[Requirement]:
    """What pyproject asks for, extras included."""
    lines = list(project()["dependencies"])  # type: ignore[call-overload]
    for extra in project()["optional-dependencies"].values():  # type: ignore[attr-defined]
        lines += extra
    return requirements(lines)


def locked() -> list[Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return requirements([line for line in lines if not line.startswith("#")])


def conda() -> tuple[list[str], list[Requirement]]:
    """The options and the requirements of environment.yml's pip part."""
    parts = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    lines = next(part["pip"] for part in parts if isinstance(part, dict))
    options = [line for line in lines if line.startswith("-")]
    return options, requirements([line for line in lines if not line.startswith("-")])


def exact(requirement: Requirement) -> str:
    (bound,) = requirement.specifier
    assert bound.operator == "==", requirement
    return bound.version


def versions(found: list[Requirement]) -> dict[str, set[str]]:
    by_name: dict[str, set[str]] = {}
    for each in found:
        by_name.setdefault(canonicalize_name(each.name), set()).add(exact(each))
    return by_name


def test_the_lock_holds_exact_versions_and_no_address() -> None:
    assert len(versions(locked())) > 100
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|--index|--find-links|@ ", text)


def test_the_lock_has_every_wanted_package_in_its_range() -> None:
    pins = versions(locked())
    for each in wanted():
        name = canonicalize_name(each.name)
        assert name in pins, f"{name} is not in requirements.lock"
        assert all(each.specifier.contains(pin) for pin in pins[name]), each


def test_conda_has_the_same_top_level_packages_at_the_same_versions() -> None:
    options, found = conda()
    assert set(versions(found)) == {canonicalize_name(each.name) for each in wanted()}
    pins = versions(locked())
    for name, version in versions(found).items():
        assert version == pins[name], name
    assert options == ["--constraint requirements.lock", "--editable ."]


def test_conda_and_project_have_the_same_python() -> None:
    parts = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert "python=3.11" in parts
    assert project()["requires-python"] == ">=3.11,<3.14"


def test_torch_xla_is_left_out_where_it_has_no_wheel() -> None:
    for found in (wanted(), locked(), conda()[1]):
        (xla,) = (each for each in found if canonicalize_name(each.name) == "torch-xla")
        assert xla.marker is not None
        linux = {"sys_platform": "linux", "platform_machine": "x86_64"}
        mac = {"sys_platform": "darwin", "platform_machine": "arm64"}
        assert xla.marker.evaluate(linux)
        assert not xla.marker.evaluate(mac)


def test_torch_and_its_companions_fit_each_other() -> None:
    pins = versions(locked())
    assert pins["torch"] == {"2.9.0"}
    assert pins["torchvision"] == {"0.24.0"}
    assert pins["torch-xla"] == {"2.9.0"}


def imported_packages(folder: str) -> set[str]:
    """Top-level names that the Python files of a folder import, without Python's own and ours."""
    own = {"align_edu", "tests", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    names: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - own


def test_everything_that_is_imported_is_asked_for() -> None:
    asked = {canonicalize_name(each.name) for each in wanted()}
    for folder in ("align_edu", "tests"):
        for name in imported_packages(folder):
            assert canonicalize_name(MODULE_OF.get(name, name)) in asked, f"{folder} imports {name}"


def test_every_core_dependency_is_imported_and_has_a_reason() -> None:
    imported = {
        canonicalize_name(MODULE_OF.get(name, name)) for name in imported_packages("align_edu")
    }
    text = (ROOT / "pyproject.toml").read_text()
    for each in requirements(list(project()["dependencies"])):  # type: ignore[call-overload]
        assert canonicalize_name(each.name) in imported, f"nothing imports {each.name}"
        line = next(line for line in text.splitlines() if f'"{each.name}' in line)
        assert "#" in line, f"{each.name} has no reason beside it"


def test_the_installed_package_is_this_one() -> None:
    assert metadata.version("align-edu") == project()["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project()["version"]


def test_make_and_ci_name_the_same_check() -> None:
    commands = (ROOT / ".ci" / "run").read_text()
    assert "\nmake test COVERAGE=1\nmake test-long COVERAGE=1\n" in commands
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test", "test-long", "lab", "notebooks", "lint", "clean", "setup"):
        assert f"\n{target}:" in makefile
