"""Figures in one style, and the report of a run."""

from align_edu.show.charts import (
    funnel_bars,
    hash_curve,
    recall_bars,
    softmax_bars,
    temperature_curves,
    training_curves,
)
from align_edu.show.matrices import matrix_row, rule_matrix, similarity_matrix
from align_edu.show.pictures import picture_grid, save_search_picture, search_gallery
from align_edu.show.report import Found, Sample, write_report
from align_edu.show.style import to_png

__all__ = [
    "Found",
    "Sample",
    "funnel_bars",
    "hash_curve",
    "matrix_row",
    "picture_grid",
    "recall_bars",
    "rule_matrix",
    "save_search_picture",
    "search_gallery",
    "similarity_matrix",
    "softmax_bars",
    "temperature_curves",
    "to_png",
    "training_curves",
    "write_report",
]
