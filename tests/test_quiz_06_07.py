"""The quizzes of notebooks 06 and 07: one right option each, and every number recomputed."""

import math

import pytest
import torch

from align_edu.lab.exercises import find_exercise
from align_edu.lab.quiz import load_questions
from align_edu.loss import chance_loss, contrastive_loss
from align_edu.presets import get_preset
from align_edu.training.recipe import learning_rate_factor
from tests.quiz_options import right_option


def feedback_of(number: str) -> dict[str, str]:
    return {o.text: o.feedback for q in load_questions(number) for o in q.options}


@pytest.mark.parametrize("number", ["06", "07"])
def test_each_question_has_one_right_option_and_feedback_for_all(number: str) -> None:
    questions = load_questions(number)
    assert 4 <= len(questions) <= 5
    for question in questions:
        assert sum(option.right for option in question.options) == 1
        assert all(option.feedback and option.text for option in question.options)
        assert "Section" in question.paper or "eq." in question.paper


def test_numbers_in_the_quiz_on_the_loss_are_recomputed() -> None:
    alike, feedback = torch.ones(2, 3), feedback_of("06")
    for sigma in (1.0, 0.01):
        loss = contrastive_loss(alike, alike, sigma, label_smoothing=0.0).item()
        assert right_option("06", "all four cosines are equal") == f"{loss:.2f}"
    assert "one direction" in feedback[f"{math.log(2):.2f}"]
    assert "4 ln 2" in feedback[f"{4 * math.log(2):.2f}"]
    assert right_option("06", "N = 4") == f"{1 - 0.1 + 0.1 / 4:g}"
    assert f"{0.1 / 4:g} each" in feedback["0.925"]
    small, large = f"{chance_loss(128):.2f}", f"{chance_loss(16_384):.2f}"
    assert right_option("06", "a loss of 9").endswith(f"16,384: its chance level is {large}.")
    assert f"The one with batches of 128: its chance level is {small}." in feedback


def test_numbers_in_the_quiz_on_the_temperature_are_recomputed() -> None:
    feedback = feedback_of("07")
    likely = {n: math.exp(1) / (math.exp(1) + (n - 1) * math.exp(-1)) for n in (2, 16_384)}
    assert right_option("07", "How likely is the right text") == f"{likely[16_384]:.4f}"
    assert "N = 2" in feedback[f"{likely[2]:.2f}"]
    best = find_exercise("best_temperature").reference
    assert right_option("07", "stands out by 0.19") == f"Near 1/{1 / best(16_384, 0.1, 0.19):.0f}"
    assert "a gap of 1." in feedback[f"Near 1/{1 / best(16_384, 0.1, 1.0):.0f}"]
    assert right_option("07", "LAMB runs for 500") == f"{0.999**500:.2f}"
    assert "one length" in feedback[f"{1 - 500 * 0.001:.2f}"]
    assert "nine thousand" in feedback[f"{1 / 64:.3f}"]
    recipe, sigma, step = get_preset("l2_large").recipe, 1.0, 0
    while sigma > 1 / 64:
        step += 1
        factor = learning_rate_factor(step / recipe.steps, recipe.warmup)
        sigma *= 1 - recipe.learning_rate * factor
    assert round(step, -3) == 9_000
    last = torch.tensor(1 / 64, dtype=torch.bfloat16)
    assert last - 1e-3 * last == last  # the step rounds back
    assert torch.finfo(torch.bfloat16).eps == 2 / 256
