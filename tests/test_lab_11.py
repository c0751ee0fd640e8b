"""Notebook 11: checks name each mistake, right answers pass, the quiz is recomputed."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from align_edu import load_run
from align_edu.lab.checks import find_mistake
from align_edu.lab.exercises import find_exercise
from align_edu.lab.quiz import load_questions
from align_edu.search import ImageIndex, combine_query
from tests.quiz_options import right_option

MODEL = Path(__file__).parents[1] / "data_samples" / "toy_model"


@pytest.mark.parametrize("name", ["combine", "top_k_without"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_wrong_answer_is_rejected_by_its_own_sentence(name: str, seed: int) -> None:
    exercise = find_exercise(name)
    assert len(exercise.wrong) >= 8
    assert len({wrong.mistake for wrong in exercise.wrong}) == len(exercise.wrong)
    for wrong in exercise.wrong:
        assert str(find_mistake(exercise, wrong.function, seed)).endswith(wrong.mistake)


# Right answers, written in unusual ways.


def combine_by_loops(
    image: torch.Tensor, plus: torch.Tensor, minus: torch.Tensor, weight: float
) -> torch.Tensor:
    total = [0.0] * len(image)
    for factor, vector in ((1.0, image), (weight, plus), (-weight, minus)):
        length = math.hypot(*vector.tolist())
        total = [a + factor * b / length for a, b in zip(total, vector.tolist(), strict=True)]
    return torch.tensor([a / math.hypot(*total) for a in total])


def combine_by_one_product(
    image: torch.Tensor, plus: torch.Tensor, minus: torch.Tensor, weight: float
) -> np.ndarray:
    rows = torch.stack([image, plus, minus]).double().numpy()
    factors = np.array([1.0, weight, -weight]) / np.sqrt((rows * rows).sum(axis=1))
    total = factors @ rows / 3  # a mean has the direction of the sum
    return total / np.sqrt(total @ total)


def top_by_picking(similarity: torch.Tensor, query: int, k: int) -> list[int]:
    left = {i: s for i, s in enumerate(similarity.tolist()) if i != query}
    found: list[int] = []
    while left and len(found) < k:
        best = max(left, key=lambda i: (left[i], -i))
        found.append(best)
        del left[best]
    return found


def top_by_lexsort(similarity: torch.Tensor, query: int, k: int) -> tuple[int, ...]:
    values = -similarity.numpy()
    values[query] = np.inf
    order = np.lexsort((np.arange(len(values)), values))
    return tuple(order[: min(k, len(values) - 1)].tolist())


RIGHT = [
    ("combine", combine_by_loops),
    ("combine", combine_by_one_product),
    ("top_k_without", top_by_picking),
    ("top_k_without", top_by_lexsort),
]


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_an_unusual_right_answer_passes(name: str, function: Any) -> None:
    for seed in range(5):
        assert find_mistake(find_exercise(name), function, seed) is None


def test_our_query_is_the_one_that_the_search_command_asks() -> None:
    image, plus, minus = 3 * torch.randn(3, 9, generator=torch.Generator().manual_seed(2))
    ours = find_exercise("combine").reference(image, plus, minus, 2.0)
    theirs = combine_query([(1.0, image), (2.0, plus), (-2.0, minus)])
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_our_top_k_is_that_of_the_index_where_nothing_ties() -> None:
    generator = torch.Generator().manual_seed(4)
    rows = torch.nn.functional.normalize(torch.randn(15, 6, generator=generator), dim=1)
    index = ImageIndex(rows, [f"{place}.jpg" for place in range(15)])
    for query in range(15):
        hits = index.search(rows[query], 4, exclude=[f"{query}.jpg"])
        ours = find_exercise("top_k_without").reference(rows @ rows[query], query, 4)
        assert ours == [int(hit.path.stem) for hit in hits]


def test_each_question_has_one_right_option_and_feedback_for_all() -> None:
    questions = load_questions("11")
    assert 4 <= len(questions) <= 5
    for question in questions:
        assert sum(option.right for option in question.options) == 1
        assert all(option.feedback and option.text for option in question.options)
        assert "Section" in question.paper


def test_numbers_in_the_quiz_are_recomputed() -> None:
    options = {o.text: o.feedback for q in load_questions("11") for o in q.options}

    def query(image: float, text: float) -> str:
        length = math.hypot(image, text)
        return f"({image / length:.2f}, {text / length:.2f})"

    assert right_option("11", "Image (3, 0)") == query(1, 2)
    assert "as they come" in options[query(3, 2 * 0.5)]
    assert "the image the weight 2" in options[query(2, 1)]
    assert "1 : 1" in options[query(1, 1)]
    spread = torch.tensor([0.3, -0.1, 0.4, 0.2])
    assert float(right_option("11", "half as much")) * (spread / 2).std() == pytest.approx(
        spread.std()
    )
    assert "a quarter" in options["0.5"] and "twice" in options["1"]


def test_what_the_quiz_says_of_orders_and_of_the_query_image_holds() -> None:
    generator = torch.Generator().manual_seed(8)
    picture, words = torch.randn(2, 30, generator=generator)
    assert right_option("11", "grow by 0.5") == "Nothing."
    assert (picture + words).argsort().equal((picture + 0.5 + words).argsort())
    assert right_option("11", "left out").startswith("It is still near the query")


def test_a_larger_picture_gives_a_vector_of_the_same_width_as_the_quiz_says() -> None:
    tower = load_run(MODEL).model.image_tower
    with torch.no_grad():
        widths = {tower(torch.zeros(1, 3, side, side)).shape for side in (48, 96)}
    assert len(widths) == 1
    assert right_option("11", "also takes 96").startswith("Vectors of the same width")
