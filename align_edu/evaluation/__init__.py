"""How good a model is, by the protocols of the paper."""

from align_edu.evaluation.record import bootstrap_interval, make_record, write_result
from align_edu.evaluation.retrieval import (
    evaluate_retrieval,
    retrieval_ranks,
    retrieval_recall,
    retrieval_table,
)

__all__ = [
    "bootstrap_interval",
    "evaluate_retrieval",
    "make_record",
    "retrieval_ranks",
    "retrieval_recall",
    "retrieval_table",
    "write_result",
]
