"""Quizzes and core questions: one right option each, feedback for all, recomputed numbers."""

import json
import math
import re
import sys
import tomllib
from collections import Counter

import pytest
import torch
from scipy.stats import rankdata

from align_edu import lab
from align_edu.evaluation.retrieval import retrieval_recall
from align_edu.lab.course import find_lesson
from align_edu.lab.exercises import find_exercise
from align_edu.lab.quiz import QUIZZES, Cell, Question, Quiz, load_questions
from align_edu.loss import chance_loss
from align_edu.model.image_tower import edge_zeros
from align_edu.presets import IMAGE_SIZES, TEXT_SIZES, get_preset
from tests.samples import ROOT, cases, refused
from tests.test_lab_answers import best_guess

LARGE = get_preset("l2_large")
N, STEPS = LARGE.recipe.batch_size, LARGE.recipe.steps  # 16,384 pairs, 1.2 million steps
CORE = LARGE.image.ghost_batch  # 16 pairs on each of 1,024 cores
SEEDS = ROOT.parent / "shared" / "seeds"
BANK = {f"{question.kind}-{question.number}": question for question in load_questions("core")}
# Each number that the bank quotes from the paper, with the words around it there.
PAPER = tomllib.loads((ROOT / "tests" / "quoted_numbers.toml").read_text("utf-8"))
BOUNDS = {"0", "1", "-1"}  # of probabilities, cosines and lengths
NAMES = re.compile(  # what holds digits and is no number of ours
    r"(Sections?|Tables?|Figures?|[Ff]ootnotes?|[Nn]otebooks?|[Ee]q\.) ?\(?[\d.]+\)?"
    r"((,| and|,? [Tt]able|, eq\.) \(?\d[\d.]*\)?)*|\b(B|L)\d\b|R@\d+|arXiv v2|CC-3M"
)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:[/:]\d+)?(?:e-\d+|k\b|B\b|%)?")
ALT_TEXT = "image_tid 25&id mggqpuwe-qdpd&cache 0&lan_code 0"  # Section 3
FULL, DEPTHWISE, POINTWISE = 9 * 64 * 64, 9 * 64, 64 * 64
BASE, ALIKE = get_preset("b7_base"), torch.ones(2, 3)
NINE_RED = ["red"] * 9 + ["blue"]
MINI, BERT_LARGE = TEXT_SIZES["mini"], TEXT_SIZES["large"]
REGEX_WORDS = len(re.findall(r"\w+", ALT_TEXT))
NUMBERS = tomllib.loads((ROOT / "tests" / "quiz_numbers.toml").read_text("utf-8"))


@pytest.mark.parametrize("number", QUIZZES)
def test_each_question_has_one_right_option_and_feedback_for_all(number):
    questions = load_questions(number)
    assert len(questions) == 26 if number == "core" else 3 <= len(questions) <= 5
    assert len({question.question for question in questions}) == len(questions)
    for question in questions:
        assert sum(option.right for option in question.options) == 1
        assert all(option.text and len(option.feedback) > 3 for option in question.options)
        assert len({option.feedback for option in question.options}) == len(question.options)
        assert re.search(r"Sections? \d|eq\.", question.paper)


def ours(name: str, *case: object) -> object:
    return find_exercise(name).reference(*case)


def smoothed_floor() -> float:
    targets = torch.full((N,), 0.1 / N, dtype=torch.float64)
    targets[0] += 0.9
    return -2 * (targets * targets.log()).sum().item()


def likely(n: int) -> float:
    return math.exp(1) / (math.exp(1) + (n - 1) * math.exp(-1))


def found_at_ranks(ranks: list[int], k: int) -> float:
    """Our recall for one image with texts at these ranks, and 99 images that find nothing."""
    similarity = torch.full((100, 100), -1.0)
    similarity[0] = 1 - torch.arange(100) / 100  # text t has rank t + 1
    owner = torch.arange(1, 101).clamp(max=99)
    owner[torch.tensor(ranks) - 1] = 0
    return 100 * find_exercise("recall_at_k").reference(similarity, owner, k)


def recall_of_a_collapsed_model() -> float:
    same = torch.ones(1_000, 2)
    return retrieval_recall(same, same, range(1_000), ks=(1,))["text_to_image"]["R@1"]


def ranks_as(method: str) -> str:
    return ", ".join(f"{rank:g}" for rank in rankdata([0.3, 0.9, 0.3, 0.1], method=method))


def card(hits: int, n: int) -> str:
    line = re.search(r"- (?:.+): (.+)\)", str(ours("model_card", ["it"], [hits], [n])))
    return line[1].replace(" (", ", ")


def kept_of_a_query(pairs: int) -> float:
    shares = ours("balanced_share", torch.tensor([pairs, 5_000]), 20_000)
    assert shares[1] == 1
    return shares[0].item()


