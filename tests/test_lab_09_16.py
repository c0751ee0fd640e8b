"""Notebooks 09 to 16: right answers pass however they are written, and agree with the library."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import rankdata
from sklearn.metrics import top_k_accuracy_score

from align_edu.evaluation.retrieval import retrieval_recall
from align_edu.lab.checks import find_mistake
from align_edu.lab.exercises import find_exercise
from align_edu.search import ImageIndex, combine_query

# Right answers, written in unusual ways.


def recall_at_k_by_sorting(similarity: torch.Tensor, owner: torch.Tensor, k: int) -> float:
    hits = 0
    for image, row in enumerate(similarity.tolist()):
        order = sorted(range(len(row)), key=lambda t: (-row[t], int(owner[t]) == image))
        hits += any(int(owner[t]) == image for t in order[:k])
    return hits / len(similarity)


def recall_by_the_kth_best_wrong_text(
    similarity: torch.Tensor, owner: torch.Tensor, k: int
) -> torch.Tensor:
    """A hit beats the k-th best text of other images; with fewer than k, none to beat."""
    hits = []
    for image, row in enumerate(similarity):
        wrong = row[owner != image].sort(descending=True).values
        best = row[owner == image].max()
        hits.append(len(wrong) < k or best > wrong[k - 1])
    return torch.tensor(hits).float().mean()


def ranks_by_scipy(values: list[float]) -> list[float]:
    return rankdata(values).tolist()  # type: ignore[no-any-return]


def ranks_by_two_sorts(values: list[float]) -> list[float]:
    ordered, n = sorted(values), len(values)
    last = {value: place + 1 for place, value in enumerate(ordered)}
    first = {value: n - place for place, value in enumerate(reversed(ordered))}
    return [(first[value] + last[value]) / 2 for value in values]


def ensemble_by_loops(prompts: torch.Tensor) -> torch.Tensor:
    rows = []
    for prompts_of_class in prompts.double().numpy():
        total = sum(vector / np.linalg.norm(vector) for vector in prompts_of_class)
        rows.append(total / np.linalg.norm(total))
    return torch.tensor(np.array(rows), dtype=torch.float32)


def ensemble_by_einsum(prompts: torch.Tensor) -> torch.Tensor:
    total = torch.einsum("kpd,kp->kd", prompts, prompts.square().sum(dim=2).rsqrt())
    return total / torch.einsum("kd,kd->k", total, total).sqrt()[:, None]


def accuracy_by_sorting(similarity: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    hits = 0
    for row, label in zip(similarity.tolist(), labels.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c == label))
        hits += label in order[:k]
    return hits / len(labels)


def accuracy_by_the_kth_best_of_the_others(
    similarity: torch.Tensor, labels: torch.Tensor, k: int
) -> torch.Tensor:
    right = similarity[torch.arange(len(labels)), labels]
    others = similarity.scatter(1, labels[:, None], -torch.inf).sort(dim=1, descending=True).values
    return (others[:, k - 1] < right).float().mean()


def combine_by_loops(
    image: torch.Tensor, plus: torch.Tensor, minus: torch.Tensor, weight: float
) -> torch.Tensor:
    total = [0.0] * len(image)
    for factor, vector in ((1.0, image), (weight, plus), (-weight, minus)):
        length = math.hypot(*vector.tolist())
        total = [a + factor * b / length for a, b in zip(total, vector.tolist(), strict=True)]
    return torch.tensor([a / math.hypot(*total) for a in total])


def combine_by_one_product(
    image: torch.Tensor, plus: torch.Tensor, minus: torch.Tensor, weight: float
) -> np.ndarray:
    rows = torch.stack([image, plus, minus]).double().numpy()
    factors = np.array([1.0, weight, -weight]) / np.sqrt((rows * rows).sum(axis=1))
    total = factors @ rows / 3  # a mean has the direction of the sum
    return total / np.sqrt(total @ total)


def top_by_picking(similarity: torch.Tensor, query: int, k: int) -> list[int]:
    left = {i: s for i, s in enumerate(similarity.tolist()) if i != query}
    found: list[int] = []
    while left and len(found) < k:
        best = max(left, key=lambda i: (left[i], -i))
        found.append(best)
        del left[best]
    return found


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


def tiles_by_logaddexp(x: torch.Tensor, y: torch.Tensor, sigma: float, tile: int) -> torch.Tensor:
    columns, rows = torch.full((len(y),), -math.inf), torch.zeros(())
    for some, own in zip(x.split(tile), y.split(tile), strict=True):
        logits = some @ y.T / sigma
        columns = torch.logaddexp(columns, logits.logsumexp(dim=0))
        rows = rows + logits.logsumexp(dim=1).sum() - 2 * (some * own).sum() / sigma
    return (rows + columns.sum()) / len(x)


def days_by_steps(gflop: float, pairs: float, chips: int, peak: float, share: float) -> float:
    one_chip_one_day = share * peak * 1e12 * 24 * 60 * 60
    forward = gflop * 1e9 * (pairs / chips)
    return (forward + 2 * forward) / one_chip_one_day


def days_in_logarithms(*given: float) -> torch.Tensor:
    gflop, pairs, chips, peak, share = torch.tensor(given, dtype=torch.float64).log()
    units = math.log(3e9) - math.log(1e12 * 86_400)
    return (gflop + pairs - chips - peak - share + units).exp()


RIGHT = [
    ("recall_at_k", recall_at_k_by_sorting),
    ("recall_at_k", recall_by_the_kth_best_wrong_text),
    ("average_ranks", ranks_by_scipy),
    ("average_ranks", ranks_by_two_sorts),
    ("ensemble", ensemble_by_loops),
    ("ensemble", ensemble_by_einsum),
    ("top_k_accuracy", accuracy_by_sorting),
    ("top_k_accuracy", accuracy_by_the_kth_best_of_the_others),
    ("combine", combine_by_loops),
    ("combine", combine_by_one_product),
    ("top_k_without", top_by_picking),
    ("top_k_without", top_by_lexsort),
    ("loss_by_tiles", tiles_by_running_sums),
    ("loss_by_tiles", tiles_by_logaddexp),
    ("days_of_run", days_by_steps),
    ("days_of_run", days_in_logarithms),
]


@pytest.mark.parametrize(("name", "function"), RIGHT)
@pytest.mark.parametrize("seed", range(5))
def test_an_unusual_right_answer_passes(name: str, function: Any, seed: int) -> None:
    assert find_mistake(find_exercise(name), function, seed) is None


def test_our_answers_to_the_cases_worked_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    recall, ranks = find_exercise("recall_at_k"), find_exercise("average_ranks")
    by_hand = [recall.reference(*case) for case in recall.cases(generator)[:6]]
    assert by_hand == [0.5, 1.0, 0.5, 1.0, 0.0, 1.0]
    assert [ranks.reference(*case) for case in ranks.cases(generator)[:6]] == [
        [2.5, 4.0, 2.5, 1.0],
        [3.0, 1.0, 2.0],
        [2.0, 2.0, 2.0],
        [1.0, 4.0, 2.0, 3.0],
        [2.0, 4.5, 4.5, 4.5, 1.0, 4.5],
        [1.0],
    ]


def test_our_recall_is_that_of_the_library() -> None:
    generator = torch.Generator().manual_seed(3)
    owner = torch.arange(12).repeat_interleave(5)
    image, text = (torch.randn(n, 6, generator=generator) for n in (12, 60))
    library = retrieval_recall(image, text, owner, ks=(1, 5))["image_to_text"]
    similarity = (image.double() @ text.double().T).float()
    for k in (1, 5):
        ours = find_exercise("recall_at_k").reference(similarity, owner, k)
        assert ours == pytest.approx(library[f"R@{k}"], abs=1e-12)


@pytest.mark.parametrize("k", [1, 3])
def test_our_accuracy_is_that_of_scikit_learn_where_nothing_ties(k: int) -> None:
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(60) % 7
    scores = torch.randn(60, 7, generator=generator)
    ours = find_exercise("top_k_accuracy").reference(scores, labels, k)
    theirs = top_k_accuracy_score(labels, scores.numpy(), k=k, labels=range(7))
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_our_query_is_the_one_that_the_search_command_asks() -> None:
    image, plus, minus = 3 * torch.randn(3, 9, generator=torch.Generator().manual_seed(2))
    ours = find_exercise("combine").reference(image, plus, minus, 2.0)
    theirs = combine_query([(1.0, image), (2.0, plus), (-2.0, minus)])
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_our_top_k_is_that_of_the_index_where_nothing_ties() -> None:
    generator = torch.Generator().manual_seed(4)
    rows = torch.nn.functional.normalize(torch.randn(15, 6, generator=generator), dim=1)
    index = ImageIndex(rows, [f"{place}.jpg" for place in range(15)])
    for query in range(15):
        hits = index.search(rows[query], 4, exclude=[f"{query}.jpg"])
        ours = find_exercise("top_k_without").reference(rows @ rows[query], query, 4)
        assert ours == [int(hit.path.stem) for hit in hits]
