"""The conventions of the notebooks, as far as a program can see them."""

import base64
import itertools
import re
import statistics
from typing import Any

Notebook = dict[str, Any]  # a notebook as its JSON has it, sources as one string
Cell = dict[str, Any]

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TAGS = {"nbval-ignore-output"}
CODE_CELLS = (15, 30)
CELL_LINES, CELL_COLUMNS, MEDIAN_LINES = 25, 76, 6
CELL_WORDS, NOTEBOOK_WORDS = 120, 1_800
PNG_BYTES, NOTEBOOK_BYTES = 60_000, 250_000

_FORBIDDEN = {
    r"(pip|conda|mamba|apt(-get)?|uv) install": "installs something",
    r"sys\.path": "edits sys.path",
    r"warnings\.(filterwarnings|simplefilter)": "hides warnings",
    r"manual_seed\(|np\.random\.seed|random\.seed\(": "sets a global seed; use lab.rng",
    r"https?://": "asks for an address",
}
# A number with a unit of measurement, or a decimal fraction, as an experiment would give it.
_MEASUREMENT = re.compile(
    r"\d\s*(%|per cent|percent|×(?!\s*\d)|s\b|ms\b|sec|min\b|minute|hour|[kKMG]i?B\b|GFLOP|"
    r"(pairs|images|texts|pictures)\s*/\s*s)|\b0\.\d{2,}"
)
_CITATION = re.compile(r"Sections?\s+\d|Tables?\s+\d|Figures?\s+\d|[Ee]q\.\s*\(\d|[Pp]aper")
_EXERCISE = re.compile(
    r"^Difficulty \d of 5, importance \d of 5, about \d+ minutes\.$", re.MULTILINE
)
_PLACE = re.compile(r"/(home|root|tmp|work|Users|private)/|0x[0-9a-f]{6,}")


def find_faults(notebook: Notebook, size: int, number: str) -> list[str]:
    """Return what breaks the conventions, one sentence a fault.

    Parameters
    ----------
    notebook : its JSON, sources as single strings.
    size : bytes of the file.
    number : the two digits of its name.

    >>> find_faults({"metadata": METADATA, "cells": []}, 100, "00")[0]
    '0 code cells; 15 to 30 are right'
    """
    cells = notebook["cells"]
    faults = [*_whole(notebook, size), *_order(cells, number), *_counts(cells), *_headers(cells)]
    for place, cell in enumerate(cells, 1):
        check = _code_cell if cell["cell_type"] == "code" else _prose_cell
        faults += [f"cell {place}: {fault}" for fault in [*check(cell), *_cell(cell)]]
    return faults


def _whole(notebook: Notebook, size: int) -> list[str]:
    faults = []
    code = [c["source"] for c in notebook["cells"] if c["cell_type"] == "code"]
    words = sum(_words(c) for c in notebook["cells"] if c["cell_type"] == "markdown")
    low, high = CODE_CELLS
    if not low <= len(code) <= high:
        faults.append(f"{len(code)} code cells; {low} to {high} are right")
    if code and statistics.median(source.count("\n") + 1 for source in code) > MEDIAN_LINES:
        faults.append(f"the median code cell has more than {MEDIAN_LINES} lines")
    if words > NOTEBOOK_WORDS:
        faults.append(f"{words} words of prose; at most {NOTEBOOK_WORDS}")
    if size > NOTEBOOK_BYTES:
        faults.append(f"{size:,} bytes; at most {NOTEBOOK_BYTES:,}")
    if notebook["metadata"] != METADATA:
        faults.append(f"its metadata is not the canonical one: {sorted(notebook['metadata'])}")
    return faults


