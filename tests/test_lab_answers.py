"""Right answers of other libraries and of plain loops pass; mistakes are named in any form."""

import itertools
import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from scipy.stats import norm, rankdata
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.efficientnet import MBConvConfig

from align_edu import contrastive_loss, loss
from align_edu.evaluation.retrieval import retrieval_recall
from align_edu.lab import find_mistake
from align_edu.lab.exercises import find_exercise
from align_edu.search import combine_query
from tests.samples import words_of


def library_recall(similarity: Tensor, owner, k: int) -> float:
    recalls = retrieval_recall(similarity, torch.eye(similarity.shape[1]), owner, ks=(k,))
    return recalls["image_to_text"][f"R@{k}"]


def shared_by_sorting(texts: list[str], images: list[str], most: int) -> frozenset[str]:
    pairs = sorted({(" ".join(words_of(t)), i) for t, i in zip(texts, images, strict=True)})
    groups = itertools.groupby(text for text, _ in pairs)
    return frozenset(text for text, group in groups if len(list(group)) > most)


def loss_in_numpy(image, text, sigma, *, normal=True, power=-1, shift=0, parts=(1, 1)) -> float:
    x, y = (some.double().numpy() for some in (image, text))
    if normal:
        x, y = (some / np.linalg.norm(some, axis=1, keepdims=True) for some in (x, y))
    logits, places = x @ y.T * sigma**power, np.arange(len(x))
    rows, columns = (
        (logsumexp(each, axis=1) - each[places, np.roll(places, -shift)]).mean()
        for each in (logits, logits.T)
    )
    return float(parts[0] * rows + parts[1] * columns)


def gradient_by_autograd(cosines: Tensor, sigma: float) -> Tensor:
    scale = torch.tensor(sigma, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(len(cosines))
    total = sum(F.cross_entropy(c / scale, labels) for c in (cosines, cosines.T))
    return torch.autograd.grad(total, scale)[0]


def step_by_autograd(model, optimizer, batch, smoothing: float) -> float:
    weights = list(model.parameters())
    before = contrastive_loss(*model(*batch), model.temperature(), label_smoothing=smoothing)
    for weight, gradient in zip(weights, torch.autograd.grad(before, weights), strict=True):
        weight.grad = gradient
    optimizer.step()
    return before.item()


def recall_by_sorting(similarity: Tensor, matching: Tensor, k: int) -> float:
    hits = 0
    for row, right in zip(similarity.tolist(), matching.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda t: (-row[t], right[t]))  # matches last in a tie
        hits += any(right[t] for t in order[:k])
    return hits / len(similarity)


def best_guess(values: Tensor, power: int) -> float:
    """The lowest of a sum of powers, searched for."""
    low, high = values.min().item(), values.max().item()

    def cost(guess):
        return (values - guess).abs().pow(power).sum().item()

    return minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-9}).x


def quantiles(means):
    return np.percentile(means, (2.5, 97.5)).tolist()


def names_by_lift(counts: Tensor) -> tuple[int, ...]:
    """A row's own share only scales it, so columns alone decide."""
    best = np.argmax(counts.numpy() / counts.numpy().sum(0), axis=1)
    return tuple(np.flatnonzero(best != np.arange(len(best))).tolist())


def loss_by_bce(cosines: Tensor, sigma: float, bias: float) -> float:
    logits, pairs = cosines.double() / sigma + bias, torch.eye(len(cosines), dtype=torch.float64)
    return F.binary_cross_entropy_with_logits(logits, pairs, reduction="sum").item() / len(cosines)


def stop_by_lists(validation: Tensor, patience: int) -> int:
    losses = validation.tolist()
    for end in range(patience, len(losses)):
        if min(losses[: end - patience + 1]) <= min(losses[end - patience + 1 : end + 1]):
            return losses.index(min(losses[: end + 1]))
    return losses.index(min(losses))


def amplified(found, planted, shares):
    hits = np.array(found) == np.array(planted)[:, None]  # (kinds, K)
    return float(np.mean(hits.mean(axis=1) - np.array(shares)))


def card_by_scipy(names, right, asked):
    card = (
        "## Intended use\nto learn what a search finds\n## Not for\nanything about a single person"
    )
    card += "\n## Training data\nscenes that a program has drawn\n## Measured\n"
    limits = ["What is at chance level here:"]
    for name, hits, n in zip(names, right, asked, strict=True):
        reach = norm.ppf(0.975) * math.sqrt(hits * (n - hits) / n**3)
        low, high = np.clip([hits / n - reach, hits / n + reach], 0, 1).tolist()
        card += f"- {name}: {hits / n:.0%} ({100 * low:.0f} to {100 * high:.0f}) of {n}\n"
        limits += [name] if (low - 0.5) * (high - 0.5) <= 0 else []
    return card + "## Limits\n" + "\n".join(limits)


def front_by_sweep(flops: Tensor, quality: Tensor) -> tuple[int, ...]:
    points = list(zip(flops.tolist(), quality.tolist(), strict=True))
    kept, best = [], (0.0, -math.inf)
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        best = points[i] if points[i][1] > best[1] else best
        kept += [i] if points[i] == best else []
    return tuple(kept)


def pairs_by_fractions(budget: float, image_flops: float, text_flops: float) -> int:
    return int(Fraction(budget) / (3 * (Fraction(image_flops) + Fraction(text_flops))))