def query(image: float, text: float) -> str:
    length = math.hypot(image, text)
    return f"({image / length:.2f}, {text / length:.2f})"


def named_by_place(name: str, *lists: list[float]) -> str:
    places = ours(name, *map(torch.tensor, lists))
    return " and ".join(f"the {('first', 'second', 'third')[i]}" for i in places).capitalize()


def places(padding: str) -> str:
    return str(ours("output_side", 289, 3, 2, *edge_zeros(289, 3, padding)))


def shared_by_machine() -> str:
    """Kept texts when each of ten machines counts its own part of 40 images."""
    images = [f"{n}.jpg" for n in range(40)]
    machines = [ours("shared_texts", ["home"] * 4, images[n::10], 10) for n in range(10)]
    assert ours("shared_texts", ["home"] * 40, images, 10) == {"home"}  # over all the data
    return str(sum(4 * len(found) for found in machines))


def rows(table: str) -> list[tuple[str, str, str]]:
    return [(n, *row) for n, lesson in NUMBERS[table].items() for row in lesson.items()]


def filled(text: str) -> str:
    """Work out the {expressions} of a text, as those of an f-string."""
    return eval(f'f"""{text}"""') if "{" in text else text


@cases("number, words, right", *rows("right"))
def test_the_right_option_is_recomputed(number, words, right):
    (question,) = (q for q in load_questions(number) if words in q.question)
    (option,) = (option.text for option in question.options if option.right)
    assert re.fullmatch(re.escape(filled(right)).replace("…", ".*"), option), option


@cases("number, option, words", *rows("wrong"))
def test_a_wrong_options_number_is_what_its_feedback_says(number, option, words):
    feedback = {o.text: o.feedback for q in load_questions(number) for o in q.options}
    assert filled(words) in feedback[filled(option)]


def test_sizes_are_kept_as_the_quiz_on_filters_says():
    (question,) = (q for q in load_questions("02") if "by its size" in q.question)
    for option in question.options:
        width, height = map(int, re.findall(r"\d+", option.text))
        assert ours("keeps_image", width, height) == option.right


def test_a_quiz_is_text_where_there_are_no_widgets_and_takes_letters(monkeypatch, capsys):
    quiz = lab.quiz("08")
    assert isinstance(quiz, Quiz)
    assert "application/vnd.jupyter.widget-view+json" in quiz._repr_mimebundle_()
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    bundle = quiz._repr_mimebundle_()
    assert set(bundle) == {"text/plain"}
    for question in quiz.questions:
        assert question.question in bundle["text/plain"]
        assert all(option.text in bundle["text/plain"] for option in question.options)
    assert lab.quiz("08", "a, cz") is None
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("1. No (a). That is what one core holds.")
    assert said[1].startswith("2. No (c).") and "choose a to c" in said[2]
    refused("00.*08", lab.quiz, "99")


def slopes_in_the_right_logit(right: float) -> tuple[float, float]:
    """Of the cross-entropy and of the mean squared error, when the class has this chance."""
    logits = torch.tensor([0.0, math.log(1 / right - 1)], requires_grad=True)
    error = (logits.softmax(dim=0) - torch.tensor([1.0, 0.0])).square().mean()
    losses = (-logits.log_softmax(dim=0)[0], error)
    entropy, squared = (torch.autograd.grad(each, logits)[0][0].item() for each in losses)
    return entropy, squared


def worked_out() -> dict[str, set[str]]:
    full = (24 * 24 * 64) * (24 * 24 * 128)
    depth = IMAGE_SIZES["L2"].depth
    blocks = sum(math.ceil(repeats * depth) for repeats in (1, 2, 2, 3, 3, 4, 1))
    others = 16_383 * math.exp(-2)  # cosine 1 for the pair, -1 for the others
    batch = get_preset("l2_large").recipe.batch_size
    lost = (f"{2 * math.log(1 + others):.2f}", f"{chance_loss(batch):.2f}")
    values = torch.tensor([1.0, 2.0, 9.0], dtype=torch.float64)
    guesses = {f"{best_guess(values, power):g}" for power in (1, 2)}
    return {
        "general-7": {"3", "24", "64", "128", f"{9 * 64 * 128:,}", f"{full / 1e9:.1f}"},
        "general-8": {f"{blocks}"},
        "general-11": {"0.01", *(f"{slope:.2f}" for slope in slopes_in_the_right_logit(0.01))},
        "general-12": {"1", "2", "9", *guesses},
        "paper-5": {f"{1 / (1 + others):.4f}", *lost},
        "paper-11": {f"{batch - 1:,}", f"{batch // 1024 - 1}"},
    }


