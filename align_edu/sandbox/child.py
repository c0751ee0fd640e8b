"""One process for one function of one submission: it locks itself in, runs, tells, and ends.

It is forked from a process that has imported torch already (`align_edu.sandbox.zygote`). What it
tells are lines of JSON on one pipe; whoever reads them trusts none of them.
"""

import ast
import functools
import json
import os
import random
import resource
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from align_edu.sandbox import kernel
from align_edu.sandbox.guard import CODE, Rules, install
from align_edu.sandbox.job import Job, Limits
from align_edu.sandbox.outcomes import encode, outcome_of, told_error

Tell = Callable[[dict[str, Any]], None]
Observer = Callable[..., Any] | None
IMPORT_SECONDS = 60  # of computing, for the import statements alone
FILE_BYTES, OPEN_FILES = 8 * 2**20, 64


def run_job(
    job: Job,
    cases: list[tuple[Any, ...]],
    observer: Observer,
    limits: Limits,
    rules: Rules,
    pipe: int,
) -> None:
    """Be the child: run the job, tell what came through ``pipe``, and end this process.

    observer: is called with the function and a case, and gives what is told; the function is
    called with the case when None.

    The first line it tells is whether it is locked in; where it is not, nothing is run.
    """

    def tell(message: dict[str, Any]) -> None:
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(pipe, data) :]

    try:
        kernel.die_with_parent()
        pipe = _keep_only(pipe)
        try:
            _settle(rules.scratch)
            hard = _limit(limits)
            kernel.lock([Path(p) for p in rules.readable], [Path(rules.scratch)])
        except Exception as error:  # nothing of a student has run yet
            tell({"locked": False, "reason": told_error(error)})
            return
        tell({"locked": True})
        install(rules, lambda words: tell({"refused": words}))

        def begin() -> None:
            tell({"begun": True})
            _limit_computing(limits, hard)

        _work(job, cases, observer, begin, tell)
    finally:
        os._exit(0)


def _work(
    job: Job,
    cases: list[tuple[Any, ...]],
    observer: Observer,
    begin: Callable[[], None],
    tell: Tell,
) -> None:
    """Run the statements, then the function for each case; tell the outcomes in one line."""
    try:
        function = _build(job, begin, tell)
        if not callable(function):
            tell({"absent": True})
            return
        if observer is not None:
            function = functools.partial(observer, function)
        outcomes = [encode(outcome_of(function, case)) for case in cases]
        answers = [name for name in sys.modules if name.startswith("align_edu.lab.answers")]
        tell({"outcomes": outcomes, "answers": bool(answers)})
    except MemoryError:
        tell({"stopped": "MemoryError"})
    except BaseException as error:  # sys.exit comes here
        tell({"stopped": type(error).__name__})


def _build(job: Job, begin: Callable[[], None], tell: Tell) -> Any:
    """The function, after the statements it needs; one that fails is told and left out."""
    module = types.ModuleType("__main__")
    module.__dict__["display"] = lambda *things, **options: None  # as in a notebook
    sys.modules["__main__"] = module
    trees = {cell: ast.parse(text).body for cell, text in job.cells.items()}
    steps = [(cell, trees[cell][place]) for cell, place in job.steps]
    imports = [step for step in steps if isinstance(step[1], (ast.Import, ast.ImportFrom))]
    for cell, statement in imports:
        _run(cell, statement, job.flags, module.__dict__, tell)
    begin()
    for cell, statement in (step for step in steps if step not in imports):
        _run(cell, statement, job.flags, module.__dict__, tell)
    return module.__dict__.get(job.name)


def _run(cell: int, statement: ast.stmt, flags: int, names: dict[str, Any], tell: Tell) -> None:
    tree = ast.Module([statement], [])
    try:
        exec(compile(tree, f"{CODE}{cell}>", "exec", flags, True), names)
    except MemoryError:
        raise
    except Exception as error:
        tell({"failed": [cell, told_error(error)]})


def _keep_only(pipe: int) -> int:
    """Close everything but the pipe; what is printed goes nowhere. The pipe's new number."""
    null = os.open(os.devnull, os.O_RDWR)
    kept = os.dup(pipe) if pipe <= 3 else pipe
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.dup2(kept, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    return 3


def _settle(scratch: str) -> None:
    """Make the scratch folder the only place there is, and random numbers the same each time."""
    os.setsid()
    os.chdir(scratch)
    os.environ.update(HOME=scratch, TMPDIR=scratch, MPLCONFIGDIR=scratch, XDG_CACHE_HOME=scratch)
    tempfile.tempdir = scratch
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (a student may draw from it, and marks must repeat)
    torch.manual_seed(0)


def _limit(limits: Limits) -> int:
    """Set all limits but the one of computing, which begins after the imports; its bound."""
    space = limits.megabytes * 2**20
    try:
        space += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _lower(resource.RLIMIT_AS, space)
    except OSError:
        pass  # not Linux: macOS does not keep this limit
    _lower(resource.RLIMIT_FSIZE, FILE_BYTES)
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    _lower(resource.RLIMIT_CORE, 0)
    if "seccomp" not in kernel.offered():
        _lower(resource.RLIMIT_NPROC, 0)
    hard = round(limits.seconds) + IMPORT_SECONDS + 1
    _lower(resource.RLIMIT_CPU, hard)
    return hard


def _limit_computing(limits: Limits, hard: int) -> None:
    used = sum(os.times()[:2])
    seconds = min(int(used + limits.seconds + 1), hard)  # whole ones only
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def _lower(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(kind, (most, most))