def _order(cells: list[Cell], number: str) -> list[str]:
    """Title first, then the start cell; at the end the quiz and what one can now say."""
    faults = []
    first = cells[0]["source"] if cells else ""
    if not first.startswith("# ") or "will be able to" not in first:
        faults.append('the first cell is not a title with "You will be able to"')
    code = [c["source"] for c in cells if c["cell_type"] == "code"]
    if not code or f'lab.start("{number}")' not in code[0] or code[0].count("\n") > 3:
        faults.append(f'the first code cell is not lab.start("{number}") in 4 lines at most')
    if not code or f'lab.quiz("{number}")' not in code[-1]:
        faults.append(f'the last code cell is not lab.quiz("{number}")')
    if not cells or "Now you can say" not in cells[-1]["source"]:
        faults.append('the last cell is not "Now you can say"')
    return faults


def _counts(cells: list[Cell]) -> list[str]:
    counts = [c["execution_count"] for c in cells if c["cell_type"] == "code"]
    if counts != list(range(1, len(counts) + 1)):
        return ["its cells were not run in order, each once; run make notebooks"]
    return []


def _headers(cells: list[Cell]) -> list[str]:
    """Before each exercise stands how hard it is, how much it matters, and how long it takes."""
    faults = []
    for place, (before, cell) in enumerate(itertools.pairwise(cells), 2):
        is_check = cell["cell_type"] == "code" and re.search(r"^lab\.check\(", cell["source"], re.M)
        if is_check and not _EXERCISE.search(before["source"]):
            faults.append(
                f"cell {place}: the cell before it lacks the exercise's header:"
                " Difficulty 2 of 5, importance 4 of 5, about 10 minutes."
            )
    return faults


def _cell(cell: Cell) -> list[str]:
    """What holds for code and prose alike: nothing is hidden, no tag changes the meaning."""
    metadata = cell["metadata"]
    if set(metadata) - {"tags"} or set(metadata.get("tags", [])) - TAGS:
        return [f"its metadata may only hold the tags {sorted(TAGS)}: {metadata}"]
    return []


def _code_cell(cell: Cell) -> list[str]:
    source = cell["source"]
    lines = source.split("\n")
    faults = [why for pattern, why in _FORBIDDEN.items() if re.search(pattern, source)]
    if not source.strip():
        faults.append("is empty")
    if len(lines) > CELL_LINES:
        faults.append(f"{len(lines)} lines; at most {CELL_LINES}")
    if max(map(len, lines)) > CELL_COLUMNS:
        faults.append(f"a line of {max(map(len, lines))} columns; at most {CELL_COLUMNS}")
    if source.rstrip().endswith(";"):
        faults.append("ends in a semicolon, which strict comparison cannot take; write _ = …")
    return [*faults, *(fault for output in cell["outputs"] for fault in _output(output))]


def _output(output: dict[str, Any]) -> list[str]:
    faults = []
    data = output.get("data", {})
    if output["output_type"] == "error":
        faults.append(f"raises {output['ename']}")
    if output.get("name") == "stderr":
        faults.append(f"writes to standard error: {output['text'][:80]!r}")
    if any("widget" in kind for kind in data):
        faults.append("stores a widget's state; run make notebooks")
    picture = len(base64.b64decode(data.get("image/png", "")))
    if picture > PNG_BYTES:
        faults.append(f"a picture of {picture:,} bytes; at most {PNG_BYTES:,}")
    text = f"{output.get('text', '')}{data.get('text/plain', '')}"
    if _PLACE.search(text):
        faults.append(f"prints a place of this machine: {_PLACE.search(text)}")
    return faults


def _prose_cell(cell: Cell) -> list[str]:
    faults = []
    if _words(cell) > CELL_WORDS:
        faults.append(f"{_words(cell)} words; at most {CELL_WORDS}")
    for sentence in re.split(r"(?<=[.!?:])\s+|\n", _EXERCISE.sub("", cell["source"])):
        if _MEASUREMENT.search(sentence) and not _CITATION.search(sentence):
            faults.append(f"a typed-in measurement without its place in the paper: {sentence!r}")
    return faults


def _words(cell: Cell) -> int:
    return len(cell["source"].split())
