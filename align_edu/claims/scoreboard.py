"""The scoreboard: each claim beside the paper's number and ours, its interval, and its verdict."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from align_edu.claims.table import CLAIMS, Claim, claims
from align_edu.claims.verdicts import VERDICTS, Estimate, Outcome, judge
from align_edu.io import written_whole

RECORDS = Path("data_samples/recorded_runs/claims")
PAGE = Path("notebooks/CLAIMS.md")
NUMBERS = ("sigma", "sigma_best", "loss", "floor")  # measures that are no shares


def answer(
    action: str, name: list[str], records: Path, page: Path | None, **run: Any
) -> tuple[dict[str, Any], str]:
    """Run claims (action "run") or only judge them; return a JSON object, and the same as text."""
    chosen = claims(name)
    if action == "run":
        from align_edu.claims.sweep import run_sweep

        variants = [variant for claim in chosen.values() for variant in claim.variants]
        run_sweep(variants, records, **run)
    every = write_page(page, records) if page else {}
    outcomes = {key: every.get(key) or judge(claim, records) for key, claim in chosen.items()}
    details = [detail(key, chosen[key], outcomes[key]) for key in chosen if name]
    verdicts = {key: outcome.verdict for key, outcome in outcomes.items()}
    found = {"verdicts": verdicts, "summary": summary(outcomes.values())}
    return found, "\n\n".join(details) or scoreboard(outcomes)


def scoreboard(outcomes: Mapping[str, Outcome]) -> str:
    """Return one line for each claim, and how many have which verdict, for the terminal."""
    lines = [f"{o.verdict:<17}  {name:<23}  {CLAIMS[name].says}" for name, o in outcomes.items()]
    return "\n".join([*lines, summary(outcomes.values())])


def summary(outcomes: Iterable[Outcome]) -> str:
    """Return how many claims have each verdict, as "3 reproduced, 1 contradicted"."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    return ", ".join(f"{counts[name]} {name}" for name in VERDICTS if counts[name])


def detail(name: str, claim: Claim, outcome: Outcome) -> str:
    """Return all about one claim as Markdown: the paper's words and numbers, and the runs."""
    lines = [
        f"### {name}: {outcome.verdict}", "", claim.says, "",
        f"- Source: {claim.source}", f"- The paper: {claim.paper}",
        f"- Against the claim: {claim.against}",
    ]  # fmt: skip
    if claim.reason:
        lines.append(f"- Not testable here: {claim.reason}")
    for sums, found in zip(claim.contrasts, outcome.contrasts, strict=False):
        seeds = ", ".join(_number(value, sums) for value in found.seeds)
        lines.append(f"- {_in_words(sums)}: **{_cell(found, sums)}**; by seed {seeds}")
    if outcome.cells:
        lines += ["", "| run | seeds | " + " | ".join(claim.measures) + " |"]
        lines.append("|---" * (2 + len(claim.measures)) + "|")
    for variant in claim.shown:
        cells = {m: outcome.cells.get((variant, m)) for m in claim.measures}
        if count := max(len(each.seeds) if each else 0 for each in cells.values()):
            shown = [_cell(each, [m]) if each else "" for m, each in cells.items()]
            lines.append(f"| {' | '.join([variant, str(count), *shown])} |")
    return "\n".join(lines)


def write_page(path: Path, records: Path) -> dict[str, Outcome]:
    """Write the whole scoreboard as one Markdown page, and return its outcomes."""
    outcomes = {name: judge(claim, records) for name, claim in CLAIMS.items()}
    head = Path(__file__).with_name("page.md").read_text(encoding="utf-8").strip()
    lines = [head, "", f"**{summary(outcomes.values())}.**", ""]
    lines += ["| claim | source | verdict |", "|---|---|---|"]
    for name, claim in CLAIMS.items():
        anchor = f"{name}-{outcomes[name].verdict}".replace(" ", "-")
        cells = f"[{claim.says}](#{anchor}) | {claim.source} | {outcomes[name].verdict}"
        lines.append(f"| {cells} |")
    details = [detail(name, claim, outcomes[name]) for name, claim in CLAIMS.items()]
    with written_whole(path) as beside:
        beside.write_text("\n".join([*lines, "", "\n\n".join(details), ""]), encoding="utf-8")
    return outcomes


def _in_words(sums: Mapping[str, float]) -> str:
    """Return a contrast as text: "base:twins − dimension 16:twins + 0.02"."""
    parts = []
    for term, weight in sums.items():
        size = f"{abs(weight):g}"
        value = size if term == "margin" else term if size == "1" else f"{size} × {term}"
        parts.append(f"{'−' if weight < 0 else '+'} {value}")
    return " ".join(parts).removeprefix("+ ")


def _cell(found: Estimate, terms: Iterable[str]) -> str:
    low, high = _number(found.low, terms), _number(found.high, terms)
    return f"{_number(found.mean, terms)} ({low} to {high})"


def _number(value: float, terms: Iterable[str]) -> str:
    """Return a share in percent; a measure that is no share as it is."""
    plain = any(term.rpartition(":")[2] in NUMBERS for term in terms)
    return f"{value:.3f}" if plain else f"{100 * value:.1f}"
