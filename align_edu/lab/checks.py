"""Checks that say what was expected, what came, and which mistake it looks like."""

import copy
import dis
import inspect
import math
import pkgutil
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from align_edu.lab.exercise import Exercise
from align_edu.lab.exercises import find_exercise
from align_edu.lab.progress import note_try

# The instructions of a function whose body is `...`, `pass` or only a docstring.
_EMPTY = {"RESUME", "NOP", "LOAD_CONST", "POP_TOP", "RETURN_VALUE", "RETURN_CONST"}


class Values(NamedTuple):
    """A list, tuple or set that a function gave; the order of a set does not count."""

    kind: str
    items: tuple[Any, ...]


class Numbers(NamedTuple):
    """A vector, matrix or larger tensor that a function gave."""

    table: Tensor


# A number, several values, a tensor, or in words what came instead.
Outcome = float | str | Values | Numbers


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

    >>> find_mistake(find_exercise("chance_loss"), lambda n: 2 * math.log(n))
    """
    cases = exercise.cases(torch.Generator().manual_seed(seed))
    expected = [_run(exercise.watched(exercise.reference), case) for case in cases]
    got = [_run(exercise.watched(function), case) for case in cases]
    failed = [not _same(a, b) for a, b in zip(expected, got, strict=True)]
    if not any(failed):
        return None
    first = failed.index(True)
    call = f"{exercise.name}({', '.join(_shown(value) for value in cases[first])})"
    problem = f"{call}: expected {_said(expected[first])}, got {_said(got[first])}."
    for wrong in exercise.wrong:
        theirs = exercise.watched(wrong.function)
        if all(_same(_run(theirs, case), b) for case, b in zip(cases, got, strict=True)):
            return f"{problem} {wrong.mistake}"
    return problem


def yours_or_ours(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the student's function once it passes its check, and the reference until then.

    So a notebook runs from top to bottom, whatever is written in its exercises.

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

    >>> reveal("chance_loss")
    def chance_loss(n: int) -> float:
    ...
        return 2 * math.log(n)
    """
    exercise = find_exercise(name)
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


def _run(function: Callable[..., Any], case: tuple[Any, ...]) -> Outcome:
    """Call the function on its own copy of the case."""
    try:
        value = function(*copy.deepcopy(case))
    except Exception as error:  # whatever a student's code may raise
        return f"{type(error).__name__}: {error}"
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        pass
    if isinstance(value, (Tensor, np.ndarray)):
        return Numbers(torch.as_tensor(value).detach().double())
    if isinstance(value, (list, tuple)):
        return Values("list", tuple(value))
    if isinstance(value, (set, frozenset)):
        return Values("set", tuple(sorted(value, key=repr)))
    return "nothing" if value is None else f"a {type(value).__name__}"


def _same(a: Outcome, b: Outcome) -> bool:
    if isinstance(a, Numbers) and isinstance(b, Numbers):
        x, y = a.table, b.table
        return x.shape == y.shape and torch.allclose(x, y, 1e-4, 1e-6, equal_nan=True)
    if isinstance(a, Numbers) or isinstance(b, Numbers):
        return False
    if isinstance(a, Values) or isinstance(b, Values):
        return a == b
    if isinstance(a, str) or isinstance(b, str):
        return str(a).partition(":")[0] == str(b).partition(":")[0]  # the kind of error
    return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-7) or (math.isnan(a) and math.isnan(b))


def _said(outcome: Outcome) -> str:
    if isinstance(outcome, Numbers):
        table = outcome.table
        begins = ", ".join(f"{v:.3g}" for v in table.flatten()[:4].tolist())
        return _shown(table) + (f" that begins {begins}" if table.numel() > 9 else "")
    if isinstance(outcome, Values):
        text = ", ".join(map(repr, outcome.items))
        return f"the {outcome.kind} of {textwrap.shorten(text, 200) or 'nothing'}"
    return outcome if isinstance(outcome, str) else f"{outcome:.6g}"


def _shown(value: Any) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    if value.numel() > 9:
        kind = {1: "vector", 2: "matrix"}.get(value.ndim, "tensor")
        return f"a {' × '.join(map(str, value.shape))} {kind}"
    return repr(_rounded(value.tolist()))


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 3) if isinstance(value, float) else value
