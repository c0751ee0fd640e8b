"""The lab: checks name the mistake, right answers pass, stubs run, quizzes give feedback."""

import ast
import heapq
import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import models
from torch.nn import functional as F
from torchvision.models.efficientnet import MBConvConfig
from torchvision.transforms.v2.functional import normalize

from align_edu import contrastive_loss, lab
from align_edu.errors import InputError
from align_edu.evaluation import retrieval_recall
from align_edu.lab.checks import CheckFailed, find_mistake, is_stub
from align_edu.lab.course import COURSE, find_lesson
from align_edu.lab.exercises import EXERCISES, find_exercise
from align_edu.lab.quiz import LETTERS, Quiz, load_questions
from align_edu.padding import edge_zeros
from align_edu.pairs.pixels import scale_pixels
from align_edu.presets import TEXT_SIZES, TextSettings, get_preset
from align_edu.text_tower import TextTower

Answer = Callable[..., Any]
WRONG = [(name, wrong) for name, exercise in EXERCISES.items() for wrong in exercise.wrong]


# Right answers, written in unusual ways.


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


def rate_by_interpolation(step: int, total: int, warmup: int, peak: float) -> float:
    import numpy as np

    points, values = ([0, warmup, total], [0, peak, 0]) if warmup else ([0, total], [peak, 0])
    return float(np.interp(step, points, values))


def rate_by_two_lines(step: int, total: int, warmup: int, peak: float) -> float:
    up = step / warmup if warmup else math.inf
    return peak * min(up, (total - step) / (total - warmup))


def step_that_clears_afterwards(
    model: Any, optimizer: torch.optim.Optimizer, batch: Any, smoothing: float
) -> torch.Tensor:
    image, text = model(*batch)
    logits = image @ text.T / model.temperature()
    rows = torch.arange(len(logits))
    both = [F.cross_entropy(way, rows, label_smoothing=smoothing) for way in (logits, logits.T)]
    loss: torch.Tensor = torch.stack(both).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    for parameter in model.parameters():
        parameter.grad = None
    return loss


def step_by_autograd(
    model: Any, optimizer: torch.optim.Optimizer, batch: Any, smoothing: float
) -> float:
    weights = list(model.parameters())
    loss = contrastive_loss(*model(*batch), model.temperature(), label_smoothing=smoothing)
    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        weight.grad = gradient
    optimizer.step()
    return float(loss)