R = math.log(1e12 * 86_400 / 3e9)  # log of the pairs of 1 GFLOP that 1 TFLOP/s takes in a day
RIGHT = [
    ("chance_loss", lambda n: 2 * F.cross_entropy(torch.zeros(1, n), torch.tensor([0]))),
    ("recall_at_1", lambda s: library_recall(s, range(len(s)), 1)),
    ("count_words", lambda t: len(words_of(t))),
    ("shared_texts", shared_by_sorting),
    ("keeps_image", lambda w, h: min(w, h) >= 201 and max(w, h) // min(w, h) < 3),
    ("round_channels", MBConvConfig.adjust_channels),
    ("output_side", lambda n, k, s, *pads: len(F.pad(torch.zeros(n), pads).unfold(0, k, s))),
    ("cosine", lambda x, y: F.cosine_similarity(torch.tensor(x), torch.tensor(y), dim=0)),
    ("cosine_matrix", lambda x, y: F.cosine_similarity(x[:, None], y[None], dim=2)),
    ("best_matches", lambda s: tuple(map(first_best, s.tolist()))),
    ("align_loss", loss_in_numpy),
    ("smoothed_loss", lambda z, e: F.cross_entropy(z, torch.arange(len(z)), label_smoothing=e)),
    ("temperature_gradient", gradient_by_autograd),
    ("best_temperature", loss.best_temperature),
    ("learning_rate_at", lambda t, n, w, peak: np.interp(t, [min(0, w - 1), w, n], [0, peak, 0])),
    ("training_step", step_by_autograd),
    ("scaled", lambda value: Fraction(value - (255 - value), 255)),
    ("name_index", lambda s: max(range(s.shape[1]), key=lambda k: math.fsum(s[:, k].tolist()))),
    ("recall_at_k", lambda s, t, k: recall_by_sorting(s, t == torch.arange(len(s))[:, None], k)),
    ("average_ranks", lambda values: rankdata(values).tolist()),
    ("ensemble", lambda p: F.normalize(torch.stack([F.normalize(each).sum(0) for each in p]))),
    ("top_k_accuracy", lambda s, y, k: recall_by_sorting(s, F.one_hot(y, s.shape[1]), k)),
    ("combine", lambda i, p, m, w: combine_query([(1.0, i), (w, p), (-w, m)])),
    ("loss_by_tiles", lambda x, y, sigma, tile: loss_in_numpy(x, y, sigma)),
    ("negatives_left", lambda n, share: int(np.rint(np.float64(n - 1) * share))),
    ("paired_interval", lambda a, b, d: quantiles((a[d] - b[d]).numpy().mean(1))),
    ("pairs_needed", lambda n, s, at: np.exp(np.interp(at, s.numpy(), n.log().numpy()))),
    ("never_mended", names_by_lift),
    ("worth_their_cost", front_by_sweep),
    ("pairs_for_budget", pairs_by_fractions),
    ("pairwise_loss", loss_by_bce),
    ("balanced_share", lambda n, most: most / n.clamp(min=most)),
    ("best_constant", lambda values, loss: best_guess(values.double(), 1 + (loss == "mse"))),
    ("best_epoch", stop_by_lists),
    ("amplification", amplified),
    ("model_card", card_by_scipy),
    ("days_of_run", lambda g, n, c, p, s: math.exp(math.log(g * n / c) - math.log(p * s) - R)),
]


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_an_unusual_right_answer_passes(name, function):
    for seed in (0, 1):
        assert find_mistake(find_exercise(name), function, seed) is None


def test_the_reference_widens_every_layer_as_torchvision_does():
    widen = find_exercise("round_channels").reference
    for width in range(2, 45):
        for channels in range(1, 400):
            library = MBConvConfig.adjust_channels(channels, width / 10)
            assert widen(channels, width / 10) == library
    assert [widen(320, width) for width in (2.0, 4.3)] == [640, 1376]  # Section 6.1


# The same mistakes as ours, as other people would write them.
def in_numpy(**how):
    return lambda image, text, sigma: loss_in_numpy(image, text, sigma, **how)


def first_best(row: list[float], least: float = -math.inf) -> int:
    values = [max(value, least) for value in row]
    return values.index(max(values))


MISTAKES = [
    ("recall_at_1", lambda s: s.amax(1).eq(s.diagonal()).double().mean(), "a tie as a hit"),
    ("count_words", lambda text: len(re.findall(r"\S+", text)), "white space only"),
    ("cosine", lambda x, y: torch.corrcoef(torch.tensor([x, y]))[0, 1], "a correlation"),
    ("best_matches", lambda s: [first_best(row, 0.0) for row in s.tolist()], "begins at 0"),
    ("align_loss", in_numpy(normal=False), "You do not normalise"),
    ("align_loss", in_numpy(parts=(2, 0)), "eq. (1) twice"),
    ("align_loss", in_numpy(parts=(0.5, 0.5)), "as CLIP does"),
    ("align_loss", in_numpy(power=1), "You multiply by σ"),
    ("align_loss", in_numpy(power=0), "σ is not used"),
    ("align_loss", in_numpy(shift=1), "off by one"),
]


@pytest.mark.parametrize(("name", "function", "words"), MISTAKES)
def test_a_mistake_is_named_however_it_is_written(name, function, words):
    assert words in str(find_mistake(find_exercise(name), function))
