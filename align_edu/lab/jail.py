"""Runs the functions of one submission in a Python process that bubblewrap isolates.

The process has no network, sees no other processes, and reads nothing but Python, its packages and
system libraries; it writes only to a small scratch folder in memory. The program inside
(`align_edu/lab/jailed.py`) limits memory, computing time and file sizes, calls each function with
its cases, and writes what it returned as lines of JSON. Nothing in those lines is trusted.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from align_edu.io import InputError
from align_edu.lab.exercises import AnswerKey
from align_edu.lab.outcomes import Outcome, decode, encode

LEAST_WALL_SECONDS = 60.0  # on the clock, for one function, however little it may compute
IMPORT_WALL_SECONDS = 120.0  # for torch at the start, and for the imports of each function
SCRATCH, SCRATCH_BYTES = "/scratch", 64 * 2**20
_RULES = tomllib.loads(Path(__file__).with_name("jail.toml").read_text(encoding="utf-8"))
_SYSTEM, _AS_ROOT = _RULES["system"], tuple(_RULES["as_root"])
_PACKAGE, _SITE = Path(__file__).parents[1], Path(torch.__file__).parents[1]


@dataclass(frozen=True)
class Limits:
    """Seconds of computing (imports excluded) and megabytes (beyond Python's) of one function."""

    seconds: float = 10.0
    megabytes: int = 1024


@dataclass(frozen=True)
class Job:
    """A function to run: whose it is, and the statements that make it."""

    where: tuple[str, str, str]  # student, notebook, exercise
    steps: Sequence[tuple[int, str]]  # each with the number of its cell
    key: AnswerKey
    notes: Sequence[str] = ()  # for the lecturer

    @property
    def request(self) -> dict[str, Any]:
        """What jailed.py reads: no answer is in it."""
        cases = [list(map(encode, case)) for case in self.key.cases]
        observe = self.key.exercise.observe
        return {"name": self.where[2], "steps": self.steps, "cases": cases, "observe": observe}


@dataclass
class Report:
    """What came of a job; `grading.toml` has a sentence for each way to end."""

    ended: str = ""
    outcomes: list[Outcome] = field(default_factory=list)  # one for each case, where it is done
    refused: list[str] = field(default_factory=list)  # what it attempted that is not allowed
    notes: list[str] = field(default_factory=list)  # for the lecturer


def find_namespaces() -> tuple[str, ...]:
    """Return the options of bubblewrap that isolate a process here; raise InputError for none."""
    remedy = "or give --unprotected to run submissions without isolation"
    if sys.platform != "linux" or shutil.which("bwrap") is None:
        where = "Debian: apt install bubblewrap; macOS, Windows: grade in a Linux container or WSL"
        raise InputError(f"bubblewrap is missing: install it ({where}), {remedy}")
    another_user = f"import os; os.setgid(1); os.setuid(1); open({torch.__file__!r})"
    attempts = {_AS_ROOT: another_user} if os.geteuid() == 0 else {}
    for namespaces, program in (attempts | {("--unshare-all",): ""}).items():
        command = _isolated([sys.executable, "-c", program], (), namespaces)
        status, _, error = _run(command, {}, SCRATCH, 60)
        if status == 0:
            return namespaces
    remedy = f"allow user namespaces, {remedy}"
    raise InputError(f"bubblewrap cannot isolate a process here ({error}): {remedy}")


def run_jobs(
    jobs: Sequence[Job], limits: Limits, namespaces: tuple[str, ...] | None,
    private: Sequence[Path] = (),
) -> list[Report]:  # fmt: skip
    """Run the functions of one submission in one process, and return a report for each.

    Where a function ends the process, another process runs those after it. namespaces: from
    `find_namespaces`; None isolates nothing. private: folders that no function may look into.
    """
    private = [path.resolve() for path in private]
    command = [sys.executable, "-P", str(Path(__file__).with_name("jailed.py"))]
    if namespaces is not None:
        command = _isolated(command, private, namespaces)
    wall_seconds = max(LEAST_WALL_SECONDS, 10 * limits.seconds)
    request = vars(limits) | {"wall_seconds": wall_seconds, "private": [*map(str, private)]}
    reports: list[Report] = []
    while left := [job.request for job in jobs[len(reports) :]]:
        patience = IMPORT_WALL_SECONDS + len(left) * (IMPORT_WALL_SECONDS + wall_seconds)
        with tempfile.TemporaryDirectory(prefix="align_edu_", ignore_cleanup_errors=True) as folder:
            request |= {"jobs": left, "scratch": folder if namespaces is None else SCRATCH}
            # A number that no other process has: limits count the processes of a user.
            request["user"] = 2**20 + threading.get_native_id() if namespaces == _AS_ROOT else None
            status, text, error = _run(command, request, request["scratch"], patience)
        first, *lines = text.split(b"\n")
        if first != b'{"ready": true}':
            raise InputError(f"submissions cannot be run: {error}")
        reports += _read_reports(lines, status, limits)[: len(left)]
    return reports


def _run(
    command: Sequence[str], request: dict[str, Any], scratch: str, patience: float
) -> tuple[int, bytes, str]:
    """Run a command; return its status, what it wrote, and the last line of its errors."""
    pipe = subprocess.PIPE
    options: dict[str, Any] = {"stdin": pipe, "stderr": pipe, "env": _environment(scratch)}
    with (
        tempfile.TemporaryFile() as output,  # jailed.py limits the size of a file
        subprocess.Popen(command, stdout=output, **options) as run,
    ):
        try:
            _, errors = run.communicate(json.dumps(request).encode(), patience)
        except subprocess.TimeoutExpired:
            errors = b"it took too long"
        finally:
            run.kill()
        output.seek(0)
        lines = errors.decode(errors="replace").strip().splitlines()
        return run.wait(), output.read(), (lines or ["it says nothing"])[-1]


def _read_reports(lines: Sequence[bytes], status: int, limits: Limits) -> list[Report]:
    """The reports in the lines, and one of the function that ended the process, if any did."""
    reports, now, began = list[Report](), Report(), 0.0
    try:
        for line in filter(None, lines):
            match json.loads(line):
                case {"begun": float(began)}:
                    pass
                case {"refused": str(words)}:
                    now.refused.append(words[:100])
                case {"note": str(words)}:
                    now.notes.append(words[:220])
                case {"outcomes": list(given)}:
                    now.outcomes, now.ended = [decode(each) for each in given], "done"
                case {"ended": "absent" | "exit" | "memory" | "stopped" as ended}:
                    now.ended = ended
                case _:
                    raise ValueError("not a message")
            if now.ended:
                reports.append(now)
                now = Report()
        now.ended = _cause(status, time.time() - began, limits)
    except (ValueError, RecursionError, TypeError, OverflowError, RuntimeError):
        now.ended = "garbage"
    return [*reports, now]


def _cause(status: int, seconds: float, limits: Limits) -> str:
    """Why a process ended before its last report, ``seconds`` after the function began."""
    number = -status if status < 0 else status - 128  # bubblewrap adds 128 to the signal
    if number in (signal.SIGXCPU, signal.SIGALRM):
        return "time"
    if number == signal.SIGKILL:  # the hard limit of computing, or a system without memory
        return "time" if seconds >= limits.seconds else "memory"
    return "crash" if number > 0 else "exit"


def _isolated(
    program: Sequence[str], private: Sequence[Path], namespaces: Sequence[str]
) -> list[str]:
    """The command that runs a program under bubblewrap."""
    places = [Path(sys.prefix), Path(sys.base_prefix), _PACKAGE, _SITE, *map(Path, _SYSTEM)]
    readable = sorted({p for path in places if path.exists() for p in (path, path.resolve())})
    command = ["bwrap", "--die-with-parent", "--new-session", "--cap-drop", "ALL", *namespaces]
    for folder in sorted({parent for place in readable for parent in place.parents[:-1]}):
        command += ["--perms", "0755", "--dir", str(folder)]  # open to another user
    for place in readable:  # outer folders first
        command += ["--ro-bind", str(place.resolve()), str(place)]
    for folder in private:
        if any(place in folder.parents for place in readable):
            command += ["--tmpfs", str(folder), "--remount-ro", str(folder)]
    # A superuser without capabilities could still write kernel settings to /proc.
    command += ["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    command += ["--perms", "0777", "--size", str(SCRATCH_BYTES), "--tmpfs", SCRATCH]
    command += ["--remount-ro", "/"]
    return [*command, "--chdir", SCRATCH, "--", *program]


def _environment(scratch: str) -> dict[str, str]:
    """Few variables: no tokens, one thread, no accelerator, sets in a fixed order."""
    kept = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    ones = (
        "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS",
        "PYTHONDONTWRITEBYTECODE", "HF_HUB_OFFLINE",
    )  # fmt: skip
    names = {"HOME": scratch, "TMPDIR": scratch, "USER": "student", "MPLBACKEND": "agg"}
    names |= {"PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore", "CUDA_VISIBLE_DEVICES": ""}
    names |= {name: os.environ[name] for name in kept if name in os.environ}
    path = f"{_PACKAGE.parent}{os.pathsep}{_SITE}"
    return {**names, **dict.fromkeys(ones, "1"), "PYTHONPATH": path}
