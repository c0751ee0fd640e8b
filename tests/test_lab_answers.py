"""Right answers pass however they are written, and a mistake is named however it is written.

The right answers here come from other libraries, from ours, and from plain loops.
"""

import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import logsumexp
from scipy.stats import rankdata
from tokenizers import models
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.efficientnet import MBConvConfig

from align_edu import contrastive_loss, loss
from align_edu.evaluation.retrieval import retrieval_recall
from align_edu.lab.checks import find_mistake
from align_edu.lab.exercises import find_exercise
from align_edu.model.text_tower import TextTower
from align_edu.presets import TextSettings
from align_edu.search import combine_query
from align_edu.training.recipe import learning_rate_factor

Answer = Callable[..., Any]


def keeps(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LNM"


def normal_form(text: str) -> str:
    letters = unicodedata.normalize("NFKC", text).lower()
    return " ".join("".join(c if keeps(c) else "\t" for c in letters).split())


def library_recall(similarity: Tensor, owner: Any, k: int) -> float:
    recalls = retrieval_recall(similarity, torch.eye(similarity.shape[1]), owner, ks=(k,))
    return recalls["image_to_text"][f"R@{k}"]


def shared_by_sorting(texts: list[str], images: list[str], most: int) -> frozenset[str]:
    pairs = sorted({(normal_form(t), i) for t, i in zip(texts, images, strict=True)})
    groups = itertools.groupby(text for text, _ in pairs)
    return frozenset(text for text, group in groups if len(list(group)) >= most + 1)


def rare_by_rank(texts: list[str], size: int) -> tuple[int, ...]:
    counts: Counter[str] = Counter()
    for text in texts:
        words = text.split()
        counts.update([*words, *(f"{a} {b}" for a, b in zip(words, words[1:], strict=False))])
    order = sorted(sorted(counts), key=counts.__getitem__, reverse=True)  # stable: ties stay
    rare = [f" {token} " for token in order[size:]]
    return tuple(i for i, text in enumerate(texts) if any(t in f" {text} " for t in rare))


def pieces_by_the_library(word: str, vocabulary: list[str]) -> list[str]:
    numbers = {piece: n for n, piece in enumerate(["[UNK]", *vocabulary])}
    cut = models.WordPiece(numbers, unk_token="[UNK]").tokenize(word)
    return [piece.value for piece in cut]


def share_by_building_bert(vocabulary: int, width: int, layers: int, positions: int) -> float:
    settings = TextSettings(layers=layers, width=width, heads=1, positions=positions)
    with torch.device("meta"):
        bert = TextTower(settings, vocabulary, width=4).bert
    total = sum(weight.numel() for weight in bert.parameters())
    return bert.embeddings.word_embeddings.weight.numel() / total


def side_by_torch(side: int, kernel: int, stride: int, before: int, after: int) -> int:
    padded = F.pad(torch.zeros(1, 1, side), (before, after))
    return F.conv1d(padded, torch.zeros(1, 1, kernel), stride=stride).shape[-1]


def loss_in_numpy(
    image: Tensor,
    text: Tensor,
    sigma: float,
    *,
    normal: bool = True,
    power: int = -1,
    shift: int = 0,
    parts: tuple[float, float] = (1, 1),
) -> float:
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


def best_by_root(n: int, label_smoothing: float, gap: float) -> float:
    own = 1 - label_smoothing + label_smoothing / n
    if own == 1:
        return 0.0
    # The softmax of the pair's column, as a function of 1/σ, must be its target.
    root = brentq(lambda scale: 1 / (1 + (n - 1) * math.exp(-gap * scale)) - own, 1e-3, 700)
    return 1 / root


def rate_by_interpolation(step: int, total: int, warmup: int, peak: float) -> float:
    points, values = ([0, warmup, total], [0, peak, 0]) if warmup else ([0, total], [peak, 0])
    return float(np.interp(step, points, values))


def step_by_autograd(
    model: Any, optimizer: torch.optim.Optimizer, batch: Any, smoothing: float
) -> float:
    weights = list(model.parameters())
    before = contrastive_loss(*model(*batch), model.temperature(), label_smoothing=smoothing)
    for weight, gradient in zip(weights, torch.autograd.grad(before, weights), strict=True):
        weight.grad = gradient
    optimizer.step()
    return float(before)


def name_by_loop(similarity: Tensor) -> int:
    totals = [math.fsum(column) for column in similarity.T.tolist()]
    return totals.index(max(totals))


def recall_by_sorting(similarity: Tensor, owner: Tensor, k: int) -> float:
    hits = 0
    for image, row in enumerate(similarity.tolist()):
        order = sorted(range(len(row)), key=lambda t: (-row[t], int(owner[t]) == image))
        hits += any(int(owner[t]) == image for t in order[:k])
    return hits / len(similarity)


def accuracy_by_sorting(similarity: Tensor, labels: Tensor, k: int) -> float:
    hits = 0
    for row, label in zip(similarity.tolist(), labels.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c == label))
        hits += label in order[:k]
    return hits / len(labels)


