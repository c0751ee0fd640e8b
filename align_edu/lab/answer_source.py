"""The source of an exercise's answer as lines that need nothing from outside: a function's body."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Function = ast.FunctionDef


@dataclass(frozen=True)
class _Module:
    """A module's source lines, and the top-level statement that gives each of its names."""

    lines: list[str]
    givers: dict[str, ast.stmt]


def answer_body(function: Callable[..., Any]) -> list[str]:
    """Return the lines of a function's body, with all that it needs from its module before it.

    Imports come first, then constants and helpers of the module, then the body without its
    docstring. Put below any `def` line with the same parameters, and indented, they run.

    >>> from align_edu.loss import chance_loss
    >>> print(*answer_body(chance_loss), sep="\\n")
    import math
    <BLANKLINE>
    return 2 * math.log(n)
    """
    module = _read_module(function)
    answer = module.givers[function.__name__]
    assert isinstance(answer, Function)
    needed = _needed(answer, module)
    parts = [[line for name, giver in needed for line in _imported(name, giver)]]
    helpers = {giver: None for _, giver in needed if not isinstance(giver, _IMPORTS)}  # each once
    parts += [_without_docstring(helper, module.lines) for helper in helpers]
    parts.append(_body(answer, module.lines))
    return "\n\n".join("\n".join(part) for part in parts if part).split("\n")


def parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's parameters.

    >>> parameters(lambda image, text: None)
    ['image', 'text']
    """
    return list(inspect.signature(function).parameters)


_IMPORTS = (ast.Import, ast.ImportFrom)


def _read_module(function: Callable[..., Any]) -> _Module:
    file = inspect.getsourcefile(function)
    assert file is not None
    source = Path(file).read_text(encoding="utf-8")
    statements = ast.parse(source).body
    givers = {name: statement for statement in statements for name in _given(statement)}
    return _Module(source.splitlines(), givers)


def _given(statement: ast.stmt) -> Iterator[str]:
    """The names that a top-level statement defines."""
    if isinstance(statement, _IMPORTS):
        yield from (alias.asname or alias.name for alias in statement.names)
    elif isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, ast.Assign):
        yield from (each.id for each in statement.targets if isinstance(each, ast.Name))
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        yield statement.target.id


def _needed(answer: Function, module: _Module) -> list[tuple[str, ast.stmt]]:
    """The names that the answer needs, each with its statement, in the order of the module."""
    found: dict[str, ast.stmt] = {}
    waiting = list(_free(answer.body, answer))
    while waiting:
        name = waiting.pop()
        giver = module.givers.get(name)
        if giver is None or giver is answer or name in found:
            continue
        found[name] = giver
        if not isinstance(giver, _IMPORTS):
            inside = giver if isinstance(giver, Function) else None
            waiting += _free([giver], inside)
    return sorted(found.items(), key=lambda item: (item[1].lineno, item[0]))


def _free(statements: Iterable[ast.stmt], function: Function | None) -> set[str]:
    """The names that statements read and, inside ``function``, do not bind themselves."""
    nodes = [node for statement in statements for node in ast.walk(statement)]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    if function is None:
        return read
    arguments = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    return read - {node.id for node in names if isinstance(node.ctx, ast.Store)} - arguments


def _imported(name: str, giver: ast.stmt) -> Iterator[str]:
    """The import of one name alone, as a line."""
    if isinstance(giver, _IMPORTS):
        alias = next(each for each in giver.names if (each.asname or each.name) == name)
        if isinstance(giver, ast.ImportFrom):
            yield ast.unparse(ast.ImportFrom(giver.module, [alias], giver.level))
        else:
            yield ast.unparse(ast.Import([alias]))


def _body(function: Function, lines: list[str]) -> list[str]:
    """The lines of a function's body, at no indent, without its docstring."""
    statements = function.body
    if ast.get_docstring(function) is not None and len(statements) > 1:
        statements = statements[1:]
    first, last = statements[0].lineno, statements[-1].end_lineno
    return textwrap.dedent("\n".join(lines[first - 1 : last])).split("\n")


def _without_docstring(statement: ast.stmt, lines: list[str]) -> list[str]:
    """The lines of a helper or a constant."""
    first = min(each.lineno for each in (*getattr(statement, "decorator_list", ()), statement))
    if not isinstance(statement, Function):
        return lines[first - 1 : statement.end_lineno]
    head = lines[first - 1 : statement.body[0].lineno - 1]
    return [*head, *("    " + line if line else "" for line in _body(statement, lines))]
