"""Figures: what they show, that no text is cut, and that they leave matplotlib alone."""

import io
import subprocess
import sys
import warnings
from collections.abc import Callable

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from align_edu.show import (
    funnel_bars,
    hash_curve,
    matrix_row,
    picture_grid,
    recall_bars,
    rule_matrix,
    search_gallery,
    similarity_matrix,
    softmax_bars,
    temperature_curves,
    to_png,
    training_curves,
)
from align_edu.show.charts import cost_bars
from align_edu.show.style import BLUE, ORANGE, Picture, wrapped

CAPTIONS = [
    "a small red cat on a snowy mountain at night under the stars, seen from far away",
    "from $5 ^^ to $9",
    "DSC_20190203_123456789.JPG THUMBNAIL FOR VERSION AS OF 21:57",
    "снег и 猫 на крыше",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
]
RECALL = {"R@1": 0.853, "R@5": 0.981, "R@10": 1.0}
HELD_OUT = {"R@1": 0.612, "R@5": 0.85, "R@10": 0.9}
RESULT = {
    "image_to_text": RECALL,
    "text_to_image": RECALL,
    "held_out": {"image_to_text": HELD_OUT, "text_to_image": HELD_OUT},
}
ROWS = [
    {"step": s, "loss": 9.7 / s + 1, "floor": 0.4, "chance": 9.7, "temperature": 0.07 - s / 1e5}
    for s in range(1, 2000, 50)
]
FUNNEL = {
    "raw": 100_000,
    "kept": 90_000,
    "steps": [
        {"says": "shorter side <= 200 px", "applied": True, "pairs_in": 100_000, "dropped": 3_000},
        {"says": "hash of an image", "applied": False, "pairs_in": 97_000, "dropped": 0},
        {"says": "a rare unigram or bigram", "applied": True, "pairs_in": 97_000, "dropped": 7_000},
    ],
}
TRUTH = {
    "pairs": {"clean": 90, "one_word": 10},
    "dropped": {"clean": 3, "one_word": 9},
    "by_rule": {
        "clean": {"length": 0, "repeated": 3},
        "one_word": {"length": 9, "repeated": 0},
    },
}
SIGMAS = [2.0**-k for k in range(8, -1, -1)]
RANDOM = np.random.default_rng(0).uniform(-1, 1, (3, 6, 6))


def pictures(count: int) -> list[Image.Image]:
    sizes = [(58, 58), (128, 80), (40, 120)]
    return [Image.new("RGB", sizes[i % 3], (40 * i % 255, 99, 160)) for i in range(count)]


def gallery() -> Picture:
    return search_gallery(
        CAPTIONS,
        [pictures(6) for _ in CAPTIONS],
        [[0.9, 0.8, 0.7, 0.6, 0.5, -0.4]] * len(CAPTIONS),
        [[place == row for place in range(6)] for row in range(len(CAPTIONS))],
    )


FIGURES: dict[str, Callable[[], Picture]] = {
    "grid": lambda: picture_grid(pictures(10), CAPTIONS * 2, 4, "a very long title " * 20),
    "gallery": gallery,
    "matrix": lambda: similarity_matrix(torch.eye(5) - 0.5, pictures(5), CAPTIONS),
    "large matrix": lambda: similarity_matrix(np.random.default_rng(0).random((40, 40))),
    "funnel": lambda: funnel_bars(FUNNEL),
    "training": lambda: training_curves(ROWS),
    "one step": lambda: training_curves(ROWS[:1]),
    "recall": lambda: recall_bars(RESULT),
    "costs": lambda: cost_bars({"weights": 3.0, "activations": 20.0}, "GiB", 16.0, "One device"),
    "rules": lambda: rule_matrix({"truth": TRUTH}),
    "hashes": lambda: hash_curve([0, 20], {f"edit {i}": [0.1, 1 - i / 20] for i in range(10)}, 10),
    "one loss matrix": lambda: matrix_row({"cosines": np.eye(2)}),
    "two rows": lambda: matrix_row({f"loss {i}": RANDOM[i % 3] for i in range(6)}, 1),
    "temperatures": lambda: temperature_curves(
        SIGMAS, {"one": SIGMAS, "two": SIGMAS[::-1]}, "loss", {"lowest": (1 / 64, 0.1)}
    ),
    "softmax": lambda: softmax_bars([0.5, 0.4, -0.2], {"probability": [0.5, 0.4, 0.1]}),
}


