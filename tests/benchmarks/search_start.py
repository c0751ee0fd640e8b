"""CPU seconds of `align-edu search`, by words and by a picture, with the start of Python.

    python tests/benchmarks/search_start.py [--rounds 3]

The bundled toy model indexes the pictures of the bundled benchmark first. Prints the median and
the lowest, beside those of `import torch` alone, which no search can do without.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from align_edu.cli import main as align_edu

SAMPLES = Path(__file__).parents[2] / "data_samples"


def cpu_seconds(*words: str) -> float:
    """Run Python in a new process; return its seconds of CPU, in user and system mode."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Time a search by words, a search by an image, and `import torch`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        images = next(path for path in SAMPLES.rglob("images") if path.is_dir())
        align_edu(["index", str(SAMPLES / "toy_model"), str(images), f"{folder}/index"])
        code = "import sys; from align_edu.cli import main; sys.exit(main())"
        search = ["-c", code, "search", f"{folder}/index"]
        some = str(next(images.iterdir()))
        for name, words in {
            "import torch": ["-c", "import torch"],
            "search by words": [*search, "a red cat"],
            "search by image": [*search, "--image", some],
        }.items():
            taken = [cpu_seconds(*words) for _ in range(rounds)]
            middle, least = statistics.median(taken), min(taken)
            print(f"{name:16} {middle:5.2f} s of CPU, lowest {least:.2f}", flush=True)


if __name__ == "__main__":
    main()
