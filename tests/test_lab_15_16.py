"""Notebook 15: the check names each mistake, right answers pass, quiz numbers are recomputed."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from align_edu import lab
from align_edu.lab.checks import find_mistake
from align_edu.lab.exercises import find_exercise
from align_edu.lab.quiz import load_questions
from align_edu.presets import get_preset

EXERCISES = ["loss_by_tiles"]


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_wrong_answer_is_rejected_by_its_own_sentence(name: str, seed: int) -> None:
    exercise = find_exercise(name)
    assert len(exercise.wrong) >= 8
    for wrong in exercise.wrong:
        assert str(find_mistake(exercise, wrong.function, seed)).endswith(wrong.mistake)


# Right answers, written in unusual ways.


def tiles_by_running_sums(x: torch.Tensor, y: torch.Tensor, sigma: float, tile: int) -> float:
    n, total = len(x), 0.0
    highest, sums = np.full(n, -np.inf), np.zeros(n)
    for start in range(0, n, tile):
        logits = x[start : start + tile].double().numpy() @ y.double().numpy().T / sigma
        own = logits[np.arange(len(logits)), start + np.arange(len(logits))]
        total += (logsumexp(logits, axis=1) - 2 * own).sum()
        new = np.maximum(highest, logits.max(axis=0))
        sums = sums * np.exp(highest - new) + np.exp(logits - new).sum(axis=0)
        highest = new
    return (total + (highest + np.log(sums)).sum()) / n


def tiles_by_logaddexp(x: torch.Tensor, y: torch.Tensor, sigma: float, tile: int) -> torch.Tensor:
    columns, rows = torch.full((len(y),), -math.inf), torch.zeros(())
    for some, own in zip(x.split(tile), y.split(tile), strict=True):
        logits = some @ y.T / sigma
        columns = torch.logaddexp(columns, logits.logsumexp(dim=0))
        rows = rows + logits.logsumexp(dim=1).sum() - 2 * (some * own).sum() / sigma
    return (rows + columns.sum()) / len(x)


RIGHT = [("loss_by_tiles", tiles_by_running_sums), ("loss_by_tiles", tiles_by_logaddexp)]


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_an_unusual_right_answer_passes(name: str, function: Any) -> None:
    for seed in range(5):
        assert find_mistake(find_exercise(name), function, seed) is None


@pytest.mark.parametrize("name", EXERCISES)
def test_a_stub_passes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def {name}(*given):\n    ...", namespace)
    lab.check(namespace[name])
    assert lab.yours_or_ours(namespace[name]) is find_exercise(name).reference
    assert capsys.readouterr().out.startswith(f"{name}: still to be written.")


def right_option(number: str, words: str) -> str:
    (question,) = (q for q in load_questions(number) if words in q.question)
    return next(option.text for option in question.options if option.right)


@pytest.mark.parametrize("number", ["15"])
def test_each_question_has_one_right_option_and_feedback_for_all(number: str) -> None:
    questions = load_questions(number)
    assert 4 <= len(questions) <= 5
    for question in questions:
        assert sum(option.right for option in question.options) == 1
        assert all(option.feedback and option.text for option in question.options)
        assert "Section" in question.paper


def test_numbers_in_the_quiz_on_batches_are_recomputed() -> None:
    recipe, core = get_preset("l2_large").recipe, get_preset("l2_large").image.ghost_batch
    assert core is not None
    n = recipe.batch_size
    assert right_option("15", "Each of 1,024 cores") == str(core - 1)
    texts = [o.text for q in load_questions("15") for o in q.options]
    assert f"{n - 1:,}" in texts and f"{1024 * (core - 1):,}" in texts
    sizes = f"{4 * n * n / 2**20:,.0f} MiB and {4 * n * 256 / 2**20:.0f} MiB"
    assert right_option("15", "How much memory") == sizes
    assert f"{4 * n / 2**10:.0f} KiB and {4 * 256 / 2**10:.0f} KiB" in texts
    assert f"{n * n / 2**20:.0f} MiB and {n * 256 / 2**20:.0f} MiB" in texts
    assert right_option("15", "does not fit").startswith(f"{1024 // 16 - 1} negatives")
    forward, backward = 1, 2
    assert (2 * forward + backward) / (forward + backward) == pytest.approx(4 / 3)
    assert right_option("15", "runs each tower") == "A third more"
