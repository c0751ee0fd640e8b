"""The chips that a run can be planned for: those of chips.toml, and this machine, measured."""

import os
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from align_edu.io import InputError, usable_cores
from align_edu.planning import count
from align_edu.planning.count import Counting, Operation
from align_edu.presets import Preset
from align_edu.training.loop import keep_freed_memory
from align_edu.training.recipe import orthogonalised

GIB = 2**30
_FUSED = ("activation", "other")  # kinds that a fusing compiler adds to another operation for free
_BLOCK = (64, 96, 24)  # pairs, channels and pixels a side, to time elementwise work on
_PIECES = 32 * 12  # word pieces in one batch of the text tower
_ENOUGH = 5e9  # FLOPs of Muon's products; more would not change its rate
_CACHE = 64 * 2**20  # bytes, larger than a processor's last-level cache
_PICTURES, _PIXELS = 64, 300_000  # at most, on which a convolution is timed

Timer = Callable[[Callable[[], object]], float]


@dataclass(frozen=True)
class Chip:
    """One device: its rates, as chips.toml explains them, and the share that a run reaches."""

    name: str
    matrix: float
    vector: float
    single: float
    memory: float
    bandwidth: float
    link: float
    neighbours: int
    network: float
    utilisation: float | None  # None: roofline only
    activation_bytes: int = 2  # of one number of an activation
    fused: bool = False
    muon: float | None = None  # FLOP/s of Muon's small products, if they were measured
    overhead: float = 0.0  # seconds to start one operation
    # Measured share of the roofline by kind or name of operation; 1 for those not listed.
    efficiency: Mapping[str, float] = field(default_factory=dict)
    note: str = ""  # a warning about these rates

    def rate_out(self, chips: int) -> float:
        """Return the bytes a second out of each of ``chips`` devices."""
        return self.link if chips <= self.neighbours else self.network


_RATES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
CHIPS = {name: Chip(name, **rates) for name, rates in _RATES.items()}


def get_chip(name: str) -> Chip:
    """Return the chip called ``name``; InputError for an unknown one ("here" is measured)."""
    if name not in CHIPS:
        raise InputError(f"chip {name!r} does not exist; choose one of {', '.join(CHIPS)}, here")
    return CHIPS[name]


def total_seconds(operations: Counter[Operation], chip: Chip, fused: bool = False) -> float:
    """Return the time of ``operations``: of the FLOPs or the bytes of each, the longer one."""

    def seconds(operation: Operation) -> float:
        kind = operation.kind.removesuffix(" backward")
        if fused and kind in _FUSED:  # a compiler joins it to the operation before it
            return 0.0
        rate = chip.vector if kind == "depthwise" else chip.matrix
        bound = max(operation.flops / rate, operation.bytes / chip.bandwidth)
        share = chip.efficiency.get(operation.name) or chip.efficiency.get(operation.kind, 1.0)
        return chip.overhead + bound / share

    return sum(n * seconds(operation) for operation, n in operations.items())


