"""What fine-tuning for retrieval brings on a toy benchmark with a training split (Section 5.1).

    python tests/benchmarks/retrieval_fine_tuning.py RUN [RUN ...] [--steps 375] [--out FILE]

Draws a benchmark (seed 99; 1,000 test scenes and 2,000 of training, five captions each). Each run
is measured, fine-tuned as `align-edu train --from RUN` does, and measured again. Prints recall at
1 both ways, and the mean gain with the lowest and the highest.
"""

import tempfile
from pathlib import Path
from typing import Any

from align_edu import World, load_run
from align_edu.evaluation import evaluate_retrieval
from align_edu.presets import fine_tuning
from align_edu.training import Run, train
from tests.benchmarks.measure import keep_record, mean_and_range, options

WAYS = ("image_to_text", "text_to_image")


def recall(run: Run, benchmark: Path) -> dict[str, float]:
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


if __name__ == "__main__":
    args = options(__doc__, runs=Path, steps=375, out="")
    with tempfile.TemporaryDirectory() as name:
        World(seed=99).write_benchmark(Path(name) / "benchmark", 1_000, train=2_000)
        rows = [measure(path, Path(name), args.steps) for path in args.runs]
    for way in WAYS:
        gains = [100 * (row["after"][way] - row["before"][way]) for row in rows]
        print(f"{way}: {mean_and_range(gains)}")
    keep_record(args.out, {"steps": args.steps, "runs": rows})
