"""Figures of the loss: nothing is cut, equal bytes, and they show the numbers given."""

import io
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from align_edu.show import matrix_row, softmax_bars, temperature_curves, to_png
from align_edu.show.style import BLUE, ORANGE

SIGMAS = [2.0**-k for k in range(8, -1, -1)]
RANDOM = np.random.default_rng(0).uniform(-1, 1, (3, 6, 6))

FIGURES: dict[str, Callable[[], Figure]] = {
    "one matrix": lambda: matrix_row({"cosines": np.eye(2)}),
    "two rows": lambda: matrix_row({f"loss {i}": RANDOM[i % 3] for i in range(6)}, "Six losses", 1),
    "curves": lambda: temperature_curves(
        SIGMAS,
        {"with smoothing": SIGMAS, "none": SIGMAS[::-1]},
        "loss",
        {"lowest": (1 / 64, 0.1)},
        "The loss",
    ),
    "bars": lambda: softmax_bars([0.5, 0.4, -0.2], {"probability": [0.5, 0.4, 0.1]}),
}


@pytest.mark.parametrize("name", list(FIGURES))
def test_nothing_is_cut_and_a_figure_made_twice_gives_the_same_small_file(name: str) -> None:
    figure = FIGURES[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing letter or a failed layout is a warning
        png = to_png(figure)
    assert Image.open(io.BytesIO(png)).width == 800
    needed, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert needed.x0 >= -0.01 and needed.y0 >= -0.01
    assert needed.x1 <= width + 0.01 and needed.y1 <= height + 0.01
    assert png == to_png(FIGURES[name]())
    assert len(png) < 60_000


def test_a_matrix_is_blue_above_zero_orange_below_and_has_its_numbers_where_there_is_room() -> None:
    axes = matrix_row({"cosines": np.array([[1.0, 0.0], [0.25, -1.0]])}).axes[0]
    drawn = axes.images[0]
    colours = drawn.cmap(drawn.norm(np.array([1.0, 0.0, -1.0])))[:, :3]
    assert np.allclose(colours[0], to_rgb(BLUE), atol=0.01)
    assert np.allclose(colours[1], 1, atol=0.02)
    assert np.allclose(colours[2], to_rgb(ORANGE), atol=0.01)
    assert [text.get_text() for text in axes.texts] == ["1.00", "0.00", "0.25", "-1.00"]
    assert len(matrix_row({"cosines": RANDOM[0]}).axes[0].texts) == 0


def test_temperatures_are_named_as_the_paper_names_them() -> None:
    figure = temperature_curves([1 / 64, 1.0], {"share": [0.9, 0.1]}, "share")
    figure.canvas.draw()
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names == ["1/64", "1/32", "1/16", "1/8", "1/4", "1/2", "1"]
