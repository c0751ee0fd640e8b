"""A plan as text: three small tables, the largest cost in one sentence, and the assumptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from align_edu.planning.chips import GIB

if TYPE_CHECKING:
    from align_edu.planning.plan import Plan


def plan_table(plan: Plan) -> str:
    """Return a plan as text.

    >>> from align_edu.planning.chips import get_chip
    >>> from align_edu.planning.plan import plan_run
    >>> from align_edu.presets import get_preset
    >>> plan_table(plan_run(get_preset("toy"), get_chip("a100"))).splitlines()[0]
    'toy on 1 × a100: 256 pairs a step, 256 on each device, 1,600 steps'
    """
    sections = [_model(plan), _memory(plan), _time(plan), _summary(plan), "Assumptions:"]
    return "\n".join(["\n\n".join(sections), *(f"  - {line}" for line in plan.assumptions)])


def _model(plan: Plan) -> str:
    weights, flops = plan.parameters, plan.flops_per_pair
    counts = {name: f"{weights[name] / 1e6:,.1f} M" if name in weights else "" for name in flops}
    lines = [f"  {name:22}{counts[name]:>14}{f / 1e9:>16,.3f}" for name, f in flops.items()]
    total = f"{sum(weights.values()) / 1e6:>12,.1f} M{sum(flops.values()) / 1e9:>16,.3f}"
    return "\n".join(
        [
            f"{plan.preset.name} on {plan.chips:,} × {plan.chip.name}: {plan.batch_size:,} pairs a"
            f" step, {plan.pairs_per_chip:,} on each device, {plan.steps:,} steps\n",
            f"{'':24}{'parameters':>14}{'GFLOP a pair':>16}",
            *lines,
            f"  {'all':22}{total}\n",
            f"{_large(plan.pairs)} pairs seen, {plan.flops:.3g} FLOPs",
        ]
    )


def _memory(plan: Plan) -> str:
    sizes = {name: size / GIB for name, size in plan.memory.items()}
    room = f"of {plan.memory_of_chip / GIB:.1f} GiB" + ("" if plan.fits else ": DOES NOT FIT")
    return _shares("memory of one device", "GiB", sizes, sum(plan.memory.values()) / GIB, room)


def _time(plan: Plan) -> str:
    total, speed = sum(plan.seconds.values()), plan.pairs_per_second
    scale, unit = (1.0, "s") if total >= 10 else (1e3, "ms")
    times = {name: scale * value for name, value in plan.seconds.items()}
    rate = f"{f'{speed:,.0f}' if speed >= 10 else f'{speed:.2g}'} pairs/s"
    return _shares("one step", unit, times, scale * total, rate)


def _shares(title: str, unit: str, rows: Mapping[str, float], total: float, note: str) -> str:
    """A table of values and their shares of the sum; ``note`` stands after the total."""
    whole = sum(rows.values())
    lines = [f"  {name:22}{v:>14,.3f}{v / whole:>7.1%}" for name, v in rows.items()]
    return "\n".join([f"{title:24}{unit:>14}", *lines, f"  {'all':22}{total:>14,.3f}  {note}"])


def _summary(plan: Plan) -> str:
    share = plan.seconds[plan.driver] / sum(plan.seconds.values())
    devices = "" if plan.chips == 1 else f" on {plan.chips:,} devices"
    text = (
        f"Whole run: {_days(plan.days)}{devices}, {plan.device_days:,.3g} device-days.\n"
        f"Largest cost: the {plan.driver}, {share:.0%} of each step; the towers reach"
        f" {plan.utilisation:.0%} of the peak."
    )
    return text if plan.fits else f"{text}\n{_remedy(plan)}"


def _remedy(plan: Plan) -> str:
    """What to do if the run does not fit."""
    largest = max(plan.memory, key=lambda name: plan.memory[name])
    advice = "more devices, so that each has fewer pairs"
    if largest == "activations":
        if plan.towers.chunk is None:
            advice = "--set recipe.chunk=16, or " + advice
        if not plan.preset.image.recompute:
            advice = "--set image.recompute=true, or " + advice
    elif largest != "loss matrix":
        advice = "a device with more memory: each holds all weights and their state"
    size = plan.memory[largest] / GIB
    return f"It does not fit; the largest part is {largest}, {size:.1f} GiB: try {advice}."


def _large(count: int) -> str:
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if count >= size:
            return f"{count / size:,.2f} {word}"
    return f"{count:,}"


def _days(days: float) -> str:
    if days >= 1:
        return f"{days:,.1f} days"
    minutes = 24 * 60 * days
    return f"{minutes / 60:.1f} hours" if minutes >= 60 else f"{minutes:.1f} minutes"