def keeps(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LNM"


def words_by_runs(text: str) -> int:
    letters = unicodedata.normalize("NFKC", text)
    return sum(1 for kept, _ in itertools.groupby(letters, keeps) if kept)


def words_by_their_first_letters(text: str) -> int:
    letters = [" ", *unicodedata.normalize("NFKC", text)]
    return sum(keeps(b) and not keeps(a) for a, b in itertools.pairwise(letters))


def normal_form(text: str) -> str:
    letters = unicodedata.normalize("NFKC", text).lower()
    return " ".join("".join(c if keeps(c) else "\t" for c in letters).split())


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


def pieces_by_recursion(word: str, vocabulary: list[str], mark: str = "") -> tuple[str, ...]:
    if not word:
        return ()
    fits = [n for n in range(1, len(word) + 1) if mark + word[:n] in vocabulary]
    if not fits:
        return ("[UNK]",)
    rest = pieces_by_recursion(word[fits[-1] :], vocabulary, "##")
    return ("[UNK]",) if "[UNK]" in rest else (mark + word[: fits[-1]], *rest)


def pieces_by_the_library(word: str, vocabulary: list[str]) -> list[str]:
    numbers = {piece: n for n, piece in enumerate(["[UNK]", *vocabulary])}
    cut = models.WordPiece(numbers, unk_token="[UNK]").tokenize(word)
    return [piece.value for piece in cut]


def share_by_building_bert(vocabulary: int, width: int, layers: int, positions: int) -> float:
    settings = TextSettings(
        layers=layers, width=width, heads=1, max_length=positions, positions=positions
    )
    with torch.device("meta"):
        bert = TextTower(settings, vocabulary, width=4).bert
    total = sum(weight.numel() for weight in bert.parameters())
    return bert.embeddings.word_embeddings.weight.numel() / total


def share_of_one_column(vocabulary: int, width: int, layers: int, positions: int) -> Fraction:
    return Fraction(vocabulary, vocabulary + positions + 4 + layers * (12 * width + 13))


def channels_by_trying_multiples(channels: int, multiplier: float) -> int:
    wanted = channels * multiplier
    near = min(range(8, 8 * channels * 8, 8), key=lambda n: (abs(n - wanted), -n))
    return near if 10 * near >= 9 * wanted else near + 8


def channels_by_floor_of_halves(channels: int, multiplier: float) -> float:
    eighths = channels * multiplier / 8
    rounded = 8 * max(1, math.floor(eighths + 0.5))
    return rounded + 8 * (rounded < 0.9 * 8 * eighths)


def side_by_torch(side: int, kernel: int, stride: int, before: int, after: int) -> int:
    padded = F.pad(torch.zeros(1, 1, side), (before, after))
    return F.conv1d(padded, torch.zeros(1, 1, kernel), stride=stride).shape[-1]


def side_by_walking(side: int, kernel: int, stride: int, before: int, after: int) -> int:
    return len(range(-before, side + after - kernel + 1, stride))


def cosine_by_torch(x: list[float], y: list[float]) -> torch.Tensor:
    return F.cosine_similarity(torch.tensor(x), torch.tensor(y), dim=0)


def cosine_by_the_law_of_cosines(x: list[float], y: list[float]) -> float:
    u, v = ([a / math.dist(some, [0] * len(some)) for a in some] for some in (x, y))
    return 1 - math.dist(u, v) ** 2 / 2


def matrix_by_broadcasting(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cosine_similarity(x[:, None], y[None], dim=2)


def matrix_by_einsum(x: torch.Tensor, y: torch.Tensor) -> Any:
    products = torch.einsum("id,td->it", x.double(), y.double())
    return (products / torch.outer(x.norm(dim=1), y.norm(dim=1))).numpy()


def matches_by_loop(similarity: torch.Tensor) -> tuple[int, ...]:
    rows = similarity.tolist()
    return tuple(max(range(len(row)), key=row.__getitem__) for row in rows)


def matches_by_sorting(similarity: torch.Tensor) -> list[torch.Tensor]:
    order = similarity.argsort(dim=1, descending=True, stable=True)
    return [row[0] for row in order]


def scaled_by_the_library(value: int) -> torch.Tensor:
    return scale_pixels(torch.full((1, 1, 1, 1), value, dtype=torch.uint8))


def scaled_by_distance_from_the_ends(value: int) -> Fraction:
    return Fraction(value - (255 - value), 255)


def name_by_matrix_product(similarity: torch.Tensor) -> torch.Tensor:
    prompts = len(similarity)
    return (torch.full((prompts,), 1 / prompts, dtype=torch.float64) @ similarity.double()).argmax()


def name_by_loop(similarity: torch.Tensor) -> int:
    totals = [math.fsum(column) for column in similarity.T.tolist()]
    return totals.index(max(totals))


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
        ("wordpieces", pieces_by_recursion),
        ("wordpieces", pieces_by_the_library),
        ("embedding_share", share_by_building_bert),
        ("embedding_share", share_of_one_column),
        ("round_channels", channels_by_trying_multiples),
        ("round_channels", channels_by_floor_of_halves),
        ("output_side", side_by_torch),
        ("output_side", side_by_walking),
        ("cosine", cosine_by_torch),
        ("cosine", cosine_by_the_law_of_cosines),
        ("cosine_matrix", matrix_by_broadcasting),
        ("cosine_matrix", matrix_by_einsum),
        ("best_matches", matches_by_loop),
        ("best_matches", matches_by_sorting),
        ("learning_rate_at", rate_by_interpolation),
        ("learning_rate_at", rate_by_two_lines),
        ("training_step", step_that_clears_afterwards),
        ("training_step", step_by_autograd),
        ("scaled", scaled_by_the_library),
        ("scaled", scaled_by_distance_from_the_ends),
        ("name_index", name_by_matrix_product),
        ("name_index", name_by_loop),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_unusual_right_answer_passes(name: str, function: Answer, seed: int) -> None:
    assert find_mistake(find_exercise(name), function, seed) is None


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_each_wrong_answer_is_rejected_and_named(name: str, wrong: Any, seed: int) -> None:
    problem = find_mistake(find_exercise(name), wrong.function, seed)
    assert problem is not None
    assert problem.endswith(wrong.mistake)


def test_each_exercise_knows_six_wrong_answers_with_names_of_their_own() -> None:
    for exercise in EXERCISES.values():
        names = {wrong.mistake for wrong in exercise.wrong}
        assert len(names) == len(exercise.wrong) >= 6


# The same mistakes, as other people would write them: the name must not hang on the code.


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


def starts_at_the_peak(step: int, total: int, warmup: int, peak: float) -> float:
    return peak - peak * step / total


def cosine(step: int, total: int, warmup: int, peak: float) -> float:
    if step < warmup:
        return peak * step / warmup
    return peak * math.cos(0.5 * math.pi * (step - warmup) / (total - warmup)) ** 2


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


def forgets_the_mark(word: str, vocabulary: list[str]) -> list[str]:
    found = re.match("|".join(sorted(map(re.escape, vocabulary), key=len, reverse=True)), word)
    if found is None:
        return ["[UNK]"]
    rest = word[found.end() :]
    others = forgets_the_mark(rest, vocabulary) if rest else []
    return ["[UNK]"] if "[UNK]" in others else [found[0], *others]


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


def adds_a_pooler(vocabulary: int, width: int, layers: int, positions: int) -> float:
    share = share_by_building_bert(vocabulary, width, layers, positions)
    total = vocabulary * width / share
    return vocabulary * width / (total + width * (width + 1))


def forgets_the_way_back(vocabulary: int, width: int, layers: int, positions: int) -> float:
    layer = 4 * (width**2 + width) + 4 * (width**2 + width) + 4 * width
    total = (vocabulary + positions + 4) * width + layers * layer
    return vocabulary * width / total


def forgets_the_tenth(channels: int, multiplier: float) -> int:
    return 8 * max(1, math.floor(channels * multiplier / 8 + 0.5))


def takes_halves_to_even(channels: int, multiplier: float) -> int:
    rounded = max(1, round(channels * multiplier / 8))
    return 8 * (rounded + (rounded * 8 < 0.9 * channels * multiplier))


def counts_steps(side: int, kernel: int, stride: int, before: int, after: int) -> int:
    return side_by_walking(side, kernel, stride, before, after) - 1


def hangs_over_the_edge(side: int, kernel: int, stride: int, before: int, after: int) -> int:
    way = side + before + after - kernel
    return len([place for place in range(0, way + stride, stride) if place < way + stride])


def correlates(x: list[float], y: list[float]) -> torch.Tensor:
    return torch.corrcoef(torch.tensor([x, y]))[0, 1]


def forgets_the_root(x: list[float], y: list[float]) -> float:
    u, v = torch.tensor(x), torch.tensor(y)
    return (u @ v / (u.square().sum() * v.square().sum())).item()


def searches_from_zero(similarity: torch.Tensor) -> list[int]:
    found = []
    for row in similarity.tolist():
        best, place = 0.0, 0
        for t, value in enumerate(row):
            if value > best:
                best, place = value, t
        found.append(place)
    return found


def finds_images(similarity: torch.Tensor) -> list[int]:
    return list(matches_by_loop(similarity.T))


def scales_to_one(value: int) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.uint8).double().div(255)


def normalises_as_a_classifier(value: int) -> torch.Tensor:
    mean, spread = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    pixel = torch.full((3, 1, 1), value / 255, dtype=torch.float64)
    return normalize(pixel, mean, spread)[0]


def trusts_one_prompt(similarity: torch.Tensor) -> int:
    rows = similarity.tolist()
    value, column = max((v, -k) for row in rows for k, v in enumerate(row))
    return -column


def counts_votes(similarity: torch.Tensor) -> int:
    votes = Counter(row.index(max(row)) for row in similarity.tolist())
    return min(votes, key=lambda column: (-votes[column], column))


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
        ("wordpieces", forgets_the_mark, "The mark ## is missing"),
        ("wordpieces", goes_back, "You go back"),
        ("embedding_share", adds_a_pooler, "You count a pooler"),
        ("embedding_share", forgets_the_way_back, "two matrices"),
        ("round_channels", forgets_the_tenth, "one rule is missing"),
        ("round_channels", takes_halves_to_even, "to the even number"),
        ("output_side", counts_steps, "You count the steps"),
        ("output_side", hangs_over_the_edge, "hangs over the edge"),
        ("cosine", correlates, "a correlation"),
        ("cosine", forgets_the_root, "The square root is missing"),
        ("best_matches", searches_from_zero, "begins at 0"),
        ("best_matches", finds_images, "down the columns"),
        ("learning_rate_at", starts_at_the_peak, "no warm-up"),
        ("learning_rate_at", cosine, "cosine decay"),
        ("scaled", scales_to_one, "from 0 to 1"),
        ("scaled", normalises_as_a_classifier, "ImageNet's mean"),
        ("name_index", trusts_one_prompt, "One lucky prompt"),
        ("name_index", counts_votes, "count the votes"),
    ],
)
def test_a_mistake_is_named_however_it_is_written(name: str, function: Answer, words: str) -> None:
    assert words in str(find_mistake(find_exercise(name), function))


