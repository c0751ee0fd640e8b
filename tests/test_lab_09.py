"""Notebook 09: checks name each mistake, right answers pass, the quiz is recomputed."""

from typing import Any

import pytest
import torch
from scipy.stats import rankdata

from align_edu.evaluation.retrieval import retrieval_recall
from align_edu.lab.checks import find_mistake
from align_edu.lab.exercises import find_exercise
from align_edu.lab.quiz import load_questions
from tests.quiz_options import right_option


@pytest.mark.parametrize("name", ["recall_at_k", "average_ranks"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_wrong_answer_is_rejected_by_its_own_sentence(name: str, seed: int) -> None:
    exercise = find_exercise(name)
    assert len(exercise.wrong) >= 8
    assert len({wrong.mistake for wrong in exercise.wrong}) == len(exercise.wrong)
    for wrong in exercise.wrong:
        assert str(find_mistake(exercise, wrong.function, seed)).endswith(wrong.mistake)


def test_our_answers_to_the_cases_worked_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    recall, ranks = find_exercise("recall_at_k"), find_exercise("average_ranks")
    by_hand = [recall.reference(*case) for case in recall.cases(generator)[:6]]
    assert by_hand == [0.5, 1.0, 0.5, 1.0, 0.0, 1.0]
    assert [ranks.reference(*case) for case in ranks.cases(generator)[:6]] == [
        [2.5, 4.0, 2.5, 1.0],
        [3.0, 1.0, 2.0],
        [2.0, 2.0, 2.0],
        [1.0, 4.0, 2.0, 3.0],
        [2.0, 4.5, 4.5, 4.5, 1.0, 4.5],
        [1.0],
    ]


# Right answers, written in unusual ways.


def recall_by_sorting(similarity: torch.Tensor, owner: torch.Tensor, k: int) -> float:
    hits = 0
    for image, row in enumerate(similarity.tolist()):
        order = sorted(range(len(row)), key=lambda t: (-row[t], int(owner[t]) == image))
        hits += any(int(owner[t]) == image for t in order[:k])
    return hits / len(similarity)


def recall_by_the_kth_best_wrong_text(
    similarity: torch.Tensor, owner: torch.Tensor, k: int
) -> torch.Tensor:
    """A hit beats the k-th best text of other images; with fewer than k, none to beat."""
    hits = []
    for image, row in enumerate(similarity):
        wrong = row[owner != image].sort(descending=True).values
        best = row[owner == image].max()
        hits.append(len(wrong) < k or best > wrong[k - 1])
    return torch.tensor(hits).float().mean()


def ranks_by_scipy(values: list[float]) -> list[float]:
    return rankdata(values).tolist()  # type: ignore[no-any-return]


def ranks_by_two_sorts(values: list[float]) -> list[float]:
    ordered, n = sorted(values), len(values)
    last = {value: place + 1 for place, value in enumerate(ordered)}
    first = {value: n - place for place, value in enumerate(reversed(ordered))}
    return [(first[value] + last[value]) / 2 for value in values]


RIGHT = [
    ("recall_at_k", recall_by_sorting),
    ("recall_at_k", recall_by_the_kth_best_wrong_text),
    ("average_ranks", ranks_by_scipy),
    ("average_ranks", ranks_by_two_sorts),
]


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_an_unusual_right_answer_passes(name: str, function: Any) -> None:
    for seed in range(5):
        assert find_mistake(find_exercise(name), function, seed) is None


def test_our_recall_is_that_of_the_library() -> None:
    generator = torch.Generator().manual_seed(3)
    owner = torch.arange(12).repeat_interleave(5)
    image, text = (torch.randn(n, 6, generator=generator) for n in (12, 60))
    library = retrieval_recall(image, text, owner, ks=(1, 5))["image_to_text"]
    similarity = (image.double() @ text.double().T).float()
    for k in (1, 5):
        ours = find_exercise("recall_at_k").reference(similarity, owner, k)
        assert ours == pytest.approx(library[f"R@{k}"], abs=1e-12)


def wrong_feedback(text: str) -> str:
    options = (option for q in load_questions("09") for option in q.options)
    return next(o.feedback for o in options if o.text == text and not o.right)


def test_each_question_has_one_right_option_and_feedback_for_all() -> None:
    questions = load_questions("09")
    assert 4 <= len(questions) <= 5
    for question in questions:
        assert sum(option.right for option in question.options) == 1
        assert all(option.feedback and option.text for option in question.options)
        assert "Section" in question.paper


def test_numbers_in_the_quiz_are_recomputed() -> None:
    ranks = [4, 7, 12, 30, 90]
    similarity = torch.zeros(1, 100)
    similarity[0] = 1 - torch.arange(100) / 100  # text t has rank t + 1
    others = torch.full((99, 100), -1.0)
    owner = torch.arange(1, 101).clamp(max=99)
    owner[torch.tensor(ranks) - 1] = 0
    recall = find_exercise("recall_at_k").reference
    added = 100 * recall(torch.cat([similarity, others]), owner, 5)
    assert right_option("09", "ranks 4, 7, 12, 30 and 90") == f"{added:g}"
    assert "share" in wrong_feedback(f"{sum(rank <= 5 for rank in ranks) / len(ranks):g}")
    same = torch.ones(1_000, 2)
    collapsed = retrieval_recall(same, same, range(1_000), ks=(1,))["text_to_image"]["R@1"]
    assert right_option("09", "broken model").startswith(f"{collapsed:.0%}".replace("%", " %"))
    assert right_option("09", "MSCOCO") == f"{100 * 10 / 5_000:g} %"
    assert "Flickr30K" in wrong_feedback(f"{100 * 10 / 1_000:g} %")
    assert "R@1" in wrong_feedback(f"{100 * 1 / 5_000:g} %")
    shared, ordinal, dense = (
        ", ".join(f"{rank:g}" for rank in rankdata([0.3, 0.9, 0.3, 0.1], method=method))
        for method in ("average", "ordinal", "dense")
    )
    assert right_option("09", "Spearman") == shared
    assert "order of the list" in wrong_feedback(ordinal)
    assert "two ranks" in wrong_feedback(dense)
