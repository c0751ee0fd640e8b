"""The funnel: what each rule dropped, and how rightly where the pairs carry labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

EXAMPLES = 10
# A column of labels: a kind of noise, or this word for a good pair.
LABELS, CLEAN = "noise", "clean"


@dataclass(frozen=True)
class Step:
    """What one rule did.

    Attributes
    ----------
    rule : its name; says : its bound in words.
    applied : False if it was off or lacked its columns; note : why, or what it found.
    pairs_in, dropped : pairs that reached the rule, and how many of them it dropped.
    alone : pairs of the raw data that it would drop alone.
    examples : up to ten different alt-texts that it dropped.
    """

    rule: str
    says: str
    applied: bool
    note: str
    pairs_in: int
    dropped: int
    alone: int
    examples: list[str]

    @property
    def share(self) -> float:
        """Dropped pairs as a fraction of those that reached the rule."""
        return _fraction(self.dropped, self.pairs_in)


@dataclass(frozen=True)
class Truth:
    """How right the filters were, for pairs with labels in a column `noise`.

    Attributes
    ----------
    pairs, dropped : label -> number of pairs, and of those dropped by any rule.
    by_rule : label -> rule -> pairs that the rule alone would drop.

    >>> truth = Truth({"clean": 8, "junk": 4}, {"clean": 1, "junk": 3}, {})
    >>> truth.precision, truth.recall, truth.clean_dropped
    (0.75, 0.75, 0.125)
    """

    pairs: dict[str, int]
    dropped: dict[str, int]
    by_rule: dict[str, dict[str, int]]

    @property
    def precision(self) -> float:
        """Fraction of the dropped pairs that are noise."""
        return _fraction(_noisy(self.dropped), sum(self.dropped.values()))

    @property
    def recall(self) -> float:
        """Fraction of the noise that was dropped."""
        return _fraction(_noisy(self.dropped), _noisy(self.pairs))

    @property
    def clean_dropped(self) -> float:
        """Fraction of the clean pairs that were dropped."""
        return _fraction(self.dropped.get(CLEAN, 0), self.pairs.get(CLEAN, 0))

    def of_rule(self, rule: str) -> tuple[float, float]:
        """Return the precision of one rule alone, and its recall over all noise."""
        alone = Truth(self.pairs, {label: n[rule] for label, n in self.by_rule.items()}, {})
        return alone.precision, alone.recall

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and fractions as plain values, with those of each rule."""
        rules = next(iter(self.by_rule.values()), {})
        judged = {rule: dict(zip(("precision", "recall"), self.of_rule(rule))) for rule in rules}
        whole = {name: getattr(self, name) for name in ("precision", "recall", "clean_dropped")}
        return whole | asdict(self) | {"rules": judged}

    def __str__(self) -> str:
        rows = [["noise", "pairs", "dropped", *next(iter(self.by_rule.values()), {})]]
        for label, pairs in self.pairs.items():
            counts = [self.dropped[label], *self.by_rule[label].values()]
            cells = [f"{count / pairs:.1%}" if count else "-" for count in counts]
            rows.append([label, f"{pairs:,}", *cells])
        return (
            f"{_aligned(rows, text_columns=1)}\n"
            f"noise dropped (recall) {self.recall:.1%}, noise among the dropped (precision) "
            f"{self.precision:.1%}, clean pairs dropped {self.clean_dropped:.2%}"
        )


@dataclass(frozen=True)
class Funnel:
    """The result of `filter_pairs`; prints as a table.

    Attributes
    ----------
    raw, kept : number of pairs before and after.
    steps : one for each rule, in order.
    truth : how right the rules were; None for pairs without labels.
    source : the folder of shards, relative to the output; None if the pairs have none.
    """

    raw: int
    kept: int
    steps: list[Step] = field(default_factory=list)
    truth: Truth | None = None
    source: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values for funnel.json, with each step's share."""
        steps = [asdict(step) | {"share": step.share} for step in self.steps]
        return asdict(self) | {"steps": steps, "truth": self.truth and self.truth.to_dict()}

    def __str__(self) -> str:
        judged = ["precision", "recall"] if self.truth else []
        rows = [["rule", "drops", "pairs in", "dropped", "share", "alone", *judged]]
        for step in self.steps:
            if not step.applied:
                blank = [""] * (len(rows[0]) - 2)
                rows.append([step.rule, f"not applied: {step.note}", *blank])
                continue
            counts = [f"{step.pairs_in:,}", f"{step.dropped:,}", f"{step.share:.2%}"]
            right = ["-"] * len(judged)
            if self.truth and step.alone:
                right = [f"{share:.1%}" for share in self.truth.of_rule(step.rule)]
            rows.append([step.rule, step.says, *counts, f"{step.alone:,}", *right])
        text = _aligned(rows, text_columns=2)
        text += f"\nkept {self.kept:,} of {self.raw:,} pairs ({_fraction(self.kept, self.raw):.1%})"
        return text if self.truth is None else f"{text}\n\n{self.truth}"


