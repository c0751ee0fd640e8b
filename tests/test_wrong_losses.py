"""A mutation run: the laws that our tests hold a loss to reject every known wrong one."""

import math

import pytest
import torch

from align_edu.lab.answers.n06 import WRONG_LOSSES
from align_edu.loss import contrastive_loss
from tests.loss_oracle import pairs, softmax_oracle

HAND = (torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]]))


def value(loss, image, text, sigma):
    return float(loss(image.clone(), text.clone(), torch.tensor(sigma)))


def of_the_definition(loss, sizes=((5, 3, 1.0), (7, 16, 1 / 16), (4, 640, 1 / 64))):
    for n, d, sigma in sizes:
        image, text = pairs(n, d, noise=3)
        truth = softmax_oracle(image, text, sigma, 0.0)[0].item()
        if not math.isclose(value(loss, image, text, sigma), truth, rel_tol=1e-4, abs_tol=1e-6):
            return False
    return True


def with_its_gradient(loss):
    image, text = pairs(6, 5, noise=3)
    leaves = [t.clone().requires_grad_() for t in (image, text, torch.tensor(0.25))]
    got = loss(*leaves)
    if not got.requires_grad:
        return False
    got.backward()
    truth = softmax_oracle(image, text, 0.25, 0.0)[1:]
    return all(
        leaf.grad is not None and torch.allclose(leaf.grad.double(), t, rtol=1e-4, atol=1e-6)
        for leaf, t in zip(leaves, truth, strict=True)
    )


LAWS = {
    "hand-worked": lambda loss: math.isclose(value(loss, *HAND, 0.5), 1.32682331, abs_tol=1e-5),
    "of the definition": of_the_definition,
    "finite when sharp": lambda loss: of_the_definition(loss, [(6, 4, 1e-3)]),
    "with its gradient": with_its_gradient,
}


def broken_laws(loss):
    return {name for name, law in LAWS.items() if not law(loss)}


@pytest.mark.parametrize("tile", [None, 1, 3])
def test_our_own_loss_keeps_every_law(tile):
    def loss(image, text, sigma):
        return contrastive_loss(image, text, sigma, label_smoothing=0.0, tile=tile)

    assert not broken_laws(loss)


def test_each_wrong_loss_breaks_a_law_and_each_law_is_needed():
    caught = {wrong.mistake: broken_laws(wrong.function) for wrong in WRONG_LOSSES}
    assert len(caught) >= 40 and all(caught.values()), caught
    assert set.union(*caught.values()) == LAWS.keys()
