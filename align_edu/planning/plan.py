"""What a training run costs on a kind of chip: memory, step time, days, and why."""

from dataclasses import dataclass
from typing import Any

from align_edu.io import InputError
from align_edu.planning.chips import Chip
from align_edu.planning.cost import OptimizerCost, TowerCosts, optimizer_cost, tower_costs
from align_edu.planning.count import embedding_width, parameters
from align_edu.presets import Preset

CPU_TEXT_LENGTH = 12  # mean length of toy texts padded to the longest of 32 of similar length
_LOSS_PASSES = 10  # times that the loss reads or writes its matrix, forward and backward


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
    assumptions: list[str]
    towers: TowerCosts

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        values = vars(self) | {"preset": self.preset.name, "chip": self.chip.name}
        names = {"memory": "memory_bytes", "seconds": "step_seconds"}
        return {names.get(name, name): value for name, value in values.items() if name != "towers"}

    def __str__(self) -> str:
        from align_edu.planning.table import plan_table

        return plan_table(self)


def plan_run(preset: Preset, chip: Chip, chips: int = 1, *, text_length: int | None = None) -> Plan:
    """Return what training ``preset`` costs on ``chips`` devices of one kind.

    Training is data-parallel: each device holds the whole model and an equal part of the batch.
    text_length: word pieces a text; by default ``preset.text.max_length``, to which TPUs and GPUs
    pad, or 12 on this machine's processor, which pads to the longest of 32 texts.
    Raises InputError if the number of devices is below 1 or does not divide the batch, and for a
    text length that the tower cannot take.

    Paper: Section 5 (1024 TPUv3 cores, 16 pairs on each), Section 4.1 (the loss over all).

    >>> from align_edu.planning.chips import get_chip
    >>> from align_edu.presets import get_preset
    >>> plan = plan_run(get_preset("toy"), get_chip("tpu-v3-core"), 4)
    >>> plan.pairs, plan.seconds["image tower"] > plan.seconds["loss"]
    (409600, True)
    """
    batch, steps = preset.recipe.batch_size, preset.recipe.steps
    rows = _pairs_per_chip(batch, chip, chips)
    length = _text_length(preset, chip, text_length)
    towers, shapes = tower_costs(preset, chip, rows, length), parameters(preset)
    weights = {name: sum(s.numel() for _, s in part) for name, part in shapes.items()}
    optimizer = optimizer_cost(shapes, preset.recipe.optimizer)
    loss_flops = _loss_flops(preset, rows, chips)
    flops_per_pair = towers.flops_per_pair | {"loss": loss_flops / rows}
    memory = _memory(preset, chip, rows, sum(weights.values()), optimizer, towers)
    seconds = towers.seconds | _other_seconds(preset, chip, chips, sum(weights.values()), optimizer)
    step_seconds, assumed = sum(seconds.values()), towers.assumed_seconds
    days = steps * step_seconds / 86_400
    return Plan(
        preset=preset,
        chip=chip,
        chips=chips,
        batch_size=batch,
        pairs_per_chip=rows,
        steps=steps,
        pairs=steps * batch,
        text_length=length,
        parameters=weights,
        flops_per_pair=flops_per_pair,
        flops=steps * batch * sum(flops_per_pair.values()),
        memory=memory,
        memory_of_chip=chip.memory,
        fits=sum(memory.values()) <= chip.memory,
        gather_bytes=_gather_bytes(preset),
        seconds=seconds,
        roofline_seconds=towers.roofline_seconds,
        assumed_seconds=assumed,
        utilisation=towers.flops / chip.matrix / sum(towers.seconds.values()),
        pairs_per_second=batch / step_seconds,
        driver=max(seconds, key=lambda name: seconds[name]),
        days=days,
        device_days=days * chips,
        assumed_days=None if assumed is None else steps * assumed / 86_400,
        assumptions=_assumptions(preset, chip, chips, towers),
        towers=towers,
    )


def _pairs_per_chip(batch: int, chip: Chip, chips: int) -> int:
    if chip.name == "here" and chips != 1:
        raise InputError(f"--chips {chips}: this machine's processor is one device; give --chips 1")
    if chips < 1:
        raise InputError(f"--chips {chips}: a run needs at least one device")
    if batch % chips:
        raise InputError(
            f"--chips {chips}: does not divide recipe.batch_size {batch};"
            " choose a divisor, or another batch by --set recipe.batch_size=N"
        )
    return batch // chips


