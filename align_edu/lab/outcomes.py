"""Results of a function as plain data that can be compared, described, and sent as JSON.

A student's function may return anything. An outcome contains only numbers, texts, lists, tensors
and descriptions, so that no object of the student takes part in a comparison.
"""

import copy
import dis
import functools
import inspect
import math
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

MOST_NUMBERS = 100_000  # in one list or tensor; no exercise returns nearly as many
MOST_LETTERS = 500  # of an error's message
_DEPTH = 10  # of lists in lists
# The instructions of a function whose body is `...`, `pass` or a docstring, and those of one
# that only raises NotImplementedError.
_EMPTY = {"RESUME", "NOP", "LOAD_CONST", "POP_TOP", "RETURN_VALUE", "RETURN_CONST"}
_RAISES = {"PUSH_NULL", "LOAD_GLOBAL", "PRECALL", "CALL", "RAISE_VARARGS"}
_OURS = (Path(__file__).parents[1], Path(sys.prefix), Path(sys.base_prefix))


class Failure(NamedTuple):
    """An error that a function raised, and the line of the student's code where it happened."""

    kind: str
    message: str
    line: str = ""

    def __str__(self) -> str:
        where = f" (in the line `{self.line}`)" if self.line else ""
        return f"{self.kind}: {self.message}{where}"


class Thing(NamedTuple):
    """A set, dict or other object: its type, and its sorted contents or None if they are hidden."""

    kind: str
    contents: Any = None


UNWRITTEN = Failure("NotImplementedError", "")  # also for a function whose body is empty

# None, bool, int, float, str, list, a double Tensor, Failure or Thing.
Outcome = Any


def outcome_of(function: Callable[..., Any], case: tuple[Any, ...]) -> Outcome:
    """Call a function with a copy of the case, and return its result as an outcome."""
    try:
        return UNWRITTEN if is_stub(function) else _normal(function(*copy.deepcopy(case)))
    except Exception as error:  # whatever a student's code may raise
        return _failure(error)


def is_stub(function: Callable[..., Any]) -> bool:
    """Return True if nothing is written yet.

    Its body is `...`, `pass` or a docstring, returns one of them, or raises NotImplementedError.
    So is what calls one: a partial, a decorated function, or an object.
    """
    function = inspect.unwrap(function)
    if isinstance(function, functools.partial):  # of a stub, or of what observes it
        return any(is_stub(each) for each in (function.func, *function.args) if callable(each))
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    if code is None:
        return False
    steps = list(dis.get_instructions(code))
    names = {step.opname for step in steps}
    if "RAISE_VARARGS" in names:
        raised = {step.argval for step in steps if step.opname == "LOAD_GLOBAL"}
        return raised == {"NotImplementedError"} and names <= _EMPTY | _RAISES
    values = {step.argval for step in steps if step.opname in {"LOAD_CONST", "RETURN_CONST"}}
    return names <= _EMPTY and values <= {None, ...}


def same(a: Outcome, b: Outcome) -> bool:
    """Return True if two outcomes are equal: numbers nearly, all else exactly, errors by kind.

    Things with hidden contents are never equal.
    """
    if isinstance(a, (bool, int, float)) and isinstance(b, (bool, int, float)):
        return a == b or math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-7) or (a != a and b != b)
    if type(a) is not type(b):
        return False
    match a:
        case Tensor():
            try:
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, equal_nan=True)
            except AssertionError:
                return False
            return True
        case list():
            return len(a) == len(b) and all(map(same, a, b))
        case Failure():
            return a.kind == b.kind
        case Thing():
            return a.kind == b.kind and a.contents is not None and same(a.contents, b.contents)
    return bool(a == b)


def said(outcome: Outcome) -> str:
    """Return an outcome in words: `the list of 1, 2`."""
    match outcome:
        case Tensor():
            begins = ", ".join(f"{v:.3g}" for v in outcome.flatten()[:4].tolist())
            return shown(outcome) + (f" that begins {begins}" if outcome.numel() > 9 else "")
        case None:
            return "nothing"
        case Failure():
            return str(outcome)
        case Thing(kind, None):
            return f"a {kind}"
        case list() | Thing(_, list()):
            kind, items = outcome if isinstance(outcome, Thing) else ("list", outcome)
            words = ", ".join(said(i) if isinstance(i, Thing) else repr(i) for i in items)
            return f"the {kind} of {textwrap.shorten(words, 200) or 'nothing'}"
        case Thing(kind, contents):
            return f"a {kind}: {said(contents)}"
        case int() | float() if not isinstance(outcome, bool):
            return f"{outcome:.6g}"
    return textwrap.shorten(repr(outcome), 200)


