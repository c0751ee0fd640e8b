"""How good a model is: retrieval between images and texts."""

from align_edu.evaluation.retrieval import (
    evaluate_retrieval,
    retrieval_ranks,
    retrieval_recall,
    retrieval_table,
    write_result,
)

__all__ = [
    "evaluate_retrieval",
    "retrieval_ranks",
    "retrieval_recall",
    "retrieval_table",
    "write_result",
]
