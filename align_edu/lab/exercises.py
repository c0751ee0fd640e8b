"""Exercises: a function to write, cases to try it on, hints, and mistakes with their names.

`EXERCISES` registers those of the course, which `answers/nNN.py` make, and a lecturer's.
"""

import functools
import inspect
import pkgutil
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from align_edu.io import InputError

Answer = Callable[..., Any]
Cases = list[tuple[Any, ...]]


@dataclass(frozen=True)
class WrongAnswer:
    """A function that students write, and the sentence that names its mistake.

    A check compares the results of a student's function with the results of these.
    """

    function: Answer
    mistake: str


@dataclass(frozen=True)
class Hint:
    """One step of help, named after the question it answers."""

    name: str
    text: str


@dataclass(frozen=True)
class Exercise:
    """A function for the student to write.

    Parameters
    ----------
    notebook : number of the notebook that contains it.
    reference : the right answer; the student's function must have the same name. Its source
        must be complete: it imports what it needs inside its body.
    cases : given a generator, the arguments to try: hand-worked ones first, then random ones.
    wrong : mistakes that students make.
    hints : three steps of help.
    observe : for functions that change something: the name, as "module:name", of a function that
        takes the student's function and a case and returns what to compare. Its module must not
        import any answer, because it runs beside a student's function.
    """

    notebook: str
    reference: Answer
    cases: Callable[[torch.Generator], Cases]
    wrong: tuple[WrongAnswer, ...]
    hints: tuple[Hint, ...]
    observe: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "wrong", tuple(self.wrong))  # hashable, if they were lists
        object.__setattr__(self, "hints", tuple(self.hints))

    @property
    def name(self) -> str:
        """The name of the function to write."""
        return self.reference.__name__

    def watched(self, function: Answer) -> Answer:
        """Return what is called with each case: the function, or what observes it."""
        if not self.observe:
            return function
        return functools.partial(pkgutil.resolve_name(self.observe), function)


EXERCISES: dict[str, Exercise] = {}


def exercise(
    reference: Answer,
    random_cases: Callable[[torch.Generator], Sequence[Sequence[Any]]],
    *,
    observe: str = "",
    times: Mapping[str, float] | None = None,
    **wrong: Answer,
) -> Exercise:
    """Make and register an exercise of the course; `answers/nNN.py` calls this.

    `answers/nNN.toml` has its hand-worked cases, its hints, and a sentence for each wrong answer.
    A list in such a case becomes a tensor where the reference takes a Tensor. times: wrong
    answers that are the right one times a factor.
    """
    notebook = reference.__module__[-2:]
    file = resources.files("align_edu.lab") / "answers" / f"n{notebook}.toml"
    texts = tomllib.loads(file.read_text(encoding="utf-8"))[reference.__name__]
    types = [each.annotation for each in inspect.signature(reference).parameters.values()]
    dtype = getattr(torch, texts["dtype"]) if "dtype" in texts else None

    def cases(generator: torch.Generator) -> Cases:
        """Return the hand-worked cases, then the random ones."""

        def argument(value: Any, kind: Any) -> Any:
            return torch.tensor(value, dtype=dtype) if kind is Tensor else value

        by_hand = [tuple(map(argument, row, types)) for row in texts["cases"]]
        return [*by_hand, *map(tuple, random_cases(generator))]

    wrong |= {name: _multiplied(reference, factor) for name, factor in (times or {}).items()}
    mistakes = texts["mistakes"]
    if wrong.keys() != mistakes.keys():
        raise KeyError(f"{file.name}: {sorted(wrong.keys() ^ mistakes.keys())}")
    made = tuple(WrongAnswer(wrong[name], sentence) for name, sentence in mistakes.items())
    hints = tuple(Hint(*hint) for hint in texts["hints"])
    new = Exercise(notebook, reference, cases, made, hints, observe)
    return EXERCISES.setdefault(new.name, new)


def find_exercise(name: str) -> Exercise:
    """Return the exercise whose function has that name.

    Raises InputError for another name.

    >>> find_exercise("recall_at_1").notebook
    '00'
    """
    if name not in EXERCISES:
        raise InputError(f"no exercise is called {name!r}; choose one of {', '.join(EXERCISES)}")
    return EXERCISES[name]


def add_exercise(exercise: Exercise) -> None:
    """Register an exercise of your own for `lab.check`, `hint`, `reveal`, progress and grading.

    Its notebook is any name that no notebook of the course has. Added again, it replaces itself.

    Raises InputError where the name belongs to an exercise of the course, where the function
    has no name, where its results cannot be compared, and where a wrong answer gives the same
    results, so that no check could tell them apart.

    >>> from align_edu.lab import Exercise, Hint, WrongAnswer
    >>> def half(x):
    ...     return x / 2
    >>> wrong = WrongAnswer(lambda x: x // 2, "That rounds down: use /.")
    >>> hints = (Hint("What?", "Divide."), Hint("By what?", "2."), Hint("How?", "x / 2"))
    >>> add_exercise(Exercise("mine", half, lambda generator: [(3,)], (wrong,), hints))
    >>> find_exercise("half").notebook
    'mine'
    """
    from align_edu.lab.checks import find_mistake  # checks imports this module
    from align_edu.lab.course import COURSE

    numbers, name = {lesson.number for lesson in COURSE}, exercise.name
    if name in EXERCISES and EXERCISES[name].notebook in numbers:
        notebook = EXERCISES[name].notebook
        raise InputError(f"{name!r} is an exercise of notebook {notebook}; choose another name")
    if not name.isidentifier():
        raise InputError("the right answer of an exercise must be a function with a name: use def")
    if exercise.notebook in numbers:
        raise InputError(
            f"notebook {exercise.notebook!r} is part of the course; give yours another name"
        )
    if find_mistake(exercise, exercise.reference):
        raise InputError(
            f"{name}: its results cannot be compared; return numbers, texts, lists, dicts,"
            " tensors or dataclasses"
        )
    for wrong in exercise.wrong:
        if find_mistake(exercise, wrong.function) is None:
            raise InputError(
                f"{name}: no case tells the right answer from the one with the mistake"
                f" {wrong.mistake!r}; add a case"
            )
    EXERCISES[name] = exercise


def _multiplied(reference: Answer, factor: float) -> Answer:
    return lambda *case: reference(*case) * factor
