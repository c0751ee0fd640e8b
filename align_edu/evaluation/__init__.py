"""Measures of a trained model, by the protocols of the paper; names load when first used."""

from importlib import import_module
from typing import Any

_NAMES_OF = {
    "classifier": "FineTuning Probe train_all train_head train_probe",
    "cxc": "Ratings cxc_table evaluate_cxc measure_cxc read_ratings",
    "datasets": "LabelledImages embed_labelled read_labelled read_templates",
    "neighbours": "evaluate_neighbours neighbour_ranks neighbour_recall neighbours_table",
    "protocols": "evaluate_run make_record write_result",
    "ranks": "bootstrap_interval spearman",
    "retrieval": "evaluate_retrieval retrieval_ranks retrieval_recall retrieval_table",
    "transfer": "accuracy_table evaluate_few_shot evaluate_fine_tune evaluate_probe few_shot_table",
    "zero_shot": "class_ranks class_vectors evaluate_zero_shot fill_templates zero_shot_table",
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names.split()}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"align_edu.evaluation has no {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
