"""What a function gave for a case, in a form that can be compared, told, and sent as JSON.

A student's function may return anything. An outcome holds nothing of the student's: numbers,
words, lists and tensors only, so that no object of theirs takes part in a comparison.
"""

import copy
import math
import numbers
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

MOST_NUMBERS = 100_000  # in one outcome; no exercise asks for nearly as many
MOST_LETTERS = 500  # of what an error says


class Values(NamedTuple):
    """A list, tuple or set that a function gave; the order of a set does not count."""

    kind: str
    items: tuple[Any, ...]


class Numbers(NamedTuple):
    """A vector, matrix or larger tensor that a function gave."""

    table: Tensor


class Thing(NamedTuple):
    """What stands in a list and is neither a number nor a text."""

    kind: str

    def __repr__(self) -> str:
        return f"a {self.kind}"


# A number, several values, a tensor, or in words what came instead.
Outcome = float | str | Values | Numbers


def outcome_of(function: Callable[..., Any], case: tuple[Any, ...]) -> Outcome:
    """Call a function on its own copy of the case and return what came.

    >>> outcome_of(lambda n: 1 / n, (4,)), outcome_of(lambda n: 1 / n, (0,))
    (0.25, 'ZeroDivisionError: division by zero')
    """
    try:
        value = function(*copy.deepcopy(case))
    except Exception as error:  # whatever a student's code may raise
        return told_error(error)
    return _normal(value)


def told_error(error: BaseException) -> str:
    """Return the kind of an error and what it says, also where its text cannot be had.

    >>> told_error(KeyError("red"))
    "KeyError: 'red'"
    """
    try:
        return f"{type(error).__name__}: {str(error)[:MOST_LETTERS]}"
    except Exception:  # its own __str__ fails
        return f"{type(error).__name__}: "


def same(a: Outcome, b: Outcome) -> bool:
    """Whether two outcomes are equal: numbers nearly, values exactly, errors by their kind.

    >>> same(1.0, 1.00001), same("ValueError: a", "ValueError: b"), same(1.0, "nothing")
    (True, True, False)
    """
    if isinstance(a, Numbers) and isinstance(b, Numbers):
        x, y = a.table, b.table
        return x.shape == y.shape and torch.allclose(x, y, 1e-4, 1e-6, equal_nan=True)
    if isinstance(a, Numbers) or isinstance(b, Numbers):
        return False
    if isinstance(a, Values) or isinstance(b, Values):
        return a == b
    if isinstance(a, str) or isinstance(b, str):
        return str(a).partition(":")[0] == str(b).partition(":")[0]  # the kind of error
    return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-7) or (math.isnan(a) and math.isnan(b))


def said(outcome: Outcome) -> str:
    """Return an outcome in words.

    >>> said(0.5), said(Values("list", (1, 2)))
    ('0.5', 'the list of 1, 2')
    """
    if isinstance(outcome, Numbers):
        table = outcome.table
        begins = ", ".join(f"{v:.3g}" for v in table.flatten()[:4].tolist())
        return shown(table) + (f" that begins {begins}" if table.numel() > 9 else "")
    if isinstance(outcome, Values):
        text = ", ".join(map(repr, outcome.items))
        return f"the {outcome.kind} of {textwrap.shorten(text, 200) or 'nothing'}"
    return outcome if isinstance(outcome, str) else f"{outcome:.6g}"


def shown(value: Any) -> str:
    """Return an argument as a call would show it; a large tensor by its shape.

    >>> shown(3), shown(torch.eye(2)), shown(torch.eye(4))
    ('3', '[[1.0, 0.0], [0.0, 1.0]]', 'a 4 × 4 matrix')
    """
    if not isinstance(value, Tensor):
        return repr(value)
    if value.numel() > 9:
        kind = {1: "vector", 2: "matrix"}.get(value.ndim, "tensor")
        return f"a {' × '.join(map(str, value.shape))} {kind}"
    return repr(_rounded(value.tolist()))


def encode(outcome: Outcome) -> Any:
    """Return an outcome as JSON can hold it; one that is far too large only in words.

    >>> encode(Numbers(torch.eye(2)))
    {'shape': [2, 2], 'numbers': [1.0, 0.0, 0.0, 1.0]}
    """
    if isinstance(outcome, Numbers):
        if outcome.table.numel() > MOST_NUMBERS:
            return {"words": f"{shown(outcome.table)} of too many numbers"}
        return {"shape": list(outcome.table.shape), "numbers": outcome.table.flatten().tolist()}
    if isinstance(outcome, Values):
        return {"kind": outcome.kind, "items": [_encode_item(item) for item in outcome.items]}
    return {"words": outcome} if isinstance(outcome, str) else outcome


