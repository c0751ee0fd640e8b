"""The scoreboard: what is claimed, the runs that test it at toy size, and their records.

claims.toml holds claims and runs, all fixed before the first run. Runs of one seed share the order
of their pairs and, where the shapes allow, their first weights, so their difference is paired.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from align_edu.io import InputError, read_json
from align_edu.presets import Preset, fine_tuning, get_preset, replace_fields
from align_edu.world.experiments import TrainingData

TUNING_SEED = 101  # at which learning rates are chosen; no result is read from it


@dataclass(frozen=True)
class Variant:
    """What a run changes: fields of the toy preset, data, length."""

    set: dict[str, Any] = field(default_factory=dict)  # as `replace_fields` takes them
    data: TrainingData = TrainingData()
    steps: int = 300
    seeds: int = 3  # seeds 1 to 3, unless --seeds says more
    rates: Sequence[float] = ()  # learning rates to choose from
    tuned_from: str | None = None  # the variant whose run is fine-tuned

    def preset(self, rate: float | None = None) -> Preset:
        """Return the preset of a run, with a learning rate of ``rates``."""
        toy = get_preset("toy")
        changes = {"recipe.checkpoint_steps": 10**9, "recipe.log_steps": max(1, self.steps // 30)}
        changes = self.set | ({} if rate is None else {"recipe.learning_rate": rate}) | changes
        return replace_fields(
            toy if self.tuned_from is None else fine_tuning(toy, self.steps),
            {name: json.dumps(value) for name, value in changes.items()},
        )


@dataclass(frozen=True)
class Claim:
    """A claim, and what decides it."""

    says: str
    source: str
    paper: str
    against: str
    # Weighted sums of measures, "VARIANT:MEASURE", to which a margin may be added. The claim says
    # that all of them are above zero.
    contrasts: Sequence[Mapping[str, float]] = ()
    shown: Sequence[str] = ()  # rows of its table: variants
    measures: Sequence[str] = ("twins", "object", "colour", "place", "neighbours")  # columns
    reason: str = ""  # why it cannot be tested here; empty for a claim with contrasts

    @property
    def variants(self) -> list[str]:
        """The variants that the claim needs or shows, each once."""
        needed = [term.rpartition(":")[0] for sums in self.contrasts for term in sums]
        return [name for name in dict.fromkeys([*self.shown, *needed]) if name]


_TABLE = tomllib.loads(Path(__file__).with_name("claims.toml").read_text(encoding="utf-8"))
CLAIMS = {name: Claim(**row) for name, row in _TABLE["claims"].items()}
VARIANTS = {
    name: Variant(**row | {"data": TrainingData(**row.get("data", {}))})
    for name, row in _TABLE["variants"].items()
}


def claims(names: Sequence[str] = ()) -> dict[str, Claim]:
    """Return the named claims, or all, in the order of claims.toml.

    Raises InputError for a name that does not exist.

    >>> claims(["negatives"])["negatives"].source
    'Table 8, rows 5 and 6'
    """
    if unknown := [name for name in names if name not in CLAIMS]:
        raise InputError(f"claim {unknown[0]!r} does not exist; choose one of {', '.join(CLAIMS)}")
    return {name: claim for name, claim in CLAIMS.items() if not names or name in names}


@lru_cache(maxsize=4096)  # each record is read for many measures
def settings_of(name: str, seed: int, rate: float | None) -> dict[str, Any]:
    """Return all that decides a run, as JSON values, not to be changed."""
    variant = VARIANTS[name]
    found = {"variant": name, "seed": seed, "steps": variant.steps, "data": asdict(variant.data)}
    return found | {"tuned_from": variant.tuned_from, "preset": variant.preset(rate).to_dict()}


def record_file(records: Path, name: str, seed: int, rate: float | None = None) -> Path:
    """Return the file of a run's record, as negatives_50_seed_3.json or adamw_rate_0.003.json."""
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
    rates = VARIANTS[name].rates
    found = {rate: read_record(records, name, TUNING_SEED, rate) for rate in rates}
    scores = {rate: r["measures"]["twins"].count("1") for rate, r in found.items() if r}
    if len(scores) < len(rates):
        raise LookupError(f"{name}: some of its rates have no record")
    return max(scores, key=scores.__getitem__, default=None)
