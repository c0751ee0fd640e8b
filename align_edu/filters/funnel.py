"""The funnel: what each rule took out, and on the toy world how rightly."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

EXAMPLES = 10
CLEAN = "clean"


@dataclass(frozen=True)
class Step:
    """What one rule did.

    Attributes
    ----------
    rule : its name in `Rules`' order; says : its bound in words.
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
        return self.dropped / self.pairs_in if self.pairs_in else 0.0


@dataclass(frozen=True)
class Truth:
    """How right the filters were, where the table has the toy world's column `noise`.

    Attributes
    ----------
    pairs, dropped : kind of noise -> number of pairs, and of those dropped by any rule.
    by_rule : kind of noise -> rule -> pairs that the rule alone would drop.

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
        return _fraction(self._noisy(self.dropped), sum(self.dropped.values()))

    @property
    def recall(self) -> float:
        """Fraction of the noise that was dropped."""
        return _fraction(self._noisy(self.dropped), self._noisy(self.pairs))

    @property
    def clean_dropped(self) -> float:
        """Fraction of the clean pairs that were dropped."""
        return _fraction(self.dropped.get(CLEAN, 0), self.pairs.get(CLEAN, 0))

    def of_rule(self, rule: str) -> tuple[float, float]:
        """Precision of one rule alone, and its recall over all noise."""
        dropped = {kind: rules[rule] for kind, rules in self.by_rule.items()}
        noisy = self._noisy(dropped)
        return _fraction(noisy, sum(dropped.values())), _fraction(noisy, self._noisy(self.pairs))

    def to_dict(self) -> dict[str, Any]:
        """Give counts and fractions as plain values, each rule's precision and recall too."""
        rules = next(iter(self.by_rule.values()), {})
        judged = {rule: dict(zip(("precision", "recall"), self.of_rule(rule))) for rule in rules}
        fractions = {
            "precision": self.precision,
            "recall": self.recall,
            "clean_dropped": self.clean_dropped,
        }
        return fractions | asdict(self) | {"rules": judged}

    @staticmethod
    def _noisy(counts: dict[str, int]) -> int:
        return sum(count for kind, count in counts.items() if kind != CLEAN)


@dataclass(frozen=True)
class Funnel:
    """The result of `filter_pairs`; prints as a table.

    Attributes
    ----------
    raw, kept : number of pairs before and after.
    steps : one for each rule, in order.
    truth : on the toy world, how right the rules were; None on real data.
    source : the folder of shards, relative to the output; None if the pairs have none.
    """

    raw: int
    kept: int
    steps: list[Step] = field(default_factory=list)
    truth: Truth | None = None
    source: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give all of it as plain values for funnel.json, with each step's share."""
        steps = [asdict(step) | {"share": step.share} for step in self.steps]
        truth = self.truth and self.truth.to_dict()
        return asdict(self) | {"steps": steps, "truth": truth}

    def __str__(self) -> str:
        head = ["rule", "drops", "pairs in", "dropped", "share", "alone"]
        judged = ["precision", "recall"] if self.truth else []
        rows = [head + judged]
        for step in self.steps:
            if not step.applied:
                blank = [""] * (4 + len(judged))
                rows.append([step.rule, f"not applied: {step.note}", *blank])
                continue
            counts = [f"{step.pairs_in:,}", f"{step.dropped:,}", f"{step.share:.2%}"]
            right = (
                [f"{share:.1%}" for share in self.truth.of_rule(step.rule)] if self.truth else []
            )
            if right and not step.alone:
                right = ["-", "-"]
            rows.append([step.rule, step.says, *counts, f"{step.alone:,}", *right])
        share = self.kept / self.raw if self.raw else 0.0
        text = (
            _aligned(rows, text_columns=2)
            + f"\nkept {self.kept:,} of {self.raw:,} pairs ({share:.1%})"
        )
        return text if self.truth is None else f"{text}\n\n{_truth_table(self.truth)}"


class Said(NamedTuple):
    """A rule as the funnel tells it: name, bound in words, why it is not applied, what it found."""

    rule: str
    says: str
    absent: str | None
    note: str