def decode(data: Any) -> Outcome:
    """Return the outcome that `encode` wrote.

    Raises ValueError for anything else.

    >>> decode({"kind": "set", "items": ["a", "b"]})
    Values(kind='set', items=('a', 'b'))
    """
    match data:
        case bool():
            pass
        case int() | float():
            return float(data)
        case {"words": str(words), **rest} if not rest:
            return words
        case {"kind": "list" | "set" as kind, "items": list(items), **rest} if not rest:
            return Values(kind, tuple(_decode_item(item) for item in items))
        case {"shape": list(shape), "numbers": list(flat), **rest} if not rest:
            return Numbers(torch.tensor([_number(n) for n in flat]).double().reshape(_sizes(shape)))
    raise ValueError("not an outcome")


def encode_case(value: Any) -> Any:
    """Return an argument of an exercise as JSON can hold it.

    Raises TypeError for what an exercise cannot have.

    >>> encode_case([1, torch.ones(2)])
    [1, {'dtype': 'float32', 'shape': [2], 'numbers': [1.0, 1.0]}]
    """
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return {
            "dtype": kind,
            "shape": list(value.shape),
            "numbers": value.flatten().tolist(),
        }
    if isinstance(value, tuple):
        return {"tuple": [encode_case(each) for each in value]}
    if isinstance(value, list):
        return [encode_case(each) for each in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"an exercise's argument is a {type(value).__name__}")


def decode_case(data: Any) -> Any:
    """Return the argument that `encode_case` wrote.

    >>> decode_case(encode_case((1, [2.5])))
    (1, [2.5])
    """
    if isinstance(data, list):
        return [decode_case(each) for each in data]
    if not isinstance(data, dict):
        return data
    if "tuple" in data:
        return tuple(decode_case(each) for each in data["tuple"])
    return torch.tensor(data["numbers"], dtype=getattr(torch, data["dtype"])).reshape(data["shape"])


def _normal(value: Any) -> Outcome:
    """The value as an outcome; nothing of it, not even its own methods, lives on in there."""
    try:
        return float(value)
    except Exception:  # whatever a __float__ may raise
        pass
    try:
        if isinstance(value, (Tensor, np.ndarray)):
            table = torch.as_tensor(value).detach().cpu().to_dense()
            if not table.is_complex():
                return Numbers(table.double())
        elif isinstance(value, (list, tuple, set, frozenset)) and len(value) > MOST_NUMBERS:
            return f"a {type(value).__name__} of {len(value)} values"
        elif isinstance(value, (list, tuple)):
            return Values("list", tuple(_plain(item) for item in value))
        elif isinstance(value, (set, frozenset)):
            return Values("set", tuple(sorted((_plain(item) for item in value), key=repr)))
    except Exception:  # an array of objects, a list that cannot be walked
        pass
    return "nothing" if value is None else f"a {type(value).__name__}"


def _plain(item: Any) -> Any:
    """An item of a list as Python's own number, text, list or None."""
    if item is None or isinstance(item, bool):
        return item
    if isinstance(item, str):
        return str.__str__(item)
    if isinstance(item, (Tensor, np.ndarray, np.generic)):
        return _plain(item.tolist())
    if isinstance(item, (list, tuple)):
        return [_plain(each) for each in item]
    if isinstance(item, numbers.Integral) and -(2**63) <= int(item) < 2**63:
        return int(item)
    if isinstance(item, numbers.Real) and not isinstance(item, numbers.Integral):
        return float(item)
    return Thing(type(item).__name__)


def _encode_item(item: Any) -> Any:
    if isinstance(item, list):
        return [_encode_item(each) for each in item]
    return {"thing": item.kind} if isinstance(item, Thing) else item


def _decode_item(item: Any) -> Any:
    match item:
        case {"thing": str(kind), **rest} if not rest:
            return Thing(kind)
        case dict():
            raise ValueError("not an item")
        case list():
            return [_decode_item(each) for each in item]
    return item


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("not a number")
    return float(value)


def _sizes(shape: list[Any]) -> list[int]:
    if len(shape) > 20 or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError("not a shape")
    return shape


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 3) if isinstance(value, float) else value
