"""What an exercise is: a function to write, cases to try it on, mistakes to name, hints."""

import functools
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class WrongAnswer:
    """A function that someone might well write, and what is wrong with it.

    A check compares what a student's function returns with what these return, and so can say
    which mistake it looks like.
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
    notebook : number of the notebook that asks for it.
    reference : the right answer; its name is the name that the student's function must have.
    cases : given a generator, the arguments to try: hand-worked ones first, then random ones.
    wrong : what goes wrong in practice.
    hints : three steps of help.
    builds_on : library functions that the reference calls, as "module:name"; shown with it.
    observe : for functions that change something: who is given the function and a case and
        returns what to compare, as "module:name". It must not import any answer, as it runs
        beside a student's function.
    """

    notebook: str
    reference: Callable[..., Any]
    cases: Callable[[torch.Generator], list[tuple[Any, ...]]]
    wrong: tuple[WrongAnswer, ...]
    hints: tuple[Hint, Hint, Hint]
    builds_on: tuple[str, ...] = ()
    observe: str = ""

    @property
    def name(self) -> str:
        """The name of the function to write."""
        return self.reference.__name__

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what is called with each case: the function, or what observes it."""
        if not self.observe:
            return function
        return functools.partial(pkgutil.resolve_name(self.observe), function)
