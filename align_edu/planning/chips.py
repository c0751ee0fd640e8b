"""The chips that a run can be planned for: rates and memory, read from chips.toml."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from align_edu.io import InputError

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One device: its peak rates, and the share of them that a run is assumed to reach.

    chips.toml explains the fields that it holds.

    >>> get_chip("a100").matrix / 1e12
    312.0
    """

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


CHIPS: dict[str, Chip] = {
    name: Chip(name, **rates)
    for name, rates in tomllib.loads(
        Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    ).items()
}


def get_chip(name: str) -> Chip:
    """Return the chip called ``name``.

    "here", this machine's processor, is not in the table: ``measure_here`` measures it.
    Raises InputError for an unknown name.

    >>> get_chip("tpu-v3-core").memory / 2**30
    16.0
    """
    if name not in CHIPS:
        raise InputError(f"chip {name!r} does not exist; choose one of {', '.join(CHIPS)}, here")
    return CHIPS[name]
