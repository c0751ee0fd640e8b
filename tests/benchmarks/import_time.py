"""Seconds that ``import align_edu`` and its parts add to ``import torch``, each in a new process.

python tests/benchmarks/import_time.py [--rounds 5]
"""

from tests.benchmarks.measure import in_a_process, median_and_lowest, options

CODE = (
    "import time, torch; began = time.perf_counter(); import {}; print(time.perf_counter()-began)"
)
MODULES = ("align_edu", "align_edu.lab", "align_edu.training", "align_edu.search", "align_edu.cli")

if __name__ == "__main__":
    rounds = options(__doc__, rounds=5).rounds
    for name in MODULES:
        code = CODE.format(name)
        found = median_and_lowest(lambda code=code: float(in_a_process("-c", code)), rounds)
        print(f"{name:20} {found}", flush=True)