def measure_here(
    preset: Preset, rounds: int = 9, clock: Callable[[], float] = time.perf_counter
) -> Chip:
    """Return this machine's processor as a chip for ``preset``, by timing single layers.

    ``efficiency`` is the time that the roofline allows over the time measured: for each
    convolution of the image tower, and for one layer of each other kind. rounds: how often each
    layer is timed; the fastest counts. clock: returns seconds.
    """
    keep_freed_memory()  # as training does
    other = torch.zeros(_CACHE // 4)

    def fastest(act: Callable[[], object]) -> float:
        """Return the shortest time of a call, after one call to warm up."""
        times = []
        for _ in range(rounds + 1):
            other.add_(1)  # evict this layer's data from the cache, as a step's other work does
            started = clock()
            act()
            times.append(clock() - started)
        return max(min(times[1:]), 1e-7)  # no clock is finer

    products = [torch.rand(2, side, side) for side in (256, 512, 1024)]
    peak = max(2 * len(a) ** 3 / fastest(partial(torch.matmul, a, b)) for a, b in products)
    pairs, channels, side = _BLOCK
    x, y = torch.rand(2, pairs * channels * side**2)
    bandwidth = 3 * x.nbytes / fastest(lambda: x + y)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    load, cores = os.getloadavg()[0], usable_cores()
    busy = f"this machine was busy (load {load:.1f} on {cores} cores): its rates are too low"
    chip = Chip(
        "here", matrix=peak, vector=peak, single=peak, memory=memory, bandwidth=bandwidth,
        link=bandwidth, neighbours=1, network=bandwidth, utilisation=None, activation_bytes=4,
        muon=_muon_rate(preset, fastest), overhead=_overhead(fastest),
        note=busy if load > cores else "",
    )  # fmt: skip
    efficiency: dict[str, float] = {}
    for name, layer, sample in _samples(preset):
        efficiency |= _efficiency(name, layer, sample, chip, fastest)
    return replace(chip, efficiency=efficiency)


def _muon_rate(preset: Preset, fastest: Timer) -> float | None:
    """Return the FLOP/s of Muon's products on the preset's matrices, the most costly first."""
    if preset.recipe.optimizer != "muon":
        return None
    flops = seconds = 0.0
    counts = count.muon_matrices(count.parameters(preset))
    costs = {sides: n * count.orthogonal_flops(*sides) for sides, n in counts.items()}
    for sides in sorted(costs, key=lambda s: costs[s], reverse=True):
        matrices = [torch.rand(sides) for _ in range(counts[sides])]
        flops += costs[sides]
        seconds += fastest(partial(orthogonalised, matrices))
        if flops > _ENOUGH:
            break
    return flops / seconds


def _overhead(fastest: Timer) -> float:
    """Return the seconds that one operation takes before it computes anything."""
    small = torch.rand(8, 8, requires_grad=True)

    def chain() -> None:
        x = small
        for _ in range(100):
            x = x * small
        x.sum().backward()

    with Counting() as counting:
        chain()
    return fastest(chain) / sum(counting.operations.values())


class _Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:  # as squeeze-and-excitation
        return x * x[:, :, :1, :1]


def _samples(preset: Preset) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Yield name, layer and input for each kind of operation and each convolution of the tower."""

    def pictures(rows: int, channels: int, side: int) -> Tensor:
        x = torch.rand(rows, channels, side, side).to(memory_format=torch.channels_last)
        return x.requires_grad_()

    yield "norm", nn.BatchNorm2d(_BLOCK[1]), pictures(*_BLOCK)
    yield "activation", nn.SiLU(), pictures(*_BLOCK)
    yield "other", _Gate(), pictures(*_BLOCK)
    width = preset.text.width
    yield "matrix", nn.Linear(width, 4 * width), torch.rand(_PIECES, width, requires_grad=True)
    rows = max(2, min(preset.recipe.batch_size, _PICTURES, _PIXELS // preset.image.crop**2))
    for operation in count.count_image_tower(preset, rows).forward:
        if operation.layer:
            into, out, kernel, stride, side = operation.layer
            groups = into if operation.kind == "depthwise" else 1
            layer = nn.Conv2d(into, out, kernel, stride, kernel // 2, groups=groups, bias=False)
            yield operation.name, layer, pictures(rows, into, side)


def _efficiency(
    name: str, layer: nn.Module, x: Tensor, chip: Chip, fastest: Timer
) -> dict[str, float]:
    """Return the layer's share of the roofline, forward and backward."""
    if x.ndim == 4:
        layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    out = layer(x)
    gradient, inputs = torch.rand_like(out), [x, *layer.parameters()]
    acts: dict[str, Callable[[], object]] = {
        "": lambda: layer(x),
        " backward": lambda: torch.autograd.grad(out, inputs, gradient, retain_graph=True),
    }
    shares = {}
    kind, *rest = name.split(" ")
    for suffix, act in acts.items():
        with Counting() as counting:
            act()
        seconds = total_seconds(counting.operations, chip)
        shares[" ".join([kind + suffix, *rest])] = seconds / fastest(act)
    return shares
