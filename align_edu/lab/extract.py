"""Takes a function out of a notebook by its name, with the statements that it needs; runs nothing.

The order of the cells does not matter. Of several definitions the last one that is written counts.
Needs are the names that compiled code loads: helpers, imports, constants, and their needs in turn.
"""

import __future__

import ast
import builtins
import dis
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType

from IPython.core.inputtransformer2 import TransformerManager

from align_edu.lab.outcomes import is_stub

_RUNS_AS_PYTHON = re.compile(r"\A(\s*%%(time|timeit|capture|prun)\b.*\n)+")  # after the magic
_TIMED = re.compile(r"^([ \t]*(?:\w+[ \t]*=[ \t]*)?)%time[ \t]+(?=\S)", re.MULTILINE)  # too
_LEFT_OUT = ("get_ipython().", "lab.")  # magics, and calls of the lab
_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | __future__.annotations.compiler_flag
_LOADS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_FROM_DICT_OR_DEREF"}
_STORES = {"STORE_NAME", "STORE_GLOBAL"}
_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(eq=False)
class Statement:
    """A statement at the top of a cell, and the names that it binds, needs, and changes."""

    cell: int
    order: int
    node: ast.stmt
    code: CodeType
    binds: set[str]
    needs: set[str]
    changes: set[str]


def read_code(cells: Sequence[str]) -> tuple[list[Statement], list[int]]:
    """Return the statements of code cells, and the numbers of the cells that are not Python.

    A function that is cut in two cells is joined; magics and calls of the lab are left out.
    """
    parsed: dict[int, list[ast.stmt]] = {}
    before = ""
    for number, cell in enumerate(cells, 1):
        body = _parse_cell(cell)
        if body is None and (body := _parse_cell(f"{before}\n{cell}")) is not None:
            parsed[number - 1], cell = [], f"{before}\n{cell}"
        if body is not None:
            parsed[number] = body
        before = cell
    nodes = [(number, node) for number in sorted(parsed) for node in parsed[number]]
    broken = [number for number in range(1, len(cells) + 1) if number not in parsed]
    return [_statement(number, i, node) for i, (number, node) in enumerate(nodes)], broken


def find_function(statements: Sequence[Statement], name: str) -> list[Statement] | None:
    """Return the statements that a function needs, each after its own needs, itself the last.

    The list is empty where the function is still to be written; None where it is missing.
    """
    targets = written(statements, name)
    steps: list[Statement] = []
    seen: set[Statement] = set()

    def visit(statement: Statement) -> None:
        seen.add(statement)
        for need in sorted(statement.needs - {name}):
            for each in _givers(statements, need, statement, targets[-1]):
                if each not in seen:
                    visit(each)
        steps.append(statement)

    if targets:
        visit(targets[-1])
    return steps if any(name in each.binds for each in statements) else None


def written(statements: Sequence[Statement], name: str) -> list[Statement]:
    """Return the statements that define a name and are not only the stub of an exercise."""

    def still_to_be_written(statement: Statement) -> bool:
        named = {name, "<lambda>"} if isinstance(statement.node, ast.Assign) else {name}
        found = [each for each in _codes(statement.code) if each.co_name in named]
        stubs = (not each.co_freevars and is_stub(FunctionType(each, {})) for each in found)
        return bool(found) and all(stubs)

    return [each for each in statements if name in each.binds and not still_to_be_written(each)]


def _givers(
    statements: Sequence[Statement], name: str, user: Statement, target: Statement
) -> list[Statement]:
    """The statements that give a name its value by the time that ``user`` runs."""
    binders = [each for each in statements if name in each.binds and each is not user]
    if binders and isinstance(binders[-1].node, _DEFINES):
        return (written(binders, name) or binders)[-1:]
    runs = max(user.order, target.order) if isinstance(user.node, _DEFINES) else user.order
    before = [each for each in binders if each.order < runs]
    if not before:
        imports = [each for each in statements if isinstance(each.node, ast.ImportFrom)]
        stars = [each for each in imports if ast.unparse(each.node).endswith("*")]
        return [] if hasattr(builtins, name) else binders[:1] or stars
    first = next((each for each in before[::-1] if name not in each.needs), before[0])
    if isinstance(first.node, (ast.Import, ast.ImportFrom, *_DEFINES)):
        return [first]
    later = [each for each in statements if first.order < each.order < runs]
    return [first, *(each for each in later if name in each.changes | each.binds)]


def _statement(cell: int, order: int, node: ast.stmt) -> Statement:
    code = compile(ast.Module([node], []), "<cell>", "exec", _FLAGS, dont_inherit=True)
    binds = {step.argval for step in dis.get_instructions(code) if step.opname in _STORES}
    steps = (step for each in _codes(code) for step in dis.get_instructions(each))
    needs = {step.argval for step in steps if step.opname in _LOADS}
    changes = set() if isinstance(node, _DEFINES) else set(_changed(node))
    return Statement(cell, order, node, code, binds, needs, changes)


def _changed(statement: ast.stmt) -> Iterator[str]:
    """The x of `x[0] = 1`, `x.a = 1` and `x.append(1)`."""
    for each in ast.walk(statement):
        place: ast.AST = each if isinstance(getattr(each, "ctx", None), ast.Store) else ast.Pass()
        if isinstance(each, ast.Expr) and isinstance(each.value, ast.Call):
            place = each.value.func
        if isinstance(place, ast.Subscript | ast.Attribute):
            while isinstance(place, ast.Subscript | ast.Attribute):
                place = place.value
            yield getattr(place, "id", "")


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code itself and all code inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _parse_cell(text: str) -> list[ast.stmt] | None:
    """Return the statements of a code cell, without magics, or None where it is not Python."""
    text = _TIMED.sub(r"\1", _RUNS_AS_PYTHON.sub("", text))
    for attempt in (text, _without_magics(text)):
        try:
            with warnings.catch_warnings(action="ignore"):
                plain = TransformerManager().transform_cell(attempt)
                body = ast.parse(plain).body
                compile(plain, "<cell>", "exec", _FLAGS, dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        calls = [isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) for node in body]
        return [n for n, c in zip(body, calls) if not c or not ast.unparse(n).startswith(_LEFT_OUT)]
    return None


def _without_magics(text: str) -> str:
    """The text of a cell without its magics, and without the lines that their brackets span."""
    kept, depth = [], 0
    for line in text.splitlines():
        magic = re.match(r"(\s*)(\w+\s*=\s*)?[%!]", line)
        if magic or depth > 0:
            depth += len(re.findall(r"[(\[{]", line)) - len(re.findall(r"[)\]}]", line))
            line = f"{magic[1]}pass" if magic else ""
        kept.append(line)
    return "\n".join(kept)
