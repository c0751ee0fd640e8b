"""The roofline: an operation takes as long as its FLOPs, or as its bytes, whichever is longer."""

from collections import Counter

from align_edu.planning.chips import Chip
from align_edu.planning.count import Operation

_JOINED = ("activation", "other")  # what a fusing compiler does on the way, at no cost of its own


def operation_seconds(operation: Operation, chip: Chip, fused: bool = False) -> float:
    """Return how long one operation takes on ``chip`` at least.

    fused: a compiler joins elementwise work to the operation before it. Where shares of the
    roofline were measured (``chip.efficiency``), the time is what they say instead of a bound.

    >>> from align_edu.planning.chips import get_chip
    >>> copying = Operation("other", 0, int(2039e9))
    >>> a100 = get_chip("a100")
    >>> operation_seconds(copying, a100), operation_seconds(copying, a100, fused=True)
    (1.0, 0.0)
    """
    kind = operation.kind.removesuffix(" backward")
    if fused and kind in _JOINED:
        return 0.0
    rate = chip.vector if kind == "depthwise" else chip.matrix
    bound = max(operation.flops / rate, operation.bytes / chip.bandwidth)
    share = chip.efficiency.get(operation.name) or chip.efficiency.get(operation.kind, 1.0)
    return chip.overhead + bound / share


def total_seconds(operations: Counter[Operation], chip: Chip, fused: bool = False) -> float:
    """Return the time of all ``operations``, one after the other.

    >>> from align_edu.planning.chips import get_chip
    >>> total_seconds(Counter({Operation("matrix", int(312e12), 0): 2}), get_chip("a100"))
    2.0
    """
    return sum(n * operation_seconds(op, chip, fused) for op, n in operations.items())
