"""The registry of exercises: those of the course and those that a lecturer adds."""

import pkgutil
from importlib import import_module

from align_edu.io import InputError
from align_edu.lab import answers
from align_edu.lab.exercise import Exercise

EXERCISES = {
    exercise.name: exercise
    for module in sorted(each.name for each in pkgutil.iter_modules(answers.__path__))
    for exercise in vars(import_module(f"{answers.__name__}.{module}")).values()
    if isinstance(exercise, Exercise)
}

_NUMBERS = {exercise.notebook for exercise in EXERCISES.values()}


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

    existing = EXERCISES.get(exercise.name)
    if existing is not None and existing.notebook in _NUMBERS:
        raise InputError(
            f"{exercise.name!r} is an exercise of notebook {existing.notebook}; choose another name"
        )
    if not exercise.name.isidentifier():
        raise InputError("the right answer of an exercise must be a function with a name: use def")
    if exercise.notebook in _NUMBERS:
        raise InputError(
            f"notebook {exercise.notebook!r} is part of the course; give yours another name"
        )
    if find_mistake(exercise, exercise.reference):
        raise InputError(
            f"{exercise.name}: its results cannot be compared; return numbers, texts, lists, dicts,"
            " tensors or dataclasses"
        )
    for wrong in exercise.wrong:
        if find_mistake(exercise, wrong.function) is None:
            raise InputError(
                f"{exercise.name}: no case tells the right answer from the one with the mistake"
                f" {wrong.mistake!r}; add a case"
            )
    EXERCISES[exercise.name] = exercise
