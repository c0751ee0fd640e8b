"""All exercises of the course, found by the name of the function to write."""

from align_edu.io import InputError
from align_edu.lab.answers import (
    n00,
    n01,
    n02,
    n03,
    n04,
    n05,
    n06,
    n07,
    n08,
    n09,
    n10,
    n11,
    n15,
    n16,
    n17,
)
from align_edu.lab.exercise import Exercise

EXERCISES = {
    exercise.name: exercise
    for notebook in (n00, n01, n02, n03, n04, n05, n06, n07, n08, n09, n10, n11, n15, n16, n17)
    for exercise in notebook.EXERCISES
}

_NUMBERS = {exercise.notebook for exercise in EXERCISES.values()}


def find_exercise(name: str) -> Exercise:
    """Return the exercise whose function has that name.

    Raises InputError for another name.

    >>> find_exercise("recall_at_1").notebook
    '00'
    """
    if name not in EXERCISES:
        raise InputError(f"no exercise is called {name!r}; there are {', '.join(EXERCISES)}")
    return EXERCISES[name]


def add_exercise(exercise: Exercise) -> None:
    """Make an exercise of one's own known to `lab.check`, `hint`, `reveal` and `yours_or_ours`.

    Its notebook is any name that no notebook of the course has. Added again, it replaces itself.

    Raises InputError where the name belongs to an exercise of the course, where the function
    has no name, and where a wrong answer gives what the right one gives, so that no check could
    tell them apart.

    >>> from align_edu.lab import Exercise, Hint, WrongAnswer
    >>> def half(x):
    ...     return x / 2
    >>> wrong = WrongAnswer(lambda x: x // 2, "That rounds down: use /.")
    >>> hints = (Hint("What?", "Divide."), Hint("By what?", "2."), Hint("How?", "x / 2"))
    >>> add_exercise(Exercise("mine", half, lambda generator: [(3,)], (wrong,), hints))
    >>> find_exercise("half").notebook
    'mine'
    """
    known = EXERCISES.get(exercise.name)
    if known is not None and known.notebook in _NUMBERS:
        raise InputError(
            f"{exercise.name!r} is an exercise of notebook {known.notebook}; choose another name"
        )
    if not exercise.name.isidentifier():
        raise InputError("the right answer of an exercise must be a function with a name: use def")
    if exercise.notebook in _NUMBERS:
        raise InputError(f"notebook {exercise.notebook!r} is the course's; give yours another name")
    from align_edu.lab.checks import find_mistake  # it looks exercises up here

    for wrong in exercise.wrong:
        if find_mistake(exercise, wrong.function) is None:
            raise InputError(
                f"{exercise.name}: no case tells the right answer from the one with the mistake"
                f" {wrong.mistake!r}; add a case"
            )
    EXERCISES[exercise.name] = exercise
