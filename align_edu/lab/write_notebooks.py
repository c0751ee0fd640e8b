"""Runs the notebooks and stores their outputs: `make notebooks`. The only writer of outputs.

python -m align_edu.lab.write_notebooks [notebooks/NAME.ipynb ...]
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from align_edu.io import InputError, written_whole
from align_edu.lab.notebook_rules import METADATA, TAGS, find_faults

FOLDER = Path("notebooks")
CELL_SECONDS = 120


def main(paths: Sequence[str]) -> int:
    """Run and rewrite the given notebooks, or all; return 1 if one failed or breaks a rule."""
    files = [Path(path) for path in paths] or sorted(FOLDER.glob("*.ipynb"))
    healthy = True
    for file in files:
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
    """Run a notebook and store it in canonical form; return what breaks the conventions.

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
    """Bring a run notebook into the one form that git keeps: nothing in it varies by itself."""
    notebook.metadata = dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for place, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{place:02}"
        tags = sorted(set(cell.metadata.get("tags", [])) & TAGS)
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type == "code":
            cell.outputs = [_without_widget(output) for output in _joined(cell.outputs)]


def _joined(outputs: list[Any]) -> list[Any]:
    """Outputs with neighbouring pieces of one stream put together."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and last.output_type == output.output_type == "stream" and last.name == output.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def _without_widget(output: Any) -> Any:
    """The output without a widget's state, which is another in each run; its text stays."""
    if "data" in output:
        output.data = {kind: v for kind, v in output.data.items() if "widget" not in kind}
    output.get("metadata", {}).pop("widgets", None)
    return output


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