def test_an_unknown_mistake_says_what_was_expected_and_what_came() -> None:
    problem = find_mistake(find_exercise("chance_loss"), lambda n: 7.0)
    assert problem == "chance_loss(2): expected 1.38629, got 7."


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda n: undefined_name, "NameError"),  # type: ignore[name-defined]  # noqa: F821
        (lambda n: [1, 2], "got the list of 1, 2"),
        (lambda n: print(end=""), "got nothing"),
        (lambda: 1.0, "TypeError"),
    ],
)
def test_a_broken_answer_is_told_and_does_not_break_the_check(function: Answer, words: str) -> None:
    assert words in str(find_mistake(find_exercise("chance_loss"), function))


def test_an_answer_that_changes_its_input_is_judged_by_what_it_returns() -> None:
    def recall_at_1(similarity: torch.Tensor) -> float:
        result = recall_by_loop(similarity)
        similarity.zero_()
        return result

    lab.check(recall_at_1)
    assert find_mistake(find_exercise("recall_at_1"), recall_at_1) is None


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
    rate = find_exercise("learning_rate_at").reference
    assert rate(5_000, 1_200_000, 10_000, 1e-3) == pytest.approx(5e-4)  # Section 5
    assert rate(10_000, 1_200_000, 10_000, 1e-3) == pytest.approx(1e-3)
    assert rate(1_200_000, 1_200_000, 10_000, 1e-3) == 0


