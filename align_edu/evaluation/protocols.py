"""The table of protocols, which the command line, its help and the records read.

Functions are named, not imported: `align-edu --help` needs no torch, and evaluation does not
depend on the toy world, whose protocols stand here too.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from align_edu.io import InputError, fingerprint, write_json


@dataclass(frozen=True)
class Protocol:
    """One protocol.

    Attributes
    ----------
    about : what it measures, for the help.
    module, evaluate, table : a module and two of its functions: ``evaluate(run, data,
        progress=..., **options)`` returns plain JSON values, ``table`` formats them.
    options : keywords of ``evaluate`` that the command line may set.
    draws : what the toy world does without data: "" if it cannot draw any, "itself" where
        ``evaluate`` draws and takes no data, or MODULE.FUNCTION that returns the data.
    version : only figures of the same version may be compared.
    """

    about: str
    module: str
    evaluate: str
    table: str
    options: tuple[str, ...] = ("split",)
    draws: str = ""
    version: int = 1


# fmt: off
PROTOCOLS: dict[str, Protocol] = {
    "retrieval": Protocol("recall between images and texts",
        "evaluation.retrieval", "evaluate_retrieval", "retrieval_table"),
    "cxc": Protocol("Crisscrossed Captions", "evaluation.cxc", "evaluate_cxc", "cxc_table",
        ("split", "ratings", "own_pairs", "seed")),
    "zero-shot": Protocol("classification by prompts",
        "evaluation.zero_shot", "evaluate_zero_shot", "zero_shot_table", ("split", "templates")),
    "neighbours": Protocol("classes of the nearest training pictures",
        "evaluation.neighbours", "evaluate_neighbours", "neighbours_table"),
    "probe": Protocol("a linear classifier on frozen features",
        "evaluation.transfer", "evaluate_probe", "accuracy_table", ("split", "seed")),
    "fine-tune": Protocol("a classifier with all layers trained", "evaluation.transfer",
        "evaluate_fine_tune", "accuracy_table", ("split", "epochs", "seed")),
    "few-shot": Protocol("transfer from 1,000 pictures", "evaluation.transfer",
        "evaluate_few_shot", "few_shot_table", ("split", "epochs")),
    "languages": Protocol("recall in several languages (Multi30K's files)", "evaluation.languages",
        "evaluate_languages", "languages_table", ("split",), "world.tasks.toy_captions"),
    "words": Protocol("similarity of words (SimLex-999's file)", "evaluation.languages",
        "evaluate_words", "words_table", ("seed",), "world.tasks.toy_word_pairs"),
    "arithmetic": Protocol("image ± text queries on drawn scenes", "world.arithmetic",
        "measure_arithmetic", "arithmetic_table", ("queries", "seed"), "itself"),
    "kinds": Protocol("searches for kinds of objects in toy benchmarks", "world.benchmark",
        "measure_kind_search", "kind_search_table", ()),
}
# fmt: on


def evaluate_run(
    run: Any, task: str, data: str | Path | None, *, progress: bool = False, **options: Any
) -> tuple[dict[str, Any], str]:
    """Measure a model by one protocol; return the record for a file, and a table for people.

    run: from `load_encoder`. task: a key of ``PROTOCOLS``. data: what the protocol measures on;
    None to let the toy world draw it. options: of the protocol; those that are None are left out.
    Raises InputError for data that do not fit, and for an option that the protocol lacks.
    """
    protocol = PROTOCOLS[task]
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in protocol.options:
            raise InputError(
                f"--{name.replace('_', '-')}: the task {task} does not take it; leave it out"
            )
    if data is None and not protocol.draws:
        raise InputError(f"--task {task}: needs --benchmark DIR")
    if data is not None and protocol.draws == "itself":
        raise InputError(f"--task {task}: draws its own; leave --benchmark out")
    measured: Any = data
    if data is None and protocol.draws != "itself":
        measured = _function(protocol.draws)()
    inputs = (run,) if measured is None else (run, measured)
    evaluate = _function(f"{protocol.module}.{protocol.evaluate}")
    result = evaluate(*inputs, progress=progress, **given)
    table = _function(f"{protocol.module}.{protocol.table}")(result)
    return make_record(task, run.folder, data, result), table


def _function(place: str) -> Callable[..., Any]:
    """Import MODULE.FUNCTION of this package."""
    module, _, name = place.rpartition(".")
    function: Callable[..., Any] = getattr(import_module(f"align_edu.{module}"), name)
    return function


def make_record(
    task: str, run_dir: str | Path, data: str | Path | None, result: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a result together with its provenance.

    task: a key of ``PROTOCOLS``. run_dir: folder of the model. data: the file or folder that
    was measured on, None where the toy world drew it. A data folder is identified by the names
    and sizes of its files, a file by its bytes.
    """
    from align_edu.io import weights_of
    from align_edu.training.run import software_versions

    if data is None:
        source = {"name": "drawn by the toy world"}
    else:
        place = Path(data)
        if not place.exists():  # NAME:FOLDER
            place = Path(str(data).partition(":")[2])
        source = {"name": Path(data).resolve().name, "sha256": fingerprint(place)}
    return {
        "task": task,
        "protocol": PROTOCOLS[task].version,
        "run": {"name": Path(run_dir).resolve().name, "sha256": weights_of(run_dir)},
        "data": source,
        "versions": software_versions(),
        **result,
    }


def result_file(run_dir: str | Path, name: str) -> Path:
    """Return ``run_dir/results/name.json``; raise InputError for a name that is not a file name.

    >>> result_file("run", "probe-pets").as_posix()
    'run/results/probe-pets.json'
    """
    if not re.fullmatch(r"[^/\\\x00-\x1f]{1,200}", name):
        raise InputError(f"result name {name!r}: give a short file name without folders")
    return Path(run_dir) / "results" / f"{name}.json"


def write_result(run_dir: str | Path, name: str, result: Mapping[str, Any]) -> Path:
    """Write a result to ``run_dir/results/name.json``, whole or not at all; return the file.

    Raises InputError as `result_file`, and when it cannot be written.
    """
    path = result_file(run_dir, name)
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