def shown(value: Any) -> str:
    """Return an argument as a call would show it; a large tensor by its shape."""
    if not isinstance(value, Tensor):
        return repr(value)
    if value.numel() > 9:
        kind = {1: "vector", 2: "matrix"}.get(value.ndim, "tensor")
        return f"a {' × '.join(map(str, value.shape))} {kind}"
    rounded = value.double().round(decimals=3) if value.is_floating_point() else value
    return repr(rounded.tolist())


def encode(value: Any) -> Any:
    """Return an argument of an exercise, or a part of an outcome, as JSON can hold it."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list():
            return list(map(encode, value))
        case Failure():
            return {"error": list(value)}
        case Thing(kind, contents):
            return {"thing": kind, "contents": encode(contents)}
        case tuple():
            return {"tuple": list(map(encode, value))}
        case Tensor():
            kind = str(value.dtype).removeprefix("torch.")
            flat = value.flatten().tolist()
            return {"dtype": kind, "shape": list(value.shape), "numbers": flat}
    raise TypeError(f"an exercise's argument is a {type(value).__name__}")


def decode(data: Any) -> Any:
    """Return the value that `encode` wrote; raise ValueError for anything else."""
    match data:
        case None | bool() | int() | float() | str():
            return data
        case list():
            return list(map(decode, data))
        case {"error": [str(kind), str(message), str(line)]}:
            return Failure(kind, message, line)
        case {"thing": str(kind), "contents": contents}:
            return Thing(kind, decode(contents))
        case {"tuple": list(items)}:
            return tuple(map(decode, items))
        case {"dtype": str(kind), "shape": list(shape), "numbers": list(flat)}:
            dtype = getattr(torch, kind, None)
            sizes = len(shape) <= 20 and all(type(n) is int and n >= 0 for n in shape)
            numbers = all(isinstance(each, (int, float)) for each in flat)
            if isinstance(dtype, torch.dtype) and sizes and numbers:
                return torch.tensor(flat, dtype=dtype).reshape(shape)
    raise ValueError("not an outcome")


def _failure(error: Exception) -> Failure:
    """Return the kind and message of an error, even where reading the message fails."""
    try:
        message = str(error)[:MOST_LETTERS]
    except Exception:  # its __str__ fails
        message = ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        places = Path(frame.filename).parents
        if not frame.filename.startswith("<frozen") and not any(p in places for p in _OURS):
            return Failure(type(error).__name__, message, frame.line or "")
    return Failure(type(error).__name__, message)


def _normal(value: Any, depth: int = _DEPTH) -> Outcome:
    """Return the value as an outcome; its methods are called here and never again."""
    if value is None or type(value) in (bool, float):
        return value
    try:
        return _read(value, depth - 1)
    except Exception:  # an array of objects, a list that cannot be walked, a failing __dict__
        return Thing(type(value).__name__)


def _read(value: Any, depth: int) -> Outcome:
    kind = type(value).__name__
    if isinstance(value, str):
        return str.__str__(value)[:MOST_NUMBERS]
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        table = torch.as_tensor(value).detach().cpu().to_dense()
        if table.numel() > MOST_NUMBERS:
            return Thing(f"{kind} that is too large")
        if not table.is_complex():
            return table.item() if table.numel() == 1 else table.double()
    if isinstance(value, Integral) and -(2**63) <= int(value) < 2**63:
        return int(value)
    if isinstance(value, (Real, Decimal)):
        return float(value)
    if isinstance(value, (list, tuple, AbstractSet, Mapping)):
        if depth < 0 or len(value) > MOST_NUMBERS:
            return Thing(f"{kind} that is too large")
        if isinstance(value, Mapping):
            pairs = [[_normal(key, depth), _normal(each, depth)] for key, each in value.items()]
            return Thing("dict", sorted(pairs, key=repr))
        items = [_normal(each, depth) for each in value]
        return Thing("set", sorted(items, key=repr)) if isinstance(value, AbstractSet) else items
    for method in ("to_dict", "to_list"):  # columns of a table
        if hasattr(value, method):
            return Thing(kind, _normal(getattr(value, method)(), depth))
    if not callable(value) and getattr(value, "__dict__", None):
        return Thing(kind, _normal(vars(value), depth))
    spelling = repr(value)  # one with an address says nothing
    return Thing(kind, None if re.search(r"0x[0-9a-f]{6,}", spelling) else spelling[:MOST_NUMBERS])
