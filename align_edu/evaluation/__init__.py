"""Measures of a trained model, by the protocols of the paper; names load when first used."""

from align_edu import names_on_first_use

_NAMES_OF = {
    "classifier": "Probe train_all train_head train_probe",
    "cxc": "Ratings cxc_table evaluate_cxc measure_cxc read_ratings",
    "datasets": "LabelledImages embed_labelled read_labelled read_templates",
    "languages": "evaluate_languages evaluate_words languages_table words_table",
    "protocols": "evaluate_run make_record result_file",
    "ranks": "bootstrap_interval spearman",
    "retrieval": "evaluate_retrieval retrieval_ranks retrieval_recall retrieval_table",
    "transfer": "accuracy_table evaluate_few_shot evaluate_fine_tune evaluate_probe few_shot_table",
    "zero_shot": "class_ranks class_vectors evaluate_neighbours evaluate_zero_shot fill_templates"
    " neighbour_ranks neighbour_recall neighbours_table zero_shot_table",
}
__getattr__, __dir__ = names_on_first_use(__name__, _NAMES_OF)
__all__ = __dir__()
