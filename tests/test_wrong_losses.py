"""A mutation run: the laws that our tests hold a loss to reject every known wrong one."""

import math

import pytest
import torch

from align_edu.lab.answers.n06 import WRONG_LOSSES
from align_edu.loss import contrastive_loss
from tests.loss_oracle import pairs, softmax_oracle

HAND = (torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]]), 0.5)


def value(loss, image, text, sigma):
    return float(loss(image.clone(), text.clone(), torch.tensor(sigma)))


def hand_worked(loss):
    return math.isclose(value(loss, *HAND), 1.32682331, abs_tol=1e-5)


def of_the_definition(loss):
    for n, d, sigma in ((5, 3, 1.0), (7, 16, 1 / 16), (4, 640, 1 / 64)):
        image, text = pairs(n, d, noise=3)
        truth = softmax_oracle(image, text, sigma, 0.0)[0].item()
        if not math.isclose(value(loss, image, text, sigma), truth, rel_tol=1e-4, abs_tol=1e-6):
            return False
    return True


def finite_when_sharp(loss):
    image, text = pairs(6, 4, noise=3)
    truth = softmax_oracle(image, text, 1e-3, 0.0)[0].item()
    return math.isclose(value(loss, image, text, 1e-3), truth, rel_tol=1e-4, abs_tol=1e-4)


def with_its_gradient(loss):
    image, text = pairs(6, 5, noise=3)
    leaves = [t.clone().requires_grad_() for t in (image, text, torch.tensor(0.25))]
    got = loss(*leaves)
    if not isinstance(got, torch.Tensor) or not got.requires_grad:
        return False
    got.backward()
    truth = softmax_oracle(image, text, 0.25, 0.0)[1:]
    return all(
        leaf.grad is not None and torch.allclose(leaf.grad.double(), t, rtol=1e-4, atol=1e-6)
        for leaf, t in zip(leaves, truth, strict=True)
    )


LAWS = (hand_worked, of_the_definition, finite_when_sharp, with_its_gradient)


def broken_laws(loss):
    broken = []
    for law in LAWS:
        try:
            kept = law(loss)
        except (RuntimeError, ValueError, TypeError, IndexError):
            kept = False
        if not kept:
            broken.append(law.__name__)
    return broken


@pytest.mark.parametrize("tile", [None, 1, 3])
def test_our_own_loss_keeps_every_law(tile):
    def loss(image, text, sigma):
        return contrastive_loss(image, text, sigma, label_smoothing=0.0, tile=tile)

    assert broken_laws(loss) == []


@pytest.mark.parametrize("wrong", WRONG_LOSSES, ids=lambda wrong: wrong.function.__name__)
def test_a_wrong_loss_breaks_a_law(wrong):
    assert broken_laws(wrong.function)


def test_there_are_enough_wrong_losses_and_each_law_is_needed():
    assert len(WRONG_LOSSES) >= 15
    caught = [broken_laws(wrong.function) for wrong in WRONG_LOSSES]
    assert {law for laws in caught for law in laws} == {law.__name__ for law in LAWS}
