"""The scoreboard: from records to verdicts by the paired bootstrap, and the page that shows them.

Agarwal et al. (2021) draw runs and tasks with replacement; here they are seeds and queries, the
same ones for all terms of a contrast, so that what is common to them cancels.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from align_edu.claims import CLAIMS, Claim, chosen_rate, claims, read_record
from align_edu.io import fill_template, written_whole

RECORDS = Path("data_samples/recorded_runs/claims")
PAGE = Path("notebooks/CLAIMS.md")
NUMBERS = ("sigma", "sigma_best", "loss", "floor")  # measures that are no shares
RESAMPLES = 1_000
MOST_SEEDS = 10  # seeds 1 to 10 are looked for
VERDICTS = ("reproduced", "contradicted", "undecided", "not testable here", "not run yet")

Values = Mapping[int, np.ndarray]  # by seed: (Q,) hits, or one number


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, its 95 % interval, and the value at each seed."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class Outcome:
    """What the records say of a claim: the verdict, and its contrasts."""

    verdict: str
    contrasts: list[Estimate]


def values_of(records: Path, name: str, measure: str) -> dict[int, np.ndarray]:
    """Return one measure of a variant at each seed that has a record: (Q,) hits or one number."""
    try:
        rate = chosen_rate(records, name)
    except LookupError:
        return {}
    found = {}
    for seed in range(1, MOST_SEEDS + 1):
        record = read_record(records, name, seed, rate)
        value = record["measures"].get(measure) if record else None
        if isinstance(value, str):
            found[seed] = np.frombuffer(value.encode(), np.uint8) - float(ord("0"))
        elif value is not None:
            found[seed] = np.array([value])
    return found


def estimate(terms: Sequence[tuple[float, Values]], margin: float = 0.0) -> Estimate | None:
    """Return a weighted sum of measures with its interval; None if no seed has all terms.

    terms: each a weight and the values of one measure of one variant, by seed. Terms with the same
    number of queries share the queries that are drawn. margin: is added.

    >>> ones, zeros = np.ones(50), np.zeros(50)
    >>> estimate([(1.0, {1: ones, 2: ones}), (-1.0, {1: zeros, 2: zeros})]).low
    1.0
    """
    seeds = sorted(set.intersection(*(set(values) for _, values in terms)))
    if not seeds:
        return None
    each, means = np.full(len(seeds), margin), np.full(RESAMPLES, margin)
    sums: dict[int, np.ndarray] = {}  # (S, Q) weighted values, by number of queries
    for weight, values in terms:
        table = weight * np.stack([values[seed] for seed in seeds])
        sums[table.shape[1]] = sums.get(table.shape[1], 0.0) + table
    for queries, table in sorted(sums.items()):
        each += table.mean(axis=1)
        means += (_drawn(len(seeds)) * (_drawn(queries) @ table.T)).sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(each.mean()), float(low), float(high), tuple(each.tolist()))


@lru_cache(maxsize=32)
def _drawn(items: int) -> np.ndarray:
    """Return what share of each resample each of some items has: (R, items)."""
    rng = np.random.default_rng(items)
    return rng.multinomial(items, np.full(items, 1 / items), RESAMPLES) / items


def judge(claim: Claim, records: Path) -> Outcome:
    """Return what the records say of a claim: that all of its contrasts are above zero.

    "reproduced": so is every interval; "contradicted": one is below zero; else "undecided".
    """
    contrasts = [_contrast(sums, records) for sums in claim.contrasts]
    known = [each for each in contrasts if each]
    if claim.reason:
        verdict = "not testable here"
    elif len(known) < len(contrasts) or min(len(each.seeds) for each in known) < 3:
        verdict = "not run yet"
    elif any(each.high < 0 for each in known):
        verdict = "contradicted"
    else:
        verdict = "reproduced" if all(each.low > 0 for each in known) else "undecided"
    return Outcome(verdict, known)


def _contrast(sums: Mapping[str, float], records: Path) -> Estimate | None:
    """Return the estimate of a weighted sum of measures, as claims.toml has it."""
    terms = [(weight, term.rpartition(":")) for term, weight in sums.items() if term != "margin"]
    values = [(weight, values_of(records, name, of)) for weight, (name, _, of) in terms]
    return estimate(values, sums.get("margin", 0.0))


def answer(
    action: str, name: list[str], records: Path, page: Path | None, **run: Any
) -> tuple[dict[str, Any], str]:
    """Run claims (action "run") or only judge them; return a JSON object, and the same as text."""
    chosen = claims(name)
    if action == "run":
        from align_edu.claims.sweep import run_sweep

        variants = [variant for claim in chosen.values() for variant in claim.variants]
        run_sweep(variants, records, **run)
    if page:
        write_page(page, records)
    outcomes = {key: judge(claim, records) for key, claim in chosen.items()}
    verdicts = {key: outcome.verdict for key, outcome in outcomes.items()}
    lines = [f"{verdict:<17}  {key:<23}  {CLAIMS[key].says}" for key, verdict in verdicts.items()]
    text = details(outcomes, records) if name else "\n".join([*lines, summary(outcomes.values())])
    return {"verdicts": verdicts, "summary": summary(outcomes.values())}, text


def summary(outcomes: Iterable[Outcome]) -> str:
    """Return how many claims have each verdict, as "3 reproduced, 1 contradicted"."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    return ", ".join(f"{counts[name]} {name}" for name in VERDICTS if counts[name])


def details(outcomes: Mapping[str, Outcome], records: Path, **head: str) -> str:
    """Return all about some claims as Markdown: the paper's words and numbers, and the runs."""

    def row(name: str, variant: str) -> list[Estimate | None]:
        return [_contrast({f"{variant}:{of}": 1.0}, records) for of in CLAIMS[name].measures]

    given = {"claims": CLAIMS, "outcomes": outcomes, "row": row, "head": head}
    file = Path(__file__).with_name("page.md.j2")
    return fill_template(file, {"number": _number}, **given).rstrip("\n")


def write_page(path: Path, records: Path) -> None:
    """Write the whole scoreboard as one Markdown page."""
    outcomes = {name: judge(claim, records) for name, claim in CLAIMS.items()}
    text = details(outcomes, records, summary=summary(outcomes.values()))
    with written_whole(path) as beside:
        beside.write_text(text + "\n", encoding="utf-8")


def _number(value: float, terms: Iterable[str]) -> str:
    """Return a share in percent; a measure that is no share as it is."""
    plain = any(term.rpartition(":")[2] in NUMBERS for term in terms)
    return f"{value:.3f}" if plain else f"{100 * value:.1f}"
