"""The notebooks of the course, in order."""

import tomllib
from dataclasses import dataclass
from importlib import resources

from align_edu.io import InputError


@dataclass(frozen=True)
class Lesson:
    """One notebook.

    Parameters
    ----------
    file : its name in `notebooks/`, without the suffix.
    title : its title.
    question : the question that it answers.
    paper : the part of the paper that it teaches.
    minutes : one run of all its cells on two CPU cores, measured; None for a planned notebook.
    """

    file: str
    title: str
    question: str
    paper: str
    minutes: float | None = None

    @property
    def number(self) -> str:
        """The two digits at the start of its name."""
        return self.file[:2]


_FILE = resources.files("align_edu.lab") / "course.toml"
COURSE = tuple(Lesson(*row) for row in tomllib.loads(_FILE.read_text("utf-8"))["lessons"])


def find_lesson(number: str) -> Lesson:
    """Return the lesson with that number.

    Raises InputError for a number that no notebook has.

    >>> find_lesson("00").file
    '00_start_here'
    """
    for lesson in COURSE:
        if lesson.number == number:
            return lesson
    raise InputError(f"notebook {number!r} does not exist; choose one of 00 to {COURSE[-1].number}")
