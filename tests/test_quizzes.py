"""Quizzes: each question has one right option, feedback for all, and recomputed numbers."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from align_edu import lab, load_run
from align_edu.evaluation.retrieval import retrieval_recall
from align_edu.io import InputError
from align_edu.lab.exercises import find_exercise
from align_edu.lab.quiz import LETTERS, QUIZZES, Quiz, load_questions
from align_edu.loss import chance_loss, contrastive_loss
from align_edu.model.padding import edge_zeros
from align_edu.presets import TEXT_SIZES, get_preset
from align_edu.training.recipe import learning_rate_factor


@pytest.mark.parametrize("number", QUIZZES)
def test_each_question_has_one_right_option_and_feedback_for_all(number: str) -> None:
    questions = load_questions(number)
    assert len(questions) == 26 if number == "core" else 3 <= len(questions) <= 5
    assert len({question.question for question in questions}) == len(questions)
    for question in questions:
        assert sum(option.right for option in question.options) == 1
        assert all(option.text and len(option.feedback) > 3 for option in question.options)
        assert len({option.feedback for option in question.options}) == len(question.options)
        assert re.search(r"Sections? \d|eq\.", question.paper)


def right_option(number: str, words: str) -> str:
    """The right option of the one question of a notebook's quiz that has these words."""
    (question,) = (q for q in load_questions(number) if words in q.question)
    return next(option.text for option in question.options if option.right)


def feedback_of(number: str) -> dict[str, str]:
    return {o.text: o.feedback for q in load_questions(number) for o in q.options}


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
    feedback = feedback_of("08")
    assert "2 ln 16,384" in feedback[f"{2 * math.log(16_384):.2f}"]
    assert "without the warm-up" in feedback[f"{1e-3 * (1 - 5_000 / 1_200_000):.6f}"]
    assert "19.7 / 1.8 = 10.9" in feedback["About 11 to 12 times"]
    assert "CC-3M" in feedback["About 600 times"]
    assert 120_000 * 16_384 / 3e6 == pytest.approx(655, abs=1)


def test_numbers_in_the_quiz_on_alt_text_are_recomputed() -> None:
    text = "image_tid 25&id mggqpuwe-qdpd&cache 0&lan_code 0"  # Section 3
    assert right_option("01", text) == str(find_exercise("count_words").reference(text))
    feedback = feedback_of("01")
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
    feedback = feedback_of("04")
    assert right_option("04", "B5 has width") == str(widen(320, 1.6))
    assert "head would give" in feedback[str(widen(1280, 1.6))]
    assert "to match B7" in feedback[str(widen(320, 2.0))]
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
    feedback = feedback_of("05")
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
    options = feedback_of("03")
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
    feedback = feedback_of("17")
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


def test_numbers_in_the_quiz_on_recall_are_recomputed() -> None:
    wrong = feedback_of("09").__getitem__
    ranks = [4, 7, 12, 30, 90]
    similarity = torch.zeros(1, 100)
    similarity[0] = 1 - torch.arange(100) / 100  # text t has rank t + 1
    others = torch.full((99, 100), -1.0)
    owner = torch.arange(1, 101).clamp(max=99)
    owner[torch.tensor(ranks) - 1] = 0
    recall = find_exercise("recall_at_k").reference
    added = 100 * recall(torch.cat([similarity, others]), owner, 5)
    assert right_option("09", "ranks 4, 7, 12, 30 and 90") == f"{added:g}"
    assert "share" in wrong(f"{sum(rank <= 5 for rank in ranks) / len(ranks):g}")
    same = torch.ones(1_000, 2)
    collapsed = retrieval_recall(same, same, range(1_000), ks=(1,))["text_to_image"]["R@1"]
    assert right_option("09", "broken model").startswith(f"{collapsed:.0%}".replace("%", " %"))
    assert right_option("09", "MSCOCO") == f"{100 * 10 / 5_000:g} %"
    assert "Flickr30K" in wrong(f"{100 * 10 / 1_000:g} %")
    assert "R@1" in wrong(f"{100 * 1 / 5_000:g} %")
    shared, ordinal, dense = (
        ", ".join(f"{rank:g}" for rank in rankdata([0.3, 0.9, 0.3, 0.1], method=method))
        for method in ("average", "ordinal", "dense")
    )
    assert right_option("09", "Spearman") == shared
    assert "order of the list" in wrong(ordinal)
    assert "two ranks" in wrong(dense)


def test_numbers_in_the_quiz_on_classes_are_recomputed() -> None:
    assert right_option("10", "five best") == f"{5 / 40:g}"
    ours = find_exercise("ensemble").reference(torch.tensor([[[2.0, 0.0], [0.0, 6.0]]]))
    assert right_option("10", "two prompts") == f"{ours[0, 0]:.2f}"
    feedback = feedback_of("10")
    plain = torch.tensor([1.0, 3.0])
    assert "longer one counts more" in feedback[f"{plain[0] / plain.norm():.2f}"]
    assert "shorter than 1" in feedback["0.50"]
    assert "six times in a hundred" in feedback["It has learned nothing."] and 100 // 16 == 6


def test_numbers_in_the_quiz_on_queries_are_recomputed() -> None:
    options = feedback_of("11")

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
    tower = load_run(Path(__file__).parents[1] / "data_samples" / "toy_model").model.image_tower
    with torch.no_grad():
        widths = {tower(torch.zeros(1, 3, side, side)).shape for side in (48, 96)}
    assert len(widths) == 1
    assert right_option("11", "also takes 96").startswith("Vectors of the same width")


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
