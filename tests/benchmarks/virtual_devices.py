"""Record a toy run on eight virtual XLA devices of this processor, and the same run without XLA.

    python tests/benchmarks/virtual_devices.py --out data_samples/recorded_runs/virtual_devices.json

Both are `align-edu train` on the bundled raw pairs, with the toy preset's towers and the paper's
optimiser. It takes some minutes: XLA compiles the towers, and eight devices share the cores.
"""

import json

from align_edu.lab.stand_ins import losses_of
from tests.benchmarks.measure import DATA, keep_record, options

DEVICES, STEPS = 8, 12
CHANGES = {
    "recipe.optimizer": "lamb", "recipe.learning_rate": "0.01", "recipe.batch_size": "64",
    "recipe.log_steps": "1",
}  # fmt: skip


if __name__ == "__main__":
    out = options(__doc__, out="").out
    changes = " ".join(f"--set {name}={value}" for name, value in CHANGES.items())
    command = f"train --preset toy --data '{DATA / 'raw_pairs'}' --steps {STEPS} {changes}"
    record = {"devices": DEVICES, "changes": CHANGES, "without_xla": losses_of(command)}
    record["on_devices"] = losses_of(f"{command} --device xla", DEVICES)
    keep_record(out, record)
    print(json.dumps(record, indent=1))
