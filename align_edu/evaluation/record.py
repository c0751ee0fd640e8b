"""What every result holds: the run, the data, the protocol's version, and how sure it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from align_edu.io import fingerprint, write_json

# The version of each protocol: a figure may be compared with figures of the same version only.
PROTOCOLS = {
    "retrieval": 1,
    "cxc": 1,
    "zero-shot": 1,
    "neighbours": 1,
    "probe": 1,
    "fine-tune": 1,
    "few-shot": 1,
    "arithmetic": 1,
    "kinds": 1,
}
RESAMPLES = 1_000
LEVEL = 0.95


def make_record(
    task: str, run_dir: str | Path, data: str | Path | None, result: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a result with all that says where it comes from.

    task: a key of ``PROTOCOLS``. run_dir: the folder of the run. data: the file or folder that
    was measured on; None where the toy world drew it. Of a data folder the names and sizes of
    its files are fingerprinted, of a file its bytes.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "model.safetensors").write_bytes(b"")
    >>> record = make_record("retrieval", folder, folder, {"images": 1})
    >>> record["task"], record["protocol"], record["images"]
    ('retrieval', 1, 1)
    """
    from align_edu.training.run import software_versions

    run_dir = Path(run_dir)
    weights = run_dir / "model.safetensors"
    if data is None:
        source = {"name": "drawn by the toy world"}
    else:
        source = {"name": Path(data).resolve().name, "sha256": fingerprint(Path(data))}
    return {
        "task": task,
        "protocol": PROTOCOLS[task],
        "run": {"name": run_dir.resolve().name, "sha256": fingerprint(weights)},
        "data": source,
        "versions": software_versions(),
        **result,
    }


def write_result(run_dir: str | Path, name: str, result: Mapping[str, Any]) -> Path:
    """Write a result to ``run_dir/results/name.json``, whole or not at all.

    Returns the file. Raises InputError when it cannot be written.

    >>> import tempfile
    >>> write_result(tempfile.mkdtemp(), "retrieval", {"images": 1}).name
    'retrieval.json'
    """
    path = Path(run_dir) / "results" / f"{name}.json"
    write_json(path, dict(result))
    return path


def bootstrap_interval(
    values: Tensor, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> list[float]:
    """Return the bootstrap interval of the mean of ``values``: [low, high].

    values: (Q,) one number a query, such as 1 for a hit and 0 for a miss; Q > 0. The queries
    are drawn again with replacement ``resamples`` times; the interval holds the middle
    ``level`` of the means. Of hits and misses the number of hits is drawn at once: it is
    binomial.

    >>> import torch
    >>> low, high = bootstrap_interval(torch.tensor([1.0, 1.0, 0.0, 1.0] * 25))
    >>> 0.6 < low < 0.75 < high < 0.9
    True
    >>> bootstrap_interval(torch.ones(10))
    [1.0, 1.0]
    """
    numbers = values.double().numpy()
    rng = np.random.default_rng(seed)
    if np.isin(numbers, (0.0, 1.0)).all():
        means = rng.binomial(len(numbers), numbers.mean(), resamples) / len(numbers)
    else:
        draws = (rng.integers(len(numbers), size=len(numbers)) for _ in range(resamples))
        means = np.array([numbers[drawn].mean() for drawn in draws])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]
