"""The funnel: what each rule dropped, and how rightly where the pairs carry labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from align_edu.filters.rules import RULES

OPTIONAL = [rule.name for rule in RULES if rule.optional]
EXAMPLES = 10
Words = Mapping[str, str]
LABELS, CLEAN = "noise", "clean"  # a column of labels, and the label of a good pair


@dataclass(frozen=True)
class Step:
    """What one rule did."""

    rule: str
    says: str  # its bound in words
    applied: bool  # False if it was off or lacked its columns
    note: str  # why it was not applied, or what it found
    pairs_in: int  # pairs that reached the rule
    dropped: int  # pairs of those that it dropped
    alone: int  # pairs of the raw data that it would drop alone
    examples: list[str]  # up to ten different alt-texts that it dropped
    share: float  # dropped pairs as a fraction of those that reached the rule


@dataclass(frozen=True)
class Truth:
    """How right the filters were, for pairs with labels in a column `noise`."""

    precision: float  # fraction of the dropped pairs that are noise
    recall: float  # fraction of the noise that was dropped
    clean_dropped: float  # fraction of the clean pairs that were dropped
    pairs: dict[str, int]  # label -> number of pairs
    dropped: dict[str, int]  # label -> pairs dropped by any rule
    by_rule: dict[str, dict[str, int]]  # label -> rule -> pairs that the rule alone would drop
    rules: dict[str, dict[str, float]]  # rule -> its precision and recall alone

    def __str__(self) -> str:
        rows = [["noise", "pairs", "dropped", *self.rules]]
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
    """The result of `filter_pairs`; prints as a table."""

    raw: int  # number of pairs before
    kept: int  # and after
    steps: list[Step] = field(default_factory=list)  # one for each rule, in order
    truth: Truth | None = None  # how right the rules were; None for pairs without labels
    source: str | None = None  # folder of shards, relative to the output; None without pictures
    warnings: list[str] = field(default_factory=list)  # what the shards lack or was not checked

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values for funnel.json."""
        return asdict(self)

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
                right = [f"{share:.1%}" for share in self.truth.rules[step.rule].values()]
            rows.append([step.rule, step.says, *counts, f"{step.alone:,}", *right])
        kept = f"kept {self.kept:,} of {self.raw:,} pairs ({_fraction(self.kept, self.raw):.1%})"
        judgement = f"\n\n{self.truth}" if self.truth else ""
        return "\n".join([_aligned(rows, text_columns=2), *self.warnings, kept]) + judgement


def tally(table: pa.Table, drops: pl.DataFrame) -> tuple[np.ndarray, dict[str, Any]]:
    """Return where pairs of a chunk stay, (N,), and counts; drops: a column for each rule alone."""
    kept = np.ones(table.num_rows, bool)
    dropped, examples = {}, {}
    for rule, column in drops.to_dict().items():
        rows = np.flatnonzero(kept & column.to_numpy())
        kept[rows] = False
        dropped[rule] = len(rows)
        texts = table["caption"].take(pa.array(rows[: 100 * EXAMPLES])).to_pylist()
        examples[rule] = list(dict.fromkeys(text or "" for text in texts))[:EXAMPLES]
    alone = {rule: int(column.sum()) for rule, column in drops.to_dict().items()}
    counts = {"raw": len(kept), "kept": int(kept.sum()), "dropped": dropped, "alone": alone}
    labels = {}
    if LABELS in table.column_names:
        column = pl.Series("label", pl.from_arrow(table[LABELS])).cast(pl.String)
        pairs = drops.with_columns(column.fill_null("unknown"), pl.Series("any", ~kept))
        sums = (pl.len().alias("pairs"), pl.col("any", *drops.columns).sum())
        labels = {row.pop("label"): row for row in pairs.group_by("label").agg(sums).to_dicts()}
    return kept, counts | {"examples": examples, "labels": labels}


def add_up(
    says: Words, absent: Words, notes: Words, tallies: list[dict[str, Any]], source: str | None,
    warnings: list[str],
) -> Funnel:  # fmt: skip
    """Make the funnel from all tallies; the first three: rule -> its bound, why not, a finding."""
    raw, kept = (sum(counts[name] for counts in tallies) for name in ("raw", "kept"))
    left, steps = raw, []
    for name, bound in says.items():
        found = tallies if name not in absent else []
        dropped, alone = (sum(c[which][name] for c in found) for which in ("dropped", "alone"))
        if name in OPTIONAL and not alone:
            continue
        texts = dict.fromkeys(text for counts in found for text in counts["examples"][name])
        note, share = absent.get(name, notes.get(name, "")), _fraction(dropped, left)
        result = (note, left, dropped, alone, list(texts)[:EXAMPLES], share)
        steps.append(Step(name, bound, name not in absent, *result))
        left -= dropped
    totals: dict[str, Counter[str]] = {}
    for chunk in tallies:
        for label, counts in chunk["labels"].items():
            totals.setdefault(label, Counter()).update(counts)
    truth = judged({k: totals[k] for k in sorted(totals)}, [s.rule for s in steps if s.applied])
    return Funnel(raw, kept, steps, truth if totals else None, source, warnings)


def judged(totals: Mapping[str, Mapping[str, int]], rules: Sequence[str]) -> Truth:
    """Judge the rules by label -> its "pairs", those dropped by "any" rule, and by each alone."""
    noise = [counts for label, counts in totals.items() if label != CLEAN]

    def right(rule: str) -> dict[str, float]:
        hits, drops = (sum(c[rule] for c in some) for some in (noise, totals.values()))
        every = sum(counts["pairs"] for counts in noise)
        return {"precision": _fraction(hits, drops), "recall": _fraction(hits, every)}

    clean = totals.get(CLEAN, {"pairs": 0, "any": 0})
    return Truth(
        **right("any"),
        clean_dropped=_fraction(clean["any"], clean["pairs"]),
        pairs={label: counts["pairs"] for label, counts in totals.items()},
        dropped={label: counts["any"] for label, counts in totals.items()},
        by_rule={k: {rule: counts[rule] for rule in rules} for k, counts in totals.items()},
        rules={rule: right(rule) for rule in rules},
    )


def _fraction(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _aligned(rows: list[list[str]], text_columns: int) -> str:
    """Set columns side by side: the first ones, text, to the left; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    formats = [f"{'<' if i < text_columns else '>'}{width}" for i, width in enumerate(widths)]
    return "\n".join("  ".join(map(format, row, formats)).rstrip() for row in rows)
