"""The lab, as a notebook calls it. The model code never imports it.

Checks show what was expected, what the function returned, and the likely mistake.
"""

import contextlib
import copy
import inspect
import io
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from align_edu.io import InputError
from align_edu.lab import answers, doctor, exercises
from align_edu.lab.course import model, rng, start
from align_edu.lab.exercises import EXERCISES, Exercise, Hint, Problem, WrongAnswer, find_exercise
from align_edu.lab.outcomes import UNWRITTEN, is_stub, outcome_of, same
from align_edu.lab.quiz import note_try, progress, quiz

__all__ = [
    "Exercise", "Hint", "WrongAnswer", "add_exercise", "answers", "case", "check", "doctor",
    "hint", "model", "progress", "quiz", "reveal", "rng", "start", "yours_or_ours",
]  # fmt: skip

SECONDS = 20.0  # for all cases of a check
LETTERS = 1000  # of what a function prints: a check shows no more
_RED, _PLAIN = "\x1b[1;31m", "\x1b[0m"

_failed_cases: dict[str, tuple[Any, ...]] = {}  # by exercise: the case that its last check showed


class CheckFailed(AssertionError):
    """A student's function is not right yet. In a notebook it shows as one sentence."""

    def _render_traceback_(self) -> list[str]:
        return _wrapped(str(self))


class _TimeIsUp(BaseException):
    """Ends a function that takes too long; no `except Exception` stops it."""


class _Beginning(io.StringIO):
    """Keeps the beginning of what is written to it."""

    def write(self, text: str) -> int:
        super().write(text[: max(0, LETTERS - self.tell())])
        return len(text)


def check(function: Callable[..., Any], seed: int = 0, *, strict: bool = False) -> None:
    """Try the function of an exercise and print the verdict, with the likely mistake.

    function: has the name of the exercise, or is bound to it. seed: of the random cases. strict:
    raise CheckFailed where the function is wrong or still to be written, and leave the
    progress alone: for grading.

    >>> import math
    >>> def chance_loss(n):
    ...     return math.log(n)
    >>> check(chance_loss)
    chance_loss(2): expected 1.38629, got 0.693147. That is one direction only. The loss is
    the sum of two: image to text and text to image.
    Call it with these arguments: chance_loss(*lab.case("chance_loss"))
    """
    exercise = find_exercise(_name_of(function, sys._getframe(1)))
    name, problem = exercise.name, _problem(exercise, function, seed)
    if strict and problem:
        raise CheckFailed(problem.sentence)
    if not strict and not _is_unwritten(problem):
        note_try(name, solved=not problem)
    if problem is None or _is_unwritten(problem):
        print(problem.sentence if problem else f"{name}: right.")
        return
    _failed_cases[name] = problem.case
    print("\n".join(map(_coloured, _wrapped(problem.sentence))))
    print(f'Call it with these arguments: {name}(*lab.case("{name}"))')


def find_mistake(exercise: Exercise, function: Callable[..., Any], seed: int = 0) -> str | None:
    """Return what is wrong with a function, in one or two sentences, or None."""
    return problem.sentence if (problem := _problem(exercise, function, seed)) else None