def test_check_finds_the_exercise_by_name_and_raises_one_sentence() -> None:
    def chance_loss(n: int) -> float:
        return math.log(n)

    with pytest.raises(CheckFailed, match="expected 1.38629, got 0.693147") as caught:
        lab.check(chance_loss)
    lines = caught.value._render_traceback_()
    assert " ".join(lines) == str(caught.value) and max(map(len, lines)) <= 88


def test_check_says_that_a_right_answer_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    lab.check(find_exercise("learning_rate_at").reference)
    assert capsys.readouterr().out == "learning_rate_at: right.\n"


def test_an_unknown_exercise_says_which_exist() -> None:
    with pytest.raises(InputError, match="chance_loss"):
        lab.check(math.sqrt)


def test_a_stub_runs_with_our_answer_and_a_written_one_with_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def chance_loss(n: int) -> float:  # type: ignore[empty-body]
        ...

    lab.check(chance_loss)
    assert lab.yours_or_ours(chance_loss)(128) == pytest.approx(9.704, abs=1e-3)
    said = capsys.readouterr().out
    assert "still to be written" in said
    assert "ours is in use" in said

    def chance_loss(n: int) -> float:
        return 1.0

    assert lab.yours_or_ours(chance_loss) is find_exercise("chance_loss").reference
    assert "ours is in use until yours passes its check" in capsys.readouterr().out

    def chance_loss(n: int) -> float:
        return math.log(n) * 2

    assert lab.yours_or_ours(chance_loss) is chance_loss
    assert "yours is in use" in capsys.readouterr().out


