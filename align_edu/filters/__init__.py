"""The filters of the paper's Section 3, each rule a named expression, and their funnel."""

from align_edu.filters.funnel import Funnel, Step
from align_edu.filters.rules import RULES, Rules, rules_from_text
from align_edu.filters.run import filter_pairs

__all__ = ["RULES", "Funnel", "Rules", "Step", "filter_pairs", "rules_from_text"]