def top_by_lexsort(similarity: Tensor, query: int, k: int) -> tuple[int, ...]:
    values = -similarity.numpy()
    values[query] = np.inf
    order = np.lexsort((np.arange(len(values)), values))
    return tuple(order[: min(k, len(values) - 1)].tolist())


def days_in_logarithms(*given: float) -> Tensor:
    gflop, pairs, chips, peak, share = torch.tensor(given, dtype=torch.float64).log()
    units = math.log(3e9) - math.log(1e12 * 86_400)
    return (gflop + pairs - chips - peak - share + units).exp()


RIGHT: list[tuple[str, Answer]] = [
    ("chance_loss", loss.chance_loss),
    ("chance_loss", lambda n: 2 * F.cross_entropy(torch.zeros(1, n), torch.tensor([0]))),
    ("recall_at_1", lambda s: library_recall(s, range(len(s)), 1)),
    ("count_words", lambda t: sum(k for k, _ in itertools.groupby(normal_form(t), keeps))),
    ("shared_texts", shared_by_sorting),
    ("keeps_image", lambda w, h: min(w, h) >= 201 and max(w, h) // min(w, h) < 3),
    ("rare_texts", rare_by_rank),
    ("wordpieces", pieces_by_the_library),
    ("embedding_share", share_by_building_bert),
    ("round_channels", MBConvConfig.adjust_channels),
    ("output_side", side_by_torch),
    ("cosine", lambda x, y: F.cosine_similarity(torch.tensor(x), torch.tensor(y), dim=0)),
    ("cosine_matrix", lambda x, y: F.cosine_similarity(x[:, None], y[None], dim=2)),
    ("best_matches", lambda s: tuple(row.index(max(row)) for row in s.tolist())),
    ("align_loss", loss_in_numpy),
    ("smoothed_loss", lambda z, e: F.cross_entropy(z, torch.arange(len(z)), label_smoothing=e)),
    ("temperature_gradient", gradient_by_autograd),
    ("best_temperature", best_by_root),
    ("best_temperature", loss.best_temperature),
    ("learning_rate_at", rate_by_interpolation),
    ("learning_rate_at", lambda t, n, w, peak: peak * learning_rate_factor(t / n, w / n)),
    ("training_step", step_by_autograd),
    ("scaled", lambda value: Fraction(value - (255 - value), 255)),
    ("name_index", name_by_loop),
    ("recall_at_k", recall_by_sorting),
    ("recall_at_k", library_recall),
    ("average_ranks", lambda values: rankdata(values).tolist()),
    ("ensemble", lambda p: F.normalize(torch.stack([F.normalize(each).sum(0) for each in p]))),
    ("top_k_accuracy", accuracy_by_sorting),
    ("combine", lambda i, p, m, w: combine_query([(1.0, i), (w, p), (-w, m)])),
    ("top_k_without", top_by_lexsort),
    ("loss_by_tiles", lambda x, y, sigma, tile: loss_in_numpy(x, y, sigma)),
    ("days_of_run", days_in_logarithms),
]


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_an_unusual_right_answer_passes(name: str, function: Answer) -> None:
    for seed in range(3):
        assert find_mistake(find_exercise(name), function, seed) is None


def test_the_reference_widens_every_layer_as_torchvision_does() -> None:
    widen = find_exercise("round_channels").reference
    for width in range(2, 45):
        for channels in range(1, 400):
            library = MBConvConfig.adjust_channels(channels, width / 10)
            assert widen(channels, width / 10) == library
    assert [widen(320, width) for width in (2.0, 4.3)] == [640, 1376]  # Section 6.1


# The same mistakes as ours, as other people would write them.


def in_numpy(**how: Any) -> Answer:
    return lambda image, text, sigma: loss_in_numpy(image, text, sigma, **how)


def counts_pairs(texts: list[str], images: list[str], most: int) -> set[str]:
    counts = Counter(map(normal_form, texts))
    return {text for text in counts if counts[text] > most}


def looks_at_words(texts: list[str], size: int) -> list[int]:
    counts = Counter(" ".join(texts).split())
    order = sorted(sorted(counts), key=lambda word: -counts[word])
    return [i for i, text in enumerate(texts) if not set(text.split()) <= set(order[:size])]


def searches_from_zero(similarity: Tensor) -> list[int]:
    rows = [[max(value, 0.0) for value in row] for row in similarity.tolist()]
    return [row.index(max(row)) for row in rows]


def ntxent(image: Tensor, text: Tensor, sigma: float) -> float:
    z = F.normalize(torch.cat([image, text])).double()
    total, n = 0.0, len(image)
    for i in range(2 * n):
        others = [float(z[i] @ z[j]) / sigma for j in range(2 * n) if j != i]
        total += logsumexp(others) - float(z[i] @ z[(i + n) % (2 * n)]) / sigma
    return total / n


def trusts_exp(image: Tensor, text: Tensor, sigma: float) -> Tensor:
    weights = torch.exp(F.cosine_similarity(image[:, None], text[None], dim=2) / sigma)
    shares = (torch.diag(weights / weights.sum(dim)) for dim in (0, 1))
    return -sum(share.log().mean() for share in shares)


def decays_by_a_cosine(step: int, total: int, warmup: int, peak: float) -> float:
    if step < warmup:
        return peak * step / warmup
    return peak * math.cos(0.5 * math.pi * (step - warmup) / (total - warmup)) ** 2


def counts_votes(similarity: Tensor) -> int:
    votes = Counter(row.index(max(row)) for row in similarity.tolist())
    return min(votes, key=lambda column: (-votes[column], column))


MISTAKES: list[tuple[str, Answer, str]] = [
    ("recall_at_1", lambda s: s.amax(1).eq(s.diagonal()).double().mean(), "a tie as a hit"),
    ("count_words", lambda text: len(re.findall(r"\S+", text)), "white space only"),
    ("shared_texts", counts_pairs, "You count pairs"),
    ("rare_texts", looks_at_words, "unigrams only"),
    ("cosine", lambda x, y: torch.corrcoef(torch.tensor([x, y]))[0, 1], "a correlation"),
    ("best_matches", searches_from_zero, "begins at 0"),
    ("align_loss", ntxent, "as in SimCLR"),
    ("align_loss", trusts_exp, "exp overflows"),
    ("align_loss", in_numpy(normal=False), "You do not normalise"),
    ("align_loss", in_numpy(parts=(1, 0)), "eq. (1) alone"),
    ("align_loss", in_numpy(parts=(2, 0)), "eq. (1) twice"),
    ("align_loss", in_numpy(parts=(0.5, 0.5)), "as CLIP does"),
    ("align_loss", in_numpy(power=1), "You multiply by σ"),
    ("align_loss", in_numpy(power=0), "σ is not used"),
    ("align_loss", in_numpy(shift=1), "off by one"),
    ("learning_rate_at", decays_by_a_cosine, "cosine decay"),
    ("name_index", counts_votes, "count the votes"),
]


@pytest.mark.parametrize(("name", "function", "words"), MISTAKES)
def test_a_mistake_is_named_however_it_is_written(name: str, function: Answer, words: str) -> None:
    assert words in str(find_mistake(find_exercise(name), function))
