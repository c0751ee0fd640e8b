"""The check of the environment: for each thing the course needs, OK or the remedy."""

import importlib
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from align_edu.cores import usable_cores

INSTALL = "run `make setup` (conda: `conda env update -f environment.yml`)"
PACKAGE = "align-edu"
MEMORY_GIB = 2.0
DISK_GIB = 1.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    name : what.
    ok : whether the course runs with it as it is.
    detail : what was found.
    remedy : what to do; empty where there is nothing to do.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def diagnose() -> list[Finding]:
    """Return one finding for each thing that the course needs or can use.

    >>> diagnose()[0].name
    'Python'
    """
    return [
        _python(),
        *_packages(),
        _torchvision(),
        _torch_xla(),
        _compiler(),
        _cores(),
        _memory(),
        _disk(),
        Finding("network", True, "not needed: nothing is downloaded once this is installed"),
    ]


def report(findings: list[Finding]) -> str:
    """Return one line a finding: OK, or the remedy.

    >>> print(report([Finding("cores", True, "2"), Finding("disk", False, "full", "make room")]))
    OK      cores: 2
    MEND    disk: full; make room
    """
    return "\n".join(
        f"{'OK' if finding.ok else 'MEND':8}{finding.name}: {finding.detail}"
        + (f"; {finding.remedy}" if finding.remedy else "")
        for finding in findings
    )


def print_report() -> bool:
    """Look at everything and print the report; return whether all is well."""
    findings = diagnose()
    print(report(findings))
    return all(finding.ok for finding in findings)


def _version(name: str) -> str | None:
    """The installed version, from the package's own records: nothing is imported."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _python() -> Finding:
    found = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", True, found)
    return Finding("Python", False, found, "use Python 3.11 to 3.13, then " + INSTALL)


def _packages() -> list[Finding]:
    """What the package itself and the notebooks ask for, as its own records say."""
    try:
        lines = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return [Finding(PACKAGE, False, "not installed", INSTALL)]
    needed = [Requirement(line) for line in lines]
    return [
        _package(requirement)
        for requirement in needed
        if requirement.name != "torchvision"
        and any(
            requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            for extra in ("", "notebooks")
        )
    ]


def _package(requirement: Requirement) -> Finding:
    name, wanted = requirement.name, requirement.specifier
    found = _version(name)
    if found is None:
        return Finding(name, False, "not installed", INSTALL)
    if not wanted.contains(Version(found).base_version):
        return Finding(name, False, f"{found}, but {wanted} is needed", INSTALL)
    return Finding(name, True, found)


def _torchvision() -> Finding:
    """Torchvision must be built for the very torch that is installed; only an import tells."""
    found = _version("torchvision")
    if found is None:
        return Finding("torchvision", False, "not installed", INSTALL)
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        detail = f"{found} does not fit torch {_version('torch')} ({reason})"
        return Finding("torchvision", False, detail, "install both from one place: " + INSTALL)
    return Finding("torchvision", True, found)


def _torch_xla() -> Finding:
    found, torch = _version("torch-xla"), _version("torch")
    if found is None:
        return Finding("torch_xla", True, "not installed; only the TPU lesson uses it")
    if torch is not None and Version(found).release[:2] != Version(torch).release[:2]:
        remedy = "uninstall it, or install the torch of the same number"
        return Finding("torch_xla", False, f"{found} does not fit torch {torch}", remedy)
    return Finding("torch_xla", True, found)


def _compiler() -> Finding:
    found = (
        shutil.which(os.environ.get("CXX", "")) or shutil.which("g++") or shutil.which("clang++")
    )
    if found is None:
        remedy = "training is faster with one (Debian and Ubuntu: apt install g++)"
        return Finding("C++ compiler", True, "none; training runs without compiling", remedy)
    return Finding("C++ compiler", True, Path(found).name)


def _cores() -> Finding:
    count = usable_cores()
    if count < 2:
        return Finding("cores", True, "1", "expect twice the minutes that the notebooks name")
    return Finding("cores", True, str(count))


def _free_memory() -> float | None:
    """GiB that programs can still take, or None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = {line.split()[0]: int(line.split()[1]) for line in lines}
        return kilobytes["MemAvailable:"] / 2**20
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _memory() -> Finding:
    free = _free_memory()
    if free is None:
        return Finding("memory", True, f"not known here; {MEMORY_GIB:g} GiB are enough")
    return _room("memory", free, MEMORY_GIB, "close other programs")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return _room("disk", free, DISK_GIB, "make room in this folder")


def _room(name: str, free: float, needed: float, remedy: str) -> Finding:
    if free < needed:
        return Finding(name, False, f"{free:.1f} GiB free, {needed:g} needed", remedy)
    return Finding(name, True, f"{free:.0f} GiB free")
