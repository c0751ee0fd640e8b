"""Opens JupyterLab on a notebook with the course's settings, or stores the notebooks' outputs.

python -m align_edu.lab [NOTEBOOK] [options of JupyterLab]
python -m align_edu.lab --store-outputs [notebooks/NAME.ipynb ...]

The second, `make notebooks`, is the only writer of outputs.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from align_edu.io import InputError, written_whole

SETTINGS = Path(__file__).with_name("jupyter")
FOLDER = Path("notebooks")
CELL_SECONDS = 120
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TAG = "nbval-ignore-output"


def start_command(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return the command that starts JupyterLab, on notebook 00 if none is named."""
    options_only = all(each.startswith("-") for each in arguments)
    notebook = ["notebooks/00_start_here.ipynb"] if options_only else []
    paths = [str(SETTINGS), *filter(None, [environment.get("JUPYTER_CONFIG_PATH")])]
    command = [sys.executable, "-m", "jupyterlab", *arguments, *notebook]
    return command, {**environment, "JUPYTER_CONFIG_PATH": os.pathsep.join(paths)}


def store_outputs(paths: Sequence[str]) -> int:
    """Run and rewrite the given notebooks, or all; return 1 if one fails."""
    healthy = True
    for file in [Path(path) for path in paths] or sorted(FOLDER.glob("*.ipynb")):
        began = time.monotonic()
        try:
            rewrite(file)
        except InputError as error:
            print(f"  {error}")
            healthy = False
        print(f"{file}: {time.monotonic() - began:.0f} s, {file.stat().st_size // 1000} kB")
    return 0 if healthy else 1


def rewrite(file: Path) -> None:
    """Run a notebook and store it in canonical form, unless a cell fails."""
    import nbformat

    notebook = nbformat.read(file, as_version=4)
    run(notebook, file.name, file.parent)
    canonical(notebook)
    with written_whole(file) as beside:
        beside.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def run(notebook: Any, name: str, folder: Path) -> None:
    """Execute all cells in ``folder``; InputError if one fails or writes to standard error."""
    import nbclient

    options: dict[str, Any] = {"record_timing": False, "coalesce_streams": True}
    options["timeout"] = CELL_SECONDS
    try:
        nbclient.execute(notebook, str(folder), kernel_name="python3", **options)
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
        cell.metadata = {"tags": [TAG]} if TAG in cell.metadata.get("tags", []) else {}
        for output in cell.get("outputs", ()):
            if "data" in output:
                output.data = {kind: v for kind, v in output.data.items() if "widget" not in kind}
            output.get("metadata", {}).pop("widgets", None)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--store-outputs"]:
        sys.exit(store_outputs(sys.argv[2:]))
    start, settings = start_command(sys.argv[1:], os.environ)
    os.execve(start[0], start, settings)
