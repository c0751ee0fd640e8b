"""All exercises of the course, found by the name of the function to write."""

from align_edu.errors import InputError
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


def find_exercise(name: str) -> Exercise:
    """Return the exercise whose function has that name.

    Raises InputError for another name.

    >>> find_exercise("recall_at_1").notebook
    '00'
    """
    if name not in EXERCISES:
        raise InputError(f"no exercise is called {name!r}; there are {', '.join(EXERCISES)}")
    return EXERCISES[name]
