"""A plan as text: a few small tables, the largest cost in one sentence, the assumptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from align_edu.planning.plan import Plan

_GIB = 2**30


def plan_table(plan: Plan) -> str:
    """Return a plan for a reader.

    >>> from align_edu.planning.chips import get_chip
    >>> from align_edu.planning.plan import plan_run
    >>> from align_edu.presets import get_preset
    >>> plan_table(plan_run(get_preset("toy"), get_chip("a100"))).splitlines()[0]
    'toy on 1 × a100: 256 pairs a step, 256 on each device, 1,600 steps'
    """
    return "\n".join([*_model(plan), *_memory(plan), *_time(plan), *_sentences(plan)])


def _model(plan: Plan) -> list[str]:
    recipe = plan.preset.recipe
    towers = plan.parameters
    lines = [
        f"{plan.preset.name} on {plan.chips:,} × {plan.chip.name}: {recipe.batch_size:,} pairs a"
        f" step, {recipe.batch_size // plan.chips:,} on each device, {recipe.steps:,} steps",
        "",
        f"{'':24}{'parameters':>14}{'GFLOP a pair':>16}",
    ]
    for name, flops in plan.flops_per_pair.items():
        count = f"{towers[name] / 1e6:,.1f} M" if name in towers else ""
        lines.append(f"  {name:22}{count:>14}{flops / 1e9:>16,.3f}")
    lines.append(
        f"  {'all':22}{sum(towers.values()) / 1e6:>12,.1f} M"
        f"{sum(plan.flops_per_pair.values()) / 1e9:>16,.3f}"
    )
    return [*lines, "", f"{_large(plan.pairs)} pairs seen, {plan.flops:.3g} FLOPs", ""]


def _memory(plan: Plan) -> list[str]:
    total = sum(plan.memory.values())
    rows = {name: value / _GIB for name, value in plan.memory.items()}
    room = f"of {plan.chip.memory / _GIB:.1f} GiB" + ("" if plan.fits else ": DOES NOT FIT")
    return [
        f"{'memory of one device':24}{'GiB':>14}",
        *_shares(rows),
        f"  {'all':22}{total / _GIB:>14,.3f}  {room}",
        "",
    ]


def _time(plan: Plan) -> list[str]:
    scale, unit = (1.0, "s") if plan.step_seconds >= 10 else (1e3, "ms")
    rows = {name: scale * value for name, value in plan.seconds.items()}
    speed = plan.pairs_per_second
    return [
        f"{'one step':24}{unit:>14}",
        *_shares(rows),
        f"  {'all':22}{scale * plan.step_seconds:>14,.3f}"
        f"  {f'{speed:,.0f}' if speed >= 10 else f'{speed:.2g}'} pairs/s",
        "",
    ]


def _shares(rows: Mapping[str, float]) -> list[str]:
    """One line each: the value, and its share of the sum."""
    total = sum(rows.values())
    return [f"  {name:22}{v:>14,.3f}{v / total:>7.1%}" for name, v in rows.items()]


def _sentences(plan: Plan) -> list[str]:
    share = plan.seconds[plan.driver] / plan.step_seconds
    lines = [
        f"Whole run: {_days(plan.days)}"
        + ("" if plan.chips == 1 else f" on {plan.chips:,} devices")
        + f", {plan.days * plan.chips:,.3g} device-days.",
        f"Largest cost: the {plan.driver}, {share:.0%} of each step; the towers reach"
        f" {plan.utilisation:.0%} of the peak.",
    ]
    if not plan.fits:
        lines.append(_remedy(plan))
    return [*lines, "", "Assumptions:", *(f"  - {line}" for line in plan.assumptions)]


def _remedy(plan: Plan) -> str:
    """What to do where memory is short."""
    largest = max(plan.memory, key=lambda name: plan.memory[name])
    advice = "more devices, so that each has fewer pairs"
    if largest == "activations":
        if plan.towers.chunk is None:
            advice = "--set recipe.chunk=16, or " + advice
        if not plan.preset.image.recompute:
            advice = "--set image.recompute=true, or " + advice
    elif largest != "loss matrix":
        advice = "a device with more memory: each holds all weights and their state"
    size = plan.memory[largest] / _GIB
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
