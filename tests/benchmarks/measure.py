"""What benchmarks share: options of the command line, seconds, separate processes, memory."""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parents[2] / "data_samples"
MODEL = DATA / "toy_model"


def options(about: str | None, **defaults: Any) -> argparse.Namespace:
    """Parse `--name VALUE` for each default, a flag for False, and words for a type."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=about, formatter_class=form)
    for name, default in defaults.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, type):
            parser.add_argument(name, type=default, nargs="*")
        elif default is False:
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(default), default=default)
    return parser.parse_args()


def timed(act: Callable[[], Any]) -> Any:
    """Return the seconds of a call, and what it gives."""
    started = time.perf_counter()
    result = act()
    return time.perf_counter() - started, result


def medians_in_turn(names: Sequence[str], rounds: int, *words: object) -> dict[str, list[float]]:
    """Run this program with `--one NAME` in turn, in processes; the medians of what each prints."""
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for name in [*names] * rounds:
        command = [sys.executable, *sys.argv, "--one", name, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name].append([float(word) for word in done.stdout.split()[-2:]])
    return {name: [*map(statistics.median, zip(*rows))] for name, rows in found.items()}


def peak_mebibytes() -> float:
    """Return the most memory that this process has held so far (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def mean_and_range(values: list[float]) -> str:
    """Return the mean, the lowest and the highest, as words."""
    return f"{np.mean(values):5.1f} ({min(values):5.1f} to {max(values):5.1f})"


def keep_record(out: str, record: dict[str, Any]) -> None:
    """Write a record with the versions of the software, if a file is named."""
    from align_edu.io import write_json
    from align_edu.training.run import software_versions

    if out:
        write_json(Path(out), record | {"versions": software_versions()})
