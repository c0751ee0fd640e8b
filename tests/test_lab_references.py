"""The reference answers agree with hand work, with the library, and with other libraries."""

import math

import polars as pl
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score
from torch.nn import functional as F
from torchvision.models.efficientnet import MBConvConfig

from align_edu import loss
from align_edu.evaluation.retrieval import retrieval_recall
from align_edu.filters.text import normalised, word_count
from align_edu.lab.exercises import find_exercise
from align_edu.loss import contrastive_loss
from align_edu.search import ImageIndex, combine_query
from align_edu.training.recipe import learning_rate_factor


def test_references_agree_with_the_library_and_with_the_paper() -> None:
    recall = find_exercise("recall_at_1").reference
    for seed in range(5):
        matrix = torch.randn(20, 20, generator=torch.Generator().manual_seed(seed))
        matrix += 2 * torch.eye(20)
        library = retrieval_recall(matrix, torch.eye(20), range(20), ks=(1,))
        assert recall(matrix) == pytest.approx(library["image_to_text"]["R@1"])
    widen = find_exercise("round_channels").reference
    for width in range(2, 45):
        for channels in range(1, 400):
            library = MBConvConfig.adjust_channels(channels, width / 10)
            assert widen(channels, width / 10) == library
    assert [widen(320, w) for w in (2.0, 4.3)] == [640, 1376]  # Section 6.1
    count, form = find_exercise("count_words").reference, find_exercise("shared_texts").reference
    for text in ("alt_img", "1920x1080", "A  cat - red!", "5 ㎏ bag", "crème", "हिन्दी फ़िल्म", "!"):
        table = pl.DataFrame({"text": [text]}).select(normalised(pl.col("text")))
        assert count(text) == table.select(word_count()).item()
        assert form([text], ["1.jpg"], 0) == {table["text"][0]}
    assert find_exercise("chance_loss").reference(128) == loss.chance_loss(128)
    best = find_exercise("best_temperature").reference
    for case in ((128, 0.02, 0.7), (16_384, 0.1, 0.19), (64, 0.0, 0.3)):
        assert best(*case) == pytest.approx(loss.best_temperature(*case))
    rate = find_exercise("learning_rate_at").reference
    for step in range(0, 1001, 50):
        factor = learning_rate_factor(step / 1000, 100 / 1000)
        assert rate(step, 1000, 100, 0.5) == pytest.approx(0.5 * factor)
    assert rate(5_000, 1_200_000, 10_000, 1e-3) == pytest.approx(5e-4)  # Section 5
    assert rate(10_000, 1_200_000, 10_000, 1e-3) == pytest.approx(1e-3)
    assert rate(1_200_000, 1_200_000, 10_000, 1e-3) == 0


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
