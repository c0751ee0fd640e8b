"""A process that has imported torch once, and forks a child for each job it reads.

It reads lines of JSON on standard input (first the settings, then jobs) and writes one line for
each. It has one thread and has called nothing of torch's autograd: only so may it fork.
"""

import json
import os
import pkgutil
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

from align_edu.sandbox import kernel
from align_edu.sandbox.child import run_job
from align_edu.sandbox.guard import Rules, readable_places
from align_edu.sandbox.job import Job, Limits
from align_edu.sandbox.outcomes import decode_case
from align_edu.sandbox.scratch import is_full, remove_tree

MOST_BYTES = 4 * 2**20  # that a child may tell


def main() -> None:
    """Serve jobs until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not stand between the answers
    lines: Iterator[bytes] = iter(sys.stdin.buffer.readline, b"")
    settings = json.loads(next(lines))
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    import align_edu.loss  # noqa: F401  (what many notebooks import)

    server = _Server(settings)
    _answer(answers, {"ready": kernel.offered()})
    for line in lines:
        _answer(answers, server.serve(json.loads(line)))


def _answer(answers: BinaryIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()


class _Server:
    """The settings of all jobs, and one job after the other."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.limits = Limits(**settings["limits"])
        self.cases = {
            name: [tuple(decode_case(value) for value in case) for case in cases]
            for name, cases in settings["cases"].items()
        }
        self.observers = {
            name: pkgutil.resolve_name(observer) for name, observer in settings["observers"].items()
        }
        self.scratch = Path(settings["scratch"])
        self.private = tuple(settings["private"])
        self.readable = tuple(str(place) for place in readable_places())
        self.native = {"landlock", "seccomp"} <= set(kernel.offered())
        self.count = 0

    def serve(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run one job in a child of its own; return how it ended and what it told."""
        cells = {int(number): text for number, text in job["cells"].items()}
        steps = [(cell, place) for cell, place in job["steps"]]
        work = Job(job["name"], job["exercise"], cells, steps, job["flags"])
        self.count += 1
        scratch = self.scratch / f"{os.getpid()}-{self.count}"
        scratch.mkdir()
        try:
            rules = Rules(str(scratch), self.readable, self.private, self.native)
            ended, told = self._fork(work, rules)
            return {"ended": ended, "told": told.decode(errors="replace")}
        finally:
            remove_tree(scratch)

    def _fork(self, job: Job, rules: Rules) -> tuple[str, bytes]:
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            observer = self.observers.get(job.exercise)
            run_job(job, self.cases[job.exercise], observer, self.limits, rules, theirs)
        os.close(theirs)
        os.set_blocking(ours, False)
        try:
            return _watch(child, ours, self.limits, Path(rules.scratch))
        finally:
            os.close(ours)


def _watch(child: int, pipe: int, limits: Limits, scratch: Path) -> tuple[str, bytes]:
    """Read what a child tells until it ends, or end it; return how it ended, and what it told.

    "done" also where it told nothing; "time", "memory", "crash", "chatter" and "disk" otherwise.
    """
    told, open_, reason = bytearray(), True, ""
    deadline, begun = time.monotonic() + limits.import_seconds, False
    look_at_disk = 0.0
    while True:
        open_ = open_ and _read(pipe, told, 0.05)
        if not open_:
            time.sleep(0.001)
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        now = time.monotonic()
        if not begun and b'{"begun"' in told:
            begun, deadline = True, now + limits.wall_seconds
        if not reason and now > look_at_disk:
            look_at_disk = now + 0.1
            reason = "disk" if is_full(scratch) else ""
        if len(told) > MOST_BYTES:
            reason = "chatter"
        if now > deadline:
            reason = "time"
        if reason:
            _kill(child)
    while open_ and len(told) <= MOST_BYTES and _read(pipe, told, 0):
        pass
    if not reason and is_full(scratch):
        reason = "disk"
    computing = usage.ru_utime + usage.ru_stime
    return reason or _how(status, computing >= limits.seconds), bytes(told[:MOST_BYTES])


def _read(pipe: int, told: bytearray, patience: float) -> bool:
    """Read what there is; return whether more may come."""
    if not select.select([pipe], [], [], patience)[0]:
        return patience > 0
    data = os.read(pipe, 2**16)
    told += data
    return bool(data)


def _kill(child: int) -> None:
    for end in (os.killpg, os.kill):  # the group is there once the child has made it
        try:
            end(child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _how(status: int, long: bool) -> str:
    if not os.WIFSIGNALED(status):
        return "done"
    number = os.WTERMSIG(status)
    if number in (signal.SIGXCPU, signal.SIGKILL) and long:
        return "time"
    return "memory" if number == signal.SIGKILL else "crash"


if __name__ == "__main__":
    main()
