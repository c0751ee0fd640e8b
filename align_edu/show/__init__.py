"""Figures in one style, and the report of a run."""

from align_edu import names_on_first_use

_NAMES_OF = {
    "charts": "cost_bars curves funnel_bars interval_dots interval_lines recall_bars"
    " softmax_bars temperature_curves training_curves",
    "grids": "heat_maps matrix_row picture_grid rule_matrix search_gallery similarity_matrix",
    "report": "Found Sample export_page save_search_picture write_report",
    "style": "to_png",
}
__getattr__, __dir__ = names_on_first_use(__name__, _NAMES_OF)
__all__ = __dir__()
