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
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from align_edu.io import InputError
from align_edu.lab.outcomes import Outcome, decode, encode_case

LEAST_WALL_SECONDS = 60.0  # for one function, however little it may compute
IMPORT_WALL_SECONDS = 120.0  # for torch at the start, and for the imports of each function
SCRATCH, SCRATCH_BYTES = "/scratch", 64 * 2**20
MOST_BYTES = 8 * 2**20  # of reports
_SYSTEM = (
    "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share", "/nix/store", "/etc/localtime",
    "/etc/ld.so.cache", "/etc/alternatives", "/sys/devices/system/cpu",
)  # fmt: skip
_SITE = Path(torch.__file__).parents[1]
_REMEDY = "or give --unprotected to run submissions without isolation"


@dataclass(frozen=True)
class Limits:
    """Seconds of computing (imports excluded) and megabytes (beyond Python's) of one function."""

    seconds: float = 10.0
    megabytes: int = 1024

    @property
    def wall_seconds(self) -> float:
        """Seconds on the clock after which even a function that computes nothing is stopped."""
        return max(LEAST_WALL_SECONDS, 10 * self.seconds)


@dataclass(frozen=True)
class Job:
    """A function to run, by its name.

    steps: statements to run first, in order, each with the number of its cell. cases: arguments to
    call the function with. observe: a function, as "module:name", that calls it instead.
    """

    name: str
    steps: Sequence[tuple[int, str]]
    cases: Sequence[tuple[Any, ...]]
    observe: str = ""


@dataclass(frozen=True)
class Report:
    """What came of a job.

    ended: "done", "time", "memory", "crash", "exit" (it ended the program), "absent" (no such
    function), "stopped" by an error, or "garbage" (a report without sense). outcomes: one for each
    case, where it is done. refused: what it attempted that is not allowed. failed: cell and error
    of each statement that failed. answers: whether it imported the answers of the course.
    """

    ended: str
    outcomes: tuple[Outcome, ...] = ()
    refused: tuple[str, ...] = ()
    failed: tuple[tuple[int, str], ...] = ()
    answers: bool = False


def bwrap_problem() -> str | None:
    """Return why bubblewrap cannot isolate a process on this machine, and the remedy; or None.

    >>> isinstance(bwrap_problem(), str | None)
    True
    """
    if sys.platform != "linux":
        return f"bubblewrap needs Linux: grade there (Windows: in WSL), {_REMEDY}"
    if shutil.which("bwrap") is None:
        return f"bubblewrap is missing: install it (Debian: apt install bubblewrap), {_REMEDY}"
    command = _isolated([sys.executable, "-c", ""], ())
    tried = subprocess.run(command, env=_environment(SCRATCH), capture_output=True)
    if tried.returncode == 0:
        return None
    return (
        f"bubblewrap cannot isolate a process ({_last_line(tried.stderr)}): allow user namespaces "
        f"on this machine or in this container, {_REMEDY}"
    )


def run_jobs(
    jobs: Sequence[Job], limits: Limits, private: Sequence[Path] = (), *, isolate: bool = True
) -> list[Report]:
    """Run the functions of one submission in one process, and return a report for each.

    Where a function ends the process, another process runs those after it.

    Parameters
    ----------
    jobs : the functions, in order.
    limits : of each.
    private : folders that no function may look into: submissions and marks.
    isolate : whether bubblewrap isolates the process; the limits hold without it, too.

    Raises InputError where the process does not start.
    """
    reports: list[Report] = []
    while len(reports) < len(jobs):
        reports += _run_process(jobs[len(reports) :], limits, private, isolate)
    return reports


def _run_process(
    jobs: Sequence[Job], limits: Limits, private: Sequence[Path], isolate: bool
) -> list[Report]:
    """Run the jobs; return their reports up to that of the job that ended the process."""
    program = [sys.executable, "-P", str(Path(__file__).with_name("jailed.py"))]
    command = _isolated(program, private) if isolate else program
    patience = IMPORT_WALL_SECONDS + len(jobs) * (IMPORT_WALL_SECONDS + limits.wall_seconds)
    with tempfile.TemporaryDirectory(prefix="align_edu_", ignore_cleanup_errors=True) as folder:
        scratch = SCRATCH if isolate else folder
        request = _request(jobs, limits, scratch, private)
        status, text, errors = _talk(command, request, _environment(scratch), patience)
    first, *lines = text.split(b"\n")
    if first != b'{"ready": true}':
        raise InputError(f"submissions cannot be run: {_last_line(errors)}")
    return _read_reports(lines, len(jobs), lambda seconds: _cause(status, seconds, limits))