def test_only_an_empty_body_is_a_stub() -> None:
    def dots() -> None: ...

    def returns_dots() -> Any:
        return ...

    def zero() -> int:
        return 0

    def calls() -> None:
        print()

    assert [is_stub(f) for f in (dots, returns_dots)] == [True, True]
    assert [is_stub(f) for f in (zero, calls, len)] == [False, False, False]


def test_hints_are_listed_and_given_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    lab.hint("recall_at_1")
    assert len(capsys.readouterr().out.splitlines()) == 3
    lab.hint("recall_at_1", 1)
    assert capsys.readouterr().out.startswith("Rows or columns?")


def test_reveal_shows_the_shipped_code_and_what_it_builds_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lab.reveal("learning_rate_at")
    shown = capsys.readouterr().out
    assert "def learning_rate_at" in shown
    assert "def learning_rate_factor" in shown


def test_start_prints_title_cost_and_versions(capsys: pytest.CaptureFixture[str]) -> None:
    lab.start("08")
    said = capsys.readouterr().out
    assert said.startswith("Training on toy CC-3M: ")
    assert torch.__version__ in said
    assert "no network" in said
    lab.start("20")
    assert "not measured yet" in capsys.readouterr().out


def test_start_refuses_a_notebook_that_does_not_exist() -> None:
    with pytest.raises(InputError, match="00 to 20"):
        lab.start("21")


def test_random_numbers_depend_on_notebook_and_name_only() -> None:
    def draw(number: str, name: str) -> list[float]:
        lab.start(number)
        return torch.rand(4, generator=lab.rng(name)).tolist()

    first = draw("00", "crops")
    torch.rand(100)
    assert draw("00", "crops") == first
    assert draw("00", "negatives") != first
    assert draw("08", "crops") != first


def test_the_lab_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    lab.start("00")
    lab.rng("crops")
    lab.check(find_exercise("recall_at_1").reference)
    assert torch.equal(before, torch.get_rng_state())


def test_the_course_has_21_notebooks_in_order() -> None:
    assert [lesson.number for lesson in COURSE] == [f"{n:02}" for n in range(21)]
    assert find_lesson("03").title == "Words to vectors with BERT"
    assert find_lesson("18").title == "CLIP ALIGN SigLIP"


# Quizzes.


@pytest.mark.parametrize("number", ["00", "01", "02", "03", "04", "05", "08", "17"])
def test_each_question_has_one_right_option_and_feedback_for_all(number: str) -> None:
    questions = load_questions(number)
    assert 3 <= len(questions) <= 5
    for question in questions:
        assert sum(option.right for option in question.options) == 1
        assert all(option.feedback and option.text for option in question.options)
        assert "Section" in question.paper or "eq." in question.paper


def right_option(number: str, words: str) -> str:
    (question,) = (q for q in load_questions(number) if words in q.question)
    return next(option.text for option in question.options if option.right)


def test_numbers_in_right_answers_are_recomputed() -> None:
    assert right_option("00", "batch of 128") == f"{2 * math.log(128):.2f}"
    assert right_option("08", "one batch of the paper") == f"{1024 * 16:,}"
    assert right_option("08", "at step 5,000") == f"{1e-3 * 5_000 / 10_000:g}"
    seen = 1_200_000 * 16_384
    assert f"{seen / 1e9:.1f}" == "19.7"
    assert 10.5 < seen / 1.8e9 < 11.5
    assert right_option("08", "see each of") == "About 11 to 12 times"
    n, epsilon = 16_384, 0.1
    targets = torch.full((n,), epsilon / n, dtype=torch.float64)
    targets[0] += 1 - epsilon
    floor = -2 * (targets * targets.log()).sum().item()
    assert right_option("08", "where is its floor") == f"{floor:.2f}"


