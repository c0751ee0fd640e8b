"""What benchmarks share: options of the command line, seconds, separate processes, memory."""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
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


def timed(act: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> Any:
    """Return the seconds of a call, and what it gives."""
    started = clock()
    result = act()
    return clock() - started, result


def median_and_lowest(act: Callable[[], float], rounds: int) -> str:
    """Return the median and the lowest of some measurements, as words."""
    taken = [act() for _ in range(rounds)]
    return f"{statistics.median(taken):.2f} s, lowest {min(taken):.2f} s"


def in_a_process(*words: object) -> str:
    """Run Python with these words in a new process; return what it prints."""
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


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
