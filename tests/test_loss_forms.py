"""Every form of the loss against one float64 definition, in value and in every gradient.

Tolerances are for float32: 1e-6 of the value, 1e-5 of each gradient's norm.
"""

import itertools

import pytest
import torch
import torch.distributed as dist

from align_edu.loss import contrastive_loss, sigmoid_loss
from tests.loss_oracle import (
    SIGMAS,
    counted,
    errors,
    measured,
    pairs,
    repeated_ids,
    sigmoid_oracle,
    softmax_oracle,
)
from tests.processes import run_processes

CHOICES = [(1.0, False), (0.5, False), (0.25, False), (1.0, True), (0.5, True)]


def hard_pairs(n, d):
    """Pairs whose loss is far from zero at every temperature: nothing vanishes."""
    return pairs(n, d, noise=2 if d < 64 else 10)


def assert_equal(ours, truth):
    value, *gradients = errors(ours, truth)
    assert value <= 1e-6
    assert max(gradients) <= 1e-5


def form(tile, smoothing, negatives, ids):
    def loss(image, text, sigma):
        return contrastive_loss(
            image, text, sigma, label_smoothing=smoothing, negatives=negatives, ids=ids, tile=tile
        )

    return loss


@pytest.mark.parametrize(
    ("n", "d", "negatives", "repeats"),
    [(33, 8, *choice) for choice in CHOICES] + [(1023, 640, 1.0, False), (130, 1376, 0.5, True)],
)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_one_process_gives_the_definition(n, d, sigma, smoothing, negatives, repeats):
    image, text = hard_pairs(n, d)
    ids = repeated_ids(n) if repeats else None
    truth = softmax_oracle(image, text, sigma, smoothing, counted(n, negatives, ids))
    for tile in (None, n, 32) if n > 100 else (None, 1, 32, 1000):
        assert_equal(measured(form(tile, smoothing, negatives, ids), image, text, sigma), truth)


