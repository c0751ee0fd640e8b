"""The doctor: each thing the course needs is OK or has a remedy."""

import shutil
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from align_edu.io import InputError, _container_quota, control_groups
from align_edu.lab import doctor, jail
from align_edu.lab.doctor import Finding, diagnose, print_report

VERSIONS = {"torch": "2.9.0", "torchvision": "0.24.0", "torch-xla": "2.9.0", "timm": "1.0.31"}


@pytest.fixture(scope="module")
def checked():
    command = [sys.executable, "-m", "pip", "check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def pip(monkeypatch, checked):
    seeming = SimpleNamespace(**vars(checked))
    monkeypatch.setattr(doctor, "subprocess", SimpleNamespace(run=lambda *_, **__: seeming))
    return seeming


@pytest.fixture
def versions(monkeypatch):
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


def test_it_looks_at_everything_the_course_needs_and_all_is_well_here():
    findings = diagnose()
    assert [each for each in findings if not each.ok] == []
    needed = {"python", "torch", "torchvision", "transformers", "torch_xla", "timm", "faiss-cpu"}
    machine = {"c++ compiler", "cores", "memory", "disk", "ipywidgets", "network", "bubblewrap"}
    assert needed | machine | {"pip check"} <= {each.name.lower() for each in findings}


@pytest.mark.parametrize(
    ("name", "version", "detail"),
    [
        *(("torch", "2.8.0", "2.8.0, but"), ("torch", "2.16.1", "2.16.1, but")),
        *(("torch", "2.9.0+cu128", ""), ("transformers", "4.57.0", "4.57.0, but")),
        *(("timm", None, "not installed"), ("align-edu", None, "not installed")),
    ],
)
def test_a_missing_or_wrong_package_is_named_with_the_remedy(
    versions, name, version, detail, monkeypatch
):
    def requires(package: str) -> list[str]:
        raise metadata.PackageNotFoundError(package)

    if name == "align-edu":
        monkeypatch.setattr(metadata, "requires", requires)
    versions[name] = version
    found = finding(name)
    assert found.ok == (not detail)  # a local build of the right version is fine
    assert found.detail.startswith(detail) and ("make setup" in found.remedy) == bool(detail)


def test_builds_for_another_torch_are_found(versions, monkeypatch):
    def refuse(name: str) -> Any:
        raise RuntimeError(f"operator {name}::nms does not exist")

    versions["torch-xla"] = None
    assert finding("torch_xla").ok
    versions.update({"torch-xla": "2.9.0", "torch": "2.10.0"})
    assert not finding("torch_xla").ok and "2.10.0" in finding("torch_xla").detail
    monkeypatch.setattr(doctor, "importlib", SimpleNamespace(import_module=refuse))
    assert not finding("torchvision").ok and "nms does not exist" in finding("torchvision").detail


def test_another_python_and_conflicts_between_packages_are_reported(pip, monkeypatch):
    for version in ((3, 10, 4), (3, 14, 0)):
        seeming = SimpleNamespace(version_info=version, executable=sys.executable)
        monkeypatch.setattr(doctor, "sys", seeming)
        assert not finding("Python").ok and "3.11 to 3.13" in finding("Python").remedy
    conflicts = "torchvision 0.24.0 requires torch, which is not installed.\nb 1 has no c.\n"
    pip.returncode, pip.stdout = 1, conflicts
    found = finding("pip check")
    assert not found.ok and "make setup" in found.remedy
    assert found.detail.endswith("torch, which is not installed (and 1 more)")
    pip.returncode, pip.stdout, pip.stderr = 1, "", "python: No module named pip"
    assert finding("pip check").ok


def test_what_is_only_slower_or_only_for_grading_is_fine_and_has_a_remedy(monkeypatch):
    def refuse() -> None:
        raise InputError("bubblewrap is missing: install it")

    monkeypatch.setattr(jail, "find_namespaces", refuse)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "usable_cores", lambda: 1)
    remedies = {"bubblewrap": "install it", "C++ compiler": "g++", "cores": "twice"}
    for name, words in remedies.items():
        assert finding(name).ok and words in finding(name).remedy


def test_memory_and_cores_are_those_of_the_narrowest_control_group(tmp_path, monkeypatch):
    inner = tmp_path / "cg" / "slice" / "student"
    inner.mkdir(parents=True)
    (tmp_path / "own").write_text("0::/slice/student\n")
    groups = control_groups(tmp_path / "cg", tmp_path / "own")
    assert groups == [inner, inner.parent, inner.parent.parent]
    monkeypatch.setattr(doctor, "control_groups", lambda: groups)
    assert _container_quota(groups) is None and doctor._free_memory() is not None
    files = {
        inner / "memory.max": "max", inner / "memory.current": 0, inner / "cpu.max": "max 100000",
        inner.parent / "memory.max": 2**29, inner.parent / "memory.current": 2**28,
        inner.parent / "memory.stat": f"anon 1\ninactive_file {2**27}",
        inner.parent / "cpu.max": "150000 100000",
        tmp_path / "v1/memory/memory.limit_in_bytes": 2**28,
        tmp_path / "v1/memory/memory.usage_in_bytes": 2**27,
        tmp_path / "v1/memory/memory.stat": "",
    }  # fmt: skip
    (tmp_path / "v1" / "memory").mkdir(parents=True)
    for file, text in files.items():
        file.write_text(f"{text}\n" if text != "" else "")
    assert doctor._free_memory() == pytest.approx(0.375)  # GiB: 0.5 - 0.25 + 0.125
    assert _container_quota(groups) == 1.5
    monkeypatch.setattr(doctor, "control_groups", lambda: [tmp_path / "v1"])
    assert doctor._free_memory() == pytest.approx(0.125)


def test_the_report_has_one_line_a_finding_and_says_whether_all_is_well(capsys, monkeypatch):
    assert str(Finding("cores", True, "2")) == "OK      cores: 2"
    assert print_report()
    assert len(capsys.readouterr().out.splitlines()) == len(diagnose())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**28))
    monkeypatch.setattr(doctor, "_free_memory", lambda: 0.5)
    assert not print_report()
    printed = capsys.readouterr().out
    assert "MEND    memory: 0.5 GiB free, 2 needed; close other programs" in printed
    assert "MEND    disk: 0.2 GiB free" in printed
    monkeypatch.setattr(doctor, "_free_memory", lambda: None)  # the system does not say
    assert finding("memory").ok
