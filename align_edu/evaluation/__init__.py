"""Measures of a trained model, by the protocols of the paper.

protocols.toml lists the protocols; `evaluate_run` measures by one of them and records where the
result comes from. The functions that measure load when first used.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from align_edu import names_on_first_use
from align_edu.io import InputError, fill_template, fingerprint, weights_of

_NAMES_OF = {
    "cxc": "Ratings evaluate_cxc measure_cxc read_ratings spearman",
    "datasets": "LabelledImages embed_labelled read_labelled read_templates",
    "languages": "evaluate_languages evaluate_words",
    "retrieval": "bootstrap_interval evaluate_retrieval retrieval_ranks retrieval_recall",
    "transfer": "Probe evaluate_fine_tune evaluate_probe train_all train_head train_probe",
    "zero_shot": "class_ranks class_vectors evaluate_few_shot evaluate_neighbours"
    " evaluate_zero_shot fill_templates neighbour_ranks neighbour_recall",
}
__getattr__, __dir__ = names_on_first_use(__name__, _NAMES_OF)
__all__ = [*__dir__(), "evaluate_run", "make_record", "result_file", "result_table"]


@dataclass(frozen=True)
class Protocol:
    """One protocol; protocols.toml explains the fields."""

    about: str
    evaluate: str
    options: list[str]
    draws: str = ""
    version: int = 1  # only figures of the same version may be compared


_TABLE = tomllib.loads(Path(__file__).with_name("protocols.toml").read_text(encoding="utf-8"))
PROTOCOLS = {name: Protocol(**fields) for name, fields in _TABLE.items()}


def evaluate_run(
    run: Any, task: str, data: str | Path | None, *, progress: bool = False, **options: Any
) -> tuple[dict[str, Any], str]:
    """Measure a model by one protocol; return the record for a file, and a table for people.

    run: from `load_encoder`. task: a key of ``PROTOCOLS``. data: what the protocol measures on;
    None to let the toy world draw it. options: of the protocol; those that are None are left out.
    Raises InputError for data or an option that the protocol does not take.
    """
    protocol = PROTOCOLS[task]
    given = {name: value for name, value in options.items() if value is not None}
    for name in given.keys() - set(protocol.options):
        option = name.replace("_", "-")
        raise InputError(f"--{option}: the task {task} does not take it; leave it out")
    if data is None and not protocol.draws:
        raise InputError(f"--task {task}: needs --benchmark DIR")
    if data is not None and protocol.draws == "itself":
        raise InputError(f"--task {task}: draws its own; leave --benchmark out")
    inputs: list[Any] = [run]
    if protocol.draws != "itself":
        inputs.append(resolve_name(f"align_edu.{protocol.draws}")() if data is None else data)
    evaluate = resolve_name(f"align_edu.{protocol.evaluate}")
    result = evaluate(*inputs, progress=progress, **given)
    return make_record(task, run.folder, data, result), result_table(task, result)


def make_record(
    task: str, run_dir: str | Path, data: str | Path | None, result: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a result with its provenance; data: None where the toy world drew it."""
    from align_edu.training.run import software_versions

    source = {"name": "drawn by the toy world"}
    if data is not None:
        place = Path(data) if Path(data).exists() else Path(str(data).partition(":")[2])
        source = {"name": Path(data).resolve().name, "sha256": fingerprint(place)}
    run = {"name": Path(run_dir).resolve().name, "sha256": weights_of(run_dir)}
    record = {"task": task, "protocol": PROTOCOLS[task].version, "run": run, "data": source}
    return record | {"versions": software_versions(), **result}


def result_file(run_dir: str | Path, name: str) -> Path:
    """Return ``run_dir/results/name.json``; raise InputError for a name that is not a file name."""
    if not re.fullmatch(r"[^/\\\x00-\x1f]{1,200}", name):
        raise InputError(f"result name {name!r}: give a short file name without folders")
    return Path(run_dir) / "results" / f"{name}.json"


def result_table(task: str, result: Mapping[str, Any]) -> str:
    """Return the result of a protocol, a key of ``PROTOCOLS``, as a table for the terminal."""
    file = Path(__file__).with_name("tables.txt.j2")
    return fill_template(file, task=task, result=result).rstrip("\n")
