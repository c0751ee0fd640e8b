"""Zero-shot, transfer and arithmetic of several runs that differ in their seed: mean and range.

    python tests/benchmarks/protocols_over_seeds.py RUN [RUN ...] [--tables-4-to-6] [--out FILE]

Draws the toy tasks (seed 77; 800 + 200 training and 480 test pictures each), measures each run,
and one with random weights beside them, and prints a table. The runs are those of `align-edu
train` or of the demo (DIR/run). With --tables-4-to-6: the image tower's transfer by the protocols
of these tables, frozen, fine-tuned, and from few pictures.
"""

import tempfile
from pathlib import Path

from align_edu import Align, World, load_run
from align_edu import evaluation as ev
from align_edu.training import Run
from align_edu.world.arithmetic import measure_arithmetic
from align_edu.world.tasks import TASKS
from tests.benchmarks.measure import keep_record, mean_and_range, options

ROWS = ("zero-shot, one prompt", "zero-shot, ensemble", "nearest neighbour", "linear probe")
WAYS = ("image and text", "one to one", "image", "text")


def measure(run: Run, tasks: Path) -> dict[str, dict[str, float]]:
    """The figures of one run, by task and row, and of its arithmetic."""
    found = {}
    for task in TASKS:
        named = ev.evaluate_zero_shot(run, tasks / task)
        shares = [named["single"]["top-1"], named["ensemble"]["top-1"]]
        shares.append(ev.evaluate_neighbours(run, tasks / task)["neighbours"]["R@1"])
        shares.append(ev.evaluate_probe(run, tasks / task)["accuracy"])
        found[task] = dict(zip(ROWS, shares, strict=True))
    for name, part in measure_arithmetic(run)["attributes"].items():
        found[f"image ± {name}"] = {way: part[way]["success@1"] for way in WAYS}
    return found


def transfer(run: Run, tasks: Path) -> dict[str, dict[str, float]]:
    """The figures of one run by the protocols of Tables 4 to 6."""
    found = {}
    for task in ("object", "colour", "place", "rotated"):
        tuned = ev.evaluate_fine_tune(run, tasks / task)
        few = ev.evaluate_few_shot(run, tasks / task)
        found[task] = {"frozen": tuned["frozen"], "fine-tuned": tuned["accuracy"]}
        found[task] |= {"few pictures": few["mean"], "their deviation": few["sd"]}
    return found


if __name__ == "__main__":
    args = options(__doc__, runs=Path, out="", tables_4_to_6=False)
    measured = transfer if args.tables_4_to_6 else measure
    with tempfile.TemporaryDirectory() as folder:
        for task in TASKS:
            World(seed=77).write_task(Path(folder) / task, task, test=480)
        runs = [load_run(path) for path in args.runs]
        new = Align(runs[0].preset, runs[0].tokenizer.get_vocab_size(), seed=0).eval()
        runs.append(Run(args.runs[0], runs[0].preset, runs[0].tokenizer, new))
        *trained, random = (measured(run, Path(folder)) for run in runs)
    print(f"percent: mean of {len(trained)} runs (lowest to highest), and random weights")
    for name, rows in random.items():
        for row, blind in rows.items():
            values = mean_and_range([100 * run[name][row] for run in trained])
            print(f"{name:18} {row:22} {values}  random {100 * blind:5.1f}")
    names = [path.name for path in args.runs]
    keep_record(args.out, {"runs": names, "trained": trained, "random": random})