@pytest.mark.parametrize("tile", [None, 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_every_form_stays_finite_at_a_thousandth(tile, smoothing):
    image, text = pairs(16, 4)
    ours = measured(form(tile, smoothing, 1.0, None), image, text, 1e-3)
    assert all(torch.isfinite(t).all() for t in ours)
    assert_equal(ours, softmax_oracle(image, text, 1e-3, smoothing))


@pytest.mark.parametrize(("sigma", "bias"), [(1.0, 0.0), (0.1, -10.0), (1 / 64, -12.5)])
@pytest.mark.parametrize(("n", "d"), [(33, 8), (130, 640)])
def test_the_sigmoid_loss_gives_its_definition(n, d, sigma, bias):
    image, text = hard_pairs(n, d)
    truth = sigmoid_oracle(image, text, sigma, bias)
    for tile in (None, 10):
        ours = measured(
            lambda a, b, s, c, tile=tile: sigmoid_loss(a, b, s, c, tile=tile),
            image, text, sigma, bias,
        )  # fmt: skip
        assert_equal(ours, truth)


# Finite differences know neither our formulas nor the oracle's.


@pytest.mark.parametrize("tile", [None, 2])
@pytest.mark.parametrize(("smoothing", "negatives"), [(0.0, 1.0), (0.1, 0.5)])
@pytest.mark.parametrize("ids", [None, repeated_ids(5)])
def test_softmax_gradients_agree_with_finite_differences(tile, smoothing, negatives, ids):
    leaves = [t.double().requires_grad_() for t in (*pairs(5, 3), torch.tensor(0.3))]
    assert torch.autograd.gradcheck(form(tile, smoothing, negatives, ids), leaves)


@pytest.mark.parametrize("tile", [None, 2])
def test_sigmoid_gradients_agree_with_finite_differences(tile):
    scalars = torch.tensor(0.3), torch.tensor(-1.0)
    leaves = [t.double().requires_grad_() for t in (*pairs(5, 3), *scalars)]
    assert torch.autograd.gradcheck(lambda *given: sigmoid_loss(*given, tile=tile), leaves)


# Several processes: each holds some rows; the mean of the gradients must be the batch's.

WIDE = (52, 640)
GATHERED = [
    *itertools.product([(24, 8)], (1.0, 1 / 64), [0.0, 0.1], CHOICES, [None, 5]),
    *itertools.product([WIDE], (1 / 16, 1 / 128), [0.1], CHOICES[::2], [None, 5]),
]
GATHERED_SIGMOID = [
    *itertools.product([(24, 8)], SIGMAS, [0.0, -10.0], [None, 5]),
    *itertools.product([WIDE], (1 / 64,), [-10.0], [None, 5]),
]
GROUPS = (1, 2, 4)


def gathered_errors(rank):
    """Errors of every gathered case in groups of 1, 2, and 4 processes: (cases, 4), (cases, 5)."""
    results = []
    for size, group in [(size, dist.new_group(range(size))) for size in GROUPS]:
        if rank < size:
            results.append(torch.tensor([_softmax_error(rank, group, *c) for c in GATHERED]))
            results.append(
                torch.tensor([_sigmoid_error(rank, group, *c) for c in GATHERED_SIGMOID])
            )
    return results


def _softmax_error(rank, group, shape, sigma, smoothing, choice, tile):
    (image, text), (negatives, repeats), n = hard_pairs(*shape), choice, shape[0]
    ids = repeated_ids(n) if repeats else None

    def loss(a, b, s, here):
        mine = None if ids is None else ids[here]
        options = {"label_smoothing": smoothing, "negatives": negatives, "tile": tile}
        return contrastive_loss(a, b, s, ids=mine, group=group, **options)

    truth = softmax_oracle(image, text, sigma, smoothing, counted(n, negatives, ids))
    return errors(averaged(loss, rank, group, image, text, sigma), truth)


def _sigmoid_error(rank, group, shape, sigma, bias, tile):
    image, text = hard_pairs(*shape)

    def loss(a, b, s, c, here):
        return sigmoid_loss(a, b, s, c, tile=tile, group=group)

    ours = averaged(loss, rank, group, image, text, sigma, bias)
    return errors(ours, sigmoid_oracle(image, text, sigma, bias))


def averaged(loss, rank, group, image, text, *scalars):
    """Value and gradients, each process on its rows, the gradients averaged as DDP does."""
    count = dist.get_world_size(group)
    here = slice(rank * len(image) // count, (rank + 1) * len(image) // count)
    whole = [t.clone().requires_grad_() for t in (image, text)]  # parameters that all share
    whole += [torch.tensor(float(s), requires_grad=True) for s in scalars]
    value = loss(whole[0][here], whole[1][here], *whole[2:], here)
    value.backward()
    for leaf in whole:
        dist.all_reduce(leaf.grad, group=group)
        leaf.grad /= count
    return [value.detach(), *(leaf.grad for leaf in whole)]


def test_several_processes_give_the_definition():
    errors_of = iter(run_processes(max(GROUPS), gathered_errors))
    for size, cases in itertools.product(GROUPS, (GATHERED, GATHERED_SIGMOID)):
        for case, (value, *gradients) in zip(cases, next(errors_of).tolist(), strict=True):
            assert value <= 1e-6 and max(gradients) <= 1e-5, (size, case)


# Other libraries, where the definitions coincide.


def unit_pairs():
    return (torch.nn.functional.normalize(t) for t in hard_pairs(48, 16))


@pytest.mark.parametrize("tile", [None, 7])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_open_clip_and_transformers_have_the_same_softmax_loss(sigma, tile):
    from open_clip.loss import ClipLoss
    from transformers.models.align.modeling_align import align_loss

    x, y = unit_pairs()
    mean = contrastive_loss(x, y, sigma, label_smoothing=0.0, reduction="mean", tile=tile)
    assert mean.item() == pytest.approx(ClipLoss()(x, y, torch.tensor(1 / sigma)).item(), rel=1e-6)
    theirs = align_loss(y @ x.T / sigma)  # smoothing 0.1 is built in; the mean of two directions
    ours = contrastive_loss(x, y, sigma, tile=tile)
    assert ours.item() == pytest.approx(2 * theirs.item(), rel=1e-6)


@pytest.mark.parametrize("tile", [None, 7])
@pytest.mark.parametrize(("sigma", "bias"), [(0.1, -10.0), (1 / 64, -3.0), (1.0, 0.0)])
def test_the_sigmoid_loss_is_open_clips(sigma, bias, tile):
    from open_clip.loss import SigLipLoss

    x, y = unit_pairs()
    theirs = SigLipLoss(rank=0, world_size=1)(x, y, torch.tensor(1 / sigma), torch.tensor(bias))
    assert sigmoid_loss(x, y, sigma, bias, tile=tile).item() == pytest.approx(
        theirs.item(), rel=1e-6
    )
