"""What fine-tuning for retrieval brings on a toy benchmark with a training split (Section 5.1).

    python tests/benchmarks/retrieval_fine_tuning.py RUN [RUN ...] [--steps 375] [--out FILE]

Draws a benchmark (seed 99; 1,000 test scenes and 2,000 of training, five captions each) into a
temporary folder. Each run is measured as it is, fine-tuned as `align-edu train --from RUN` does
(a hundredth of its rate, its batch if that is small), and measured again.
Prints recall at 1 both ways, and the mean gain with the lowest and the highest.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from align_edu import World, load_run
from align_edu.evaluation import evaluate_retrieval
from align_edu.io import write_json
from align_edu.presets import fine_tuning
from align_edu.training import Run, train
from align_edu.training.run import software_versions

WAYS = ("image_to_text", "text_to_image")


def recall(run: Run, benchmark: Path) -> dict[str, float]:
    """Recall at 1 both ways."""
    result = evaluate_retrieval(run, benchmark)
    return {way: result[way]["R@1"] for way in WAYS}


def measure(path: Path, folder: Path, steps: int) -> dict[str, Any]:
    """Fine-tune one run; its recall before and after."""
    run = load_run(path)
    before = recall(run, folder / "benchmark")
    out = folder / "tuned" / str(path).replace("/", "_")
    recipe = fine_tuning(run.preset, steps)
    tuned = train(recipe, [folder / "benchmark"], out, start=path, steps=steps, progress=False)
    after = recall(tuned, folder / "benchmark")
    print(path, *(f"{way} {before[way]:.3f} -> {after[way]:.3f}" for way in WAYS), flush=True)
    return {"run": path.name, "before": before, "after": after}


def main() -> None:
    """Measure every run and print the gains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--steps", type=int, default=375)
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        World(seed=99).write_benchmark(folder / "benchmark", 1_000, train=2_000)
        rows = [measure(path, folder, args.steps) for path in args.runs]
    for way in WAYS:
        gains = [100 * (row["after"][way] - row["before"][way]) for row in rows]
        print(f"{way}: {statistics.mean(gains):+.1f} ({min(gains):+.1f} to {max(gains):+.1f})")
    if args.out:
        found = {"steps": args.steps, "runs": rows, "versions": software_versions()}
        write_json(args.out, found)


if __name__ == "__main__":
    main()
