"""What a training run costs on a kind of chip: memory, step time, days, and why."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from align_edu.io import InputError, fill_template
from align_edu.planning import count
from align_edu.planning.chips import GIB, Chip, total_seconds
from align_edu.presets import Preset

CPU_TEXT_LENGTH = 12  # mean length of toy texts padded to the longest of 32 of similar length
_CPU_TEXTS = 32  # texts that the text tower encodes at a time on a processor
_FOLDER = Path(__file__).parent
_LOSS_PASSES = 10  # times that the loss reads or writes its matrix, forward and backward


@dataclass(frozen=True)
class TowerCosts:
    """One step of both towers on one device."""

    width: int  # D of the shared space
    chunk: int | None  # pairs embedded at a time, twice; None: all at once
    flops: dict[str, float]  # by tower
    roofline: dict[str, float]  # seconds by tower, a lower bound
    assumed: dict[str, float] | None  # seconds by tower at the assumed share of the peak
    activation_bytes: float

    @property
    def seconds(self) -> dict[str, float]:
        """By tower; the slower estimate, as the roofline is a lower bound."""
        return max(self.roofline, self.assumed or {}, key=lambda part: sum(part.values()))


def tower_costs(preset: Preset, chip: Chip, rows: int, length: int) -> TowerCosts:
    """Return the cost of both towers for ``rows`` pairs with texts of ``length`` word pieces."""
    chunk = preset.recipe.chunk  # the gradient cache embeds a chunk at a time, twice
    chunk = None if chunk is None or chunk >= rows else chunk
    forwards, at_once = (2, chunk) if chunk else (1, rows)
    texts = min(at_once, _CPU_TEXTS) if chip.name == "here" else at_once
    dtype = torch.bfloat16 if chip.activation_bytes == 2 else torch.float32
    works = {  # BatchNorm needs at least two pictures
        "image tower": count.count_image_tower(preset, max(2, at_once), dtype),
        "text tower": count.count_text_tower(preset, texts, length, dtype),
    }
    fused = chip.fused or (preset.recipe.compile and chip.name != "here")
    flops, roofline, activation_bytes = {}, {}, 0.0
    for name, work in works.items():
        times = rows / work.rows
        flops[name] = times * work.flops(forwards)
        forward = forwards * total_seconds(work.forward, chip, fused)
        roofline[name] = times * (forward + total_seconds(work.backward, chip, fused))
        activation_bytes += at_once / work.rows * work.peak_bytes
    assumed = None
    if chip.utilisation is not None:
        assumed = {name: f / (chip.matrix * chip.utilisation) for name, f in flops.items()}
    width = count.meta_model(preset).image_tower.width
    return TowerCosts(width, chunk, flops, roofline, assumed, activation_bytes)


@dataclass(frozen=True)
class Plan:
    """The cost of one run; ``str(plan)`` is a table of it."""

    preset: Preset
    chip: Chip
    chips: int
    batch_size: int
    pairs_per_chip: int
    steps: int
    pairs: int  # in the whole run
    text_length: int
    parameters: dict[str, int]  # by tower
    flops_per_pair: dict[str, float]  # by tower, and of the loss
    flops: float  # of the whole run, on all devices
    memory: dict[str, float]  # bytes on one device, by cause
    memory_of_chip: float
    fits: bool
    gather_bytes: float  # received and sent by each device for the loss over the whole batch
    seconds: dict[str, float]  # of one step, by cause
    roofline_seconds: float  # of the towers
    assumed_seconds: float | None  # of the towers, at the assumed share of the peak
    utilisation: float  # share of the peak that the towers reach
    pairs_per_second: float  # on all devices together
    driver: str  # the part that takes most of a step
    days: float
    device_days: float
    assumed_days: float | None  # at the assumed share of the peak, if only the towers took time
    towers: TowerCosts

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        values = vars(self) | {"preset": self.preset.name, "chip": self.chip.name}
        values["assumptions"] = self._assumptions()
        names = {"memory": "memory_bytes", "seconds": "step_seconds"}
        return {names.get(name, name): value for name, value in values.items() if name != "towers"}

    def __str__(self) -> str:
        file, assumptions = _FOLDER / "plan.txt.j2", self._assumptions()
        text = fill_template(file, plan=self, gib=GIB, assumptions=assumptions)
        return text.rstrip("\n")

    def _assumptions(self) -> list[str]:
        return fill_template(_FOLDER / "assumptions.txt.j2", plan=self).splitlines()


def plan_run(preset: Preset, chip: Chip, chips: int = 1, *, text_length: int | None = None) -> Plan:
    """Return what training ``preset`` costs on ``chips`` devices of one kind.

    Training is data-parallel: each device holds the whole model and an equal part of the batch.
    text_length: word pieces a text; by default ``preset.text.max_length``, to which TPUs and GPUs
    pad, or 12 on this machine's processor, which pads to the longest of 32 texts.
    Raises InputError for numbers that do not fit the preset.

    Paper: Section 5 (1024 TPUv3 cores, 16 pairs on each), Section 4.1 (the loss over all).

    >>> from align_edu.planning.chips import get_chip
    >>> from align_edu.presets import get_preset
    >>> plan = plan_run(get_preset("toy"), get_chip("tpu-v3-core"), 4)
    >>> plan.pairs, plan.seconds["image tower"] > plan.seconds["loss"]
    (409600, True)
    """
    length = _length(preset, chip, chips, text_length)
    batch, steps = preset.recipe.batch_size, preset.recipe.steps
    rows, columns = batch // chips, batch // preset.loss.cores
    towers, shapes = tower_costs(preset, chip, rows, length), count.parameters(preset)
    counts = {name: sum(s.numel() for _, s in part) for name, part in shapes.items()}
    weights, width = sum(counts.values()), towers.width
    optimizer = count.optimizer_cost(shapes, preset.recipe.optimizer, chip.fused)
    memory = _memory(preset, chip, rows, weights, optimizer.state, towers, length)
    # The rows of the similarity matrix and their gradients; tiles are computed twice.
    loss_flops = (4 if preset.loss.tile else 3) * 2.0 * rows * columns * width
    # The texts' embeddings and the gradients sent back; a sum and a maximum for each text.
    gather_bytes, statistics = 2 * 4.0 * batch * width, 2 * 2 * 4.0 * batch
    link, others = chip.rate_out(chips), (chips - 1) / chips  # share of the batch elsewhere
    seconds = towers.seconds | {
        "loss": max(loss_flops / chip.single, _LOSS_PASSES * 4.0 * rows * columns / chip.bandwidth),
        "gather": others * (gather_bytes + statistics) / link,
        "gradient all-reduce": others * 2 * 4.0 * weights / link,
        "optimiser": optimizer.operations * chip.overhead
        + optimizer.bytes / chip.bandwidth
        + optimizer.flops / (chip.muon or chip.matrix),
    }
    flops = {n.split()[0]: f / rows for n, f in towers.flops.items()} | {"loss": loss_flops / rows}
    step_seconds = sum(seconds.values())
    assumed = None if towers.assumed is None else sum(towers.assumed.values())
    days = steps * step_seconds / 86_400
    return Plan(
        preset, chip, chips, batch_size=batch, pairs_per_chip=rows, steps=steps,
        pairs=steps * batch, text_length=length, parameters=counts,
        flops_per_pair=flops, flops=steps * batch * sum(flops.values()),
        memory=memory, memory_of_chip=chip.memory, fits=sum(memory.values()) <= chip.memory,
        gather_bytes=gather_bytes, seconds=seconds,
        roofline_seconds=sum(towers.roofline.values()), assumed_seconds=assumed,
        utilisation=sum(towers.flops.values()) / chip.matrix / sum(towers.seconds.values()),
        pairs_per_second=batch / step_seconds, driver=max(seconds, key=lambda n: seconds[n]),
        days=days, device_days=days * chips,
        assumed_days=None if assumed is None else steps * assumed / 86_400,
        towers=towers,
    )  # fmt: skip


def _length(preset: Preset, chip: Chip, chips: int, length: int | None) -> int:
    """Return the word pieces of a text; InputError for what cannot be planned."""
    batch, longest = preset.recipe.batch_size, preset.text.max_length
    if chip.name == "here" and chips != 1:
        raise InputError(f"--chips {chips}: this machine's processor is one device; give --chips 1")
    if chips < 1:
        raise InputError(f"--chips {chips}: a run needs at least one device")
    if preset.loss.cores > 1 and chips > 1:
        raise InputError(f"--chips {chips}: loss.cores > 1 is for one device; give --chips 1")
    if batch % chips:
        remedy = "choose a divisor, or another batch by --set recipe.batch_size=N"
        raise InputError(f"--chips {chips}: does not divide recipe.batch_size {batch}; {remedy}")
    if length is None:
        return min(CPU_TEXT_LENGTH, longest) if chip.name == "here" else longest
    if not 1 <= length <= longest:
        raise InputError(f"--text-length {length}: give 1 to {longest} word pieces a text")
    return length


def _memory(
    preset: Preset, chip: Chip, rows: int, weights: int, state: int, towers: TowerCosts, length: int
) -> dict[str, float]:
    """Return the bytes that a device with ``rows`` pairs holds, by cause."""
    copied = chip.activation_bytes < 4 and not chip.fused  # the weights again, in low precision
    batch, tile = preset.recipe.batch_size, preset.loss.tile or rows
    return {
        "weights": 4.0 * weights + (weights * chip.activation_bytes if copied else 0),
        "gradients": 4.0 * weights,
        "optimiser state": 4.0 * state,
        "activations": towers.activation_bytes,
        "loss matrix": 2 * 4.0 * min(rows, tile) * (batch // preset.loss.cores),  # and its gradient
        "embeddings": 2 * 4.0 * (batch + rows) * towers.width,
        "input batch": 4.0 * rows * 3 * preset.image.crop**2 + 2 * 8.0 * rows * length,
    }
