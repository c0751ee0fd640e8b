"""An exercise: a function to write, cases to try it on, hints, and mistakes with their names."""

import functools
import inspect
import pkgutil
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch
from torch import Tensor

Cases = list[tuple[Any, ...]]


@dataclass(frozen=True)
class WrongAnswer:
    """A function that students write, and the sentence that names its mistake.

    A check compares the results of a student's function with the results of these.
    """

    function: Callable[..., Any]
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
    reference: Callable[..., Any]
    cases: Callable[[torch.Generator], Cases]
    wrong: tuple[WrongAnswer, ...]
    hints: tuple[Hint, Hint, Hint]
    observe: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "wrong", tuple(self.wrong))  # hashable, if they were lists
        object.__setattr__(self, "hints", tuple(self.hints))

    @property
    def name(self) -> str:
        """The name of the function to write."""
        return self.reference.__name__

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what is called with each case: the function, or what observes it."""
        if not self.observe:
            return function
        return functools.partial(pkgutil.resolve_name(self.observe), function)


def exercise(
    notebook: str,
    reference: Callable[..., Any],
    random_cases: Callable[[torch.Generator], Sequence[Sequence[Any]]],
    observe: str = "",
    **wrong: Callable[..., Any],
) -> Exercise:
    """Make an exercise of the course.

    `answers/nNN.toml` has its hand-worked cases, its hints, and a sentence for each wrong answer.
    A list in such a case becomes a tensor where the reference takes a Tensor.
    """
    texts = _read_texts(notebook)[reference.__name__]
    types = [each.annotation for each in inspect.signature(reference).parameters.values()]

    def cases(generator: torch.Generator) -> Cases:
        """Return the hand-worked cases, then the random ones."""
        dtype = getattr(torch, texts["dtype"]) if "dtype" in texts else None

        def argument(value: Any, kind: Any) -> Any:
            return torch.tensor(value, dtype=dtype) if kind is Tensor else value

        by_hand = [tuple(map(argument, row, types)) for row in texts["cases"]]
        return [*by_hand, *map(tuple, random_cases(generator))]

    mistakes = texts["mistakes"]
    first, second, third = (Hint(*hint) for hint in texts["hints"])
    return Exercise(
        notebook,
        reference,
        cases,
        tuple(WrongAnswer(function, mistakes[name]) for name, function in wrong.items()),
        (first, second, third),
        observe,
    )


@functools.cache
def _read_texts(notebook: str) -> dict[str, Any]:
    file = resources.files("align_edu.lab") / "answers" / f"n{notebook}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))
