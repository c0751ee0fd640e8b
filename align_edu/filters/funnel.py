"""The funnel: what each rule took out, and on the toy world how rightly."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

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
    precision : fraction of the dropped pairs that are noise.
    recall : fraction of the noise that was dropped.
    clean_dropped : fraction of the clean pairs that were dropped.
    pairs, dropped : kind of noise -> number of pairs, and of those dropped by any rule.
    by_rule : kind of noise -> rule -> pairs that the rule alone would drop.
    """

    precision: float
    recall: float
    clean_dropped: float
    pairs: dict[str, int]
    dropped: dict[str, int]
    by_rule: dict[str, dict[str, int]]


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
        return asdict(self) | {"steps": steps}

    def __str__(self) -> str:
        rows = [["rule", "drops", "pairs in", "dropped", "share", "alone"]]
        for step in self.steps:
            if not step.applied:
                rows.append([step.rule, f"not applied: {step.note}", "", "", "", ""])
                continue
            counts = [f"{step.pairs_in:,}", f"{step.dropped:,}", f"{step.share:.2%}"]
            rows.append([step.rule, step.says, *counts, f"{step.alone:,}"])
        share = self.kept / self.raw if self.raw else 0.0
        text = (
            _aligned(rows, text_columns=2)
            + f"\nkept {self.kept:,} of {self.raw:,} pairs ({share:.1%})"
        )
        return text if self.truth is None else f"{text}\n\n{_truth_table(self.truth)}"


@dataclass(frozen=True)
class Outcome:
    """One rule on the raw data: the mask of N pairs that it drops, None if it was not applied."""

    rule: str
    says: str
    drops: np.ndarray | None
    note: str = ""


def build_steps(
    outcomes: list[Outcome], captions: list[str | None]
) -> tuple[list[Step], np.ndarray]:
    """Apply the rules one after another.

    Parameters
    ----------
    outcomes : what each rule drops from the raw data, in the funnel's order.
    captions : N alt-texts, for the examples.

    Returns
    -------
    The funnel's steps, and the mask of the N pairs that stay.
    """
    kept = np.ones(len(captions), bool)
    steps = []
    for outcome in outcomes:
        drops = np.zeros(len(captions), bool) if outcome.drops is None else outcome.drops
        gone = np.flatnonzero(drops & kept)
        examples = dict.fromkeys(captions[i] or "" for i in gone[: 100 * EXAMPLES].tolist())
        steps.append(
            Step(
                rule=outcome.rule,
                says=outcome.says,
                applied=outcome.drops is not None,
                note=outcome.note,
                pairs_in=int(kept.sum()),
                dropped=len(gone),
                alone=int(drops.sum()),
                examples=list(examples)[:EXAMPLES],
            )
        )
        kept &= ~drops
    return steps, kept


def judge(noise: np.ndarray, kept: np.ndarray, masks: dict[str, np.ndarray]) -> Truth:
    """Compare what was dropped with the truth.

    Parameters
    ----------
    noise : (N,) names, "clean" or a kind of noise.
    kept : (N,) bool.
    masks : rule -> (N,) bool, what the rule alone would drop.

    >>> noise = np.array(["clean", "one_word", "one_word", "other_caption"])
    >>> kept = np.array([True, False, False, True])
    >>> truth = judge(noise, kept, {"length": ~kept})
    >>> truth.precision, round(truth.recall, 3), truth.by_rule["one_word"]
    (1.0, 0.667, {'length': 2})
    """
    noisy, gone = noise != CLEAN, ~kept
    kinds = sorted(set(noise.tolist()))
    of_kind = {kind: noise == kind for kind in kinds}
    return Truth(
        precision=_fraction(noisy & gone, gone),
        recall=_fraction(noisy & gone, noisy),
        clean_dropped=_fraction(~noisy & gone, ~noisy),
        pairs={kind: int(of_kind[kind].sum()) for kind in kinds},
        dropped={kind: int((of_kind[kind] & gone).sum()) for kind in kinds},
        by_rule={
            kind: {rule: int((of_kind[kind] & mask).sum()) for rule, mask in masks.items()}
            for kind in kinds
        },
    )


def _fraction(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else 0.0


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
