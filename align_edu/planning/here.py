"""This machine's processor as a device: its rates, measured in a few seconds, layer by layer."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from align_edu.cores import usable_cores
from align_edu.planning.chips import Chip
from align_edu.planning.count import Counting, count_image_tower, parameters
from align_edu.planning.optimizers import muon_matrices, orthogonal_flops
from align_edu.planning.roofline import total_seconds
from align_edu.presets import Preset
from align_edu.training.muon import orthogonalised

# The block on which elementwise work is measured: pairs, channels, pixels a side.
_ROWS, _CHANNELS, _SIDE = 64, 96, 24
_PRODUCTS = (256, 512, 1024)  # the sides of the matrix products
_PIECES = 32 * 12  # word pieces that the text tower takes at a time
_CHAIN = 100  # small operations in a row
_ENOUGH = 5e9  # FLOPs of Muon's products, after which its rate is known
_CACHE = 64 * 2**20  # bytes, more than the processor's last cache holds
_PIXELS = 300_000  # of all pictures on which a convolution is timed

Act = Callable[[], object]
Timer = Callable[[Act], float]
# A name, a layer, and what goes in: channels last for pictures.
Sample = tuple[str, nn.Module, Tensor]


def measure_here(
    preset: Preset, rounds: int = 9, clock: Callable[[], float] = time.perf_counter
) -> Chip:
    """Return this machine's processor as ``preset`` uses it, measured by timing single layers.

    The peak is that of the fastest matrix product, the bandwidth that of adding two tensors of
    14 MB. Each convolution of the image tower is timed by itself, on few pictures, and one layer
    stands for each other kind of operation: what counts is the share of the time that the
    roofline allows. Nothing is fitted to a training step. rounds: how often each is timed; the
    fastest counts, so that other programs disturb little. clock: seconds from any start;
    ``time.process_time`` serves one thread on a busy machine. Training keeps freed memory
    (``keep_freed_memory``): a caller who plans for training does the same first.

    >>> from align_edu.presets import get_preset
    >>> here = measure_here(get_preset("toy"), rounds=1)
    >>> here.matrix > 0 and here.bandwidth > 0 and here.utilisation is None
    True
    """
    fastest = _timer(rounds, clock)
    peak = max(_product_rate(side, fastest) for side in _PRODUCTS)
    x, y = torch.rand(2, _ROWS * _CHANNELS * _SIDE**2)
    bandwidth = 3 * x.nbytes / fastest(lambda: x + y)
    chip = replace(
        _chip(peak, bandwidth),
        products=_products_rate(preset, fastest),
        overhead=_overhead(fastest),
        note=_busy(),
    )
    shares: dict[str, float] = {}
    for name, layer, sample in _samples(preset):
        shares |= _shares(name, layer, sample, chip, fastest)
    return replace(chip, efficiency=shares)


def _chip(peak: float, bandwidth: float) -> Chip:
    """One processor in float32; there are no others to send to."""
    return Chip(
        name="here",
        matrix=peak,
        vector=peak,
        single=peak,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        bandwidth=bandwidth,
        link=bandwidth,
        near=1,
        network=bandwidth,
        utilisation=None,
        number=4,
    )


def _product_rate(side: int, fastest: Timer) -> float:
    a, b = torch.rand(2, side, side)
    return 2 * side**3 / fastest(lambda: a @ b)


def _busy() -> str:
    """A warning where other programs run: they make every measured rate too low."""
    load, cores = os.getloadavg()[0], usable_cores()
    if load <= cores:
        return ""
    return f"this machine was busy (load {load:.1f} on {cores} cores): its rates are too low"


def _products_rate(preset: Preset, fastest: Timer) -> float | None:
    """FLOP/s of Muon's products of small matrices, which are slower than large ones.

    Its rate depends on the sides of a matrix, so the preset's own are timed, those that cost
    most first, until enough was computed.
    """
    if preset.recipe.optimizer != "muon":
        return None
    flops = seconds = 0.0
    matrices = muon_matrices(parameters(preset))
    for sides in sorted(matrices, key=lambda s: matrices[s] * orthogonal_flops(*s), reverse=True):
        flops += matrices[sides] * orthogonal_flops(*sides)
        seconds += fastest(_orthogonalising(*sides, matrices[sides]))
        if flops > _ENOUGH:
            break
    return flops / seconds


def _orthogonalising(rows: int, columns: int, count: int) -> Act:
    """What Muon does to so many matrices."""
    matrices = [torch.rand(rows, columns) for _ in range(count)]
    return lambda: orthogonalised(matrices)


def _timer(rounds: int, clock: Callable[[], float]) -> Timer:
    """A function that gives the shortest time of one call, after one call to warm up."""

    other = torch.zeros(_CACHE // 4)

    def fastest(act: Act) -> float:
        times = []
        for _ in range(rounds + 1):
            other.add_(1)  # the step's other work, which pushes this layer's data out of the cache
            started = clock()
            act()
            times.append(clock() - started)
        return max(min(times[1:]), 1e-7)  # no clock is finer

    return fastest


def _samples(preset: Preset) -> Iterator[Sample]:
    """One layer for each kind of operation, then each convolution of the image tower."""
    yield "norm", nn.BatchNorm2d(_CHANNELS), _pictures(_ROWS, _CHANNELS, _SIDE)
    yield "activation", nn.SiLU(), _pictures(_ROWS, _CHANNELS, _SIDE)
    yield "other", _Gate(), _pictures(_ROWS, _CHANNELS, _SIDE)
    width = preset.text.width
    yield "matrix", nn.Linear(width, 4 * width), torch.rand(_PIECES, width, requires_grad=True)
    rows = max(2, min(preset.recipe.batch_size, _ROWS, _PIXELS // preset.image.crop**2))
    for operation in count_image_tower(preset, rows).forward:
        if operation.layer:
            into, out, kernel, stride, side = operation.layer
            groups = into if operation.kind == "depthwise" else 1
            layer = nn.Conv2d(into, out, kernel, stride, kernel // 2, groups=groups, bias=False)
            yield operation.name, layer, _pictures(rows, into, side)


def _pictures(rows: int, channels: int, side: int) -> Tensor:
    x = torch.rand(rows, channels, side, side).to(memory_format=torch.channels_last)
    return x.requires_grad_()


class _Gate(nn.Module):
    """Multiplies each channel by one number, as squeeze-and-excitation does."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x[:, :, :1, :1]


def _shares(name: str, layer: nn.Module, x: Tensor, chip: Chip, fastest: Timer) -> dict[str, float]:
    """Of a layer forward and backward: the time that the roofline allows, over the real one."""
    if x.ndim == 4:
        layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    out = layer(x)
    gradient, wanted = torch.rand_like(out), [x, *layer.parameters()]
    passes: dict[str, Act] = {
        name: lambda: layer(x),
        _backward_of(name): lambda: torch.autograd.grad(out, wanted, gradient, retain_graph=True),
    }
    shares = {}
    for key, act in passes.items():
        with Counting() as counting:
            act()
        shares[key] = total_seconds(counting.operations, chip) / fastest(act)
    return shares


def _backward_of(name: str) -> str:
    kind, *layer = name.split(" ")
    return " ".join([kind, "backward", *layer])


def _overhead(fastest: Timer) -> float:
    """Seconds that one operation takes before it does anything."""
    small = torch.rand(8, 8, requires_grad=True)

    def chain() -> None:
        x = small
        for _ in range(_CHAIN):
            x = x * small
        x.sum().backward()

    with Counting() as counting:
        chain()
    return fastest(chain) / sum(counting.operations.values())