def test_numbers_in_wrong_answers_are_what_their_feedback_says() -> None:
    feedback = {o.text: o.feedback for q in load_questions("08") for o in q.options}
    assert "2 ln 16,384" in feedback[f"{2 * math.log(16_384):.2f}"]
    assert "without the warm-up" in feedback[f"{1e-3 * (1 - 5_000 / 1_200_000):.6f}"]
    assert "19.7 / 1.8 = 10.9" in feedback["About 11 to 12 times"]
    assert "CC-3M" in feedback["About 600 times"]
    assert 120_000 * 16_384 / 3e6 == pytest.approx(655, abs=1)


def test_numbers_in_the_quiz_on_alt_text_are_recomputed() -> None:
    text = "image_tid 25&id mggqpuwe-qdpd&cache 0&lan_code 0"  # Section 3
    assert right_option("01", text) == str(find_exercise("count_words").reference(text))
    feedback = {o.text: o.feedback for q in load_questions("01") for o in q.options}
    assert "splitting at spaces" in feedback[str(len(text.split()))]
    assert "\\w+" in feedback[str(len(re.findall(r"\w+", text)))]
    assert right_option("01", "how many times as many") == f"{1.8e9 / 3e6:.0f} times"
    shared = find_exercise("shared_texts").reference
    texts, images = ["Home"] * 8 + ["HOME."] * 8, [f"{n}.jpg" for n in range(16)]
    assert shared(texts, images, 10) == shared(texts, images, 15) == {"home"}
    assert shared(texts, images, 16) == set()
    assert right_option("01", "rule on shared texts").startswith("One text of 16 images")


def test_numbers_in_the_quiz_on_filters_are_recomputed() -> None:
    keeps = find_exercise("keeps_image").reference
    sizes = next(q for q in load_questions("02") if "by its size" in q.question).options
    for option in sizes:
        width, height = map(int, re.findall(r"\d+", option.text))
        assert keeps(width, height) == option.right
    shared = find_exercise("shared_texts").reference
    images = [f"{n}.jpg" for n in range(40)]
    assert shared(["home"] * 40, images, 10) == {"home"}  # over all the data
    machines = [shared(["home"] * 4, images[n::10], 10) for n in range(10)]
    assert right_option("02", "Ten machines") == str(sum(4 * len(found) for found in machines))
    assert f"{0.1 * 1.8e9 / 3e6:.0f} times as many" in right_option("02", "CC-3M")


def test_numbers_in_the_quiz_on_pixels_are_recomputed() -> None:
    widen = find_exercise("round_channels").reference
    feedback = {o.text: o.feedback for q in load_questions("04") for o in q.options}
    assert right_option("04", "B5 has width") == str(widen(320, 1.6))
    assert "head would give" in feedback[str(widen(1280, 1.6))]
    assert "to match B7" in feedback[str(widen(320, 2.0))]
    assert 1200 / 400 == 3  # "three times as slim"
    full, depthwise, pointwise = 9 * 64 * 64, 9 * 64, 64 * 64
    assert right_option("04", "how many times") == (
        f"About {full / (depthwise + pointwise):.0f} times"
    )
    assert f"{full:,} against {depthwise} + {pointwise:,}" in feedback["About 8 times"]
    assert f"{full // depthwise} times" in feedback


def test_numbers_in_the_quiz_on_the_shared_space_are_recomputed() -> None:
    x, y = [3.0, 4.0], [4.0, 3.0]
    cosine_of = find_exercise("cosine").reference
    assert right_option("05", "cosine of (3, 4)") == f"{cosine_of(x, y):.2f}"
    feedback = {o.text: o.feedback for q in load_questions("05") for o in q.options}
    assert "dot product. " in feedback[f"{3 * 4 + 4 * 3}"]
    assert "divided by one length" in feedback[f"{(3 * 4 + 4 * 3) / 5:g}"]
    assert "correlation" in feedback[f"{correlates(x, y):g}"]
    assert right_option("05", "5,000 texts") == f"{1_000 + 5_000:,}"
    assert "see both at once" in feedback[f"{1_000 * 5_000:,}"]
    b7, base = get_preset("b7_base").image, get_preset("b7_base").text
    assert 320 * b7.width == 640
    assert f"from {base.width} to {320 * b7.width:.0f}" in right_option("05", "BERT-Base")


