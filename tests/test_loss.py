"""The loss against hand work, float64 arithmetic in numpy, transformers and open definitions."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from align_edu.loss import Temperature, best_temperature, chance_loss, contrastive_loss, loss_floor

IMAGE = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
TEXT = torch.tensor([[1.0, 0.0], [1.0, 1.0]])


def numpy_loss(image, text, sigma, smoothing, allowed=None):
    """Eq. (1) + eq. (2), written once more from the paper, in float64."""
    x = image / np.linalg.norm(image, axis=1, keepdims=True)
    y = text / np.linalg.norm(text, axis=1, keepdims=True)
    logits = x @ y.T / sigma
    n = len(x)
    allowed = np.ones((n, n), bool) if allowed is None else allowed
    total = 0.0
    for matrix, mask in ((logits, allowed), (logits.T, allowed.T)):
        for i in range(n):
            row = matrix[i][mask[i]]
            log_p = matrix[i] - logsumexp(row)
            total -= (1 - smoothing) * log_p[i] / n
            total -= smoothing * log_p[mask[i]].mean() / n
    return total


def random_pairs(n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(n, d, dtype=torch.float64, generator=generator)
    text = image + torch.randn(n, d, dtype=torch.float64, generator=generator)
    return image, text


@pytest.mark.parametrize("tile", [None, 1, 2, 5])
def test_the_hand_worked_example_comes_out_in_every_form(tile):
    loss = contrastive_loss(IMAGE, TEXT, 0.5, label_smoothing=0.0, tile=tile)
    assert loss.item() == pytest.approx(1.32682331, abs=1e-6)


def test_the_mean_is_half_of_the_sum():
    total = contrastive_loss(IMAGE, TEXT, 0.5)
    assert contrastive_loss(IMAGE, TEXT, 0.5, reduction="mean").item() == total.item() / 2


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("sigma", [1.0, 1 / 64])
@pytest.mark.parametrize("tile", [None, 7])
def test_the_value_is_that_of_the_equations(smoothing, sigma, tile):
    image, text = random_pairs(33, 8)
    loss = contrastive_loss(image, text, sigma, label_smoothing=smoothing, tile=tile)
    expected = numpy_loss(image.numpy(), text.numpy(), sigma, smoothing)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_the_loss_of_transformers_align_is_half_of_ours():
    from transformers.models.align.modeling_align import align_loss

    image, text = (t.float() for t in random_pairs(16, 8))
    logits = torch.nn.functional.normalize(text) @ torch.nn.functional.normalize(image).T / 0.07
    ours = contrastive_loss(image, text, 0.07, label_smoothing=0.0)
    from torch.nn.functional import cross_entropy

    labels = torch.arange(16)
    theirs = (
        cross_entropy(logits, labels, label_smoothing=0.1)
        + cross_entropy(logits.T, labels, label_smoothing=0.1)
    ) / 2
    assert torch.allclose(align_loss(logits), theirs)  # smoothing 0.1 is built in there
    assert contrastive_loss(image, text, 0.07).item() == pytest.approx(2 * theirs.item(), rel=1e-5)
    assert ours.item() != pytest.approx(2 * theirs.item(), rel=1e-3)


@pytest.mark.parametrize("fraction", [0.5, 0.25])
def test_fewer_negatives_give_each_image_and_each_text_the_same_number(fraction):
    image, text = random_pairs(12, 6)
    kept = round(11 * fraction)
    allowed = np.zeros((12, 12), bool)
    for i in range(12):
        for step in range(kept + 1):
            allowed[i, (i + step) % 12] = True
    assert set(allowed.sum(0)) == set(allowed.sum(1)) == {kept + 1}
    expected = numpy_loss(image.numpy(), text.numpy(), 0.1, 0.1, allowed)
    for tile in (None, 5):
        loss = contrastive_loss(image, text, 0.1, negatives=fraction, tile=tile)
        assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_pairs_with_equal_ids_are_not_each_others_negatives():
    image, text = random_pairs(9, 6)
    ids = torch.tensor([0, 1, 0, 2, 3, 1, 0, 4, 5])
    allowed = (ids[:, None] != ids[None]).numpy() | np.eye(9, dtype=bool)
    expected = numpy_loss(image.numpy(), text.numpy(), 0.1, 0.1, allowed)
    for tile in (None, 2):
        loss = contrastive_loss(image, text, 0.1, ids=ids, tile=tile)
        assert loss.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("options", [{}, {"negatives": 0.5}, {"ids": torch.arange(21) % 4}])
def test_the_tiled_form_has_the_same_gradients(options):
    gradients = []
    for tile in (None, 1, 4, 100):
        image, text = (t.requires_grad_() for t in random_pairs(21, 5))
        sigma = torch.tensor(1 / 16, dtype=torch.float64, requires_grad=True)
        contrastive_loss(image, text, sigma, tile=tile, **options).backward()
        gradients.append((image.grad, text.grad, sigma.grad))
    for other in gradients[1:]:
        for ours, theirs in zip(gradients[0], other, strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_gradients_agree_with_finite_differences():
    image, text = (t.requires_grad_() for t in random_pairs(5, 3))
    sigma = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, y, s: contrastive_loss(x, y, s), (image, text, sigma))


def test_a_tiny_temperature_stays_finite():
    image, text = (t.float().requires_grad_() for t in random_pairs(16, 4))
    loss = contrastive_loss(image, text, 1e-3)
    loss.backward()
    assert math.isfinite(loss.item()) and torch.isfinite(image.grad).all()


def test_scaling_or_normalising_the_inputs_changes_nothing():
    once = contrastive_loss(IMAGE, TEXT, 0.5)
    scaled = contrastive_loss(7 * IMAGE, 0.1 * TEXT, 0.5)
    assert scaled.item() == pytest.approx(once.item(), rel=1e-6)


def test_half_precision_inputs_are_compared_in_full_precision():
    image, text = (t.bfloat16() for t in random_pairs(16, 8))
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive_loss(image, text, 1 / 64)
    assert loss.dtype == torch.float32
    expected = numpy_loss(image.double().numpy(), text.double().numpy(), 1 / 64, 0.1)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_equal_embeddings_give_the_chance_level():
    loss = contrastive_loss(torch.ones(64, 4), torch.ones(64, 4), 0.1)
    assert loss.item() == pytest.approx(2 * math.log(64), rel=1e-5)
    assert chance_loss(64) == pytest.approx(2 * math.log(64))


def test_the_floor_is_the_entropy_of_the_smoothed_targets():
    # Per direction 0.730 at N = 64 and 1.295 at N = 16,384, for smoothing 0.1.
    assert loss_floor(64, 0.1) / 2 == pytest.approx(0.730, abs=1e-3)
    assert loss_floor(16_384, 0.1) / 2 == pytest.approx(1.295, abs=1e-3)
    assert loss_floor(128, 0.0) == 0.0


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


def test_without_smoothing_the_best_temperature_is_zero():
    assert best_temperature(1024, 0.0, 0.5) == 0.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": torch.ones(3, 2)}, "both must be"),
        ({"temperature": 0.0}, "above 0"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"reduction": "max"}, "choose 'sum'"),
        ({"tile": 0}, "tile 0"),
        ({"negatives": 0.0}, "negatives"),
        ({"ids": torch.ones(5)}, "one integer a pair"),
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
