"""Notebooks 15 and 16: checks name each mistake, right answers pass, quizzes are recomputed."""

import math
from pathlib import Path
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
from tests.quiz_options import right_option

EXERCISES = ["loss_by_tiles", "days_of_run"]


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


def days_by_steps(gflop: float, pairs: float, chips: int, peak: float, share: float) -> float:
    one_chip_one_day = share * peak * 1e12 * 24 * 60 * 60
    forward = gflop * 1e9 * (pairs / chips)
    return (forward + 2 * forward) / one_chip_one_day


def days_in_logarithms(*given: float) -> torch.Tensor:
    gflop, pairs, chips, peak, share = torch.tensor(given, dtype=torch.float64).log()
    units = math.log(3e9) - math.log(1e12 * 86_400)
    return (gflop + pairs - chips - peak - share + units).exp()


RIGHT = [
    ("loss_by_tiles", tiles_by_running_sums),
    ("loss_by_tiles", tiles_by_logaddexp),
    ("days_of_run", days_by_steps),
    ("days_of_run", days_in_logarithms),
]


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


@pytest.mark.parametrize("number", ["15", "16"])
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


def test_numbers_in_the_quiz_on_full_scale_are_recomputed() -> None:
    recipe = get_preset("l2_large").recipe
    pairs, n = recipe.steps * recipe.batch_size, recipe.batch_size
    assert right_option("16", "How many pairs") == f"{pairs / 1e9:.2f} billion"
    assert right_option("16", "block of logits") == f"{4 * 16 * n / 2**20:.0f} MiB"
    assert right_option("16", "plain BatchNorm") == f"{n:,}"
    texts = [o.text for q in load_questions("16") for o in q.options]
    assert f"{1024 * recipe.steps / 1e9:.2f} billion" in texts
    assert f"{4 * 16 * 16 / 2**10:.0f} KiB" in texts and f"{4 * n * n / 2**30:.0f} GiB" in texts


def test_notebook_16_runs_and_explains_itself_without_torch_xla() -> None:
    import nbformat

    from align_edu.lab.write_notebooks import run

    folder = Path(__file__).parent.parent / "notebooks"
    notebook = nbformat.read(folder / "16_full_scale_on_tpu.ipynb", as_version=4)
    blocked = nbformat.v4.new_code_cell("import sys; sys.modules['torch_xla'] = None")
    notebook.cells.insert(0, blocked)
    run(notebook, "16 without torch_xla", folder)  # raises where a cell fails
    printed = [o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", [])]
    assert any(text.startswith("torch_xla is not installed here") for text in printed)
    assert any("host 127 reads" in text for text in printed)