def _text_length(preset: Preset, chip: Chip, length: int | None) -> int:
    longest = preset.text.max_length
    if length is None:
        return min(CPU_TEXT_LENGTH, longest) if chip.name == "here" else longest
    if not 1 <= length <= longest:
        raise InputError(f"--text-length {length}: give 1 to {longest} word pieces a text")
    return length


def _loss_flops(preset: Preset, rows: int, chips: int) -> float:
    """FLOPs of the loss on one device: its rows of the similarity matrix, and their gradients."""
    products = 4 if preset.loss.tile else 3  # a tile's similarities are computed twice
    return products * 2.0 * rows * (rows * chips) * embedding_width(preset)


def _gather_bytes(preset: Preset) -> float:
    """Bytes of the text embeddings of all devices, and of the gradients sent back for them."""
    return 2 * 4.0 * preset.recipe.batch_size * embedding_width(preset)


def _memory(
    preset: Preset,
    chip: Chip,
    rows: int,
    weights: int,
    optimizer: OptimizerCost,
    towers: TowerCosts,
) -> dict[str, float]:
    """Bytes on one device, by cause."""
    batch = preset.recipe.batch_size
    copied = chip.activation_bytes < 4 and not chip.fused  # the weights again, in low precision
    pixels = rows * 3 * preset.image.crop**2
    return {
        "weights": 4.0 * weights + (weights * chip.activation_bytes if copied else 0),
        "gradients": 4.0 * weights,
        "optimiser state": 4.0 * optimizer.state,
        "activations": towers.activation_bytes,
        "loss matrix": 2 * 4.0 * min(rows, preset.loss.tile or rows) * batch,  # and its gradient
        "embeddings": 2 * 4.0 * (batch + rows) * embedding_width(preset),
        "input batch": 4.0 * pixels + 2 * 8.0 * rows * towers.length,
    }


def _other_seconds(
    preset: Preset, chip: Chip, chips: int, weights: int, optimizer: OptimizerCost
) -> dict[str, float]:
    """Seconds of one step outside the towers, by cause."""
    batch = preset.recipe.batch_size
    rows, link = batch // chips, _link(chip, chips)
    others = (chips - 1) / chips  # share of the batch on the other devices
    statistics = 2 * 2 * 4.0 * batch  # a sum and a maximum per column, reduced and sent back
    loss_seconds = _loss_flops(preset, rows, chips) / chip.single
    return {
        "loss": max(loss_seconds, _LOSS_PASSES * 4.0 * rows * batch / chip.bandwidth),
        "gather": others * (_gather_bytes(preset) + statistics) / link,
        "gradient all-reduce": others * 2 * 4.0 * weights / link,
        "optimiser": optimizer.seconds(chip),
    }


def _link(chip: Chip, chips: int) -> float:
    """Bytes/s out of each device."""
    return chip.link if chips <= chip.neighbours else chip.network


def _assumptions(preset: Preset, chip: Chip, chips: int, towers: TowerCosts) -> list[str]:
    """What the figures rest on, one sentence each."""
    precision = "bfloat16" if chip.activation_bytes == 2 else "float32"
    measured = ", both measured just now" if chip.name == "here" else ""
    lines = [
        f"peak {chip.matrix / 1e12:.3g} TFLOP/s in {precision},"
        f" memory {chip.bandwidth / 1e9:.0f} GB/s{measured}",
        f"texts of {towers.length} word pieces",
        _towers_estimate(chip, towers),
    ]
    if chips > 1:
        far = chips > chip.neighbours > 1
        network = f" (more than {chip.neighbours}: over the network)" if far else ""
        rate = f"{_link(chip, chips) / 1e9:.4g} GB/s out of each device"
        lines.append(f"{rate}{network}, nothing sent while computing")
    if towers.chunk:
        lines.append(f"gradient cache: {towers.chunk} pairs at a time, embedded twice")
    elif preset.image.recompute:
        lines.append("each block of the image tower is computed twice to save memory")
    lines += [chip.note] if chip.note else []
    lines.append("activations as eager PyTorch keeps them; a compiler may need less")
    return [*lines, "pictures are read and decoded meanwhile, by other processes"]


def _towers_estimate(chip: Chip, towers: TowerCosts) -> str:
    """Where the time of the towers comes from."""
    bound, assumed = towers.roofline_seconds, towers.assumed_seconds
    roofline = f"roofline (FLOPs or bytes of each operation) {bound:.4g} s"
    if assumed is None:
        return f"towers: {roofline}, with the measured share of it for each kind of operation"
    share = f"{chip.utilisation:.0%} of the peak (assumed) {assumed:.4g} s"
    slower = "roofline" if bound > assumed else "assumed share"
    return f"towers: {share}, {roofline}; the slower counts: the {slower}"