def tally(table: pa.Table, drops: pl.DataFrame, kept: pl.Series) -> dict[str, Any]:
    """Count what the rules do to one chunk of the raw pairs, as plain values.

    Parameters
    ----------
    table : N raw pairs, with the column `caption`.
    drops : N rows, a column for each rule applied, in the funnel's order: true where the rule
        alone would drop the pair.
    kept : (N,) true where the pair stays.

    >>> table = pa.table({"caption": ["x", "a cat"]})
    >>> drops = pl.DataFrame({"length": [True, True], "rare_words": [True, False]})
    >>> counts = tally(table, drops, pl.Series([False, False]))
    >>> counts["dropped"], counts["alone"]
    ({'length': 2, 'rare_words': 0}, {'length': 2, 'rare_words': 1})
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
    counts = {"raw": table.num_rows, "kept": int(kept.sum()), "dropped": dropped}
    noise = _noise(table, drops, kept) if "noise" in table.column_names else None
    return counts | {"alone": alone, "examples": examples, "noise": noise}


def _noise(table: pa.Table, drops: pl.DataFrame, kept: pl.Series) -> dict[str, dict[str, int]]:
    """Kind of noise -> its pairs, those dropped by any rule, and by each rule alone."""
    kinds = pl.Series("kind", pl.from_arrow(table["noise"])).cast(pl.String).fill_null("unknown")
    rows = drops.with_columns(kinds, (~kept).alias("any"))
    sums = rows.group_by("kind").agg(pl.len().alias("pairs"), pl.col("any", *drops.columns).sum())
    return {row.pop("kind"): row for row in sums.to_dicts()}


def add_up(said: Sequence[Said], tallies: Sequence[dict[str, Any]], source: str | None) -> Funnel:
    """Make the funnel of the counts of all chunks."""
    raw, kept = (sum(counts[name] for counts in tallies) for name in ("raw", "kept"))
    left, steps = raw, []
    for rule, says, absent, note in said:
        applied = absent is None
        dropped, alone = (
            sum(counts[name][rule] for counts in tallies) if applied else 0
            for name in ("dropped", "alone")
        )
        found = [text for counts in tallies if applied for text in counts["examples"][rule]]
        examples = list(dict.fromkeys(found))[:EXAMPLES]
        steps.append(Step(rule, says, applied, absent or note, left, dropped, alone, examples))
        left -= dropped
    applied_rules = [step.rule for step in steps if step.applied]
    return Funnel(
        raw, kept, steps, _truth([counts["noise"] for counts in tallies], applied_rules), source
    )


def _truth(
    chunks: Sequence[dict[str, dict[str, int]] | None], rules: Sequence[str]
) -> Truth | None:
    totals: dict[str, Counter[str]] = {}
    for chunk in chunks:
        for kind, counts in (chunk or {}).items():
            totals.setdefault(kind, Counter()).update(counts)
    if not totals:
        return None
    kinds = sorted(totals)
    return Truth(
        pairs={kind: totals[kind]["pairs"] for kind in kinds},
        dropped={kind: totals[kind]["any"] for kind in kinds},
        by_rule={kind: {rule: totals[kind][rule] for rule in rules} for kind in kinds},
    )


def _fraction(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _truth_table(truth: Truth) -> str:
    """Noise kind x rule, in per cent of the kind's pairs."""
    rules = list(next(iter(truth.by_rule.values()), {}))
    rows = [["noise", "pairs", "dropped", *rules]]
    for kind, pairs in truth.pairs.items():
        shares = [truth.dropped[kind], *truth.by_rule[kind].values()]
        cells = [f"{count / pairs:.1%}" if count else "-" for count in shares]
        rows.append([kind, f"{pairs:,}", *cells])
    return (
        f"{_aligned(rows, text_columns=1)}\n"
        f"noise dropped (recall) {truth.recall:.1%}, noise among the dropped (precision) "
        f"{truth.precision:.1%}, clean pairs dropped {truth.clean_dropped:.2%}"
    )


def _aligned(rows: list[list[str]], text_columns: int) -> str:
    """Columns side by side: the first ones, text, to the left; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i < text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
