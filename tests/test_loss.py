"""The loss against hand work, other libraries, and one float64 definition, in value and gradients.

Tolerances are for float32: 1e-6 of the value, 1e-5 of each gradient's norm."""

import functools
import itertools

import pytest
import torch
import torch.distributed as dist
from open_clip.loss import ClipLoss, SigLipLoss
from scipy.linalg import circulant
from scipy.optimize import minimize_scalar

from align_edu.loss import best_temperature, contrastive_loss, loss_floor, sigmoid_loss
from tests.processes import run_processes

SIGMAS = (1.0, 1 / 16, 1 / 64, 1 / 128)
CHOICES = [(1.0, False), (0.5, False), (0.25, False), (1.0, True), (0.5, True)]
WIDE = (52, 640)
GATHERED = [
    *itertools.product([(24, 8)], (1.0, 1 / 64), [0.0, 0.1], CHOICES, [None, 5]),
    *itertools.product([WIDE], (1 / 16, 1 / 128), [0.1], CHOICES[::2], [None, 5]),
]
GATHERED_SIGMOID = [
    *itertools.product([(24, 8)], SIGMAS, [0.0, -10.0], [None, 5]),
    *itertools.product([WIDE], (1 / 64,), [-10.0], [None, 5]),
]
GROUPS = (2, 4)


def pairs(n, d, seed=0, noise=1.0):
    """Random float32 images and their texts, which resemble them: two (N, D)."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(n, d, generator=generator)
    return image, image + noise * torch.randn(n, d, generator=generator)


def repeated_ids(n):
    return torch.arange(n) * 2 // 3


def counted(n, negatives, ids):
    """(N, N) booleans: which texts each image is compared with."""
    first = torch.arange(n) <= round((n - 1) * negatives)  # of image 0; the others turn it
    mask = torch.from_numpy(circulant(first).T.copy())
    if ids is not None:
        mask &= ids[:, None] != ids[None, :]
        mask.fill_diagonal_(True)
    return mask


def truth_of(formula, image, text, *scalars):
    """Value and all gradients of a formula of unit vectors, in float64."""
    leaves = [t.detach().double().clone().requires_grad_() for t in (image, text)]
    leaves += [torch.tensor(float(s)).double().requires_grad_() for s in scalars]
    x, y = (t / t.square().sum(1, keepdim=True).sqrt() for t in leaves[:2])
    return _with_gradients(formula(x, y, *leaves[2:]), *leaves)


def softmax_oracle(image, text, sigma, smoothing=0.1, mask=None):
    """Eq. (1) + eq. (2)."""
    n, own = len(image), torch.eye(len(image), dtype=torch.float64)
    mask = torch.ones(n, n, dtype=torch.bool) if mask is None else mask

    def formula(x, y, sigma):
        logits, total = x @ y.T / sigma, 0.0
        for matrix, counts in ((logits, mask), (logits.T, mask.T)):
            log_p = torch.log_softmax(matrix.masked_fill(~counts, -1e300), dim=1)
            smooth = counts.double() / counts.sum(1, keepdim=True)
            target = (1 - smoothing) * own + smoothing * smooth
            total = total - (target * log_p.masked_fill(~counts, 0)).sum() / n
        return total

    return truth_of(formula, image, text, sigma)


def sigmoid_oracle(image, text, sigma, bias):
    """SigLIP's loss, by the definition of the logistic function."""
    signs = 2 * torch.eye(len(image), dtype=torch.float64) - 1

    def formula(x, y, sigma, bias):
        return torch.log1p(torch.exp(-signs * (x @ y.T / sigma + bias))).sum() / len(x)

    return truth_of(formula, image, text, sigma, bias)


def measured(loss, image, text, *scalars):
    leaves = [t.clone().requires_grad_() for t in (image, text)]
    leaves += [torch.tensor(float(s), requires_grad=True) for s in scalars]
    return _with_gradients(loss(*leaves), *leaves)


def errors(ours, truth):
    return [
        ((a.double() - b).norm() / b.norm().clamp(min=1e-30)).item()
        for a, b in zip(ours, truth, strict=True)
    ]


def _with_gradients(total, *leaves):
    total.backward()
    return [total.detach(), *(leaf.grad for leaf in leaves)]


