"""Takes one function out of a notebook by its name, with what it needs, and nothing else.

Where the cells stand does not matter. Of several definitions the last one that is written counts.
What it needs is found by the names that its compiled code loads: helpers, imports, constants, and
what these need in turn.
"""

import ast
import builtins
from dataclasses import dataclass, field

from align_edu.lab.cells import DEFINES, Code, Statement

# Imports of the course's notebooks, for a notebook in which the cell that had them is gone.
_USUAL = {
    "torch": "import torch", "math": "import math", "np": "import numpy as np", "re": "import re",
    "F": "from torch.nn import functional as F", "Tensor": "from torch import Tensor",
    "Counter": "from collections import Counter", "unicodedata": "import unicodedata",
    "itertools": "import itertools", "collections": "import collections",
    "numpy": "import numpy", "nn": "from torch import nn", "pl": "import polars as pl",
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A function as it was found: "written", "stub" or "missing".

    Parameters
    ----------
    state : which of the three.
    steps : cell and place of each statement to run, in order.
    cells : the texts of these cells.
    flags : of the compiler.
    notes : what a lecturer may want to know.
    """

    state: str
    steps: list[tuple[int, int]] = field(default_factory=list)
    cells: dict[int, str] = field(default_factory=dict)
    flags: int = 0
    notes: tuple[str, ...] = ()


def find_function(code: Code, name: str) -> Found:
    """Return the function of that name with the statements that it needs.

    >>> from align_edu.lab.cells import read_code
    >>> code = read_code(["def f(x):\\n    return g(x)", "def g(x): return math.sqrt(x)"])
    >>> find_function(code, "f").steps, find_function(code, "h").state
    ([(0, 0), (2, 0), (1, 0)], 'missing')
    """
    named = code.binders(name)
    written = [each for each in named if not _is_stub(each.node, name)]
    if not written:
        return Found("stub" if named else "missing")
    target = written[-1]
    usual, steps = _Needed(code, name, target).gather()
    cells = {step.cell: code.texts[step.cell] for step in steps}
    places = [(step.cell, step.place) for step in steps]
    notes = _notes(written, steps, usual)
    if usual:
        cells[0] = "\n".join(_USUAL[each] for each in usual)
        places = [*((0, place) for place in range(len(usual))), *places]
    return Found("written", places, cells, target.flags, notes)


def statements_needed(code: Code, name: str, target: Statement) -> list[Statement]:
    """Return what the function ``name`` needs, each before what needs it, and last the function.

    target: the statement that defines it.
    """
    return _Needed(code, name, target).gather()[1]


class _Needed:
    """Gathers what a function needs, each thing before what needs it."""

    def __init__(self, code: Code, name: str, target: Statement) -> None:
        self.code, self.name, self.target = code, name, target
        self.steps: list[Statement] = []
        self.seen: set[int] = set()
        self.usual: list[str] = []

    def gather(self) -> tuple[list[str], list[Statement]]:
        """The usual imports that are missing, and all statements in order."""
        self._visit(self.target)
        return self.usual, self.steps

    def _visit(self, statement: Statement) -> None:
        if statement.order in self.seen:
            return
        self.seen.add(statement.order)
        for need in sorted(statement.needs - {self.name}):
            for each in self._givers(need, statement):
                self._visit(each)
        self.steps.append(statement)

    def _givers(self, name: str, asker: Statement) -> list[Statement]:
        """The statements that make a name what it is when the asker runs."""
        binders = [s for s in self.code.binders(name) if s is not asker]
        if not binders:
            if name in _USUAL and name not in asker.binds and name not in self.usual:
                self.usual.append(name)
            return [] if hasattr(builtins, name) else self._stars()
        if binders[-1].defines:
            return [next((s for s in binders[::-1] if not _is_stub(s.node, name)), binders[-1])]
        runs = max(asker.order, self.target.order) if asker.defines else asker.order
        before = [s for s in binders if s.order < runs]
        if not before:
            return [] if hasattr(builtins, name) else binders[:1]
        first = next((s for s in before[::-1] if name not in s.needs), before[0])
        if isinstance(first.node, (ast.Import, ast.ImportFrom, *DEFINES)):
            return [first]
        texts = self.code.texts
        later = [s for s in self.code.statements if first.order < s.order < runs]
        near = [s for s in later if name in texts[s.cell]]
        return [first, *(s for s in near if name in s.changes or name in s.binds)]

    def _stars(self) -> list[Statement]:
        """All that is imported without being named."""
        nodes = [(each, each.node) for each in self.code.statements]
        return [s for s, n in nodes if isinstance(n, ast.ImportFrom) and n.names[0].name == "*"]


def _notes(written: list[Statement], steps: list[Statement], usual: list[str]) -> tuple[str, ...]:
    notes = []
    kinds = len({ast.dump(each.node) for each in written})
    if kinds > 1:
        notes.append(f"{kinds} definitions; the last one counts")
    if usual:
        notes.append(f"not imported: {', '.join(usual)}")
    dumped = [ast.dump(step.node) for step in steps]
    if any("align_edu" in text for text in dumped):
        notes.append("uses align_edu")
    loaded = {name for step in steps for name in step.needs}
    if loaded & {"exec", "eval", "__import__", "importlib", "compile"}:
        notes.append("makes code while it runs")
    return tuple(notes)


def _is_stub(node: ast.AST, name: str) -> bool:
    """Whether all functions of that name in the statement are still to be written."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
        return all(map(_is_empty, node.body))
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
        return _is_nothing(node.value.body)
    if isinstance(node, DEFINES):
        return False
    inner = [
        each
        for each in ast.walk(node)
        if isinstance(each, ast.FunctionDef) and each.name == name and each is not node
    ]
    return bool(inner) and all(_is_stub(each, name) for each in inner)


def _is_empty(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Return):
        return node.value is None or _is_nothing(node.value)
    if isinstance(node, ast.Raise):
        return node.exc is not None and "NotImplementedError" in ast.dump(node.exc)
    return isinstance(node, ast.Pass)


def _is_nothing(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in (None, ...)
