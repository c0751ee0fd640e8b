"""The program inside the jail: limits itself, runs each function on its cases, and reports.

`align_edu.lab.jail` runs it as a script, so that nothing of `align_edu.lab`, which holds the
answers, is imported unless a submission does it. An audit hook refuses what no exercise needs and
reports it to the lecturer: bubblewrap alone would hide such an attempt.
"""

import __future__

import functools
import importlib
import json
import linecache
import os
import pkgutil
import random
import resource
import signal
import sys
import tempfile
import threading
import time
import tomllib
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

REPORTS = 3  # the file descriptor that reports are written to
CODE = "<cell "  # the file names of a student's code begin so
IMPORT_SECONDS = 60  # of computing, for the import statements alone
_RULES = tomllib.loads(Path(__file__).with_name("jail.toml").read_text(encoding="utf-8"))
_PROCESS, _PATHS, _READS = (_RULES[name] for name in ("process", "paths", "reads"))
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    """Read the request, run its jobs, and end without whatever a student registered for exit."""
    os.dup2(1, REPORTS)
    request = json.load(sys.stdin)
    jobs, scratch = request["jobs"], os.path.realpath(request["scratch"])
    outcomes, observers = _import_beside_the_answers([job["observe"] for job in jobs])
    torch.set_num_threads(1)
    _limit(request)
    _limit_processes(100, request["user"])
    report(ready=True)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    sys.addaudithook(_guard(scratch, request["private"]))
    whole = IMPORT_SECONDS + request["seconds"] + 6  # of computing, for one function
    for place, (job, observer) in enumerate(zip(jobs, observers), 1):
        later = whole * (len(jobs) - place)
        tempfile.tempdir = tempfile.mkdtemp(dir=scratch)  # an empty folder for each function
        os.chdir(tempfile.tempdir)
        random.seed(0)  # a student may draw random numbers, and marks must repeat
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)
        _stop_after(IMPORT_SECONDS, 0, later + whole)
        limits = (request["seconds"], request["wall_seconds"], later)
        _run(job, observer, functools.partial(_stop_after, *limits), outcomes)
    os._exit(0)


def report(**message: Any) -> None:
    """Write one line."""
    os.write(REPORTS, json.dumps(message).encode() + b"\n")


def _import_beside_the_answers(names: list[str]) -> tuple[Any, list[Any]]:
    """Import the comparison and the observers from `align_edu.lab`, but not the package itself."""
    package = types.ModuleType("align_edu.lab")
    package.__path__ = [str(Path(__file__).parent)]
    sys.modules["align_edu.lab"] = package
    outcomes = importlib.import_module("align_edu.lab.outcomes")
    observers = [pkgutil.resolve_name(name) if name else None for name in names]
    for name in [each for each in sys.modules if each.startswith("align_edu.lab")]:
        del sys.modules[name]  # a submission that imports one gets a copy that is not ours
    return outcomes, observers


def _run(job: dict[str, Any], observer: Any, begin: Callable[[], None], outcomes: Any) -> None:
    """Run the statements, then the function for each case; report the outcomes."""
    before = set(sys.modules)
    try:
        cases = [tuple(map(outcomes.decode, case)) for case in job["cases"]]
        function = build(job, begin)
        if not callable(function):
            report(ended="absent")
            return
        called = functools.partial(observer, function) if observer else function
        given = [outcomes.outcome_of(called, case) for case in cases]
        if any(name.startswith("align_edu.lab.answers") for name in sys.modules.keys() - before):
            report(note="imported the answers of the course")
        report(outcomes=list(map(outcomes.encode, given)))
    except MemoryError:
        report(ended="memory")
    except SystemExit:
        report(ended="exit")
    except BaseException as error:  # KeyboardInterrupt, for one
        report(note=type(error).__name__)
        report(ended="stopped")


