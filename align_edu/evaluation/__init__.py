"""How good a model is, by the protocols of the paper."""

from align_edu.evaluation.cxc import cxc_table, evaluate_cxc, measure_cxc
from align_edu.evaluation.few_shot import evaluate_few_shot, few_shot_table
from align_edu.evaluation.fine_tune import (
    FineTuning,
    evaluate_fine_tune,
    fine_tune_table,
    train_all,
    train_head,
)
from align_edu.evaluation.labelled import LabelledImages, embed_labelled, read_labelled
from align_edu.evaluation.neighbours import (
    evaluate_neighbours,
    neighbour_ranks,
    neighbour_recall,
    neighbours_table,
)
from align_edu.evaluation.probe import Probe, evaluate_probe, probe_table, train_probe
from align_edu.evaluation.record import bootstrap_interval, make_record, write_result
from align_edu.evaluation.retrieval import (
    evaluate_retrieval,
    retrieval_ranks,
    retrieval_recall,
    retrieval_table,
)
from align_edu.evaluation.zero_shot import (
    class_ranks,
    class_vectors,
    evaluate_zero_shot,
    zero_shot_table,
)

__all__ = [
    "FineTuning",
    "LabelledImages",
    "Probe",
    "bootstrap_interval",
    "class_ranks",
    "class_vectors",
    "cxc_table",
    "embed_labelled",
    "evaluate_cxc",
    "evaluate_few_shot",
    "evaluate_fine_tune",
    "evaluate_neighbours",
    "evaluate_probe",
    "evaluate_retrieval",
    "evaluate_zero_shot",
    "few_shot_table",
    "fine_tune_table",
    "make_record",
    "measure_cxc",
    "neighbour_ranks",
    "neighbour_recall",
    "neighbours_table",
    "probe_table",
    "read_labelled",
    "retrieval_ranks",
    "retrieval_recall",
    "retrieval_table",
    "train_all",
    "train_head",
    "train_probe",
    "write_result",
    "zero_shot_table",
]
