"""CPU seconds of `align-edu search`, by words and by a picture, and of `import torch` alone.

python tests/benchmarks/search_start.py [--rounds 3]
"""

import os
import resource
import tempfile

from align_edu.cli import main as align_edu
from tests.benchmarks.measure import DATA, MODEL, in_a_process, median_and_lowest, options

CODE = "import sys; from align_edu.cli import main; sys.exit(main())"


def cpu_seconds(*words: str) -> float:
    """Run Python in a new process; return its seconds of CPU, in user and system mode."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    in_a_process(*words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    rounds = options(__doc__, rounds=3).rounds
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        images = DATA / "benchmark" / "images"
        align_edu(["index", str(MODEL), str(images), f"{folder}/index"])
        search = ["-c", CODE, "search", f"{folder}/index"]
        for name, words in {
            "import torch": ["-c", "import torch"],
            "search by words": [*search, "a red cat"],
            "search by image": [*search, "--image", str(next(images.iterdir()))],
        }.items():
            found = median_and_lowest(lambda words=words: cpu_seconds(*words), rounds)
            print(f"{name:16} {found} of CPU", flush=True)