def texts_of(question: Question) -> list[str]:
    said = [text for option in question.options for text in (option.text, option.feedback)]
    return [question.question, question.answer, question.corrected, *said]


@pytest.fixture(scope="module")
def paper():
    found = sorted(SEEDS.glob("004_*.txt"))
    if not found:
        pytest.skip("the paper's text (../shared/seeds) is not here")
    return " ".join(found[0].read_text(encoding="utf-8").split())


def stored(cell: Cell) -> list[tuple[str, str]]:
    """The code cells that hold the snippet: the heading above each, and what it printed."""
    file = ROOT / "notebooks" / f"{find_lesson(cell.notebook).file}.ipynb"
    heading, found = "", []
    for each in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        source = "".join(each["source"])
        if each["cell_type"] == "markdown":
            heads = [line for line in source.split("\n") if re.match("#+ ", line)]
            heading = heads[-1] if heads else heading
        elif cell.snippet in source:
            printed = ["".join(output.get("text", "")) for output in each["outputs"]]
            found.append((heading, "".join(printed)))
    return found


def test_the_right_option_is_told_neither_by_its_length_nor_by_its_place():
    counts: Counter[object] = Counter()
    for question in BANK.values():
        sizes = [len(option.text) for option in question.options]
        right = [option.right for option in question.options].index(True)
        marks = {"longest": sizes[right] == max(sizes), "shortest": sizes[right] == min(sizes)}
        counts.update([right, *(mark for mark, holds in marks.items() if holds)])
    assert counts.keys() == {0, 1, 2, "longest", "shortest"}
    assert all(4 <= count <= 13 for count in counts.values()), counts


def test_the_bank_answers_each_question_and_names_the_cell_or_lesson_that_measures_it():
    assert [q.kind for q in BANK.values()] == ["general"] * 12 + ["paper"] * 14
    assert [q.number for q in BANK.values()] == [*range(1, 13), *range(1, 15)]
    for name, question in BANK.items():
        assert question.answer.endswith(".") and len(question.answer.split()) <= 100, name
        assert bool(question.corrected) == (question.kind == "paper"), name
        assert bool(question.cells) != bool(question.comes_later), name
        for cell in question.cells:
            assert [heading for heading, _ in stored(cell)] == [cell.heading], name
            assert re.search(r"\d", stored(cell)[0][1]), f"{name}: {cell.snippet} prints no number"
        if question.comes_later is not None:  # only until the lesson is written
            assert find_lesson(question.comes_later).minutes is None, name


def test_what_the_answers_say_of_measurements_is_what_the_cells_print():
    def printed(name: str, place: int = 0) -> str:
        return stored(BANK[name].cells[place])[0][1]

    hardest = re.findall(r"hardest negative (-?[\d.]+)", printed("paper-10"))
    assert len(hardest) > 3 and hardest == sorted(hardest, key=float)
    cosines = dict(
        re.findall(r"(eval|train) +cosine between the batches ([\d.]+)", printed("general-5", 1))
    )
    assert cosines["eval"] == "1.00" and float(cosines["train"]) < 1
    assert "full   73,728 parameters" in printed("general-7")
    likely = re.search(r"1/ 1: probability ([\d.]+), loss ([\d.]+)", printed("paper-5"))
    assert likely is not None and (likely[1], f"{float(likely[2]):.2f}") == ("0.0005", "15.41")
    found = {int(a): int(b) for a, b in re.findall(r"(\d+) pixels.* (\d+) of", printed("paper-12"))}
    assert found[48] > 0.9 * found[40] > 2 * max(found[32], found[96])
    ours, words = re.findall(r"R@1 ([\d.]+)", printed("paper-13"))
    assert float(ours) > float(words)  # texts about pictures
    ours, words = re.findall(r"R@1 (\d) of 8", printed("paper-13", 1))
    assert int(ours) < int(words)  # other texts


@pytest.mark.parametrize("name", BANK)
def test_every_number_is_the_papers_or_worked_out_here(name):
    here, told = worked_out().get(name, set()), set()
    for text in texts_of(BANK[name]):
        told |= {number.rstrip(",") for number in NUMBER.findall(NAMES.sub("", text))}
    assert told <= {*PAPER, *BOUNDS, *here}
    assert here <= told  # what is worked out is said


@pytest.mark.parametrize("number", PAPER)
def test_a_number_of_the_paper_stands_there(number, paper):
    words = PAPER[number]
    assert words in paper and number.replace(",", "") in words
    assert any(number in text for question in BANK.values() for text in texts_of(question))


def test_what_is_quoted_is_the_papers(paper):
    texts = [text for question in BANK.values() for text in texts_of(question)]
    quotes = [quote for text in texts for quote in re.findall("“([^”]+)”", text)]
    assert len(quotes) > 12
    assert not [quote for quote in quotes if quote not in paper]
