"""Records of finished runs: one JSON each, with a string of 1 and 0 for hits and misses."""

from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from align_edu.claims.table import TUNING_SEED, VARIANTS
from align_edu.io import read_json

MOST_SEEDS = 10  # seeds 1 to 10 are looked for


@lru_cache(maxsize=4096)  # each record is read for many measures
def settings_of(name: str, seed: int, rate: float | None) -> dict[str, Any]:
    """Return all that decides a run, as JSON values, not to be changed."""
    variant = VARIANTS[name]
    found = {"variant": name, "seed": seed, "steps": variant.steps, "data": asdict(variant.data)}
    return found | {"tuned_from": variant.tuned_from, "preset": variant.preset(rate).to_dict()}


def record_file(records: Path, name: str, seed: int, rate: float | None = None) -> Path:
    """Return the file of a run's record; runs at the tuning seed have their rate in the name.

    >>> record_file(Path("claims"), "negatives 50 %", 3).name
    'negatives_50_seed_3.json'
    """
    slug = "_".join("".join(c if c.isalnum() or c == "." else " " for c in name).split())
    tail = f"rate_{rate:g}" if seed == TUNING_SEED else f"seed_{seed}"
    return records / f"{slug}_{tail}.json"


def read_record(records: Path, name: str, seed: int, rate: float | None) -> dict[str, Any] | None:
    """Return the record of a run, or None if there is none with these settings."""
    path = record_file(records, name, seed, rate)
    record = _read(path, path.stat().st_mtime_ns) if path.exists() else {}
    return record if record.get("settings") == settings_of(name, seed, rate) else None


_read = lru_cache(maxsize=4096)(lambda path, changed: read_json(path))


def chosen_rate(records: Path, name: str) -> float | None:
    """Return the learning rate that finds the most near twins at the tuning seed.

    None for a variant with the preset's own rate. Raises LookupError while a run is missing.
    """
    scores = {}
    for rate in VARIANTS[name].rates:
        record = read_record(records, name, TUNING_SEED, rate)
        if record is None:
            raise LookupError(f"{name}: no record at the rate {rate:g}")
        scores[rate] = record["measures"]["twins"].count("1")
    return max(scores, key=scores.__getitem__, default=None)


def values_of(records: Path, name: str, measure: str) -> dict[int, np.ndarray]:
    """Return one measure of a variant at each seed that has a record: (Q,) hits or one number."""
    try:
        rate = chosen_rate(records, name)
    except LookupError:
        return {}
    found = {}
    for seed in range(1, MOST_SEEDS + 1):
        record = read_record(records, name, seed, rate)
        if record and measure in record["measures"]:
            value = record["measures"][measure]
            if isinstance(value, str):
                found[seed] = np.frombuffer(value.encode(), np.uint8) - float(ord("0"))
            else:
                found[seed] = np.array([value])
    return found
