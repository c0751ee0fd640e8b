"""The code cells of a notebook as statements: what each binds, needs, and changes in place.

Lines that only IPython understands are left out, and so are cells that are not Python, and calls
such as `lab.check(f)`. Nothing is run here.
"""

import ast
import dis
import re
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import CodeType

_LOADS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_FROM_DICT_OR_DEREF"}
_STORES = {"STORE_NAME", "STORE_GLOBAL"}
_FUTURE = 0x1000000  # of the compiler: `from __future__ import annotations`
DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Statement:
    """A statement at the top of a cell: what it binds, needs, and changes in place."""

    cell: int
    place: int
    order: int
    node: ast.stmt
    flags: int

    @cached_property
    def code(self) -> CodeType | None:
        """The compiled statement; None where it cannot be compiled by itself."""
        try:
            tree = ast.Module([self.node], [])
            return compile(tree, "<cell>", "exec", self.flags, dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None

    @cached_property
    def binds(self) -> frozenset[str]:
        """Names that are there after it."""
        return frozenset(_names(self.code, _STORES, deep=False))

    @cached_property
    def needs(self) -> frozenset[str]:
        """Names that it, or a function in it, takes from the notebook."""
        return frozenset(_names(self.code, _LOADS))

    @cached_property
    def changes(self) -> frozenset[str]:
        """Names whose things it changes: `table[0] = 1`, `words.append(...)`."""
        return frozenset(_changed(self.node))

    @property
    def defines(self) -> bool:
        """Whether it is the definition of a function or class."""
        return isinstance(self.node, DEFINES)


@dataclass
class Code:
    """The code of a notebook.

    Parameters
    ----------
    texts : of each cell as Python can read it, by number.
    statements : of all cells in their order.
    broken : numbers of the cells that are not Python.
    """

    texts: dict[int, str]
    statements: list[Statement]
    broken: list[int]

    def binders(self, name: str) -> list[Statement]:
        """The statements that bind a name; those of cells without it are not even compiled."""
        return [s for s in self.statements if name in self.texts[s.cell] and name in s.binds]


def read_code(cells: list[str]) -> Code:
    """Return the statements of code cells; a cell that is cut in two is put together again.

    >>> code = read_code(["%matplotlib inline\\nimport math", "def f(n):", "    return n", "oh no"])
    >>> len(code.statements), code.broken
    (3, [4])
    """
    texts: dict[int, str] = {}
    trees: dict[int, ast.Module] = {}
    broken: list[int] = []
    for number, cell in enumerate(cells, 1):
        text, tree = _parsed(cell)
        texts[number] = text
        if tree is not None:
            trees[number] = tree
            continue
        joined, tree = _parsed(f"{texts.get(number - 1, '')}\n{cell}")
        if number > 1 and tree is not None:
            texts[number - 1] = texts[number] = joined
            trees.pop(number - 1, None)
            trees[number] = tree
            broken = [each for each in broken if each != number - 1]
        else:
            broken.append(number)
    flags = _FUTURE if any("from __future__ import annotations" in t for t in cells) else 0
    places = [(n, place, node) for n in trees for place, node in enumerate(trees[n].body)]
    statements = [Statement(n, p, order, node, flags) for order, (n, p, node) in enumerate(places)]
    return Code(texts, [each for each in statements if not _is_lab_call(each.node)], broken)


def _parsed(text: str) -> tuple[str, ast.Module | None]:
    """The text as Python can read it, and its tree; None where it cannot."""
    plain = _without_magics(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tidied in dict.fromkeys((text, plain, textwrap.dedent(plain))):
            try:
                tree = ast.parse(tidied)
                if tidied not in (text, plain):  # not the second half of a function
                    compile(tree, "<cell>", "exec", dont_inherit=True)
                return tidied, tree
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
    return text, None


def _without_magics(text: str) -> str:
    """The text without what only IPython understands."""
    if found := re.match(r"\s*%%(\w+).*\n?", text):
        text = text[found.end() :] if found[1] in {"time", "timeit", "capture", "prun"} else ""
    text = re.sub(r"^(\s*)[%!?].*$", r"\1pass", text, flags=re.MULTILINE)
    text = re.sub(r"^(\s*)[\w.]+\?{1,2}\s*$", r"\1pass", text, flags=re.MULTILINE)
    return re.sub(r"=\s*[%!].*$", "= None", text, flags=re.MULTILINE)


def _names(code: CodeType | None, kinds: set[str], deep: bool = True) -> Iterator[str]:
    """Names that a statement, and the functions in it, load from the notebook or store there."""
    if code is None:
        return
    for step in dis.get_instructions(code):
        if step.opname in kinds:
            yield str(step.argval)
    for constant in code.co_consts if deep else ():
        if isinstance(constant, CodeType):
            yield from _names(constant, kinds)


def _changed(node: ast.AST) -> Iterator[str]:
    if isinstance(node, DEFINES):
        return
    for each in ast.iter_child_nodes(node):
        yield from _changed(each)
    target: ast.AST | None = None
    if isinstance(node, (ast.Subscript, ast.Attribute)) and isinstance(node.ctx, ast.Store):
        target = node.value
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        target = node.value.func
    while isinstance(target, (ast.Subscript, ast.Attribute)):
        target = target.value
        if isinstance(target, ast.Name):
            yield target.id
            return
    if isinstance(target, ast.Name) and not isinstance(node, ast.Expr):
        yield target.id


def _is_lab_call(node: ast.stmt) -> bool:
    """Whether it is a call such as `lab.check(f)`: that is not for the grader."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return False
    call = node.value.func
    return (
        isinstance(call, ast.Attribute)
        and isinstance(call.value, ast.Name)
        and call.value.id == "lab"
    )
