"""The table of protocols, which the command line, its help and the records read.

Functions are named, not imported: `align-edu --help` needs no torch, and evaluation does not
depend on the toy world, whose protocols stand here too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Protocol:
    """One protocol.

    Attributes
    ----------
    about : what it measures, for the help.
    module, evaluate, table : a module and two of its functions: ``evaluate(run, data,
        progress=..., **options)`` returns plain JSON values, ``table`` formats them.
    options : keywords of ``evaluate`` that the command line may set.
    needs_data : False where the toy world draws the data.
    version : only figures of the same version may be compared.
    """

    about: str
    module: str
    evaluate: str
    table: str
    options: tuple[str, ...] = ("split",)
    needs_data: bool = True
    version: int = 1

    def load(self, function: str) -> Callable[..., Any]:
        """Import the module and return one of its functions."""
        loaded: Callable[..., Any] = getattr(import_module(f"align_edu.{self.module}"), function)
        return loaded


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
        "evaluation.transfer", "evaluate_probe", "probe_table", ("split", "seed")),
    "fine-tune": Protocol("a classifier with all layers trained", "evaluation.transfer",
        "evaluate_fine_tune", "fine_tune_table", ("split", "epochs", "seed")),
    "few-shot": Protocol("transfer from 1,000 pictures", "evaluation.few_shot",
        "evaluate_few_shot", "few_shot_table", ("split", "epochs")),
    "arithmetic": Protocol("image ± text queries on drawn scenes", "world.arithmetic",
        "measure_arithmetic", "arithmetic_table", ("queries", "seed"), needs_data=False),
    "kinds": Protocol("searches for kinds of objects in toy benchmarks", "world.kind_search",
        "measure_kind_search", "kind_search_table", ()),
}
# fmt: on