@pytest.mark.parametrize("name", list(FIGURES))
def test_a_figure_is_whole_small_and_the_same_twice_and_leaves_matplotlib_alone(name):
    before = dict(matplotlib.rcParams)
    figure = FIGURES[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing letter or a failed layout is a warning
        png = to_png(figure)
    assert dict(matplotlib.rcParams) == before
    assert Image.open(io.BytesIO(png)).width == 800
    needed, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    pixel = 0.01  # inches
    assert needed.x0 >= -pixel and needed.y0 >= -pixel
    assert needed.x1 <= width + pixel and needed.y1 <= height + pixel
    assert png == FIGURES[name]()._repr_png_()  # as a notebook shows it
    assert len(png) < 60_000


def test_figures_do_not_start_pyplot():
    code = (
        "import sys; from align_edu.show import to_png, recall_bars; r = {'R@1': .5};"
        "to_png(recall_bars({'image_to_text': r, 'text_to_image': r}));"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_funnel_shows_what_is_left_after_each_applied_rule():
    axes = funnel_bars(FUNNEL).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "raw pairs",
        "shorter side <= 200 px",
        "a rare unigram or bigram",
    ]
    shown = [text.get_text() for text in axes.texts]
    assert shown == ["100,000", "97,000  (−3,000)", "90,000  (−7,000)"]


def test_the_loss_is_drawn_beside_its_floor_and_chance_level():
    loss, sigma = training_curves(ROWS).axes
    drawn = [line.get_ydata()[-1] for line in loss.lines]  # type: ignore[index]
    assert drawn == [9.7, 0.4, ROWS[-1]["loss"]]
    assert {text.get_text() for text in loss.texts} == {"knows nothing", "lowest possible"}
    assert list(sigma.lines[0].get_ydata()) == [row["temperature"] for row in ROWS]  # type: ignore[arg-type]


def test_a_matrix_is_blue_above_zero_and_orange_below_with_numbers_where_they_fit():
    axes = matrix_row({"cosines": np.array([[1.0, 0.0], [0.25, -1.0]])}).axes[0]
    drawn = axes.images[0]
    colours = drawn.cmap(drawn.norm(np.array([1.0, 0.0, -1.0])))[:, :3]
    assert np.allclose(colours[0], to_rgb(BLUE), atol=0.01)
    assert np.allclose(colours[1], 1, atol=0.02)
    assert np.allclose(colours[2], to_rgb(ORANGE), atol=0.01)
    assert [text.get_text() for text in axes.texts] == ["1.00", "0.00", "0.25", "-1.00"]
    assert len(matrix_row({"cosines": RANDOM[0]}).axes[0].texts) == 0


def test_the_matrix_has_one_text_a_row_and_one_image_a_column():
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.3, 0.8, 0.4]])  # 2 images, 3 texts
    axes = similarity_matrix(similarity, pictures(2), ["one", "two", "three"]).axes[0]
    assert np.allclose(np.asarray(axes.images[0].get_array()), similarity.T)
    assert [text.get_text() for text in axes.texts] == [
        *("0.90", "0.30"),
        *("0.10", "0.80"),
        *("0.20", "0.40"),
    ]
    low = similarity_matrix(torch.tensor([[-0.004, -0.006]])).axes[0]
    assert [text.get_text() for text in low.texts] == ["0.00", "-0.01"]  # no minus zero
    assert len(axes.images) == 1 + 2
    assert len(axes.patches) == 2  # the framed cells


def test_missing_letters_become_boxes_and_long_text_is_cut_with_an_ellipsis():
    assert wrapped("two\n cats\t猫 🐈", 99, 1) == "two cats □ □"
    assert wrapped("one two three four five", 9, 2) == "one two\nthree…"
