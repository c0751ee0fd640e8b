"""Quizzes: each question has one right option, feedback for all, and recomputed numbers."""

import math
import re

import numpy as np
import pytest
import torch

from align_edu import lab
from align_edu.io import InputError
from align_edu.lab.exercises import find_exercise
from align_edu.lab.quiz import LETTERS, Quiz, load_questions
from align_edu.model.padding import edge_zeros
from align_edu.presets import TEXT_SIZES, get_preset
from tests.quiz_options import right_option


@pytest.mark.parametrize("number", ["00", "01", "02", "03", "04", "05", "08", "17"])
def test_each_question_has_one_right_option_and_feedback_for_all(number: str) -> None:
    questions = load_questions(number)
    assert 3 <= len(questions) <= 5
    for question in questions:
        assert sum(option.right for option in question.options) == 1
        assert all(option.feedback and option.text for option in question.options)
        assert "Section" in question.paper or "eq." in question.paper


def test_numbers_in_right_answers_are_recomputed() -> None:
    assert right_option("00", "batch of 128") == f"{2 * math.log(128):.2f}"
    assert right_option("08", "one batch of the paper") == f"{1024 * 16:,}"
    assert right_option("08", "at step 5,000") == f"{1e-3 * 5_000 / 10_000:g}"
    seen = 1_200_000 * 16_384
    assert f"{seen / 1e9:.1f}" == "19.7"
    assert 10.5 < seen / 1.8e9 < 11.5
    assert right_option("08", "see each of") == "About 11 to 12 times"
    n, epsilon = 16_384, 0.1
    targets = torch.full((n,), epsilon / n, dtype=torch.float64)
    targets[0] += 1 - epsilon
    floor = -2 * (targets * targets.log()).sum().item()
    assert right_option("08", "where is its floor") == f"{floor:.2f}"


def test_numbers_in_wrong_answers_are_what_their_feedback_says() -> None:
    feedback = {o.text: o.feedback for q in load_questions("08") for o in q.options}
    assert "2 ln 16,384" in feedback[f"{2 * math.log(16_384):.2f}"]
    assert "without the warm-up" in feedback[f"{1e-3 * (1 - 5_000 / 1_200_000):.6f}"]
    assert "19.7 / 1.8 = 10.9" in feedback["About 11 to 12 times"]
    assert "CC-3M" in feedback["About 600 times"]
    assert 120_000 * 16_384 / 3e6 == pytest.approx(655, abs=1)


def test_numbers_in_the_quiz_on_alt_text_are_recomputed() -> None:
    text = "image_tid 25&id mggqpuwe-qdpd&cache 0&lan_code 0"  # Section 3
    assert right_option("01", text) == str(find_exercise("count_words").reference(text))
    feedback = {o.text: o.feedback for q in load_questions("01") for o in q.options}
    assert "splitting at spaces" in feedback[str(len(text.split()))]
    assert "\\w+" in feedback[str(len(re.findall(r"\w+", text)))]
    assert right_option("01", "how many times as many") == f"{1.8e9 / 3e6:.0f} times"
    shared = find_exercise("shared_texts").reference
    texts, images = ["Home"] * 8 + ["HOME."] * 8, [f"{n}.jpg" for n in range(16)]
    assert shared(texts, images, 10) == shared(texts, images, 15) == {"home"}
    assert shared(texts, images, 16) == set()
    assert right_option("01", "rule on shared texts").startswith("One text of 16 images")


def test_numbers_in_the_quiz_on_filters_are_recomputed() -> None:
    keeps = find_exercise("keeps_image").reference
    sizes = next(q for q in load_questions("02") if "by its size" in q.question).options
    for option in sizes:
        width, height = map(int, re.findall(r"\d+", option.text))
        assert keeps(width, height) == option.right
    shared = find_exercise("shared_texts").reference
    images = [f"{n}.jpg" for n in range(40)]
    assert shared(["home"] * 40, images, 10) == {"home"}  # over all the data
    machines = [shared(["home"] * 4, images[n::10], 10) for n in range(10)]
    assert right_option("02", "Ten machines") == str(sum(4 * len(found) for found in machines))
    assert f"{0.1 * 1.8e9 / 3e6:.0f} times as many" in right_option("02", "CC-3M")


def test_numbers_in_the_quiz_on_pixels_are_recomputed() -> None:
    widen = find_exercise("round_channels").reference
    feedback = {o.text: o.feedback for q in load_questions("04") for o in q.options}
    assert right_option("04", "B5 has width") == str(widen(320, 1.6))
    assert "head would give" in feedback[str(widen(1280, 1.6))]
    assert "to match B7" in feedback[str(widen(320, 2.0))]
    assert 1200 / 400 == 3  # "three times as slim"
    full, depthwise, pointwise = 9 * 64 * 64, 9 * 64, 64 * 64
    assert right_option("04", "how many times") == (
        f"About {full / (depthwise + pointwise):.0f} times"
    )
    assert f"{full:,} against {depthwise} + {pointwise:,}" in feedback["About 8 times"]
    assert f"{full // depthwise} times" in feedback


