"""Right answers pass however they are written, and a mistake is named however it is written."""

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
from torch.nn import functional as F

from align_edu import contrastive_loss
from align_edu.lab.answers.n06 import WRONG_LOSSES
from align_edu.lab.checks import find_mistake
from align_edu.lab.exercises import find_exercise
from align_edu.model.text_tower import TextTower
from align_edu.presets import TextSettings

Answer = Callable[..., Any]

# Right answers, written in unusual ways.


def keeps(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LNM"


def normal_form(text: str) -> str:
    letters = unicodedata.normalize("NFKC", text).lower()
    return " ".join("".join(c if keeps(c) else "\t" for c in letters).split())


def chance_by_cross_entropy(n: int) -> torch.Tensor:
    logits = torch.zeros(1, n, dtype=torch.float64)
    return 2 * F.cross_entropy(logits, torch.tensor([0]))


def recall_by_loop(similarity: torch.Tensor) -> float:
    hits = 0
    for i, row in enumerate(similarity.tolist()):
        hits += all(row[i] > other for j, other in enumerate(row) if j != i)
    return hits / len(similarity)


def words_by_runs(text: str) -> int:
    letters = unicodedata.normalize("NFKC", text)
    return sum(1 for kept, _ in itertools.groupby(letters, keeps) if kept)


def shared_by_sorting(texts: list[str], images: list[str], most: int) -> frozenset[str]:
    pairs = sorted({(normal_form(t), i) for t, i in zip(texts, images, strict=True)})
    groups = itertools.groupby(text for text, _ in pairs)
    return frozenset(text for text, group in groups if len(list(group)) >= most + 1)


def keeps_by_whole_division(width: int, height: int) -> bool:
    return not (width <= 200 or height <= 200) and max(width, height) // min(width, height) < 3


def rare_by_rank(texts: list[str], size: int) -> tuple[int, ...]:
    counts: Counter[str] = Counter()
    for text in texts:
        words = text.split()
        counts.update(words)
        counts.update(f"{a} {b}" for a, b in zip(words, words[1:], strict=False))
    alphabetical = sorted(counts)
    order = sorted(alphabetical, key=counts.__getitem__, reverse=True)  # stable: ties stay
    rank = {token: place for place, token in enumerate(order)}
    padded = [f" {text} " for text in texts]
    rare = [token for token in rank if rank[token] >= size]
    return tuple(i for i, text in enumerate(padded) if any(f" {t} " in text for t in rare))


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


def channels_by_trying_multiples(channels: int, multiplier: float) -> int:
    wanted = channels * multiplier
    near = min(range(8, 8 * channels * 8, 8), key=lambda n: (abs(n - wanted), -n))
    return near if 10 * near >= 9 * wanted else near + 8


def side_by_torch(side: int, kernel: int, stride: int, before: int, after: int) -> int:
    padded = F.pad(torch.zeros(1, 1, side), (before, after))
    return F.conv1d(padded, torch.zeros(1, 1, kernel), stride=stride).shape[-1]


def cosine_by_torch(x: list[float], y: list[float]) -> torch.Tensor:
    return F.cosine_similarity(torch.tensor(x), torch.tensor(y), dim=0)


def matrix_by_einsum(x: torch.Tensor, y: torch.Tensor) -> Any:
    products = torch.einsum("id,td->it", x.double(), y.double())
    return (products / torch.outer(x.norm(dim=1), y.norm(dim=1))).numpy()


def matches_by_loop(similarity: torch.Tensor) -> tuple[int, ...]:
    rows = similarity.tolist()
    return tuple(max(range(len(row)), key=row.__getitem__) for row in rows)


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


def loss_by_logsumexp(image: torch.Tensor, text: torch.Tensor, sigma: float) -> np.floating[Any]:
    x, y = (some.double().numpy() for some in (image, text))
    x, y = (some / np.linalg.norm(some, axis=1, keepdims=True) for some in (x, y))
    logits = x @ y.T / sigma
    own = np.trace(logits)
    return (logsumexp(logits, axis=0).sum() + logsumexp(logits, axis=1).sum() - 2 * own) / len(x)


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


def best_by_root(n: int, label_smoothing: float, gap: float) -> float:
    own = 1 - label_smoothing + label_smoothing / n
    if own == 1:
        return 0.0
    # The softmax of the pair's column, as a function of 1/σ, must be its target.
    root = brentq(lambda scale: 1 / (1 + (n - 1) * math.exp(-gap * scale)) - own, 1e-3, 700)
    return 1 / root


def rate_by_interpolation(step: int, total: int, warmup: int, peak: float) -> float:
    import numpy as np

    points, values = ([0, warmup, total], [0, peak, 0]) if warmup else ([0, total], [peak, 0])
    return float(np.interp(step, points, values))


def step_by_autograd(
    model: Any, optimizer: torch.optim.Optimizer, batch: Any, smoothing: float
) -> float:
    weights = list(model.parameters())
    loss = contrastive_loss(*model(*batch), model.temperature(), label_smoothing=smoothing)
    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        weight.grad = gradient
    optimizer.step()
    return float(loss)


def scaled_by_distance_from_the_ends(value: int) -> Fraction:
    return Fraction(value - (255 - value), 255)


def name_by_loop(similarity: torch.Tensor) -> int:
    totals = [math.fsum(column) for column in similarity.T.tolist()]
    return totals.index(max(totals))


def recall_at_k_by_sorting(similarity: torch.Tensor, owner: torch.Tensor, k: int) -> float:
    hits = 0
    for image, row in enumerate(similarity.tolist()):
        order = sorted(range(len(row)), key=lambda t: (-row[t], int(owner[t]) == image))
        hits += any(int(owner[t]) == image for t in order[:k])
    return hits / len(similarity)


def ranks_by_scipy(values: list[float]) -> list[float]:
    return rankdata(values).tolist()  # type: ignore[no-any-return]


def ensemble_by_loops(prompts: torch.Tensor) -> torch.Tensor:
    rows = []
    for prompts_of_class in prompts.double().numpy():
        total = sum(vector / np.linalg.norm(vector) for vector in prompts_of_class)
        rows.append(total / np.linalg.norm(total))
    return torch.tensor(np.array(rows), dtype=torch.float32)


def accuracy_by_sorting(similarity: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    hits = 0
    for row, label in zip(similarity.tolist(), labels.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c == label))
        hits += label in order[:k]
    return hits / len(labels)


def combine_by_one_product(
    image: torch.Tensor, plus: torch.Tensor, minus: torch.Tensor, weight: float
) -> np.ndarray:
    rows = torch.stack([image, plus, minus]).double().numpy()
    factors = np.array([1.0, weight, -weight]) / np.sqrt((rows * rows).sum(axis=1))
    total = factors @ rows / 3  # a mean has the direction of the sum
    return total / np.sqrt(total @ total)


def top_by_lexsort(similarity: torch.Tensor, query: int, k: int) -> tuple[int, ...]:
    values = -similarity.numpy()
    values[query] = np.inf
    order = np.lexsort((np.arange(len(values)), values))
    return tuple(order[: min(k, len(values) - 1)].tolist())


def tiles_by_running_sums(x: torch.Tensor, y: torch.Tensor, sigma: float, tile: int) -> float:
    n, total = len(x), 0.0
    highest, sums = np.full(n, -np.inf), np.zeros(n)
    for start in range(0, n, tile):
        logits = x[start : start + tile].double().numpy() @ y.double().numpy().T / sigma
        own = logits[np.arange(len(logits)), start + np.arange(len(logits))]
        total += (logsumexp(logits, axis=1) - 2 * own).sum()
        new = np.maximum(highest, logits.max(axis=0))
        sums = sums * np.exp(highest - new) + np.exp(logits - new).sum(axis=0)
        highest = new
    return (total + (highest + np.log(sums)).sum()) / n


def days_in_logarithms(*given: float) -> torch.Tensor:
    gflop, pairs, chips, peak, share = torch.tensor(given, dtype=torch.float64).log()
    units = math.log(3e9) - math.log(1e12 * 86_400)
    return (gflop + pairs - chips - peak - share + units).exp()


RIGHT = [
    ("chance_loss", chance_by_cross_entropy),
    ("recall_at_1", recall_by_loop),
    ("count_words", words_by_runs),
    ("shared_texts", shared_by_sorting),
    ("keeps_image", keeps_by_whole_division),
    ("rare_texts", rare_by_rank),
    ("wordpieces", pieces_by_the_library),
    ("embedding_share", share_by_building_bert),
    ("round_channels", channels_by_trying_multiples),
    ("output_side", side_by_torch),
    ("cosine", cosine_by_torch),
    ("cosine_matrix", matrix_by_einsum),
    ("best_matches", matches_by_loop),
    ("align_loss", loss_by_loop),
    ("align_loss", loss_by_logsumexp),
    ("smoothed_loss", smoothed_by_loop),
    ("temperature_gradient", gradient_by_autograd),
    ("best_temperature", best_by_root),
    ("learning_rate_at", rate_by_interpolation),
    ("training_step", step_by_autograd),
    ("scaled", scaled_by_distance_from_the_ends),
    ("name_index", name_by_loop),
    ("recall_at_k", recall_at_k_by_sorting),
    ("average_ranks", ranks_by_scipy),
    ("ensemble", ensemble_by_loops),
    ("top_k_accuracy", accuracy_by_sorting),
    ("combine", combine_by_one_product),
    ("top_k_without", top_by_lexsort),
    ("loss_by_tiles", tiles_by_running_sums),
    ("days_of_run", days_in_logarithms),
]


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_an_unusual_right_answer_passes(name: str, function: Answer) -> None:
    for seed in range(3):
        assert find_mistake(find_exercise(name), function, seed) is None


# The same mistakes as ours, as other people would write them: the name must not hang on the code.


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


def lets_ties_win(similarity: torch.Tensor) -> float:
    rows = similarity.tolist()
    return sum(row[i] == max(row) for i, row in enumerate(rows)) / len(rows)


def parts_at_white_space(text: str) -> int:
    return len(re.findall(r"\S+", text))


def counts_pairs(texts: list[str], images: list[str], most: int) -> set[str]:
    counts = Counter(map(normal_form, texts))
    return {text for text in counts if counts[text] > most}


def looks_at_words(texts: list[str], size: int) -> list[int]:
    counts = Counter(" ".join(texts).split())
    order = sorted(sorted(counts), key=lambda word: -counts[word])
    return [i for i, text in enumerate(texts) if not set(text.split()) <= set(order[:size])]


def goes_back(word: str, vocabulary: list[str]) -> list[str]:
    begins = sorted((p for p in vocabulary if "#" not in p), key=len, reverse=True)
    inside = sorted((p[2:] for p in vocabulary if "#" in p), key=len, reverse=True)

    def cut(rest: str, parts: list[str]) -> list[str] | None:
        if not rest:
            return []
        for part in parts:
            if rest.startswith(part) and (tail := cut(rest[len(part) :], inside)) is not None:
                return [part, *tail]
        return None

    parts = cut(word, begins)
    return ["[UNK]"] if parts is None else [parts[0], *("##" + part for part in parts[1:])]


def correlates(x: list[float], y: list[float]) -> torch.Tensor:
    return torch.corrcoef(torch.tensor([x, y]))[0, 1]


def searches_from_zero(similarity: torch.Tensor) -> list[int]:
    found = []
    for row in similarity.tolist():
        best, place = 0.0, 0
        for t, value in enumerate(row):
            if value > best:
                best, place = value, t
        found.append(place)
    return found


def ntxent(image: torch.Tensor, text: torch.Tensor, sigma: float) -> float:
    z = np.concatenate(numpy_parts(image, text))
    n, total = len(z) // 2, 0.0
    for i in range(2 * n):
        others = [z[i] @ z[j] / sigma for j in range(2 * n) if j != i]
        total += logsumexp(others) - z[i] @ z[(i + n) % (2 * n)] / sigma
    return total / n


def trusts_exp(image: torch.Tensor, text: torch.Tensor, sigma: float) -> torch.Tensor:
    weights = torch.exp(F.cosine_similarity(image[:, None], text[None], dim=2) / sigma)
    shares = (torch.diag(weights / weights.sum(dim)) for dim in (0, 1))
    return -sum(share.log().mean() for share in shares)


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


def decays_by_a_cosine(step: int, total: int, warmup: int, peak: float) -> float:
    if step < warmup:
        return peak * step / warmup
    return peak * math.cos(0.5 * math.pi * (step - warmup) / (total - warmup)) ** 2


def counts_votes(similarity: torch.Tensor) -> int:
    votes = Counter(row.index(max(row)) for row in similarity.tolist())
    return min(votes, key=lambda column: (-votes[column], column))


MISTAKES = [
    ("recall_at_1", lets_ties_win, "count a tie as a hit"),
    ("count_words", parts_at_white_space, "white space only"),
    ("shared_texts", counts_pairs, "You count pairs"),
    ("rare_texts", looks_at_words, "unigrams only"),
    ("wordpieces", goes_back, "You go back"),
    ("cosine", correlates, "a correlation"),
    ("best_matches", searches_from_zero, "begins at 0"),
    ("align_loss", ntxent, "as in SimCLR"),
    ("align_loss", trusts_exp, "exp overflows"),
    ("smoothed_loss", kl_instead, "entropy"),
    ("temperature_gradient", derivative_in_log_sigma, "log σ"),
    ("learning_rate_at", decays_by_a_cosine, "cosine decay"),
    ("name_index", counts_votes, "count the votes"),
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
]


@pytest.mark.parametrize(("name", "function", "words"), MISTAKES)
def test_a_mistake_is_named_however_it_is_written(name: str, function: Answer, words: str) -> None:
    assert words in str(find_mistake(find_exercise(name), function))


@pytest.mark.parametrize("wrong", WRONG_LOSSES, ids=lambda wrong: wrong.mistake[:40])
def test_a_wrong_loss_is_a_scalar_of_image_text_and_a_number_or_tensor(wrong: Any) -> None:
    image, text = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    number = wrong.function(image, text, 0.25)
    tensor = wrong.function(image.requires_grad_(), text, torch.tensor(0.25))
    assert number.ndim == 0
    assert tensor.item() == pytest.approx(number.item(), rel=1e-5)
    assert tensor.requires_grad != ("You count" in wrong.mistake)