def tally(table: pa.Table, drops: pl.DataFrame, kept: np.ndarray) -> dict[str, Any]:
    """Count what the rules do to one chunk of the raw pairs, as plain values.

    drops: for each applied rule, in order, a column that is true where it alone would drop the
    pair. kept: (N,) true where the pair stays.
    """
    left = np.ones(table.num_rows, bool)
    dropped, alone, examples = {}, {}, {}
    for rule, column in drops.to_dict().items():
        mask = column.to_numpy()
        rows = np.flatnonzero(mask & left)
        dropped[rule], alone[rule] = len(rows), int(mask.sum())
        texts = table["caption"].take(pa.array(rows[: 100 * EXAMPLES])).to_pylist()
        examples[rule] = list(dict.fromkeys(text or "" for text in texts))[:EXAMPLES]
        left &= ~mask
    counts = {"raw": table.num_rows, "kept": int(kept.sum()), "dropped": dropped, "alone": alone}
    labels = {}
    if LABELS in table.column_names:
        column = pl.Series("label", pl.from_arrow(table[LABELS])).cast(pl.String)
        pairs = drops.with_columns(column.fill_null("unknown"), pl.Series("any", ~kept))
        sums = (pl.len().alias("pairs"), pl.col("any", *drops.columns).sum())
        labels = {row.pop("label"): row for row in pairs.group_by("label").agg(sums).to_dicts()}
    return counts | {"examples": examples, "labels": labels}


def add_up(
    says: Mapping[str, str],
    absent: Mapping[str, str],
    notes: Mapping[str, str],
    tallies: Sequence[dict[str, Any]],
    source: str | None,
) -> Funnel:
    """Make the funnel from the tallies of all chunks.

    says, absent, notes: rule -> its bound in words, why it is not applied, what it found.
    """
    raw, kept = (sum(counts[name] for counts in tallies) for name in ("raw", "kept"))
    left, steps = raw, []
    for name, bound in says.items():
        applied = name not in absent
        found = tallies if applied else []
        dropped, alone = (sum(c[which][name] for c in found) for which in ("dropped", "alone"))
        texts = dict.fromkeys(text for counts in found for text in counts["examples"][name])
        note = notes.get(name, "") if applied else absent[name]
        examples = list(texts)[:EXAMPLES]
        steps.append(Step(name, bound, applied, note, left, dropped, alone, examples))
        left -= dropped
    totals: dict[str, Counter[str]] = {}
    for chunk in tallies:
        for label, counts in chunk["labels"].items():
            totals.setdefault(label, Counter()).update(counts)
    return Funnel(raw, kept, steps, _truth(totals, steps) if totals else None, source)


def _truth(totals: Mapping[str, Counter[str]], steps: Sequence[Step]) -> Truth:
    rules = [step.rule for step in steps if step.applied]
    labels = sorted(totals)
    return Truth(
        pairs={label: totals[label]["pairs"] for label in labels},
        dropped={label: totals[label]["any"] for label in labels},
        by_rule={label: {rule: totals[label][rule] for rule in rules} for label in labels},
    )


def _noisy(counts: dict[str, int]) -> int:
    return sum(count for label, count in counts.items() if label != CLEAN)


def _fraction(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _aligned(rows: list[list[str]], text_columns: int) -> str:
    """Set columns side by side: the first ones, text, to the left; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:text_columns], widths)]
        right = [
            cell.rjust(width) for cell, width in zip(row[text_columns:], widths[text_columns:])
        ]
        lines.append("  ".join(left + right).rstrip())
    return "\n".join(lines)
