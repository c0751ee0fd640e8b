"""The doctor: each thing the course needs is OK or has a remedy."""

import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from align_edu.io import InputError, _container_quota, control_groups
from align_edu.lab import doctor, jail
from align_edu.lab.doctor import Finding, diagnose, print_report


@pytest.fixture(scope="module")
def here() -> list[Finding]:
    return diagnose()


@pytest.fixture(autouse=True)
def pip(here, monkeypatch):
    """What `pip check` seems to find, once it has looked at what is here."""
    seeming = SimpleNamespace(returncode=0, stdout="No broken requirements found.\n", stderr="")
    monkeypatch.setattr(doctor, "subprocess", SimpleNamespace(run=lambda *_, **__: seeming))
    return seeming


@pytest.fixture
def versions(monkeypatch):
    """Change what seems to be installed; None means not installed."""
    seeming: dict[str, str | None] = {}
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


def test_it_looks_at_everything_the_course_needs_and_all_is_well_here(here):
    assert [each for each in here if not each.ok] == []
    needed = {"python", "torch", "torchvision", "transformers", "torch_xla", "timm", "faiss-cpu"}
    machine = {"c++ compiler", "cores", "memory", "disk", "ipywidgets", "network", "bubblewrap"}
    assert needed | machine | {"pip check"} <= {each.name.lower() for each in here}


@pytest.mark.parametrize(
    ("name", "version", "detail"),
    [
        *(("torch", "2.8.0", "2.8.0, but"), ("torch", "2.16.1", "2.16.1, but")),
        *(("torch", "2.9.0+cu128", ""), ("transformers", "4.57.0", "4.57.0, but")),
        ("timm", None, "not installed"),
    ],
)
def test_a_missing_or_wrong_package_is_named_with_the_remedy(versions, name, version, detail):
    versions[name] = version
    found = finding(name)
    assert found.ok == (not detail)  # a local build of the right version is fine
    assert found.detail.startswith(detail) and ("make setup" in found.remedy) == bool(detail)


def raises(error: Exception) -> Callable[..., Any]:
    def refuse(*_: object) -> None:
        raise error

    return refuse


def test_a_package_that_is_not_installed_and_builds_for_another_torch_are_found(
    versions, monkeypatch
):
    versions["torch-xla"] = None
    assert finding("torch_xla").ok
    versions.update({"torch-xla": "2.9.0", "torch": "2.10.0"})
    assert not finding("torch_xla").ok and "2.10.0" in finding("torch_xla").detail
    refuse = raises(RuntimeError("operator torchvision::nms does not exist"))
    monkeypatch.setattr(doctor, "importlib", SimpleNamespace(import_module=refuse))
    assert not finding("torchvision").ok and "nms does not exist" in finding("torchvision").detail
    monkeypatch.setattr(metadata, "requires", raises(metadata.PackageNotFoundError()))
    assert finding("align-edu").detail == "not installed"


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
    missing = raises(InputError("bubblewrap is missing: install it"))
    monkeypatch.setattr(jail, "find_namespaces", missing)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "usable_cores", lambda: 1)
    remedies = (("bubblewrap", "install it"), ("C++ compiler", "g++"), ("cores", "twice"))
    for name, words in remedies:
        assert finding(name).ok and words in finding(name).remedy


def test_memory_and_cores_are_those_of_the_narrowest_control_group(tmp_path, monkeypatch):
    inner, old = tmp_path / "cg" / "slice" / "student", tmp_path / "v1"
    for folder in (inner, old / "memory"):
        folder.mkdir(parents=True)
    (tmp_path / "own").write_text("0::/slice/student\n")
    groups = control_groups(tmp_path / "cg", tmp_path / "own")
    assert groups == [inner, inner.parent, inner.parent.parent]
    monkeypatch.setattr(doctor, "control_groups", lambda: groups)
    assert _container_quota(groups) is None and doctor._free_memory() is not None
    for name, text in {
        "cg/slice/student/memory.max": "max", "cg/slice/student/memory.current": 0,
        "cg/slice/student/cpu.max": "max 100000", "cg/slice/cpu.max": "150000 100000",
        "cg/slice/memory.max": 2**29, "cg/slice/memory.current": 2**28,
        "cg/slice/memory.stat": f"anon 1\ninactive_file {2**27}",
        "v1/memory/memory.limit_in_bytes": 2**28, "v1/memory/memory.usage_in_bytes": 2**27,
        "v1/memory/memory.stat": "",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(f"{text}\n" if text != "" else "")
    assert doctor._free_memory() == pytest.approx(0.375)  # GiB: 0.5 - 0.25 + 0.125
    assert _container_quota(groups) == 1.5
    monkeypatch.setattr(doctor, "control_groups", lambda: [old])
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
