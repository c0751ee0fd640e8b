"""Memory for time: keep the input of a computation, and do it again in the backward pass."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Surrounding = Callable[[], AbstractContextManager[Any]]


def recomputed(function: Callable[..., Any], *inputs: Any, again: Surrounding = nullcontext) -> Any:
    """Return ``function(*inputs)`` and keep only ``inputs`` until the backward pass.

    The second computation draws the same random numbers as the first, and takes place inside
    ``again()``. On XLA the gradient must come by ``backward()``, and a function of inputs that
    need none is computed once.

    Paper: Section 5 (a batch of 16,384 must fit); Chen et al., 2016.

    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> recomputed(lambda x: x.exp().log() ** 2, x).backward()
    >>> round(x.grad.item(), 4)
    6.0
    """
    if any(isinstance(x, Tensor) and x.device.type == "xla" for x in inputs):
        return _on_xla(function, inputs, again)
    if torch.compiler.is_compiling():  # the compiler does by itself once what must be done once
        return checkpoint(function, *inputs, use_reentrant=False)
    return checkpoint(
        function, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), again())
    )


def _on_xla(function: Callable[..., Any], inputs: tuple[Any, ...], again: Surrounding) -> Any:
    """The same by torch_xla, whose barrier keeps XLA from merging the two computations."""
    from torch_xla.utils.checkpoint import checkpoint as xla_checkpoint

    if not any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
        return function(*inputs)

    def run(*arguments: Any) -> Any:
        with again() if torch.is_grad_enabled() else nullcontext():  # the first has no gradient
            return function(*arguments)

    return xla_checkpoint(run, *inputs)
