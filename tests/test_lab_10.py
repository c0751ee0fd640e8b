"""Notebook 10: checks name each mistake, right answers pass, the quiz is recomputed."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score

from align_edu.lab.checks import find_mistake
from align_edu.lab.exercises import find_exercise
from align_edu.lab.quiz import load_questions
from tests.quiz_options import right_option


@pytest.mark.parametrize("name", ["ensemble", "top_k_accuracy"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_wrong_answer_is_rejected_by_its_own_sentence(name: str, seed: int) -> None:
    exercise = find_exercise(name)
    assert len(exercise.wrong) >= 8
    for wrong in exercise.wrong:
        assert str(find_mistake(exercise, wrong.function, seed)).endswith(wrong.mistake)


# Right answers, written in unusual ways.


def ensemble_by_loops(prompts: torch.Tensor) -> torch.Tensor:
    rows = []
    for prompts_of_class in prompts.double().numpy():
        total = sum(vector / np.linalg.norm(vector) for vector in prompts_of_class)
        rows.append(total / np.linalg.norm(total))
    return torch.tensor(np.array(rows), dtype=torch.float32)


def ensemble_by_einsum(prompts: torch.Tensor) -> torch.Tensor:
    total = torch.einsum("kpd,kp->kd", prompts, prompts.square().sum(dim=2).rsqrt())
    return total / torch.einsum("kd,kd->k", total, total).sqrt()[:, None]


def accuracy_by_sorting(similarity: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    hits = 0
    for row, label in zip(similarity.tolist(), labels.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c == label))
        hits += label in order[:k]
    return hits / len(labels)


def accuracy_by_the_kth_best_of_the_others(
    similarity: torch.Tensor, labels: torch.Tensor, k: int
) -> torch.Tensor:
    right = similarity[torch.arange(len(labels)), labels]
    others = similarity.scatter(1, labels[:, None], -torch.inf).sort(dim=1, descending=True).values
    return (others[:, k - 1] < right).float().mean()


RIGHT = [
    ("ensemble", ensemble_by_loops),
    ("ensemble", ensemble_by_einsum),
    ("top_k_accuracy", accuracy_by_sorting),
    ("top_k_accuracy", accuracy_by_the_kth_best_of_the_others),
]


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_an_unusual_right_answer_passes(name: str, function: Any) -> None:
    for seed in range(5):
        assert find_mistake(find_exercise(name), function, seed) is None


@pytest.mark.parametrize("k", [1, 3])
def test_our_accuracy_is_that_of_scikit_learn_where_nothing_ties(k: int) -> None:
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(60) % 7
    scores = torch.randn(60, 7, generator=generator)
    ours = find_exercise("top_k_accuracy").reference(scores, labels, k)
    theirs = top_k_accuracy_score(labels, scores.numpy(), k=k, labels=range(7))
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_the_quiz_has_one_right_option_each_and_its_numbers_are_recomputed() -> None:
    for question in load_questions("10"):
        assert sum(option.right for option in question.options) == 1
        assert all(option.feedback for option in question.options)
    assert right_option("10", "five best") == f"{5 / 40:g}"
    ours = find_exercise("ensemble").reference(torch.tensor([[[2.0, 0.0], [0.0, 6.0]]]))
    assert right_option("10", "two prompts") == f"{ours[0, 0]:.2f}"
    feedback = {o.text: o.feedback for q in load_questions("10") for o in q.options}
    plain = torch.tensor([1.0, 3.0])
    assert "longer one counts more" in feedback[f"{plain[0] / plain.norm():.2f}"]
    assert "shorter than 1" in feedback["0.50"]
    assert "six times in a hundred" in feedback["It has learned nothing."] and 100 // 16 == 6
