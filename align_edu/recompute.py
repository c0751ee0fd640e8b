"""Less memory for more time: recompute a function in the backward pass instead of storing it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Context = Callable[[], AbstractContextManager[Any]]


def recomputed(function: Callable[..., Any], *inputs: Any, again: Context = nullcontext) -> Any:
    """Return ``function(*inputs)``, and store only ``inputs`` for the backward pass.

    The second computation draws the same random numbers as the first and runs inside ``again()``.
    On XLA, call ``backward()`` for the gradient, not ``torch.autograd.grad``.

    Paper: Section 5 (a batch of 16,384 must fit); Chen et al., 2016.

    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> recomputed(lambda x: x.exp().log() ** 2, x).backward()
    >>> round(x.grad.item(), 4)
    6.0
    """
    if any(isinstance(x, Tensor) and x.device.type == "xla" for x in inputs):
        return _on_xla(function, inputs, again)
    if torch.compiler.is_compiling():  # the compiler keeps side effects out of the second pass
        return checkpoint(function, *inputs, use_reentrant=False)
    return checkpoint(
        function, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), again())
    )


def _on_xla(function: Callable[..., Any], inputs: tuple[Any, ...], again: Context) -> Any:
    """Do the same with torch_xla, whose barrier keeps XLA from merging the two computations."""
    from torch_xla.utils.checkpoint import checkpoint as xla_checkpoint

    if not any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
        return function(*inputs)

    def run(*arguments: Any) -> Any:
        with again() if torch.is_grad_enabled() else nullcontext():  # off in the first computation
            return function(*arguments)

    return xla_checkpoint(run, *inputs)
