"""Results with their provenance (model, data, protocol version) and their bootstrap intervals."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from align_edu.evaluation.protocols import PROTOCOLS
from align_edu.io import InputError, fingerprint, write_json

RESAMPLES = 1_000
LEVEL = 0.95


def evaluate_run(
    run: Any, task: str, data: str | Path | None, *, progress: bool = False, **options: Any
) -> tuple[dict[str, Any], str]:
    """Measure a model by one protocol; return the record for a file, and a table for people.

    run: from `load_encoder`. task: a key of ``PROTOCOLS``. data: a benchmark or labelled
    pictures; None for a protocol that draws its data. options: of the protocol; those that are
    None are left out.
    Raises InputError for data that do not fit, and for an option that the protocol lacks.
    """
    protocol = PROTOCOLS[task]
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in protocol.options:
            raise InputError(
                f"--{name.replace('_', '-')}: the task {task} does not take it; leave it out"
            )
    if protocol.needs_data != (data is not None):
        remedy = "needs --benchmark DIR" if data is None else "draws its own; leave --benchmark out"
        raise InputError(f"--task {task}: {remedy}")
    inputs = (run,) if data is None else (run, data)
    result = protocol.load(protocol.evaluate)(*inputs, progress=progress, **given)
    return make_record(task, run.folder, data, result), protocol.load(protocol.table)(result)


def make_record(
    task: str, run_dir: str | Path, data: str | Path | None, result: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a result together with its provenance.

    task: a key of ``PROTOCOLS``. run_dir: folder of the model. data: the file or folder that
    was measured on, None where the toy world drew it. A data folder is identified by the names
    and sizes of its files, a file by its bytes.
    """
    from align_edu.training.run import software_versions

    if data is None:
        source = {"name": "drawn by the toy world"}
    else:
        source = {"name": Path(data).resolve().name, "sha256": fingerprint(Path(data))}
    return {
        "task": task,
        "protocol": PROTOCOLS[task].version,
        "run": {"name": Path(run_dir).resolve().name, "sha256": weights_of(run_dir)},
        "data": source,
        "versions": software_versions(),
        **result,
    }


def weights_of(folder: str | Path) -> str | None:
    """Return the SHA-256 of a model's weights, or None where the folder holds none.

    Weights in several files, as large AlignModels have them, give the hash of their hashes.
    """
    folder = Path(folder)
    whole = folder / "model.safetensors"
    parts = [whole] if whole.is_file() else sorted(folder.glob("model-*.safetensors"))
    stats = [(part, part.stat()) for part in parts]
    hashes = [_file_hash(part.resolve(), stat.st_mtime_ns, stat.st_size) for part, stat in stats]
    if len(hashes) < 2:
        return hashes[0] if hashes else None
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


@lru_cache(maxsize=64)
def _file_hash(path: Path, changed: int, size: int) -> str:
    """Hash a file once for each change of it: each search asks for it."""
    return fingerprint(path)


def write_result(run_dir: str | Path, name: str, result: Mapping[str, Any]) -> Path:
    """Write a result to ``run_dir/results/name.json``, whole or not at all; return the file.

    Raises InputError when it cannot be written.
    """
    path = Path(run_dir) / "results" / f"{name}.json"
    write_json(path, dict(result))
    return path


def share_table(rows: Sequence[tuple[str, float, list[float] | None]], note: str) -> str:
    """Return rows of (label, share, interval) in percent, and a note, for the terminal.

    >>> print(share_table([("accuracy", 0.5, [0.4, 0.6]), ("chance", 0.25, None)], "90 tested"))
    accuracy               50.0   (40.0 to 60.0)
    chance                 25.0
    90 tested
    """
    lines = []
    for label, share, interval in rows:
        low, high = (100 * edge for edge in interval or (0, 0))
        tail = f"   ({low:.1f} to {high:.1f})" if interval else ""
        lines.append(f"{label:<20}{100 * share:7.1f}{tail}")
    return "\n".join([*lines, note])


def bootstrap_interval(
    values: Tensor, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> list[float]:
    """Return the bootstrap interval of the mean of ``values``: [low, high].

    values: (Q,), Q > 0, one number per query, such as 1 for a hit and 0 for a miss. The queries
    are resampled with replacement; the interval holds the middle ``level`` of the means. The
    number of hits in a resample of hits and misses is binomial, and is drawn directly.

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