def test_half_precision_inputs_are_compared_in_full_precision():
    image, text = (t.bfloat16() for t in pairs(16, 8))
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive_loss(image, text, 1 / 64)
    assert loss.dtype == torch.float32
    expected = softmax_oracle(image, text, 1 / 64)[0].item()
    assert loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("gap", [1.0, 0.3])
def test_the_best_temperature_is_the_minimum_of_the_loss_over_sigma(gap):
    # Unit vectors whose own cosine is 1 and every other one 1 - gap.
    n = 24
    cosines = torch.full((n, n), 1 - gap, dtype=torch.float64).fill_diagonal_(1.0)
    vectors = torch.linalg.cholesky(cosines)
    found = minimize_scalar(
        lambda sigma: contrastive_loss(vectors, vectors, sigma).item(), bounds=(1e-3, 2.0)
    )
    assert best_temperature(n, 0.1, gap) == pytest.approx(found.x, rel=1e-4)
    assert loss_floor(n, 0.0) == 0.0 == best_temperature(n, 0.0, gap)


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
    arguments = {"image": torch.eye(2), "text": torch.eye(2), "temperature": 0.5} | change
    with pytest.raises(ValueError, match=words):
        contrastive_loss(**arguments)


def hard_pairs(n, d):
    """Pairs whose loss is far from zero at every temperature: nothing vanishes."""
    return pairs(n, d, noise=2 if d < 64 else 10)


def assert_equal(ours, truth):
    value, *gradients = errors(ours, truth)
    assert value <= 1e-6
    assert max(gradients) <= 1e-5


def form(tile, smoothing, negatives, ids, group=None):
    def loss(image, text, sigma):
        options = {"label_smoothing": smoothing, "negatives": negatives, "ids": ids}
        return contrastive_loss(image, text, sigma, **options, tile=tile, group=group)

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
    assert_equal(ours, softmax_oracle(image, text, 1e-3, smoothing))


@pytest.mark.parametrize(("sigma", "bias"), [(1.0, 0.0), (0.1, -10.0), (1 / 64, -12.5)])
@pytest.mark.parametrize(("n", "d"), [(33, 8), (130, 640)])
def test_the_sigmoid_loss_gives_its_definition(n, d, sigma, bias):
    image, text = hard_pairs(n, d)
    truth = sigmoid_oracle(image, text, sigma, bias)
    for tile in (None, 10):
        loss = functools.partial(sigmoid_loss, tile=tile)
        assert_equal(measured(loss, image, text, sigma, bias), truth)


# Several processes: each holds some rows; the mean of the gradients must be the batch's.
def gathered_errors(rank):
    """Errors of every gathered case in groups of 2 and of 4 processes: (cases, 4), (cases, 5)."""
    results = []
    for size, group in [(size, dist.new_group(range(size))) for size in GROUPS]:
        for error, cases in ((_softmax_error, GATHERED), (_sigmoid_error, GATHERED_SIGMOID)):
            if rank < size:
                results.append(torch.tensor([error(rank, group, *case) for case in cases]))
    return results


def _softmax_error(rank, group, shape, sigma, smoothing, choice, tile):
    (image, text), (negatives, repeats), n = hard_pairs(*shape), choice, shape[0]
    ids = repeated_ids(n) if repeats else None

    def loss(a, b, s, here):
        mine = None if ids is None else ids[here]
        return form(tile, smoothing, negatives, mine, group)(a, b, s)

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
def test_the_softmax_loss_is_open_clips(sigma, tile):
    x, y = unit_pairs()
    ours = contrastive_loss(x, y, sigma, label_smoothing=0.0, reduction="mean", tile=tile)
    assert ours.item() == pytest.approx(ClipLoss()(x, y, torch.tensor(1 / sigma)).item(), rel=1e-6)


@pytest.mark.parametrize("tile", [None, 7])
@pytest.mark.parametrize(("sigma", "bias"), [(0.1, -10.0), (1 / 64, -3.0), (1.0, 0.0)])
def test_the_sigmoid_loss_is_open_clips(sigma, bias, tile):
    x, y = unit_pairs()
    theirs = SigLipLoss(rank=0, world_size=1)(x, y, torch.tensor(1 / sigma), torch.tensor(bias))
    ours = sigmoid_loss(x, y, sigma, bias, tile=tile)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
