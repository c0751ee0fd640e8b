"""Record a toy run on eight virtual XLA devices of this processor, and the same run without XLA.

    python tests/benchmarks/virtual_devices.py --out data_samples/recorded_runs/virtual_devices.json

Both are `align-edu train` on the bundled raw pairs, with the toy preset's towers and the paper's
optimiser. It takes some minutes: XLA compiles the towers, and eight devices share the cores.
"""

import json
import os
import tempfile
from pathlib import Path
from unittest.mock import patch

from align_edu.training.metrics import read_metrics
from tests.benchmarks.measure import DATA, keep_record, options
from tests.processes import start_training

DEVICES, STEPS = 8, 12
CHANGES = {
    "recipe.optimizer": "lamb", "recipe.learning_rate": "0.01", "recipe.batch_size": "64",
    "recipe.log_steps": "1",
}  # fmt: skip
XLA = {
    "PJRT_DEVICE": "CPU", "CPU_NUM_DEVICES": str(DEVICES), "TF_CPP_MIN_LOG_LEVEL": "3",
    "XLA_FLAGS": "--xla_backend_optimization_level=1",
}  # fmt: skip


def losses(out: Path, device: str, environment: dict[str, str]) -> list[float]:
    """The loss of each step of a run on a device."""
    with patch.dict(os.environ, environment):
        run = start_training(CHANGES, DATA / "raw_pairs", out, STEPS, "--device", device)
    _, errors = run.communicate()
    assert run.returncode == 0, errors
    return [row["loss"] for row in read_metrics(out)]


if __name__ == "__main__":
    out = options(__doc__, out="").out
    with tempfile.TemporaryDirectory() as folder:
        record = {"devices": DEVICES, "changes": CHANGES}
        record["on_devices"] = losses(Path(folder) / "xla", "xla", XLA)
        record["without_xla"] = losses(Path(folder) / "cpu", "cpu", {})
    keep_record(out, record)
    print(json.dumps(record, indent=1))
