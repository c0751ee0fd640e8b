"""Every protocol by its name: what it is given, and how its result is told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_edu.evaluation.cxc import cxc_table, evaluate_cxc
from align_edu.evaluation.few_shot import evaluate_few_shot, few_shot_table
from align_edu.evaluation.fine_tune import evaluate_fine_tune, fine_tune_table
from align_edu.evaluation.neighbours import evaluate_neighbours, neighbours_table
from align_edu.evaluation.probe import evaluate_probe, probe_table
from align_edu.evaluation.record import make_record
from align_edu.evaluation.retrieval import evaluate_retrieval, retrieval_table
from align_edu.evaluation.zero_shot import evaluate_zero_shot, zero_shot_table
from align_edu.io import InputError
from align_edu.training.run import Run
from align_edu.world.arithmetic import arithmetic_table, measure_arithmetic
from align_edu.world.kind_search import kind_search_table, measure_kind_search


@dataclass(frozen=True)
class Protocol:
    """One way to measure a run.

    evaluate: (run, data, progress=..., and options) to a result of plain JSON values. table:
    tells the result. options: the keywords that evaluate takes. needs_data: False where the toy
    world draws what is asked.
    """

    evaluate: Callable[..., dict[str, Any]]
    table: Callable[[Mapping[str, Any]], str]
    options: tuple[str, ...] = ("split",)
    needs_data: bool = True


PROTOCOL_OF: dict[str, Protocol] = {
    "retrieval": Protocol(evaluate_retrieval, retrieval_table),
    "cxc": Protocol(evaluate_cxc, cxc_table, ("split", "ratings", "own_pairs", "seed")),
    "zero-shot": Protocol(evaluate_zero_shot, zero_shot_table, ("split", "templates")),
    "neighbours": Protocol(evaluate_neighbours, neighbours_table),
    "probe": Protocol(evaluate_probe, probe_table, ("split", "seed")),
    "fine-tune": Protocol(evaluate_fine_tune, fine_tune_table, ("split", "epochs", "seed")),
    "few-shot": Protocol(evaluate_few_shot, few_shot_table, ("split", "epochs")),
    "arithmetic": Protocol(measure_arithmetic, arithmetic_table, ("queries", "seed"), False),
    "kinds": Protocol(measure_kind_search, kind_search_table, ()),
}


def evaluate_run(
    run: Run, task: str, data: str | Path | None, *, progress: bool = False, **options: Any
) -> tuple[dict[str, Any], str]:
    """Measure a run by one protocol; return the record for a file, and the same as a table.

    task: a key of ``PROTOCOL_OF``. data: a benchmark, or labelled pictures; None for a protocol
    that draws its own. options: what the protocol takes besides; those that are None are left
    out. Raises InputError for bad data, and for an option that the protocol does not take.
    """
    protocol = PROTOCOL_OF[task]
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in protocol.options:
            raise InputError(
                f"--{name.replace('_', '-')}: the task {task} does not take it; leave it out"
            )
    if protocol.needs_data != (data is not None):
        wanted = "needs --benchmark DIR" if data is None else "draws its own; leave --benchmark out"
        raise InputError(f"--task {task}: {wanted}")
    inputs = (run,) if data is None else (run, data)
    result = protocol.evaluate(*inputs, progress=progress, **given)
    return make_record(task, run.folder, data, result), protocol.table(result)