def test_numbers_in_the_quiz_on_words_are_recomputed() -> None:
    cut = find_exercise("wordpieces").reference
    vocabulary = ["un", "una", "##able", "##ble"]
    assert right_option("03", '"unable"') == " ".join(cut("unable", vocabulary))
    options = {o.text: o.feedback for q in load_questions("03") for o in q.options}
    mini, large = TEXT_SIZES["mini"], TEXT_SIZES["large"]
    assert (mini.width, large.width, mini.vocabulary_size) == (256, 1024, 100_000)
    assert right_option("03", "BERT-Mini") == f"{100_000 * mini.width / 1e6:.1f} million"
    assert "BERT-Large" in options[f"{100_000 * large.width / 1e6:.1f} million"]
    assert "64 numbers" in options[f"{100_000 * mini.max_length / 1e6:.1f} million"]


def test_numbers_in_the_quiz_on_the_released_weights_are_recomputed() -> None:
    zeros = {padding: edge_zeros(289, 3, padding) for padding in ("tf_static", "same")}
    count = find_exercise("output_side").reference
    places = {padding: str(count(289, 3, 2, *pair)) for padding, pair in zeros.items()}
    assert zeros == {"tf_static": (0, 1), "same": (1, 1)}
    assert right_option("17", "3 × 3 filters") == places["tf_static"]
    feedback = {o.text: o.feedback for q in load_questions("17") for o in q.options}
    assert '"same"' in feedback[places["same"]]
    for padding, left in (("tf_static", 9), ("same", 10)):
        side = 289
        for kernel in (3, 3, 5, 3, 5):  # the layers with stride 2
            side = count(side, kernel, 2, *edge_zeros(side, kernel, padding))
        assert side == left
    assert right_option("17", "AlignModel gives the loss 1.5") == f"{2 * 1.5:g}"
    assert right_option("17", "the byte 51") == f"{find_exercise('scaled').reference(51):g}"
    assert "scale from 0 to 1" in feedback[f"{51 / 255:g}"]
    assert "ImageNet" in feedback[f"{normalises_as_a_classifier(51).item():.2f}"]


def test_a_quiz_answers_letters_in_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert lab.quiz("08", "a, c") is None
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("1. No (a). That is what one core holds.")
    assert said[1].startswith("2. No (c).")
    assert lab.quiz("08", "z") is None
    assert "choose a to c" in capsys.readouterr().out


def test_a_notebook_without_a_quiz_says_which_have_one() -> None:
    with pytest.raises(InputError, match="00.*08"):
        lab.quiz("20")


def test_a_quiz_shows_every_question_as_text_where_there_are_no_widgets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    quiz = lab.quiz("00")
    assert isinstance(quiz, Quiz)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    bundle = quiz._repr_mimebundle_()
    assert set(bundle) == {"text/plain"}
    for question in quiz.questions:
        assert question.question in bundle["text/plain"]
        assert all(option.text in bundle["text/plain"] for option in question.options)


def test_a_click_on_any_option_shows_its_feedback() -> None:
    quiz = lab.quiz("00")
    assert isinstance(quiz, Quiz)
    box = quiz.widget()
    for question, part in zip(quiz.questions, box.children, strict=True):
        _, choice, feedback = part.children
        for letter, option in zip(LETTERS, question.options, strict=False):
            choice.value = letter
            assert option.feedback in feedback.value
    assert "application/vnd.jupyter.widget-view+json" in quiz._repr_mimebundle_()


def test_the_model_code_never_imports_the_lab() -> None:
    """Two commands of the front door load it when they are called."""
    package = Path(lab.__file__).parent.parent
    for path in package.rglob("*.py"):
        inside = path.relative_to(package).as_posix()
        if inside.startswith("lab/"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = tree.body if inside == "cli.py" else list(ast.walk(tree))
        names = [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)]
        names += [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
        names += [
            f"{n.module}.{a.name}" for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names
        ]
        assert not [name for name in names if name.startswith("align_edu.lab")], inside
