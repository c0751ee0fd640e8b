"""Exercises: a function to write, cases to try it on, hints, and mistakes with their names."""

import functools
import inspect
import pkgutil
import textwrap
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from align_edu.io import InputError
from align_edu.lab.course import COURSE
from align_edu.lab.outcomes import Outcome, outcome_of, said, same, shown

Answer = Callable[..., Any]
Cases = list[tuple[Any, ...]]


@dataclass(frozen=True)
class WrongAnswer:
    """A function that students write, and the sentence that names its mistake."""

    function: Answer
    mistake: str


@dataclass(frozen=True)
class Hint:
    """One step of help, named after the question it answers."""

    name: str
    text: str


@dataclass(frozen=True, eq=False)
class Exercise:
    """A function for the student to write.

    notebook: number of the notebook that contains it. reference: the right answer, of the same
    name, complete in its source: it imports what it needs inside its body. cases: given a
    generator, the arguments to try: hand-worked ones first, then random ones. hints: three steps.
    observe: for functions that change something, the "module:name" of a function that takes the
    student's function and a case and returns what to compare. Its module must not import any
    answer, because it runs beside a student's function.
    """

    notebook: str
    reference: Answer
    cases: Callable[[torch.Generator], Cases]
    wrong: Sequence[WrongAnswer]
    hints: Sequence[Hint]
    observe: str = ""

    @property
    def name(self) -> str:
        """The name of the function to write."""
        return self.reference.__name__

    def watched(self, function: Answer) -> Answer:
        """Return what is called with each case: the function, or what observes it."""
        if not self.observe:
            return function
        return functools.partial(pkgutil.resolve_name(self.observe), function)


EXERCISES: dict[str, Exercise] = {}  # of the course, from `answers/nNN.py`, and a lecturer's
NUMBERS = {lesson.number for lesson in COURSE}


def exercise(
    reference: Answer, random_cases: Callable[[torch.Generator], Sequence[Sequence[Any]]],
    observe: str = "",
) -> Exercise:  # fmt: skip
    """Make and register an exercise of the course; `answers/nNN.py` calls this.

    `answers/nNN.toml` has its hand-worked cases, its hints and its mistakes. A list in such a case
    becomes a tensor where the reference takes a Tensor. A mistake has a sentence (`says`) and what
    the student wrote: `edit` replaces parts of the reference's source, `code` its whole body.
    """
    notebook = reference.__module__[-2:]
    data = _data(notebook)[reference.__name__]
    types = [each.annotation for each in inspect.signature(reference).parameters.values()]
    dtype = getattr(torch, data["dtype"]) if "dtype" in data else None

    def cases(generator: torch.Generator) -> Cases:
        def argument(value: Any, kind: Any) -> Any:
            return torch.tensor(value, dtype=dtype) if kind is Tensor else value

        by_hand = [tuple(map(argument, row, types)) for row in data["cases"]]
        return [*by_hand, *map(tuple, random_cases(generator))]

    mistakes = data["mistakes"].items()
    wrong = tuple(WrongAnswer(_mistaken(reference, n, made), made["says"]) for n, made in mistakes)
    hints = tuple(Hint(*hint) for hint in data["hints"])
    new = Exercise(notebook, reference, cases, wrong, hints, observe)
    return EXERCISES.setdefault(new.name, new)


@functools.cache
def _data(notebook: str) -> dict[str, Any]:
    file = resources.files("align_edu.lab") / "answers" / f"n{notebook}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _mistaken(reference: Answer, name: str, mistake: Mapping[str, Any]) -> Answer:
    """Return the function with a mistake of `answers/nNN.toml`; its first call compiles it."""

    @functools.cache
    def compiled() -> Answer:
        source = inspect.getsource(reference)
        if "code" in mistake:
            signature, _, _ = source.partition('    """')
            source = signature + textwrap.indent(mistake["code"], "    ")
        for right, wrong in mistake.get("edit", {}).items():
            source = source.replace(right, wrong)
        made: dict[str, Answer] = {}
        code = compile(source, f"<{reference.__name__}: {name}>", "exec")
        exec(code, reference.__globals__, made)
        return made[reference.__name__]

    return lambda *case: compiled()(*case)


def find_exercise(name: str) -> Exercise:
    """Return the exercise whose function has that name; raise InputError for another one."""
    if name not in EXERCISES:
        raise InputError(f"no exercise is called {name!r}; choose one of {', '.join(EXERCISES)}")
    return EXERCISES[name]


def exercises_of(notebook: str) -> list[str]:
    """Return the names of a notebook's exercises."""
    return [name for name, exercise in EXERCISES.items() if exercise.notebook == notebook]


def added_exercises() -> list[str]:
    """Return the names of the exercises that `add_exercise` added to those of the course."""
    return [name for name, exercise in EXERCISES.items() if exercise.notebook not in NUMBERS]


@dataclass(frozen=True)
class AnswerKey:
    """An exercise with the cases of one seed, and what the right answer returns for them."""

    exercise: Exercise
    cases: list[tuple[Any, ...]]
    expected: list[Outcome]

    @functools.cached_property
    def mistakes(self) -> list[tuple[str, list[Outcome]]]:
        """Each known mistake: its sentence, and what it returns for the cases."""
        watched = self.exercise.watched
        return [
            (wrong.mistake, [outcome_of(watched(wrong.function), case) for case in self.cases])
            for wrong in self.exercise.wrong
        ]


@dataclass(frozen=True)
class Problem:
    """What is wrong with an answer.

    sentence: for the student; it ends with the mistake. mistake: empty where it is unknown. got,
    case: what the function returned for the first case that is wrong, and that case.
    """

    sentence: str
    mistake: str
    got: Outcome
    case: tuple[Any, ...] = ()


@functools.lru_cache(maxsize=64)
def answer_key(exercise: Exercise, seed: int) -> AnswerKey:
    """Return the key of an exercise for the random cases of a seed."""
    cases = exercise.cases(torch.Generator().manual_seed(seed))
    right = exercise.watched(exercise.reference)
    return AnswerKey(exercise, cases, [outcome_of(right, case) for case in cases])


def judge(key: AnswerKey, got: Sequence[Outcome]) -> Problem | None:
    """Return what is wrong with the outcomes, one for each case of the key, or None."""
    wrong = (i for i, pair in enumerate(zip(key.expected, got, strict=True)) if not same(*pair))
    first = next(wrong, None)
    if first is None:
        return None
    case = key.cases[first]
    call = f"{key.exercise.name}({', '.join(map(shown, case))})"
    sentence = f"{call}: expected {said(key.expected[first])}, got {said(got[first])}."
    for mistake, outcomes in key.mistakes:
        if all(map(same, outcomes, got)):
            return Problem(f"{sentence} {mistake}", mistake, got[first], case)
    return Problem(sentence, "", got[first], case)
