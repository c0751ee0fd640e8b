"""Runs the notebooks and stores their outputs: `make notebooks`. The only writer of outputs.

python -m align_edu.lab.write_notebooks [notebooks/NAME.ipynb ...]

`find_faults` holds the conventions of the notebooks that no other tool checks.
"""

import base64
import itertools
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from align_edu.io import InputError, written_whole

FOLDER = Path("notebooks")
CELL_SECONDS = 120
Notebook = dict[str, Any]  # its JSON, with each source as one string
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
    r"https?://": "reads an address",
    r";\s*\Z": "ends in a semicolon, which strict comparison cannot take; write _ = …",
    r"\A\s*\Z": "is empty",
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


def main(paths: Sequence[str]) -> int:
    """Run and rewrite the given notebooks, or all; return 1 if one fails or breaks a rule."""
    healthy = True
    for file in [Path(path) for path in paths] or sorted(FOLDER.glob("*.ipynb")):
        began = time.monotonic()
        try:
            faults = rewrite(file)
        except InputError as error:
            faults = [str(error)]
        print(f"{file}: {time.monotonic() - began:.0f} s, {file.stat().st_size // 1000} kB")
        for fault in faults:
            print(f"  {fault}")
        healthy = healthy and not faults
    return 0 if healthy else 1


def rewrite(file: Path) -> list[str]:
    """Run a notebook and store it in canonical form; return the broken conventions.

    Raises InputError, and leaves the file as it was, when a cell fails.
    """
    import nbformat

    notebook = nbformat.read(file, as_version=4)
    run(notebook, file.name, file.parent)
    canonical(notebook)
    text = nbformat.writes(notebook) + "\n"
    with written_whole(file) as beside:
        beside.write_text(text, encoding="utf-8")
    return find_faults(notebook, len(text.encode()), file.name[:2])


def run(notebook: Any, name: str, folder: Path) -> None:
    """Execute all cells in place, in ``folder``.

    Raises InputError for a cell that fails or writes to standard error.
    """
    import nbclient

    client = nbclient.NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(env={**os.environ})
    except nbclient.exceptions.CellExecutionError as error:
        raise InputError(f"{name}: a cell fails: {error.ename}: {error.evalue}") from error
    except nbclient.exceptions.CellTimeoutError as error:
        raise InputError(f"{name}: a cell takes more than {CELL_SECONDS} seconds") from error
    for place, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                raise InputError(f"{name}: cell {place} writes to standard error: {output['text']}")


def canonical(notebook: Any) -> None:
    """Reduce a notebook to what git keeps: no ids, tags, or widget states that vary."""
    notebook.metadata = dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for place, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{place:02}"
        tags = sorted(set(cell.metadata.get("tags", [])) & TAGS)
        cell.metadata = {"tags": tags} if tags else {}
        for output in cell.get("outputs", ()):
            if "data" in output:
                output.data = {kind: v for kind, v in output.data.items() if "widget" not in kind}
            output.get("metadata", {}).pop("widgets", None)


def find_faults(notebook: Notebook, size: int, number: str) -> list[str]:
    """Return one sentence for each broken convention.

    notebook: its JSON, sources as single strings. size: bytes of the file. number: the two
    digits of its name.

    >>> find_faults({"metadata": METADATA, "cells": []}, 100, "00")[0]
    '0 code cells; 15 to 30 are right'
    """
    import nbformat

    cells, form = notebook["cells"], nbformat.from_dict(notebook)
    canonical(form)
    faults = [*_sizes(notebook, size), *_order(cells, number), *_headers(cells)]
    if form != notebook:
        faults.append("it is not in the canonical form: run make notebooks")
    for place, cell in enumerate(cells, 1):
        check = _code_cell if cell["cell_type"] == "code" else _prose_cell
        faults += [f"cell {place}: {fault}" for fault in check(cell)]
    return faults


