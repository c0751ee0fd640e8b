"""The chips that a run can be planned for: rates and memory, read from chips.toml."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from align_edu.io import InputError

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One device: its rates, as chips.toml explains them, and the share that a run reaches.

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


_RATES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
CHIPS = {name: Chip(name, **rates) for name, rates in _RATES.items()}


def get_chip(name: str) -> Chip:
    """Return the chip called ``name``; InputError for an unknown one ("here" is measured)."""
    if name not in CHIPS:
        raise InputError(f"chip {name!r} does not exist; choose one of {', '.join(CHIPS)}, here")
    return CHIPS[name]
