"""One more process of a run on this machine: ``python -m align_edu.training.peer JOB RANK``."""

import sys
from pathlib import Path

import torch

from align_edu.io import TrainingStopped, read_json
from align_edu.model.wordpiece import load_wordpiece
from align_edu.pairs.shards import open_pairs
from align_edu.presets import preset_from_dict
from align_edu.training.batches import TrainingBatches
from align_edu.training.devices import Machine
from align_edu.training.loop import go_through
from align_edu.training.processes import join
from align_edu.training.recipe import Budget


def main(job_file: str, rank: int) -> None:
    """Compute this process's rows of each batch until the run is over; write nothing."""
    job = read_json(Path(job_file))
    torch.set_num_threads(1)
    machine = Machine(torch.device("cpu"), join(Path(job["meet"]), rank, job["processes"]))
    preset = preset_from_dict(job["preset"])
    batches = TrainingBatches(
        open_pairs(job["data"]), load_wordpiece(Path(job["tokenizer"])), preset, job["seed"], False,
        rows=machine.rows(preset.recipe.batch_size), cache=Path(job["cache"]),
    )  # fmt: skip
    budget = Budget(job["steps"], job["minutes"])
    go_through(batches, budget, machine, Path(job["out"]), job["start"])


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except TrainingStopped:
        sys.exit(1)  # process 0 gives the reason
