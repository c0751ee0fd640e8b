"""The loss against hand work: its value, its limits, and the temperature."""

import math

import pytest
import torch

from align_edu.loss import Temperature, best_temperature, chance_loss, contrastive_loss, loss_floor
from tests.loss_oracle import pairs, softmax_oracle

IMAGE = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
TEXT = torch.tensor([[1.0, 0.0], [1.0, 1.0]])


@pytest.mark.parametrize("tile", [None, 1, 2, 5])
def test_the_hand_worked_example_comes_out_in_every_form(tile):
    loss = contrastive_loss(7 * IMAGE, TEXT, 0.5, label_smoothing=0.0, tile=tile)
    assert loss.item() == pytest.approx(1.32682331, abs=1e-6)


def test_half_precision_inputs_are_compared_in_full_precision():
    image, text = (t.bfloat16() for t in pairs(16, 8))
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive_loss(image, text, 1 / 64)
    assert loss.dtype == torch.float32
    expected = softmax_oracle(image, text, 1 / 64)[0].item()
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_the_floor_is_the_entropy_of_the_smoothed_targets():
    # Per direction 0.730 at N = 64 and 1.295 at N = 16,384, for smoothing 0.1.
    assert loss_floor(64, 0.1) / 2 == pytest.approx(0.730, abs=1e-3)
    assert loss_floor(16_384, 0.1) / 2 == pytest.approx(1.295, abs=1e-3)
    assert chance_loss(64) == pytest.approx(2 * math.log(64))
    assert loss_floor(128, 0.0) == 0.0 == best_temperature(128, 0.0, 0.5)


def test_no_loss_is_below_the_floor_and_the_best_temperature_reaches_it():
    n = 32
    gap = math.log(1 + n * 0.9 / 0.1)  # the optimal difference of logits under smoothing
    unit = torch.eye(n, dtype=torch.float64)
    best = contrastive_loss(unit, unit, 1 / gap).item()
    assert best == pytest.approx(loss_floor(n, 0.1), rel=1e-9)
    for sigma in (0.5 / gap, 2 / gap):
        assert contrastive_loss(unit, unit, sigma).item() > best


@pytest.mark.parametrize("gap", [1.0, 0.3])
def test_the_best_temperature_is_the_minimum_of_the_loss_over_sigma(gap):
    from scipy.optimize import minimize_scalar

    # Unit vectors whose own cosine is 1 and every other one 1 - gap.
    n = 24
    cosines = torch.full((n, n), 1 - gap, dtype=torch.float64).fill_diagonal_(1.0)
    vectors = torch.linalg.cholesky(cosines)
    found = minimize_scalar(
        lambda sigma: contrastive_loss(vectors, vectors, sigma).item(), bounds=(1e-3, 2.0)
    )
    assert best_temperature(n, 0.1, gap) == pytest.approx(found.x, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": torch.ones(3, 2)}, "both must be"),
        ({"temperature": 0.0}, "above 0"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"reduction": "max"}, "choose 'sum'"),
        ({"tile": 0}, "tile 0"),
        ({"negatives": 0.0}, "negatives"),
        ({"ids": torch.ones(5)}, "one integer per pair"),
    ],
)
def test_senseless_arguments_are_refused_by_name(change, words):
    arguments = {"image": IMAGE, "text": TEXT, "temperature": 0.5} | change
    with pytest.raises(ValueError, match=words):
        contrastive_loss(**arguments)


def test_a_log_temperature_stays_positive_where_a_raw_one_crosses_zero():
    raw, log = Temperature(0.02), Temperature(0.02, log=True)
    for temperature in (raw, log):
        temperature.value.grad = torch.tensor(1.0)
        torch.optim.SGD(temperature.parameters(), lr=0.05).step()
    assert raw().item() < 0 < log().item()


def test_a_fixed_temperature_has_no_parameter_and_is_saved_with_the_model():
    fixed = Temperature(0.25, learned=False)
    assert list(fixed.parameters()) == [] and list(fixed.state_dict()) == ["value"]


@pytest.mark.parametrize("initial", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_must_start_above_zero(initial):
    with pytest.raises(ValueError, match="above 0"):
        Temperature(initial)
