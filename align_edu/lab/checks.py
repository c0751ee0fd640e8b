"""Checks that say what was expected, what came, and which mistake it looks like."""

import dis
import inspect
import os
import pkgutil
import textwrap
from collections.abc import Callable
from typing import Any

from align_edu.lab.exercise import Exercise
from align_edu.lab.exercises import find_exercise
from align_edu.lab.judge import answer_key, judge
from align_edu.lab.progress import note_try
from align_edu.sandbox.outcomes import outcome_of

# The instructions of a function whose body is `...`, `pass` or only a docstring.
_EMPTY = {"RESUME", "NOP", "LOAD_CONST", "POP_TOP", "RETURN_VALUE", "RETURN_CONST"}


class CheckFailed(AssertionError):
    """A student's function is not right yet. In a notebook it shows as one sentence."""

    def _render_traceback_(self) -> list[str]:
        # JupyterLab breaks a long line of an error wherever it ends, inside a word too.
        return textwrap.wrap(str(self), 88, break_on_hyphens=False)


def check(function: Callable[..., Any], seed: int = 0, *, strict: bool = False) -> None:
    """Try the function of an exercise, which is found by its name, and say what came of it.

    Raises CheckFailed with the likely mistake. A function that is still `...` passes, and the
    check says that it is to be written; a strict check, for grading, fails it. Another seed
    gives other random cases.

    >>> import math
    >>> def chance_loss(n):
    ...     return math.log(n)
    >>> check(chance_loss)
    Traceback (most recent call last):
    align_edu.lab.checks.CheckFailed: chance_loss(2): expected 1.38629, got 0.693147. That is one
    direction only. The loss is the sum of two: image to text and text to image.
    """
    exercise = find_exercise(function.__name__)
    if is_stub(function):
        unwritten = f"{exercise.name}: still to be written."
        if strict:
            raise CheckFailed(unwritten)
        print(unwritten)
        return
    problem = find_mistake(exercise, function, seed)
    note_try(exercise.name, solved=not problem)
    if problem:
        raise CheckFailed(problem)
    print(f"{exercise.name}: right.")


def find_mistake(exercise: Exercise, function: Callable[..., Any], seed: int = 0) -> str | None:
    """Return what is wrong with a function, in one or two sentences, or None.

    >>> import math
    >>> find_mistake(find_exercise("chance_loss"), lambda n: 2 * math.log(n))
    """
    key = answer_key(exercise, seed)
    problem = judge(key, [outcome_of(exercise.watched(function), case) for case in key.cases])
    return problem.sentence if problem else None


def yours_or_ours(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the student's function once it passes its check, and the reference until then.

    So a notebook runs from top to bottom, whatever is written in its exercises.

    >>> import torch
    >>> def recall_at_1(similarity):
    ...     ...
    >>> yours_or_ours(recall_at_1)(torch.eye(3))
    recall_at_1: ours is in use until yours is written.
    1.0
    >>> def recall_at_1(similarity):
    ...     return 1.0
    >>> _ = yours_or_ours(recall_at_1)
    recall_at_1: ours is in use until yours passes its check.
    """
    exercise = find_exercise(function.__name__)
    if is_stub(function):
        print(f"{exercise.name}: ours is in use until yours is written.")
        return exercise.reference
    if find_mistake(exercise, function):
        print(f"{exercise.name}: ours is in use until yours passes its check.")
        return exercise.reference
    print(f"{exercise.name}: yours is in use.")
    return function


def hint(name: str, step: int | None = None) -> None:
    """Print the names of an exercise's hints, or one of them: 1, 2 or 3.

    >>> hint("chance_loss", 2)
    What loss does a probability give? Minus its natural logarithm.
    """
    hints = find_exercise(name).hints
    if step is None:
        for number, each in enumerate(hints, 1):
            print(f'{each.name}  lab.hint("{name}", {number})')
        return
    chosen = hints[min(max(step, 1), len(hints)) - 1]
    print(f"{chosen.name} {chosen.text}")


def reveal(name: str) -> None:
    """Print the shipped source of an exercise's answer; the progress keeps that it was shown.

    Where the environment says ALIGN_EDU_LAB=graded it prints one sentence instead.

    >>> reveal("chance_loss")
    def chance_loss(n: int) -> float:
    ...
        return 2 * math.log(n)
    """
    exercise = find_exercise(name)
    if os.environ.get("ALIGN_EDU_LAB") == "graded":
        print(f"{exercise.name} is graded here: its answer stays closed; see lab.hint({name!r}).")
        return
    note_try(name, shown=True)
    for function in (exercise.reference, *map(pkgutil.resolve_name, exercise.builds_on)):
        print(inspect.getsource(function))


def is_stub(function: Callable[..., Any]) -> bool:
    """Whether nothing is written yet: the body is `...`, `pass` or a docstring.

    >>> is_stub(lambda n: ...), is_stub(lambda n: 0)
    (True, False)
    """
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    steps = list(dis.get_instructions(code))
    if any(step.opname not in _EMPTY for step in steps):
        return False
    values = {step.argval for step in steps if step.opname in {"LOAD_CONST", "RETURN_CONST"}}
    return values <= {None, ...}
