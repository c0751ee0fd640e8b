"""Seconds that ``import align_edu`` and its parts add to ``import torch``, each in a new process.

    python tests/benchmarks/import_time.py [--rounds 5]

Prints the median and the lowest; the files are in memory after the first round.
"""

import argparse
import statistics
import subprocess
import sys

MODULES = ("align_edu", "align_edu.lab", "align_edu.training", "align_edu.search", "align_edu.cli")


def seconds_of(module: str) -> float:
    """Import torch, then the module, in a process of its own; return what the module took."""
    code = (
        "import time, torch; began = time.perf_counter();"
        f"import {module}; print(time.perf_counter() - began)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Time each module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    for module in MODULES:
        taken = [seconds_of(module) for _ in range(rounds)]
        print(
            f"{module:20} {statistics.median(taken):.2f} s, lowest {min(taken):.2f} s", flush=True
        )


if __name__ == "__main__":
    main()
