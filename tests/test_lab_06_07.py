"""Notebooks 06 and 07: the checks of the loss and of σ name each mistake, right answers pass."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import logsumexp
from torch.nn import functional as F

from align_edu.lab.answers.n06 import WRONG_LOSSES
from align_edu.lab.checks import find_mistake
from align_edu.lab.exercises import find_exercise
from align_edu.loss import contrastive_loss

Answer = Callable[..., Any]


# Right answers, written in unusual ways.


def loss_by_loop(image: torch.Tensor, text: torch.Tensor, sigma: float) -> float:
    x, y = (
        [[v / math.hypot(*row) for v in row] for row in some.tolist()] for some in (image, text)
    )
    rows = [[sum(a * b for a, b in zip(u, v, strict=True)) / sigma for v in y] for u in x]
    total = 0.0
    for matrix in (rows, list(zip(*rows, strict=True))):
        for i, row in enumerate(matrix):
            largest = max(row)
            total += largest + math.log(sum(math.exp(v - largest) for v in row)) - row[i]
    return total / len(x)


def loss_by_einsum(image: torch.Tensor, text: torch.Tensor, sigma: float) -> torch.Tensor:
    dots = torch.einsum("id,jd->ij", image, text)
    lengths = torch.einsum("i,j->ij", image.norm(dim=1), text.norm(dim=1))
    logits = dots / lengths / sigma
    both = logits.log_softmax(dim=1) + logits.log_softmax(dim=0)
    return -torch.einsum("ii->i", both).mean()


def loss_by_distance(image: torch.Tensor, text: torch.Tensor, sigma: float) -> torch.Tensor:
    x, y = (F.normalize(some.double(), dim=1) for some in (image, text))
    logits = -(x[:, None] - y[None]).square().sum(dim=2) / (2 * sigma)
    labels = torch.arange(len(x))
    return F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)


def loss_by_logsumexp(image: torch.Tensor, text: torch.Tensor, sigma: float) -> np.floating[Any]:
    x, y = (some.double().numpy() for some in (image, text))
    x, y = (some / np.linalg.norm(some, axis=1, keepdims=True) for some in (x, y))
    logits = x @ y.T / sigma
    own = np.trace(logits)
    return (logsumexp(logits, axis=0).sum() + logsumexp(logits, axis=1).sum() - 2 * own) / len(x)


def smoothed_by_two_parts(logits: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    labels = torch.arange(len(logits))
    everywhere = -logits.log_softmax(dim=1).mean()
    return (1 - label_smoothing) * F.cross_entropy(logits, labels) + label_smoothing * everywhere


def smoothed_by_loop(logits: torch.Tensor, label_smoothing: float) -> float:
    n, total = len(logits), 0.0
    for i, row in enumerate(logits.double().tolist()):
        log_total = math.log(sum(map(math.exp, row)))
        total += log_total - (1 - label_smoothing) * row[i] - label_smoothing * sum(row) / n
    return total / n


def gradient_by_autograd(cosines: torch.Tensor, sigma: float) -> torch.Tensor:
    scale = torch.tensor(sigma, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(len(cosines))
    loss = sum(F.cross_entropy(c / scale, labels) for c in (cosines, cosines.T))
    return torch.autograd.grad(loss, scale)[0]


def gradient_by_differences(cosines: torch.Tensor, sigma: float) -> float:
    def loss(s: float) -> float:
        labels = torch.arange(len(cosines))
        return sum(F.cross_entropy(c / s, labels).item() for c in (cosines, cosines.T))

    h = 1e-5 * sigma
    return (loss(sigma + h) - loss(sigma - h)) / (2 * h)


def best_by_targets(n: int, label_smoothing: float, gap: float) -> float:
    if not label_smoothing:
        return 0
    other = label_smoothing / n
    return gap / (math.log(1 - label_smoothing + other) - math.log(other))


def best_by_root(n: int, label_smoothing: float, gap: float) -> float:
    own = 1 - label_smoothing + label_smoothing / n
    if own == 1:
        return 0.0
    # The softmax of the pair's column, as a function of 1/σ, must be its target.
    root = brentq(lambda scale: 1 / (1 + (n - 1) * math.exp(-gap * scale)) - own, 1e-3, 700)
    return 1 / root


RIGHT = [
    ("align_loss", loss_by_loop),
    ("align_loss", loss_by_einsum),
    ("align_loss", loss_by_distance),
    ("align_loss", loss_by_logsumexp),
    ("smoothed_loss", smoothed_by_two_parts),
    ("smoothed_loss", smoothed_by_loop),
    ("temperature_gradient", gradient_by_autograd),
    ("temperature_gradient", gradient_by_differences),
    ("best_temperature", best_by_targets),
    ("best_temperature", best_by_root),
]


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_an_unusual_right_answer_passes(name: str, function: Answer) -> None:
    for seed in range(5):
        assert find_mistake(find_exercise(name), function, seed) is None


# The same mistakes, as other people would write them: the name must not hang on the code.


def numpy_parts(image: Any, text: Any, normal: bool = True) -> tuple[np.ndarray, np.ndarray]:
    x, y = (some.double().numpy() for some in (image, text))
    if not normal:
        return x, y
    return x / np.linalg.norm(x, axis=1)[:, None], y / np.linalg.norm(y, axis=1)[:, None]


def numpy_rows(logits: np.ndarray) -> float:
    return (logsumexp(logits, axis=1) - np.diag(logits)).mean()


def numpy_mutant(how: str) -> Answer:
    """Most mutants of a study of checks, in numpy, from one skeleton."""

    def loss(image: torch.Tensor, text: torch.Tensor, sigma: float) -> float:
        x, y = numpy_parts(image, text, normal=how not in ("no L2", "over the batch"))
        if how == "over the batch":
            x, y = (some / np.sqrt((some**2).sum(0)) for some in (x, y))
        logits = x @ y.T / {"times": 1 / sigma, "ignored": 1.0}.get(how, sigma)
        i2t, t2i = numpy_rows(logits), numpy_rows(logits.T)
        if how == "axis":
            t2i = i2t
        if how == "one":
            return i2t
        if how == "off by one":
            shifted = np.roll(np.arange(len(x)), -1)
            i2t, t2i = (
                (logsumexp(m, axis=1) - m[np.arange(len(x)), shifted]).mean()
                for m in (logits, logits.T)
            )
        return (i2t + t2i) * {"mean": 0.5, "sum": len(x), "twice": 1 / len(x)}.get(how, 1.0)

    return loss


def drops_the_pair(image: torch.Tensor, text: torch.Tensor, sigma: float) -> float:
    x, y = numpy_parts(image, text)
    logits, total = x @ y.T / sigma, 0.0
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        total += logsumexp(logits[i, others]) + logsumexp(logits[others, i]) - 2 * logits[i, i]
    return total / len(x)


def trusts_exp(image: torch.Tensor, text: torch.Tensor, sigma: float) -> torch.Tensor:
    weights = torch.exp(F.cosine_similarity(image[:, None], text[None], dim=2) / sigma)
    shares = (torch.diag(weights / weights.sum(dim)) for dim in (0, 1))
    return -sum(share.log().mean() for share in shares)


def trusts_the_sum_of_exp(image: torch.Tensor, text: torch.Tensor, sigma: float) -> torch.Tensor:
    logits = F.cosine_similarity(image[:, None], text[None], dim=2) / sigma
    sums = logits.exp().sum(dim=1).log() + logits.exp().sum(dim=0).log()
    return (sums - 2 * logits.diagonal()).mean()


def softmax_before_cross_entropy(image: torch.Tensor, text: torch.Tensor, s: float) -> Any:
    logits = F.normalize(image) @ F.normalize(text).t() / s
    probabilities, labels = torch.softmax(logits, -1), torch.arange(len(logits))
    criterion = torch.nn.CrossEntropyLoss()
    return criterion(probabilities, labels) + criterion(probabilities.T, labels)


def ntxent(image: torch.Tensor, text: torch.Tensor, sigma: float) -> float:
    z = np.concatenate(numpy_parts(image, text))
    n, total = len(z) // 2, 0.0
    for i in range(2 * n):
        others = [z[i] @ z[j] / sigma for j in range(2 * n) if j != i]
        total += logsumexp(others) - z[i] @ z[(i + n) % (2 * n)] / sigma
    return total / n


def kl_instead(logits: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    n = len(logits)
    target = F.one_hot(torch.arange(n), n) * (1 - label_smoothing) + label_smoothing / n
    q = torch.distributions.Categorical(logits=logits)
    return torch.distributions.kl_divergence(torch.distributions.Categorical(target), q).mean()


def derivative_in_log_sigma(cosines: torch.Tensor, sigma: float) -> torch.Tensor:
    log_sigma = torch.tensor(math.log(sigma), dtype=torch.float64, requires_grad=True)
    labels = torch.arange(len(cosines))
    logits = cosines * torch.exp(-log_sigma)
    (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)).backward()
    return log_sigma.grad


MISTAKES = [
    ("align_loss", numpy_mutant("no L2"), "You do not normalise"),
    ("align_loss", numpy_mutant("one"), "eq. (1) alone"),
    ("align_loss", numpy_mutant("axis"), "eq. (1) twice"),
    ("align_loss", numpy_mutant("mean"), "as CLIP does"),
    ("align_loss", numpy_mutant("times"), "You multiply by σ"),
    ("align_loss", numpy_mutant("ignored"), "σ is not used"),
    ("align_loss", numpy_mutant("over the batch"), "over the batch, down the columns"),
    ("align_loss", numpy_mutant("sum"), "You add over the batch"),
    ("align_loss", numpy_mutant("twice"), "by N twice"),
    ("align_loss", numpy_mutant("off by one"), "off by one"),
    ("align_loss", drops_the_pair, "leaves the pair itself out"),
    ("align_loss", trusts_exp, "exp overflows"),
    ("align_loss", trusts_the_sum_of_exp, "infinite at a small σ"),
    ("align_loss", ntxent, "as in SimCLR"),
    ("align_loss", softmax_before_cross_entropy, "the softmax runs twice"),
    ("smoothed_loss", kl_instead, "entropy"),
    ("temperature_gradient", derivative_in_log_sigma, "log σ"),
    ("best_temperature", lambda n, e, gap: gap / math.log1p(n * (1 - e) / e), "divide by zero"),
]


@pytest.mark.parametrize(("name", "function", "words"), MISTAKES)
@pytest.mark.parametrize("seed", [0, 1, 3])
def test_a_mistake_is_named_however_it_is_written(
    name: str, function: Answer, words: str, seed: int
) -> None:
    assert words in str(find_mistake(find_exercise(name), function, seed))


@pytest.mark.parametrize("wrong", WRONG_LOSSES, ids=lambda wrong: wrong.mistake[:40])
def test_a_wrong_loss_is_a_scalar_of_image_text_and_a_number_or_tensor(wrong: Any) -> None:
    image, text = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    number = wrong.function(image, text, 0.25)
    tensor = wrong.function(image.requires_grad_(), text, torch.tensor(0.25))
    assert number.ndim == 0
    assert tensor.item() == pytest.approx(number.item(), rel=1e-5)
    assert tensor.requires_grad != ("You count" in wrong.mistake)


def test_references_agree_with_hand_work_and_with_the_gradient_of_the_library() -> None:
    image, text = torch.tensor([[[3.0, 4.0], [0.0, 2.0]], [[1.0, 0.0], [1.0, 1.0]]])
    loss = find_exercise("align_loss").reference(image, text, 0.5)
    assert loss.item() == pytest.approx(1.32682331, abs=1e-6)
    slope = find_exercise("temperature_gradient").reference
    assert slope(torch.eye(2), 0.5).item() == pytest.approx(8 / (1 + math.e**2), rel=1e-6)
    image, text = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(1)).double()
    for value in (1.0, 0.2, 1 / 64):
        sigma = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        contrastive_loss(image, text, sigma, label_smoothing=0.0).backward()
        plain = contrastive_loss(image, text, value, label_smoothing=0.0).item()
        assert find_exercise("align_loss").reference(image, text, value).item() == (
            pytest.approx(plain, rel=1e-9)
        )
        cosines = F.normalize(image) @ F.normalize(text).T
        assert slope(cosines, value).item() == pytest.approx(sigma.grad.item(), rel=1e-9)


def test_an_answer_that_gives_nan_is_named_when_it_is_known() -> None:
    problem = str(find_mistake(find_exercise("align_loss"), trusts_exp))
    assert "got nan. exp overflows" in problem
