"""Time and memory of the two towers on one device."""

from dataclasses import dataclass

import torch

from align_edu.planning.chips import Chip
from align_edu.planning.count import Work, count_image_tower, count_text_tower
from align_edu.planning.roofline import total_seconds
from align_edu.presets import Preset

_CPU_TEXTS = 32  # texts that the text tower encodes at a time on a processor


@dataclass(frozen=True)
class TowerCosts:
    """One step of both towers on one device, and which of two estimates is the slower."""

    length: int  # word pieces a text
    chunk: int | None  # pairs embedded at a time, twice; None: all at once
    flops: float
    flops_per_pair: dict[str, float]
    roofline: dict[str, float]  # seconds by tower
    assumed: dict[str, float] | None  # seconds by tower at the assumed share of the peak
    activation_bytes: float

    @property
    def roofline_seconds(self) -> float:
        """Seconds by the roofline."""
        return sum(self.roofline.values())

    @property
    def assumed_seconds(self) -> float | None:
        """Seconds at the assumed share of the peak."""
        return None if self.assumed is None else sum(self.assumed.values())

    @property
    def by_tower(self) -> dict[str, float]:
        """Seconds by tower, of the slower estimate: no device is faster than its roofline."""
        if self.assumed is None or self.roofline_seconds > sum(self.assumed.values()):
            return self.roofline
        return self.assumed

    @property
    def seconds(self) -> float:
        """Seconds of both towers."""
        return sum(self.by_tower.values())


def tower_costs(preset: Preset, chip: Chip, rows: int, length: int) -> TowerCosts:
    """Return time and memory of both towers for ``rows`` pairs on one device.

    length: word pieces a text. With ``recipe.chunk`` (gradient cache) the pairs are embedded a
    chunk at a time, first without gradient, and only one chunk's activations are kept.

    Paper: Section 4.1 (towers).

    >>> from align_edu.planning.chips import get_chip
    >>> from align_edu.presets import get_preset
    >>> costs = tower_costs(get_preset("toy"), get_chip("a100"), rows=128, length=14)
    >>> costs.seconds >= costs.roofline_seconds
    True
    """
    chunk = preset.recipe.chunk
    chunk = None if chunk is None or chunk >= rows else chunk
    forwards = 1 if chunk is None else 2
    at_once = chunk or rows
    texts = min(at_once, _CPU_TEXTS) if chip.name == "here" else at_once
    dtype = torch.bfloat16 if chip.number == 2 else torch.float32
    works = {  # BatchNorm asks for two pictures or more
        "image tower": count_image_tower(preset, max(2, at_once), dtype),
        "text tower": count_text_tower(preset, texts, length, dtype),
    }
    fused = chip.fused or (preset.recipe.compile and chip.name != "here")
    times = {name: rows / work.rows for name, work in works.items()}
    flops = {name: times[name] * work.flops(forwards) for name, work in works.items()}
    rate = None if chip.utilisation is None else chip.matrix * chip.utilisation
    return TowerCosts(
        length=length,
        chunk=chunk,
        flops=sum(flops.values()),
        flops_per_pair={name.split()[0]: f / rows for name, f in flops.items()},
        roofline={n: times[n] * _seconds(w, forwards, chip, fused) for n, w in works.items()},
        assumed=None if rate is None else {name: f / rate for name, f in flops.items()},
        activation_bytes=sum(at_once / w.rows * w.peak_bytes for w in works.values()),
    )


def _seconds(work: Work, forwards: int, chip: Chip, fused: bool) -> float:
    forward = total_seconds(work.forward, chip, fused)
    return forwards * forward + total_seconds(work.backward, chip, fused)
