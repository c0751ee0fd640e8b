"""The doctor: each thing the course needs is OK or has a remedy."""

import importlib
import shutil
import sys
from importlib import metadata
from pathlib import Path
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
    wanted = {"python", "torch", "torchvision", "transformers", "torch_xla", "timm", "faiss-cpu"}
    assert wanted | {"c++ compiler", "cores", "memory", "disk", "ipywidgets", "network"} <= names


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


def test_torch_xla_is_optional_but_must_fit(versions: dict[str, str | None]) -> None:
    versions["torch-xla"] = None
    assert finding("torch_xla").ok
    versions.update({"torch-xla": "2.9.0", "torch": "2.10.0"})
    found = finding("torch_xla")
    assert not found.ok
    assert "2.10.0" in found.detail


def test_another_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "sys", SimpleNamespace(version_info=(3, 10, 4)))
    assert not finding("Python").ok
    monkeypatch.setattr(doctor, "sys", SimpleNamespace(version_info=(3, 14, 0)))
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
    def refuse(self: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert doctor._memory().ok


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
    import subprocess

    ask = (
        "from align_edu.lab import doctor; import sys; before = set(sys.modules); "
        "doctor.diagnose(); new = set(sys.modules) - before; "
        "print(new & {'faiss', 'timm', 'torch_xla', 'polars'})"
    )
    child = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "set()"