def test_numbers_in_the_quiz_on_the_shared_space_are_recomputed() -> None:
    x, y = [3.0, 4.0], [4.0, 3.0]
    cosine_of = find_exercise("cosine").reference
    assert right_option("05", "cosine of (3, 4)") == f"{cosine_of(x, y):.2f}"
    feedback = {o.text: o.feedback for q in load_questions("05") for o in q.options}
    assert "dot product. " in feedback[f"{3 * 4 + 4 * 3}"]
    assert "divided by one length" in feedback[f"{(3 * 4 + 4 * 3) / 5:g}"]
    assert "correlation" in feedback[f"{np.corrcoef(x, y)[0, 1]:g}"]
    assert right_option("05", "5,000 texts") == f"{1_000 + 5_000:,}"
    assert "see both at once" in feedback[f"{1_000 * 5_000:,}"]
    b7, base = get_preset("b7_base").image, get_preset("b7_base").text
    assert 320 * b7.width == 640
    assert f"from {base.width} to {320 * b7.width:.0f}" in right_option("05", "BERT-Base")


def test_numbers_in_the_quiz_on_words_are_recomputed() -> None:
    cut = find_exercise("wordpieces").reference
    vocabulary = ["un", "una", "##able", "##ble"]
    assert right_option("03", '"unable"') == " ".join(cut("unable", vocabulary))
    options = {o.text: o.feedback for q in load_questions("03") for o in q.options}
    mini, large = TEXT_SIZES["mini"], TEXT_SIZES["large"]
    assert (mini.width, large.width, mini.vocabulary_size) == (256, 1024, 100_000)
    assert right_option("03", "BERT-Mini") == f"{100_000 * mini.width / 1e6:.1f} million"
    assert "BERT-Large" in options[f"{100_000 * large.width / 1e6:.1f} million"]
    assert "64 numbers" in options[f"{100_000 * mini.max_length / 1e6:.1f} million"]


def test_numbers_in_the_quiz_on_the_released_weights_are_recomputed() -> None:
    zeros = {padding: edge_zeros(289, 3, padding) for padding in ("tf_static", "same")}
    count = find_exercise("output_side").reference
    places = {padding: str(count(289, 3, 2, *pair)) for padding, pair in zeros.items()}
    assert zeros == {"tf_static": (0, 1), "same": (1, 1)}
    assert right_option("17", "3 × 3 filters") == places["tf_static"]
    feedback = {o.text: o.feedback for q in load_questions("17") for o in q.options}
    assert '"same"' in feedback[places["same"]]
    for padding, left in (("tf_static", 9), ("same", 10)):
        side = 289
        for kernel in (3, 3, 5, 3, 5):  # the layers with stride 2
            side = count(side, kernel, 2, *edge_zeros(side, kernel, padding))
        assert side == left
    assert right_option("17", "AlignModel gives the loss 1.5") == f"{2 * 1.5:g}"
    assert right_option("17", "the byte 51") == f"{find_exercise('scaled').reference(51):g}"
    assert "scale from 0 to 1" in feedback[f"{51 / 255:g}"]
    assert "ImageNet" in feedback[f"{(51 / 255 - 0.485) / 0.229:.2f}"]


def test_a_quiz_answers_letters_in_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert lab.quiz("08", "a, c") is None
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("1. No (a). That is what one core holds.")
    assert said[1].startswith("2. No (c).")
    assert lab.quiz("08", "z") is None
    assert "choose a to c" in capsys.readouterr().out


def test_a_notebook_without_a_quiz_says_which_have_one() -> None:
    with pytest.raises(InputError, match="00.*08"):
        lab.quiz("20")


def test_a_quiz_shows_every_question_as_text_where_there_are_no_widgets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    quiz = lab.quiz("00")
    assert isinstance(quiz, Quiz)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    bundle = quiz._repr_mimebundle_()
    assert set(bundle) == {"text/plain"}
    for question in quiz.questions:
        assert question.question in bundle["text/plain"]
        assert all(option.text in bundle["text/plain"] for option in question.options)


def test_a_click_on_any_option_shows_its_feedback() -> None:
    quiz = lab.quiz("00")
    assert isinstance(quiz, Quiz)
    box = quiz.widget()
    for question, part in zip(quiz.questions, box.children, strict=True):
        _, choice, feedback = part.children
        for letter, option in zip(LETTERS, question.options, strict=False):
            choice.value = letter
            assert option.feedback in feedback.value
    assert "application/vnd.jupyter.widget-view+json" in quiz._repr_mimebundle_()
