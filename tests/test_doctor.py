"""The doctor: each thing the course needs is OK or has a remedy."""

import importlib
import shutil
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from align_edu.lab import doctor
from align_edu.lab.doctor import Finding, diagnose, print_report, report

VERSIONS = {
    "torch": "2.9.0",
    "torchvision": "0.24.0",
    "torch-xla": "2.9.0",
    "transformers": "5.23.0",
    "timm": "1.0.31",
}


@pytest.fixture(scope="module")
def checked() -> Any:
    """The result of one real `pip check`, since it takes seconds."""
    command = [sys.executable, "-m", "pip", "check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def pip(monkeypatch: pytest.MonkeyPatch, checked: Any) -> SimpleNamespace:
    """What `pip check` seems to say."""
    seeming = SimpleNamespace(**vars(checked))
    real = subprocess.run

    def run(command: Any, **options: Any) -> Any:
        return seeming if command[-1] == "check" else real(command, **options)

    monkeypatch.setattr(doctor, "subprocess", SimpleNamespace(run=run))
    return seeming


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Change what seems to be installed; None means not installed."""
    seeming: dict[str, str | None] = dict(VERSIONS)
    real = metadata.version

    def version(name: str) -> str:
        found = seeming[name] if name in seeming else real(name)
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)
    return seeming


def finding(name: str) -> Finding:
    (found,) = (each for each in diagnose() if each.name == name)
    return found


def test_the_environment_of_these_tests_is_healthy() -> None:
    assert [each for each in diagnose() if not each.ok] == []


def test_it_looks_at_everything_the_course_needs() -> None:
    names = {each.name.lower() for each in diagnose()}
    needed = {"python", "torch", "torchvision", "transformers", "torch_xla", "timm", "faiss-cpu"}
    machine = {"c++ compiler", "cores", "memory", "disk", "ipywidgets", "network", "bubblewrap"}
    assert needed | machine | {"pip check"} <= names


@pytest.mark.parametrize(
    ("name", "version"), [("torch", "2.8.0"), ("torch", "2.16.1"), ("transformers", "4.57.0")]
)
def test_a_version_out_of_range_is_told_with_the_remedy(
    versions: dict[str, str | None], name: str, version: str
) -> None:
    versions[name] = version
    found = finding(name)
    assert not found.ok
    assert found.detail.startswith(version)
    assert "make setup" in found.remedy


def test_a_local_build_of_the_right_version_is_fine(versions: dict[str, str | None]) -> None:
    versions["torch"] = "2.9.0+cu128"
    assert finding("torch").ok


@pytest.mark.parametrize("name", ["timm", "faiss-cpu", "jupyterlab", "ipywidgets", "torchvision"])
def test_a_missing_package_is_told_with_the_remedy(
    versions: dict[str, str | None], name: str
) -> None:
    versions[name] = None
    found = finding(name)
    assert not found.ok
    assert found.detail.startswith("not installed")
    assert "make setup" in found.remedy


def test_the_package_itself_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert finding("align-edu").detail == "not installed"


def test_a_torchvision_of_another_torch_is_found_by_importing_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = importlib.import_module

    def refuse(name: str, *more: Any) -> Any:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", refuse)
    found = finding("torchvision")
    assert not found.ok
    assert "nms does not exist" in found.detail


def test_conflicts_between_packages_are_told(pip: SimpleNamespace) -> None:
    conflicts = "torchvision 0.24.0 requires torch, which is not installed.\nb 1 has no c.\n"
    pip.returncode, pip.stdout = 1, conflicts
    found = finding("pip check")
    assert not found.ok and "make setup" in found.remedy
    assert found.detail.endswith("torch, which is not installed (and 1 more)")
    pip.returncode, pip.stdout, pip.stderr = 1, "", "python: No module named pip"
    assert finding("pip check").ok


def test_bubblewrap_is_only_needed_for_grading(monkeypatch: pytest.MonkeyPatch) -> None:
    from align_edu.lab import jail

    monkeypatch.setattr(jail, "bwrap_problem", lambda: "bubblewrap is missing: install it")
    assert finding("bubblewrap").ok
    assert "install it" in finding("bubblewrap").remedy
    monkeypatch.setattr(jail, "bwrap_problem", lambda: None)
    assert finding("bubblewrap").remedy == ""


def test_torch_xla_is_optional_but_must_fit(versions: dict[str, str | None]) -> None:
    versions["torch-xla"] = None
    assert finding("torch_xla").ok
    versions.update({"torch-xla": "2.9.0", "torch": "2.10.0"})
    found = finding("torch_xla")
    assert not found.ok
    assert "2.10.0" in found.detail


def test_another_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ((3, 10, 4), (3, 14, 0)):
        seeming = SimpleNamespace(version_info=version, executable=sys.executable)
        monkeypatch.setattr(doctor, "sys", seeming)
        assert not finding("Python").ok
        assert "3.11 to 3.13" in finding("Python").remedy


def test_no_compiler_is_fine_but_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = finding("C++ compiler")
    assert found.ok
    assert "g++" in found.remedy


def test_one_core_is_fine_but_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "usable_cores", lambda: 1)
    assert finding("cores").ok
    assert "twice" in finding("cores").remedy


def test_little_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_free_memory", lambda: 0.5)
    assert finding("memory").detail == "0.5 GiB free, 2 needed"


def test_memory_that_the_system_does_not_tell_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_free_memory", lambda: None)
    assert finding("memory").ok


def test_little_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**28))
    found = finding("disk")
    assert not found.ok
    assert found.detail.startswith("0.2 GiB free")


def test_the_report_has_one_line_a_finding_and_says_whether_all_is_well(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert print_report()
    assert len(capsys.readouterr().out.splitlines()) == len(diagnose())
    monkeypatch.setattr(doctor, "_free_memory", lambda: 0.5)
    assert not print_report()
    assert "MEND    memory: 0.5 GiB free, 2 needed; close other programs" in capsys.readouterr().out


def test_a_finding_without_a_remedy_ends_after_its_detail() -> None:
    assert report([Finding("cores", True, "2")]) == "OK      cores: 2"


def test_looking_imports_nothing_heavy() -> None:
    ask = (
        "from align_edu.lab import doctor; import sys; before = set(sys.modules); "
        "doctor.diagnose(); new = set(sys.modules) - before; "
        "print(new & {'faiss', 'timm', 'torch_xla', 'polars'})"
    )
    child = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "set()"
