"""What each notebook takes: minutes and the memory of its kernel, as a table for TEACHING.md.

    python tests/benchmarks/notebook_costs.py [notebooks/NAME.ipynb ...]

Each notebook is run as it is stored, from its first cell to its last, on an otherwise idle machine.
"""

import os
import platform
from pathlib import Path

import nbformat

from align_edu.lab.__main__ import FOLDER, run
from tests.benchmarks.measure import options, timed

# ru_maxrss counts KiB on Linux and bytes on macOS.
PEAK = (
    "import resource, sys\n"
    "_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    "print(_peak // (1024 if sys.platform == 'linux' else 1024**2))"
)

if __name__ == "__main__":
    files = options(__doc__, notebooks=Path).notebooks or sorted(FOLDER.glob("*.ipynb"))
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print("| notebook | minutes | memory |\n| --- | --- | --- |")
    total = 0.0
    for file in files:
        book = nbformat.read(file, as_version=4)
        book.cells.append(nbformat.v4.new_code_cell(PEAK))
        seconds, _ = timed(lambda file=file, book=book: run(book, file.name, file.parent))
        total += seconds / 60
        peak = int(book.cells[-1].outputs[0].text) / 1024
        print(f"| {file.stem[:2]} | {seconds / 60:.1f} | {peak:.1f} GiB |", flush=True)
    print(f"all: {total:.1f} minutes")
