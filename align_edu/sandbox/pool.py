"""Runs jobs in sandboxed processes, several at a time, and reads what they told with distrust."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from align_edu.io import InputError
from align_edu.sandbox.job import Job, Limits
from align_edu.sandbox.outcomes import Outcome, decode, encode_case
from align_edu.sandbox.scratch import remove_tree

_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT")
_THREADS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON", "VECLIB_MAXIMUM")


@dataclass(frozen=True)
class Report:
    """What came of a job.

    Parameters
    ----------
    ended : "done", or what ended it: "time", "memory", "disk", "chatter" (it told too much) or
        "crash"; "exit" where it ended itself, "absent" where there was no function,
        "garbage" where what it told makes no sense.
    outcomes : one for each case, where it is done.
    refused : what it tried that is not allowed, in a few words each.
    failed : number of the cell and error of each statement that failed on the way.
    answers : whether it imported the answers of the course.
    """

    ended: str
    outcomes: tuple[Outcome, ...] = ()
    refused: tuple[str, ...] = ()
    failed: tuple[tuple[int, str], ...] = ()
    answers: bool = False


class Sandbox:
    """Processes that wait for jobs; use it in a `with` statement.

    Parameters
    ----------
    cases : arguments to call with, by the name of the exercise; never what is expected.
    limits : of each job.
    workers : jobs at a time.
    private : folders of which a job that looks there is told.
    observers : who calls the function for a case, as "module:name", by the name of the exercise;
        where none is named, the function is called itself.

    Raises InputError where the system cannot fork processes, or they do not start.
    """

    def __init__(
        self,
        cases: Mapping[str, Sequence[tuple[Any, ...]]],
        limits: Limits,
        workers: int = 1,
        private: Sequence[Path] = (),
        observers: Mapping[str, str] | None = None,
    ) -> None:
        if not hasattr(os, "fork"):
            raise InputError(
                "submissions run in forked processes, which this system does not have; "
                "grade them on Linux, on macOS, or in Windows' WSL"
            )
        self.scratch = Path(tempfile.mkdtemp(prefix="align_edu_sandbox_")).resolve()
        self.settings = {
            "cases": {name: [encode_case(list(c)) for c in some] for name, some in cases.items()},
            "limits": asdict(limits),
            "observers": dict(observers or {}),
            "scratch": str(self.scratch),
            "private": [str(path.resolve()) for path in private],
        }
        self.patience = limits.import_seconds + limits.wall_seconds + 60
        self._free: queue.SimpleQueue[_Zygote] = queue.SimpleQueue()
        self._all = [_Zygote(self.settings) for _ in range(workers)]

    def __enter__(self) -> "Sandbox":
        try:
            for zygote in self._all:
                zygote.wait()
                self._free.put(zygote)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def guards(self) -> list[str]:
        """What the kernel adds to the limits: "landlock", "seccomp", both or neither."""
        return self._all[0].guards

    def run(self, job: Job) -> Report:
        """Run one job; may be called from several threads.

        Raises InputError where a process cannot be locked in.
        """
        zygote = self._free.get()
        try:
            answer = zygote.ask(asdict(job), self.patience)
            if answer is None:  # a job cannot reach its parent, yet nothing must be fatal
                zygote.close()
                self._all.remove(zygote)
                zygote = _Zygote(self.settings)
                self._all.append(zygote)
                zygote.wait()
                return Report("crash")
        finally:
            self._free.put(zygote)
        return _report(answer["ended"], answer["told"])

    def close(self) -> None:
        """End all processes and remove the scratch folder."""
        for zygote in self._all:
            zygote.close()
        remove_tree(self.scratch)


class _Zygote:
    """One process of `align_edu.sandbox.zygote`, spoken to in lines."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.guards: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "align_edu.sandbox.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(str(settings["scratch"])),
            cwd=settings["scratch"],
            start_new_session=True,  # an interrupt is for us alone
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._ask: IO[bytes] = self.process.stdin
        self._answers: IO[bytes] = self.process.stdout
        self._send(settings)

    def wait(self) -> None:
        """Wait until it is ready; raise InputError when it does not start."""
        answer = self._read(600)
        if answer is None:
            self.close()
            raise InputError("the process for submissions does not start; see align-edu doctor")
        self.guards = answer["ready"]

    def ask(self, job: Mapping[str, Any], patience: float) -> dict[str, Any] | None:
        """Give it a job and return its answer; None where it died."""
        return self._read(patience) if self._send(job) else None

    def close(self) -> None:
        """End it."""
        self.process.kill()
        for pipe in (self._ask, self._answers):
            try:
                pipe.close()
            except OSError:  # what was not sent any more
                continue
        self.process.wait()

    def _send(self, message: Mapping[str, Any]) -> bool:
        try:
            self._ask.write(json.dumps(message).encode() + b"\n")
            self._ask.flush()
        except OSError:
            return False
        return True

    def _read(self, patience: float) -> dict[str, Any] | None:
        timer = threading.Timer(patience, self.process.kill)
        timer.start()
        try:
            line = self._answers.readline()
        finally:
            timer.cancel()
        return json.loads(line) if line.endswith(b"\n") else None


def _environment(scratch: str) -> dict[str, str]:
    """Little of ours: no tokens, no settings, one thread, no accelerator, sets in one order."""
    package = str(Path(__file__).parents[2])
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        **{f"{library}_NUM_THREADS": "1" for library in _THREADS},
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "ignore",
        "POLARS_MAX_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "agg",
        "HOME": scratch,
        "TMPDIR": scratch,
    }


@dataclass
class _Told:
    """The lines of a child, gathered; any of them may be a lie."""

    outcomes: tuple[Outcome, ...] | None = None
    refused: list[str] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)
    ended: str = ""
    answers: bool = False

    def add(self, message: Any) -> None:
        """Take one message; raise ValueError for what is none."""
        match message:
            case {"outcomes": list(outcomes), "answers": bool(answers)}:
                self.outcomes = tuple(decode(outcome) for outcome in outcomes)
                self.answers = answers
            case {"refused": str(words)}:
                self.refused.append(words[:100])
            case {"failed": [int(cell), str(error)]}:
                self.failed.append((cell, error[:200]))
            case {"begun": True}:
                pass
            case {"absent": True}:
                self.ended = "absent"
            case {"stopped": "MemoryError"}:
                self.ended = "memory"
            case {"stopped": "SystemExit"}:
                self.ended = "exit"
            case {"stopped": str(kind)}:
                self.failed.append((0, kind[:200]))
                self.ended = "stopped"
            case _:
                raise ValueError("not a message")


def _report(ended: str, text: str) -> Report:
    first, *lines = text.split("\n")  # the first line is ours: nothing of a student ran before
    if ended == "done" and first != '{"locked": true}':
        raise InputError(f"submissions cannot be locked in on this system: {first}")
    told = _Told()
    try:
        for line in filter(None, lines):
            told.add(json.loads(line))
    except (ValueError, RecursionError, TypeError, OverflowError, RuntimeError):
        told.ended = told.ended or "garbage"
    if ended == "done":
        ended = told.ended or ("done" if told.outcomes is not None else "exit")
    outcomes = told.outcomes if ended == "done" else None
    return Report(
        ended,
        outcomes or (),
        tuple(dict.fromkeys(told.refused)),
        tuple(told.failed),
        told.answers,
    )
