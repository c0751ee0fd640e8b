"""The filters of the paper's Section 3, each rule a named expression, and their funnel."""

from align_edu.filters.funnel import Funnel, Step
from align_edu.filters.rules import Rules
from align_edu.filters.run import filter_pairs

__all__ = ["Funnel", "Rules", "Step", "filter_pairs"]
