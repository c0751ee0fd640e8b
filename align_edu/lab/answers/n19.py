"""Exercises of notebook 19: the amplification of a correlation, and a model card."""

import torch

from align_edu.lab.exercises import Cases, exercise


def amplification(found: list[list[str]], planted: list[str], shares: list[float]) -> float:
    """Return how much more often searches show the planted colours than the data has them.

    found: for each kind, the colours of the pictures that its search finds. planted: for each
    kind, the colour that most of its things have in the data. shares: for each kind, that
    colour's share in the data. Returns the mean over the kinds of the share found minus the share
    in the data; below zero where searches show the colour less often.

    Paper: Section 9 ("data balancing efforts may be required").

    >>> round(amplification([["red", "red", "red", "blue"]], ["red"], [0.6]), 2)
    0.15
    """
    gaps = [
        row.count(colour) / len(row) - share
        for row, colour, share in zip(found, planted, shares, strict=True)
    ]
    return sum(gaps) / len(gaps)


def model_card(names: list[str], right: list[int], asked: list[int]) -> str:
    """Return a model card in Markdown.

    names: what was measured. right, asked: for each, how many of how many questions were answered
    rightly; each question has two possible answers.
    The card has the sections "## Intended use", "## Not for", "## Training data", "## Measured"
    and "## Limits". Measured has a line "- NAME: 54 % (46 to 62) of 150" for each measure: the
    share, its 95 % interval by the normal approximation, and the questions. Limits names each
    measure whose interval, unrounded, holds one half, and no other.

    Paper: Section 9 ("additional analysis of the data and the resulting model is necessary").

    >>> [line for line in model_card(["binding"], [81], [150]).split("\\n") if "%" in line]
    ['- binding: 54 % (46 to 62) of 150']
    """
    lines, limits = [], []
    for name, hits, n in zip(names, right, asked, strict=True):
        share = hits / n
        half = 1.96 * (share * (1 - share) / n) ** 0.5
        low, high = max(0.0, share - half), min(1.0, share + half)
        lines.append(f"- {name}: {100 * share:.0f} % ({100 * low:.0f} to {100 * high:.0f}) of {n}")
        if low <= 0.5 <= high:
            limits.append(name)
    parts = {
        "Intended use": "Lessons on search with words in a drawn toy world.",
        "Not for": "People, surveillance, or any decision about anyone.",
        "Training data": "Drawn scenes with English alt-text, filtered as in Section 3.",
        "Measured": "\n".join(lines),
        "Limits": "Cannot be told from guessing: " + (", ".join(limits) or "nothing measured."),
    }
    return "# Model card\n\n" + "\n\n".join(f"## {name}\n\n{text}" for name, text in parts.items())


def _found_cases(g: torch.Generator) -> Cases:
    colours, cases = ["red", "blue", "white", "black", "green"], []
    for kinds, k in ((3, 4), (5, 10), (4, 7)):
        numbers = torch.randint(len(colours), (kinds, k + 1), generator=g).tolist()
        names = [[colours[i] for i in row] for row in numbers]
        shares = (0.2 + 0.7 * torch.rand(kinds, generator=g)).tolist()
        cases.append(([row[1:] for row in names], [row[0] for row in names], shares))
    return cases


def _card_cases(g: torch.Generator) -> Cases:
    names, cases = ["kinds", "counting", "binding", "relations", "negation"], []
    for n in (101, 203, 397):  # no share is half a per cent, which people round differently
        extra = torch.randint(n // 3, n // 2, (2,), generator=g).tolist()
        right = [n - 2, n // 2 + extra[0] // 2, n // 2 + 1, n // 2 - 2, n // 2 - extra[1] // 2]
        cases.append((names, right, [n] * len(names)))
    return cases


exercise(amplification, _found_cases)
exercise(model_card, _card_cases, observe="align_edu.lab.stand_ins:read_card")