def _sizes(notebook: Notebook, size: int) -> Iterator[str]:
    code = [c["source"] for c in notebook["cells"] if c["cell_type"] == "code"]
    prose = [c["source"] for c in notebook["cells"] if c["cell_type"] == "markdown"]
    words, (low, high) = sum(len(text.split()) for text in prose), CODE_CELLS
    if not low <= len(code) <= high:
        yield f"{len(code)} code cells; {low} to {high} are right"
    if code and statistics.median(source.count("\n") + 1 for source in code) > MEDIAN_LINES:
        yield f"the median code cell has more than {MEDIAN_LINES} lines"
    if words > NOTEBOOK_WORDS:
        yield f"{words} words of prose; at most {NOTEBOOK_WORDS}"
    if size > NOTEBOOK_BYTES:
        yield f"{size:,} bytes; at most {NOTEBOOK_BYTES:,}"


def _order(cells: list[Cell], number: str) -> Iterator[str]:
    """Check for title and start cell, for the quiz and the list of abilities at the end."""
    code = [c for c in cells if c["cell_type"] == "code"]
    first, last = (cells[i]["source"] if cells else "" for i in (0, -1))
    start, quiz = (code[i]["source"] if code else "" for i in (0, -1))
    if not first.startswith("# ") or "will be able to" not in first:
        yield 'the first cell is not a title with "You will be able to"'
    if f'lab.start("{number}")' not in start or start.count("\n") > 3:
        yield f'the first code cell is not lab.start("{number}") in 4 lines at most'
    if f'lab.quiz("{number}")' not in quiz:
        yield f'the last code cell is not lab.quiz("{number}")'
    if "Now you can say" not in last:
        yield 'the last cell is not "Now you can say"'
    if [c["execution_count"] for c in code] != list(range(1, len(code) + 1)):
        yield "its cells were not run in order, each once; run make notebooks"


def _headers(cells: list[Cell]) -> Iterator[str]:
    """Check that a header precedes each exercise: its difficulty, importance and minutes."""
    for place, (before, cell) in enumerate(itertools.pairwise(cells), 2):
        is_check = cell["cell_type"] == "code" and re.search(r"^lab\.check\(", cell["source"], re.M)
        if is_check and not _EXERCISE.search(before["source"]):
            yield (
                f"cell {place}: the cell before it lacks the exercise's header:"
                " Difficulty 2 of 5, importance 4 of 5, about 10 minutes."
            )


def _code_cell(cell: Cell) -> Iterator[str]:
    lines = cell["source"].split("\n")
    yield from (why for pattern, why in _FORBIDDEN.items() if re.search(pattern, cell["source"]))
    if len(lines) > CELL_LINES:
        yield f"{len(lines)} lines; at most {CELL_LINES}"
    if max(map(len, lines)) > CELL_COLUMNS:
        yield f"a line of {max(map(len, lines))} columns; at most {CELL_COLUMNS}"
    for output in cell["outputs"]:
        data = output.get("data", {})
        picture = len(base64.b64decode(data.get("image/png", "")))
        if output["output_type"] == "error":
            yield f"raises {output['ename']}"
        if output.get("name") == "stderr":
            yield f"writes to standard error: {output['text'][:80]!r}"
        if picture > PNG_BYTES:
            yield f"a picture of {picture:,} bytes; at most {PNG_BYTES:,}"
        if found := _PLACE.search(f"{output.get('text', '')}{data.get('text/plain', '')}"):
            yield f"prints a place of this machine: {found[0]}"


def _prose_cell(cell: Cell) -> Iterator[str]:
    words = len(cell["source"].split())
    if words > CELL_WORDS:
        yield f"{words} words; at most {CELL_WORDS}"
    for sentence in re.split(r"(?<=[.!?:])\s+|\n", _EXERCISE.sub("", cell["source"])):
        if _MEASUREMENT.search(sentence) and not _CITATION.search(sentence):
            yield f"a typed-in measurement without its place in the paper: {sentence!r}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
