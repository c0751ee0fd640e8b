"""What a training run costs on a kind of device: memory, step time, whole-run time, and why."""

from dataclasses import dataclass
from typing import Any

from align_edu.io import InputError
from align_edu.planning.chips import Chip
from align_edu.planning.count import embedding_width, parameters
from align_edu.planning.optimizers import OptimizerCost, optimizer_cost
from align_edu.planning.towers import TowerCosts, tower_costs
from align_edu.presets import Preset

CPU_TEXT_LENGTH = 12  # mean length of toy texts padded to the longest of 32 of like length
_LOSS_PASSES = 10  # times that the loss reads or writes its matrix, forward and backward


@dataclass(frozen=True)
class Plan:
    """The cost of one run; times in seconds, memory in bytes, of one device."""

    preset: Preset
    chip: Chip
    chips: int
    text_length: int
    parameters: dict[str, int]
    flops_per_pair: dict[str, float]
    memory: dict[str, float]
    seconds: dict[str, float]  # of one step, by cause
    towers: TowerCosts
    assumptions: list[str]

    @property
    def pairs(self) -> int:
        """Pairs seen in the whole run."""
        return self.preset.recipe.steps * self.preset.recipe.batch_size

    @property
    def flops(self) -> float:
        """FLOPs of the whole run, on all devices."""
        return self.pairs * sum(self.flops_per_pair.values())

    @property
    def step_seconds(self) -> float:
        """Seconds of one step."""
        return sum(self.seconds.values())

    @property
    def pairs_per_second(self) -> float:
        """Pairs a second, on all devices together."""
        return self.preset.recipe.batch_size / self.step_seconds

    @property
    def days(self) -> float:
        """Days of the whole run."""
        return self.preset.recipe.steps * self.step_seconds / 86_400

    @property
    def assumed_days(self) -> float | None:
        """Days if the towers reached the assumed share of the peak and nothing else took time."""
        seconds = self.towers.assumed_seconds
        return None if seconds is None else self.preset.recipe.steps * seconds / 86_400

    @property
    def gather_bytes(self) -> float:
        """Bytes that each device takes in and gives back for the loss over the whole batch.

        The text embeddings of all devices, and later the gradients of its own for all of them.
        """
        return _gather_bytes(self.preset)

    @property
    def utilisation(self) -> float:
        """Share of the peak that the towers reach in this plan."""
        return self.towers.flops / self.chip.matrix / self.towers.seconds

    @property
    def fits(self) -> bool:
        """Whether one device has the memory."""
        return sum(self.memory.values()) <= self.chip.memory

    @property
    def driver(self) -> str:
        """What takes most of a step."""
        return max(self.seconds, key=lambda name: self.seconds[name])

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON values, enough to draw it from.

        >>> from align_edu.planning.chips import get_chip
        >>> from align_edu.presets import get_preset
        >>> plan_run(get_preset("cc3m"), get_chip("a100"), 8).to_dict()["pairs"]
        1966080000
        """
        return {
            "preset": self.preset.name,
            "chip": self.chip.name,
            "chips": self.chips,
            "batch_size": self.preset.recipe.batch_size,
            "pairs_per_chip": self.preset.recipe.batch_size // self.chips,
            "steps": self.preset.recipe.steps,
            "pairs": self.pairs,
            "text_length": self.text_length,
            "parameters": self.parameters,
            "flops_per_pair": self.flops_per_pair,
            "flops": self.flops,
            "memory_bytes": self.memory,
            "memory_of_chip": self.chip.memory,
            "fits": self.fits,
            "gather_bytes": self.gather_bytes,
            "step_seconds": self.seconds,
            "roofline_seconds": self.towers.roofline_seconds,
            "assumed_seconds": self.towers.assumed_seconds,
            "utilisation": self.utilisation,
            "pairs_per_second": self.pairs_per_second,
            "driver": self.driver,
            "days": self.days,
            "device_days": self.days * self.chips,
            "assumed_days": self.assumed_days,
            "assumptions": self.assumptions,
        }

    def __str__(self) -> str:
        from align_edu.planning.table import plan_table

        return plan_table(self)


def plan_run(preset: Preset, chip: Chip, chips: int = 1, *, text_length: int | None = None) -> Plan:
    """Return what training ``preset`` costs on ``chips`` devices of one kind.

    text_length: word pieces a text; by default ``preset.text.max_length``, as TPUs and GPUs
    are fed, or 14 on this machine's processor, where toy texts are padded to the longest of
    32 alike. Data parallel: each device holds the whole model and an equal part of the batch.
    Raises InputError for a number of devices that is below 1 or does not divide the batch, and
    for a text length that the tower cannot take.

    Paper: Section 5 (1024 TPUv3 cores, 16 pairs on each), Section 4.1 (the loss over all).

    >>> from align_edu.planning.chips import get_chip
    >>> from align_edu.presets import get_preset
    >>> plan = plan_run(get_preset("b7_base"), get_chip("tpu-v3-core"), 1024)
    >>> round(plan.pairs / 1e9, 2), plan.seconds["image tower"] > plan.seconds["loss"]
    (19.66, True)
    """
    if chip.name == "here" and chips != 1:
        raise InputError(f"--chips {chips}: this machine's processor is one device; give --chips 1")
    rows = _rows(preset, chips)
    length = _length(preset, chip, text_length)
    towers = tower_costs(preset, chip, rows, length)
    shapes = parameters(preset)
    weights = sum(shape.numel() for part in shapes.values() for _, shape in part)
    optimizer = optimizer_cost(shapes, preset.recipe.optimizer)
    return Plan(
        preset=preset,
        chip=chip,
        chips=chips,
        text_length=length,
        parameters={name: sum(s.numel() for _, s in part) for name, part in shapes.items()},
        flops_per_pair=towers.flops_per_pair | {"loss": _loss_flops(preset, rows, chips) / rows},
        memory=_memory(preset, chip, chips, weights, optimizer, towers),
        seconds=towers.by_tower | _other_seconds(preset, chip, chips, weights, optimizer),
        towers=towers,
        assumptions=_assumptions(preset, chip, chips, length, towers),
    )


def _rows(preset: Preset, chips: int) -> int:
    """Pairs on each device."""
    batch = preset.recipe.batch_size
    if chips < 1:
        raise InputError(f"--chips {chips}: at least one device is needed")
    if batch % chips:
        raise InputError(
            f"--chips {chips}: does not divide recipe.batch_size {batch};"
            " choose a divisor, or another batch by --set recipe.batch_size=N"
        )
    return batch // chips


def _length(preset: Preset, chip: Chip, asked: int | None) -> int:
    """Word pieces a text."""
    longest = preset.text.max_length
    if asked is None:
        return min(CPU_TEXT_LENGTH, longest) if chip.name == "here" else longest
    if not 1 <= asked <= longest:
        raise InputError(f"--text-length {asked}: give 1 to {longest} word pieces a text")
    return asked


def _gather_bytes(preset: Preset) -> float:
    return 2 * 4.0 * preset.recipe.batch_size * embedding_width(preset)


def _loss_flops(preset: Preset, rows: int, chips: int) -> float:
    """FLOPs of the loss on one device: its rows of the matrix of similarities, and gradients."""
    products = 4 if preset.loss.tile else 3  # a tile's similarities are made twice
    return products * 2.0 * rows * (rows * chips) * embedding_width(preset)


def _memory(
    preset: Preset,
    chip: Chip,
    chips: int,
    weights: int,
    optimizer: OptimizerCost,
    towers: TowerCosts,
) -> dict[str, float]:
    """Bytes of one device by cause."""
    batch = preset.recipe.batch_size
    rows = batch // chips
    matrix_rows = min(rows, preset.loss.tile or rows)
    low_precision = weights * chip.number if chip.number < 4 and not chip.fused else 0
    return {
        "weights": 4.0 * weights + low_precision,
        "gradients": 4.0 * weights,
        "optimiser state": 4.0 * optimizer.state,
        "activations": towers.activation_bytes,
        "loss matrix": 2 * 4.0 * matrix_rows * batch,  # similarities and their gradient
        "embeddings": 2 * 4.0 * (batch + rows) * embedding_width(preset),
        "input batch": 4.0 * rows * 3 * preset.image.crop**2 + 2 * 8.0 * rows * towers.length,
    }


def _other_seconds(
    preset: Preset, chip: Chip, chips: int, weights: int, optimizer: OptimizerCost
) -> dict[str, float]:
    """Seconds of one step outside of the towers, by cause."""
    batch = preset.recipe.batch_size
    rows = batch // chips
    flops = _loss_flops(preset, rows, chips)
    matrix_bytes = _LOSS_PASSES * 4.0 * rows * batch
    link = chip.link if chips <= chip.near else chip.network
    others = (chips - 1) / chips  # of all there is, what the other devices hold
    statistics = 2 * 2 * 4.0 * batch  # of the columns: a sum and a maximum, reduced and sent back
    return {
        "loss": max(flops / chip.single, matrix_bytes / chip.bandwidth),
        "gather": others * (_gather_bytes(preset) + statistics) / link,
        "gradient all-reduce": others * 2 * 4.0 * weights / link,
        "optimiser": optimizer.seconds(chip),
    }


def _why(chip: Chip, towers: TowerCosts) -> str:
    """Where the time of the towers comes from."""
    roofline = f"roofline (FLOPs or bytes of each operation) {towers.roofline_seconds:.4g} s"
    if chip.utilisation is None or towers.assumed_seconds is None:
        return f"towers: {roofline}, with the measured share of it for each kind of operation"
    assumed = f"{chip.utilisation:.0%} of the peak (assumed) {towers.assumed_seconds:.4g} s"
    slower = "roofline" if towers.by_tower is towers.roofline else "assumed share"
    return f"towers: {assumed}, {roofline}; the slower counts: the {slower}"


def _assumptions(
    preset: Preset, chip: Chip, chips: int, length: int, towers: TowerCosts
) -> list[str]:
    """What the figures rest on, one sentence each."""
    lines = [
        f"peak {chip.matrix / 1e12:.3g} TFLOP/s in {'bfloat16' if chip.number == 2 else 'float32'},"
        f" memory {chip.bandwidth / 1e9:.0f} GB/s"
        + (", both measured just now" if chip.name == "here" else ""),
        f"texts of {length} word pieces",
        _why(chip, towers),
    ]
    if chips > 1:
        near = chips <= chip.near
        link = chip.link if near else chip.network
        lines.append(
            f"{link / 1e9:.4g} GB/s out of each device"
            + ("" if near or chip.near == 1 else f" (more than {chip.near}: over the network)")
            + ", nothing sent while computing"
        )
    if towers.chunk:
        lines.append(f"gradient cache: {towers.chunk} pairs at a time, embedded twice")
    elif preset.image.recompute:
        lines.append("each block of the image tower is computed twice to save memory")
    if chip.note:
        lines.append(chip.note)
    lines.append("activations as eager PyTorch keeps them; a compiler may need less")
    lines.append("pictures are read and decoded meanwhile, by other processes")
    return lines