def yours_or_ours(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the student's function once it passes its check, and the reference until then.

    A notebook then runs from top to bottom, whatever its exercises contain.

    >>> import torch
    >>> def recall_at_1(similarity):
    ...     ...
    >>> yours_or_ours(recall_at_1)(torch.eye(3))
    recall_at_1: ours is in use until yours is written.
    1.0
    """
    exercise = find_exercise(_name_of(function, sys._getframe(1)))
    problem = _problem(exercise, function)
    if problem is None:
        print(f"{exercise.name}: yours is in use.")
        return function
    until = "is written" if _is_unwritten(problem) else "passes its check"
    print(f"{exercise.name}: ours is in use until yours {until}.")
    return exercise.reference


def case(exercise: str | Callable[..., Any]) -> tuple[Any, ...]:
    """Return the arguments with which the last check of an exercise failed.

    Raises InputError where no check of it has failed.

    >>> def recall_at_1(similarity):
    ...     return 1.0
    >>> check(recall_at_1)
    recall_at_1(...
    >>> case("recall_at_1")[0].shape
    torch.Size([3, 3])
    """
    name = find_exercise(_name_of(exercise, sys._getframe(1))).name
    if name not in _failed_cases:
        raise InputError(f"no check of {name} has failed; call lab.check({name}) first")
    return copy.deepcopy(_failed_cases[name])


def hint(exercise: str | Callable[..., Any], step: int | None = None) -> None:
    """Print the names of an exercise's hints, or one of them: 1, 2 or 3.

    >>> hint("chance_loss", 2)
    What loss does a probability give? Minus its natural logarithm.
    """
    name = _name_of(exercise, sys._getframe(1))
    hints = find_exercise(name).hints
    if step is None:
        for number, each in enumerate(hints, 1):
            print(f'{each.name}  lab.hint("{name}", {number})')
    else:
        chosen = hints[min(max(step, 1), len(hints)) - 1]
        print(f"{chosen.name} {chosen.text}")


def reveal(exercise: str | Callable[..., Any]) -> None:
    """Print the source of an exercise's answer; the progress records that it was shown.

    With ALIGN_EDU_LAB=graded in the environment it prints one sentence instead.

    >>> reveal("chance_loss")
    def chance_loss(n: int) -> float:
    ...
        return 2 * math.log(n)
    """
    found = find_exercise(_name_of(exercise, sys._getframe(1)))
    if os.environ.get("ALIGN_EDU_LAB") == "graded":
        print(f'{found.name} is graded: its answer stays closed; see lab.hint("{found.name}").')
        return
    note_try(found.name, shown=True)
    print(inspect.getsource(found.reference))


def add_exercise(exercise: Exercise) -> None:
    """Register an exercise of your own for `lab.check`, `hint`, `reveal`, progress and grading.

    Its notebook is any name that no notebook of the course has. Added again, it replaces itself.

    Raises InputError where the name belongs to an exercise of the course, where the function
    has no name, where its results cannot be compared, and where a wrong answer gives the same
    results, so that no check could tell them apart.

    >>> def half(x):
    ...     return x / 2
    >>> wrong = WrongAnswer(lambda x: x // 2, "That rounds down: use /.")
    >>> hints = (Hint("What?", "Divide."), Hint("By what?", "2."), Hint("How?", "x / 2"))
    >>> add_exercise(Exercise("mine", half, lambda generator: [(3,)], (wrong,), hints))
    >>> find_exercise("half").notebook
    'mine'
    """
    name = exercise.name
    if name in EXERCISES and name not in exercises.added_exercises():
        notebook = EXERCISES[name].notebook
        raise InputError(f"{name!r} is an exercise of notebook {notebook}; choose another name")
    if not name.isidentifier():
        raise InputError("the right answer of an exercise must be a function with a name: use def")
    if exercise.notebook in exercises.NUMBERS:
        raise InputError(f"notebook {exercise.notebook!r} is part of the course; rename yours")
    if find_mistake(exercise, exercise.reference):
        kinds = "numbers, texts, lists, dicts, tensors or dataclasses"
        raise InputError(f"{name}: its results cannot be compared; return {kinds}")
    for wrong in exercise.wrong:
        if find_mistake(exercise, wrong.function) is None:
            reason = f"no case tells the right answer from {wrong.mistake!r}; add a case"
            raise InputError(f"{name}: {reason}")
    EXERCISES[name] = exercise


def _problem(exercise: Exercise, function: Callable[..., Any], seed: int = 0) -> Problem | None:
    unwritten = Problem(f"{exercise.name}: still to be written.", "", UNWRITTEN)
    if is_stub(function):
        return unwritten
    key = exercises.answer_key(exercise, seed)
    outcomes: list[Any] = []
    printed, tried = _Beginning(), exercise.watched(function)
    redirected = contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed)
    try:
        with _time_limit(SECONDS), redirected[0], redirected[1]:
            for arguments in key.cases:
                outcomes.append(outcome_of(tried, arguments))
    except _TimeIsUp:
        sentence = f"{exercise.name}: no answer after {SECONDS:g} s. Does a loop ever end?"
        return Problem(sentence, "", None, key.cases[len(outcomes)])
    finally:
        if text := printed.getvalue():
            print(text, end="" if len(text) < LETTERS else "…\n")
    problem = exercises.judge(key, outcomes)
    return unwritten if _is_unwritten(problem) else problem


def _is_unwritten(problem: Problem | None) -> bool:
    return problem is not None and same(problem.got, UNWRITTEN)


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise _TimeIsUp after a time; no limit outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop_again(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            raise _TimeIsUp
        return stop_again

    def stop(number: int, frame: FrameType | None) -> None:
        sys.settrace(lambda *_: None)
        while frame is not None and frame.f_code.co_filename != __file__:
            frame.f_trace, frame = stop_again, frame.f_back  # on its next line, if it is caught
        raise _TimeIsUp

    before, tracer = signal.signal(signal.SIGALRM, stop), sys.gettrace()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        sys.settrace(tracer)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _name_of(function: str | Callable[..., Any], caller: FrameType) -> str:
    """Return the exercise's name: a variable of the caller that is bound to it, or its own."""
    if isinstance(function, str):
        return function
    own = str(getattr(function, "__name__", type(function).__name__))
    variables = {**caller.f_globals, **caller.f_locals}
    bound = [name for name in EXERCISES if variables.get(name) is function]
    return own if own in bound or not bound else bound[0]


def _wrapped(sentence: str) -> list[str]:
    # JupyterLab breaks a long line wherever it ends, inside a word too.
    return textwrap.wrap(sentence, 88, break_on_hyphens=False)


def _coloured(line: str) -> str:
    ipython = sys.modules.get("IPython")
    notebook = ipython is not None and ipython.get_ipython() is not None
    return f"{_RED}{line}{_PLAIN}" if notebook or sys.stdout.isatty() else line
