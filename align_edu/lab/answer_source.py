"""The source of an exercise's answer as lines that need nothing from outside: a function's body."""

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from align_edu.lab.cells import Statement, read_code
from align_edu.lab.extract import statements_needed

_IMPORTS = (ast.Import, ast.ImportFrom)


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
    file = inspect.getsourcefile(function)
    assert file is not None
    code = read_code([Path(file).read_text(encoding="utf-8")])
    answer = code.binders(function.__name__)[-1]
    assert isinstance(answer.node, ast.FunctionDef)
    target = replace(answer, node=_unannotated(answer.node))
    *needed, _ = statements_needed(code, function.__name__, target)
    needed.sort(key=lambda each: each.order)
    names = frozenset(name for each in (*needed, target) for name in each.needs)
    lines = code.texts[answer.cell].splitlines()
    parts = [[line for each in needed for line in _imported(each, names)]]
    helpers = [each.node for each in needed if not isinstance(each.node, _IMPORTS)]
    parts += [_without_docstring(helper, lines) for helper in helpers]
    parts.append(_body(answer.node, lines))
    return "\n\n".join("\n".join(part) for part in parts if part).split("\n")


def parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's parameters.

    >>> parameters(lambda image, text: None)
    ['image', 'text']
    """
    return list(inspect.signature(function).parameters)


def _unannotated(function: ast.FunctionDef) -> ast.FunctionDef:
    """A copy without what stands on the `def` line: only the body is taken."""
    bare = copy.deepcopy(function)
    bare.decorator_list, bare.returns = [], None
    for each in ast.walk(bare.args):
        if isinstance(each, ast.arg):
            each.annotation = None
    return bare


def _imported(statement: Statement, names: frozenset[str]) -> Iterator[str]:
    """The imports of those names that the statement imports, a line each."""
    node = statement.node
    for alias in node.names if isinstance(node, _IMPORTS) else ():
        if (alias.asname or alias.name) not in names:
            continue
        if isinstance(node, ast.ImportFrom):
            yield ast.unparse(ast.ImportFrom(node.module, [alias], node.level))
        else:
            yield ast.unparse(ast.Import([alias]))


def _body(function: ast.FunctionDef, lines: list[str]) -> list[str]:
    """The lines of a function's body, at no indent, without its docstring."""
    statements = function.body
    if ast.get_docstring(function) is not None and len(statements) > 1:
        statements = statements[1:]
    first, last = statements[0].lineno, statements[-1].end_lineno
    return textwrap.dedent("\n".join(lines[first - 1 : last])).split("\n")


def _without_docstring(statement: ast.stmt, lines: list[str]) -> list[str]:
    """The lines of a helper or a constant."""
    first = min(each.lineno for each in (*getattr(statement, "decorator_list", ()), statement))
    if not isinstance(statement, ast.FunctionDef):
        return lines[first - 1 : statement.end_lineno]
    head = lines[first - 1 : statement.body[0].lineno - 1]
    return [*head, *("    " + line if line else "" for line in _body(statement, lines))]
