"""The check of the environment: for each thing the course needs, OK or the remedy."""

import importlib
import os
import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from align_edu.io import InputError, control_groups, usable_cores

INSTALL = "run `make setup` (conda: `conda env update -f environment.yml`)"
PACKAGE = "align-edu"
MEMORY_GIB = 2.0
DISK_GIB = 1.0


@dataclass(frozen=True)
class Finding:
    """The result of one check: whether the course runs with a thing, and what to do if not."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{'OK' if self.ok else 'MEND':8}{self.name}: {self.detail}{remedy}"


def diagnose() -> list[Finding]:
    """Return one finding for each thing that the course needs or can use."""
    cores = usable_cores()
    slow = "expect twice the minutes that the notebooks state" if cores < 2 else ""
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    remedy = "" if fits else f"use Python 3.11 to 3.13, then {INSTALL}"
    return [
        Finding("Python", fits, platform.python_version(), remedy),
        *_packages(), _torch_xla(), _pip_check(), _compiler(), _bubblewrap(),
        Finding("cores", True, str(cores), slow),
        _room("memory", _free_memory(), MEMORY_GIB, "close other programs"),
        _room("disk", shutil.disk_usage(Path.cwd()).free / 2**30, DISK_GIB, "make room here"),
        Finding("network", True, "not needed: nothing is downloaded after the installation"),
    ]  # fmt: skip


def print_report() -> bool:
    """Run all checks and print the report; return True if all is well."""
    findings = diagnose()
    print(*findings, sep="\n")
    return all(finding.ok for finding in findings)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _packages() -> list[Finding]:
    """Check the direct requirements of the package and of the notebooks."""
    try:
        needed = map(Requirement, metadata.requires(PACKAGE) or [])
    except metadata.PackageNotFoundError:
        return [Finding(PACKAGE, False, "not installed", INSTALL)]
    extras = [{"extra": extra} for extra in ("", "notebooks")]
    direct = (r for r in needed if not r.marker or any(map(r.marker.evaluate, extras)))
    return list(map(_package, direct))


def _package(requirement: Requirement) -> Finding:
    name, wanted, found = requirement.name, requirement.specifier, _version(requirement.name)
    if found is None:
        return Finding(name, False, "not installed", INSTALL)
    if not wanted.contains(Version(found).base_version):
        return Finding(name, False, f"{found}, but {wanted} is needed", INSTALL)
    if name == "torchvision":  # a build for another torch fails only when it is imported
        try:
            importlib.import_module(name)
        except (ImportError, RuntimeError, OSError) as error:
            why = f"{found} does not fit torch {_version('torch')} ({str(error).splitlines()[0]})"
            return Finding(name, False, why, "install both from one place: " + INSTALL)
    return Finding(name, True, found)


def _torch_xla() -> Finding:
    found, torch = _version("torch-xla"), _version("torch")
    if found is None:
        return Finding("torch_xla", True, "not installed; only the TPU lesson uses it")
    if torch is not None and Version(found).release[:2] != Version(torch).release[:2]:
        remedy = "uninstall it, or install the torch of the same version"
        return Finding("torch_xla", False, f"{found} does not fit torch {torch}", remedy)
    return Finding("torch_xla", True, found)


def _pip_check() -> Finding:
    """Report packages whose own requirements are missing or out of range."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr:
        return Finding("pip check", True, "skipped, since pip is not installed")
    first, *others = done.stdout.strip().splitlines() or ["no output"]
    more = f" (and {len(others)} more)" if others else ""
    remedy = INSTALL if done.returncode else ""
    return Finding("pip check", not done.returncode, first.rstrip(".") + more, remedy)


def _compiler() -> Finding:
    named = os.environ.get("CXX", "")
    found = next(filter(None, map(shutil.which, (named, "g++", "clang++"))), None)
    if found:
        return Finding("C++ compiler", True, Path(found).name)
    remedy = "training is faster with one (Debian and Ubuntu: apt install g++)"
    return Finding("C++ compiler", True, "none; training runs without compiling", remedy)


def _bubblewrap() -> Finding:
    from align_edu.lab.jail import find_namespaces

    try:
        find_namespaces()
    except InputError as error:
        return Finding("bubblewrap", True, "only `align-edu grade` uses it", str(error))
    return Finding("bubblewrap", True, "isolates submissions for grading")


def _free_memory() -> float | None:
    """Return the GiB that programs can still take, or None where the system does not say."""
    free = []
    with suppress(OSError, KeyError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = {line.split()[0]: int(line.split()[1]) for line in lines}
        free.append(kilobytes["MemAvailable:"] * 2**10)
    for group in control_groups():
        for limit, used in (
            ("memory.max", "memory.current"),
            ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),  # version 1
        ):
            with suppress(OSError, ValueError):  # without a limit it says "max"
                most, taken = int((group / limit).read_text()), int((group / used).read_text())
                stat = (group / limit).with_name("memory.stat").read_text().splitlines()
                kept = dict(line.split() for line in stat).get("inactive_file", "0")
                free.append(most - taken + int(kept))  # the system takes back cached files first
    return min(free) / 2**30 if free else None


def _room(name: str, free: float | None, needed: float, remedy: str) -> Finding:
    if free is None:
        return Finding(name, True, f"unknown; {needed:g} GiB are enough")
    if free < needed:
        return Finding(name, False, f"{free:.1f} GiB free, {needed:g} needed", remedy)
    return Finding(name, True, f"{free:.0f} GiB free")
