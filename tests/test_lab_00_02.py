"""Notebooks 00 to 02: right answers pass however they are written, and each mistake is named."""

import heapq
import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from align_edu.lab.checks import find_mistake
from align_edu.lab.exercises import find_exercise

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


def chance_by_a_product(n: int) -> float:
    return -math.log((1 / n) ** 2)


def recall_by_loop(similarity: torch.Tensor) -> float:
    hits = 0
    for i, row in enumerate(similarity.tolist()):
        hits += all(row[i] > other for j, other in enumerate(row) if j != i)
    return hits / len(similarity)


def recall_by_sorting(similarity: torch.Tensor) -> torch.Tensor:
    order = similarity.argsort(dim=1, descending=True, stable=True)
    return (order[:, 0] == torch.arange(len(similarity))).double().mean()


def words_by_runs(text: str) -> int:
    letters = unicodedata.normalize("NFKC", text)
    return sum(1 for kept, _ in itertools.groupby(letters, keeps) if kept)


def words_by_their_first_letters(text: str) -> int:
    letters = [" ", *unicodedata.normalize("NFKC", text)]
    return sum(keeps(b) and not keeps(a) for a, b in itertools.pairwise(letters))


def shared_by_a_set_of_images(texts: list[str], images: list[str], most: int) -> set[str]:
    owners: dict[str, set[str]] = {}
    for text, image in zip(texts, images, strict=True):
        owners.setdefault(normal_form(text), set()).add(image)
    return {text for text, some in owners.items() if len(some) > most}


def shared_by_sorting(texts: list[str], images: list[str], most: int) -> frozenset[str]:
    pairs = sorted({(normal_form(t), i) for t, i in zip(texts, images, strict=True)})
    groups = itertools.groupby(text for text, _ in pairs)
    return frozenset(text for text, group in groups if len(list(group)) >= most + 1)


def keeps_by_whole_division(width: int, height: int) -> bool:
    return not (width <= 200 or height <= 200) and max(width, height) // min(width, height) < 3


def keeps_by_both_ratios(width: int, height: int) -> int:
    return int(all(a > 200 and b / a < 3 for a, b in ((width, height), (height, width))))


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


def rare_by_heap(texts: list[str], size: int) -> list[int]:
    tokens = [
        [" ".join(words[i : i + n]) for n in (1, 2) for i in range(len(words) - n + 1)]
        for words in map(str.split, texts)
    ]
    counts = Counter(itertools.chain(*tokens))
    best = heapq.nsmallest(size, ((-count, token) for token, count in counts.items()))
    known = {token for _, token in best}
    return [i for i in range(len(texts)) if any(token not in known for token in tokens[i])]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("chance_loss", chance_by_cross_entropy),
        ("chance_loss", chance_by_a_product),
        ("recall_at_1", recall_by_loop),
        ("recall_at_1", recall_by_sorting),
        ("count_words", words_by_runs),
        ("count_words", words_by_their_first_letters),
        ("shared_texts", shared_by_a_set_of_images),
        ("shared_texts", shared_by_sorting),
        ("keeps_image", keeps_by_whole_division),
        ("keeps_image", keeps_by_both_ratios),
        ("rare_texts", rare_by_rank),
        ("rare_texts", rare_by_heap),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_unusual_right_answer_passes(name: str, function: Answer, seed: int) -> None:
    assert find_mistake(find_exercise(name), function, seed) is None


# The same mistakes as ours, as other people would write them.


def sums_one_direction(n: int) -> float:
    return -math.log(1 / n)


def uses_bits(n: int) -> float:
    return 2 * math.log(n) / math.log(2)


def looks_down_columns(similarity: torch.Tensor) -> float:
    return recall_by_loop(similarity.T)


def counts_hits(similarity: torch.Tensor) -> float:
    return recall_by_loop(similarity) * similarity.shape[0]


def lets_ties_win(similarity: torch.Tensor) -> float:
    rows = similarity.tolist()
    return sum(row[i] == max(row) for i, row in enumerate(rows)) / len(rows)


def parts_at_white_space(text: str) -> int:
    return len(re.findall(r"\S+", text))


def counts_each_word_once(text: str) -> int:
    return len(dict.fromkeys(normal_form(text).split()))


def counts_pairs(texts: list[str], images: list[str], most: int) -> set[str]:
    counts = Counter(map(normal_form, texts))
    return {text for text in counts if counts[text] > most}


def lets_the_bound_fall(texts: list[str], images: list[str], most: int) -> set[str]:
    return shared_by_a_set_of_images(texts, images, most - 1)


def keeps_the_bound(width: int, height: int) -> bool:
    return all(side >= 200 for side in (width, height)) and 1 / 3 < width / height < 3


def lets_towers_pass(width: int, height: int) -> bool:
    return width > 200 and height > 200 and width / height < 3


def keeps_all_ties(texts: list[str], size: int) -> list[int]:
    known_words = [text.split() for text in texts]
    tokens = [words + list(map(" ".join, itertools.pairwise(words))) for words in known_words]
    counts = Counter(itertools.chain(*tokens))
    common = counts.most_common(size)
    return [i for i, some in enumerate(tokens) if any(counts[t] < common[-1][1] for t in some)]


def looks_at_words(texts: list[str], size: int) -> list[int]:
    counts = Counter(" ".join(texts).split())
    order = sorted(sorted(counts), key=lambda word: -counts[word])
    return [i for i, text in enumerate(texts) if not set(text.split()) <= set(order[:size])]


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("chance_loss", sums_one_direction, "one direction only"),
        ("chance_loss", uses_bits, "in bits"),
        ("recall_at_1", looks_down_columns, "down the columns"),
        ("recall_at_1", counts_hits, "how many rows"),
        ("recall_at_1", lets_ties_win, "count a tie as a hit"),
        ("count_words", parts_at_white_space, "white space only"),
        ("count_words", counts_each_word_once, "different words"),
        ("shared_texts", counts_pairs, "You count pairs"),
        ("shared_texts", lets_the_bound_fall, "The bound is strict"),
        ("keeps_image", keeps_the_bound, "exactly 200 pixels"),
        ("keeps_image", lets_towers_pass, "tall, narrow"),
        ("rare_texts", keeps_all_ties, "all tokens in that are tied"),
        ("rare_texts", looks_at_words, "unigrams only"),
    ],
)
def test_a_mistake_is_named_however_it_is_written(name: str, function: Answer, words: str) -> None:
    assert words in str(find_mistake(find_exercise(name), function))