def _talk(
    command: Sequence[str], request: bytes, environment: dict[str, str], patience: float
) -> tuple[int, bytes, bytes]:
    """Run a command on its input; return its status, the start of its output, and its errors."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment) as run:
        assert run.stdin and run.stdout and run.stderr
        timer = threading.Timer(patience, run.kill)
        timer.start()
        try:
            with suppress(BrokenPipeError), run.stdin:
                run.stdin.write(request)
            text = run.stdout.read(MOST_BYTES)
            if len(text) == MOST_BYTES:
                run.kill()
            return run.wait(), text, run.stderr.read()
        finally:
            timer.cancel()
            run.kill()


def _request(jobs: Sequence[Job], limits: Limits, scratch: str, private: Sequence[Path]) -> bytes:
    """What the program inside reads."""
    rows = [vars(job) | {"cases": [list(map(encode_case, c)) for c in job.cases]} for job in jobs]
    request = vars(limits) | {"wall_seconds": limits.wall_seconds, "jobs": rows}
    folders = [str(path.resolve()) for path in private]
    return json.dumps(request | {"scratch": scratch, "private": folders}).encode()


def _read_reports(
    lines: Sequence[bytes], count: int, cause: Callable[[float], str]
) -> list[Report]:
    """The reports in the lines; the last one may be of a function that ended the process."""
    reports: list[Report] = []
    refused, failed, began = dict[str, None](), list[tuple[int, str]](), 0.0

    def end(how: str, outcomes: Sequence[Outcome] = (), answers: bool = False) -> None:
        reports.append(Report(how, tuple(outcomes), tuple(refused), tuple(failed), answers))
        refused.clear()
        failed.clear()

    try:
        for line in filter(None, lines):
            match json.loads(line):
                case {"begun": float(began)}:
                    pass
                case {"refused": str(words)}:
                    refused[words[:100]] = None
                case {"failed": [int(cell), str(error)]}:
                    failed.append((cell, error[:200]))
                case {"outcomes": list(given), "answers": bool(answers)}:
                    end("done", [decode(each) for each in given], answers)
                case {"ended": "absent" | "exit" | "memory" | "stopped" as how}:
                    end(how)
                case _:
                    raise ValueError("not a message")
        if len(reports) < count:
            end(cause(time.time() - began))
    except (ValueError, RecursionError, TypeError, OverflowError, RuntimeError):
        end("garbage")
    return reports[:count]


def _cause(status: int, seconds: float, limits: Limits) -> str:
    """Why a process ended before its last report, ``seconds`` after the function began."""
    number = -status if status < 0 else status - 128  # bubblewrap adds 128 to the signal
    if number in (signal.SIGXCPU, signal.SIGALRM):
        return "time"
    if number == signal.SIGKILL:  # the hard limit of computing, or a system without memory
        return "time" if seconds >= limits.seconds else "memory"
    return "crash" if number > 0 else "exit"


def _isolated(program: Sequence[str], private: Sequence[Path]) -> list[str]:
    """The command that runs a program under bubblewrap.

    /proc is read-only since a superuser without capabilities could still write kernel settings.
    """
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    places = _readable()
    for place in places:
        command += ["--ro-bind", str(place.resolve()), str(place)]
    for folder in (path.resolve() for path in private):
        if any(place in folder.parents for place in places):
            command += ["--tmpfs", str(folder), "--remount-ro", str(folder)]
    command += ["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    command += ["--size", str(SCRATCH_BYTES), "--tmpfs", SCRATCH, "--remount-ro", "/"]
    return [*command, "--chdir", SCRATCH, "--", *program]


def _readable() -> list[Path]:
    """Python, its packages, this one, and system libraries; outer folders first."""
    places = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1], _SITE]
    places += map(Path, _SYSTEM)
    return sorted({each for path in places if path.exists() for each in (path, path.resolve())})


def _environment(scratch: str) -> dict[str, str]:
    """Few variables: no tokens, one thread, no accelerator, sets in a fixed order."""
    kept = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        **dict.fromkeys(threads, "1"),
        **dict.fromkeys(("HOME", "TMPDIR"), scratch),
        "PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{_SITE}",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "ignore",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "agg",
        "USER": "student",
    }


def _last_line(text: bytes) -> str:
    return (text.decode(errors="replace").strip().splitlines() or ["it says nothing"])[-1]
