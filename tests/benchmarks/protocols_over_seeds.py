"""Zero-shot, transfer and arithmetic of several runs that differ in their seed: mean and range.

    python tests/benchmarks/protocols_over_seeds.py RUN [RUN ...] [--out FILE]

Draws the toy tasks (seed 77; 800 + 200 training and 480 test pictures each) into a temporary
folder, measures each run, and one with random weights beside them, and prints a table. The
runs are those of `align-edu train` or of the demo (DIR/run).
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from align_edu import Align, World, load_run
from align_edu.evaluation import evaluate_neighbours, evaluate_probe, evaluate_zero_shot
from align_edu.io import write_json
from align_edu.training import Run
from align_edu.training.run import software_versions
from align_edu.world.arithmetic import measure_arithmetic
from align_edu.world.tasks import TASKS

ROWS = ("zero-shot, one prompt", "zero-shot, ensemble", "nearest neighbour", "linear probe")


def measure(run: Run, tasks: Path) -> dict[str, dict[str, float]]:
    """The figures of one run, by task and row, and of its arithmetic."""
    found = {}
    for task in TASKS:
        named = evaluate_zero_shot(run, tasks / task)
        found[task] = {
            ROWS[0]: named["single"]["top-1"],
            ROWS[1]: named["ensemble"]["top-1"],
            ROWS[2]: evaluate_neighbours(run, tasks / task)["neighbours"]["R@1"],
            ROWS[3]: evaluate_probe(run, tasks / task)["accuracy"],
        }
    for name, part in measure_arithmetic(run)["attributes"].items():
        ways = ("image and text", "one to one", "image", "text")
        found[f"image ± {name}"] = {way: part[way]["success@1"] for way in ways}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for task in TASKS:
            World(seed=77).write_task(Path(folder) / task, task, test=480)
        runs = [load_run(path) for path in args.runs]
        new = Align(runs[0].preset, runs[0].tokenizer.get_vocab_size(), seed=0).eval()
        runs.append(Run(args.runs[0], runs[0].preset, runs[0].tokenizer, new))
        figures = [measure(run, Path(folder)) for run in runs]
    *trained, random = figures
    print(f"percent: mean of {len(trained)} runs (lowest to highest), and random weights")
    for name, rows in random.items():
        for row, blind in rows.items():
            values = [100 * run[name][row] for run in trained]
            print(
                f"{name:18} {row:22} {statistics.mean(values):5.1f}"
                f" ({min(values):5.1f} to {max(values):5.1f})  random {100 * blind:5.1f}"
            )
    if args.out:
        names = [path.name for path in args.runs]
        record = {"runs": names, "trained": trained, "random": random}
        write_json(args.out, record | {"versions": software_versions()})


if __name__ == "__main__":
    main()
