"""What each notebook takes: minutes and the memory of its kernel, as a table for TEACHING.md.

    python tests/benchmarks/notebook_costs.py [notebooks/NAME.ipynb ...]

Each notebook is run as it is stored, from its first cell to its last, on an otherwise idle machine.
"""

import os
import platform
import sys
import time
from pathlib import Path

import nbformat

from align_edu.lab.write_notebooks import FOLDER, run

# ru_maxrss counts KiB on Linux and bytes on macOS.
PEAK = (
    "import resource, sys\n"
    "_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    "print(_peak // (1024 if sys.platform == 'linux' else 1024**2))"
)


def cost(file: Path) -> tuple[float, int]:
    """Minutes of a run and MiB at its peak."""
    notebook = nbformat.read(file, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(PEAK))
    began = time.monotonic()
    run(notebook, file.name, file.parent)
    return (time.monotonic() - began) / 60, int(notebook.cells[-1].outputs[0].text)


def main(paths: list[str]) -> None:
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print("| notebook | minutes | memory |\n| --- | --- | --- |")
    total = 0.0
    for file in [Path(path) for path in paths] or sorted(FOLDER.glob("*.ipynb")):
        minutes, peak = cost(file)
        total += minutes
        print(f"| {file.stem[:2]} | {minutes:.1f} | {peak / 1024:.1f} GiB |", flush=True)
    print(f"all: {total:.1f} minutes")


if __name__ == "__main__":
    main(sys.argv[1:])