def build(job: dict[str, Any], begin: Callable[[], None]) -> Any:
    """Return the function after the statements that it needs; report those that fail."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    names = vars(module)
    names["display"] = lambda *things, **options: None  # as in a notebook
    magics = ("run_line_magic", "run_cell_magic", "system", "getoutput")
    notebook = types.SimpleNamespace(**dict.fromkeys(magics, names["display"]))
    names["get_ipython"] = lambda: notebook
    steps = [(f"{CODE}{cell}.{place}>", text) for place, (cell, text) in enumerate(job["steps"])]
    imports = [step for step in steps if step[1].startswith(("import ", "from "))]
    for step in imports:
        _execute(*step, names)
    begin()
    for step in steps:
        if step not in imports:
            _execute(*step, names)
    return names.get(job["name"])


def _execute(file: str, text: str, names: dict[str, Any]) -> None:
    """Run a statement and report its failure; names in annotations may be missing."""
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    try:
        exec(compile(text, file, "exec", __future__.annotations.compiler_flag, True), names)
    except MemoryError:
        raise
    except Exception as error:
        words = traceback.format_exception_only(error)[-1].strip()[:200]
        cell = file.removeprefix(CODE).partition(".")[0]
        report(note=words if cell == "0" else f"cell {cell}: {words}")


def _limit(request: dict[str, Any]) -> None:
    """Limit memory, files and computing of this process, for good."""
    limits = {"FSIZE": 8 * 2**20, "NOFILE": 64, "CORE": 0}
    memory = Path("/proc/self/statm")
    if memory.exists():  # macOS has none, and does not keep this limit
        used = int(memory.read_text().split()[0]) * resource.getpagesize()
        limits["AS"] = used + request["megabytes"] * 2**20
    for name, most in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _limit_processes(most: int, user: int | None) -> None:
    """Limit the number of processes and threads, of another user where the superuser grades."""
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    before = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, before[1]))
    try:
        threading.Thread(target=int).start()
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    except RuntimeError:  # Linux before 5.14 counts what runs outside, too
        resource.setrlimit(resource.RLIMIT_NPROC, before)


def _stop_after(seconds: float, wall_seconds: float, later: float) -> None:
    """Have the system stop this process once it has computed, or lived, so much longer."""
    # A student may ignore the signals, but not the hard limit, which spares computing for later.
    report(begun=time.time())
    soft = int(sum(os.times()[:2]) + seconds + 1)  # whole seconds only
    before = resource.getrlimit(resource.RLIMIT_CPU)[1]
    hard = soft + 2 + int(later)
    hard = hard if before == resource.RLIM_INFINITY else min(hard, before)
    resource.setrlimit(resource.RLIMIT_CPU, (min(soft, hard), hard))
    signal.setitimer(signal.ITIMER_REAL, wall_seconds)


def _guard(scratch: str, private: list[str]) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that refuses what a student's own code attempts; libraries may look around."""
    readable = [scratch, sys.prefix, sys.base_prefix, str(Path(__file__).parents[1])]

    def refused(event: str, arguments: tuple[Any, ...]) -> str:
        if event in _PROCESS:
            return "another process or program"
        if event not in _PATHS:
            return "the network"
        changes = (arguments[2] or 0) & _WRITES if event == "open" else event not in _READS
        for place in arguments[: _PATHS[event]]:
            if changes and not _is_below(place, [scratch, os.devnull]):
                return "a file outside its own folder"
            if _is_below(place, private) and not _is_below(place, readable):
                return "the submissions and marks of others"
        return ""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        watched = event in _PROCESS or event in _PATHS or event.startswith("socket.")
        if watched and event != "socket.gethostname" and _is_students(sys._getframe(1)):
            words = refused(event, arguments)
            if words:
                report(refused=words)
                raise PermissionError(f"{words} is not allowed")

    return hook


def _is_below(path: Any, folders: list[str]) -> bool:
    """Whether a path leads into a folder; a file that is open counts as the empty device."""
    try:
        number = path is None or isinstance(path, int)
        place = os.path.realpath(os.devnull if number else os.fsdecode(path))
    except (TypeError, ValueError, OSError):
        return False
    return any(place == folder or place.startswith(folder + os.sep) for folder in folders)


def _is_students(frame: types.FrameType | None) -> bool:
    """Whether a student's code acts, and no library while it is imported."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        if frame.f_code.co_filename.startswith(CODE):
            return True
        frame = frame.f_back
    return False


if __name__ == "__main__":
    main()
