"""The core questions: complete, answered by cells that exist, each number accounted for."""

import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from align_edu.lab.course import find_lesson
from align_edu.lab.quiz import Cell, Question, load_questions
from align_edu.loss import chance_loss
from align_edu.presets import IMAGE_SIZES, get_preset

ROOT = Path(__file__).resolve().parents[1]
SEEDS = ROOT.parent / "shared" / "seeds"
BANK = {f"{question.kind}-{question.number}": question for question in load_questions("core")}
each_question = pytest.mark.parametrize("question", BANK.values(), ids=BANK)

# Each number that the bank quotes from the paper, with the words around it there.
PAPER = {
    "18.9": "+ CC-3M data 18.9",
    "22.1": "+ CC-3M data 22.1",
    "52.0": "+ ALIGN 10% data 52.0",
    "55.4": "+ ALIGN full data 55.4",
    "37.4": "+ ALIGN full data 37.4",
    "800": "trained on 800 images",
    "200": "the validation set of 200 images",
    "1,000": "validation splits of 1000 images",
    "1e-3": "warmed up linearly to 1e-3 from zero in 10k steps",
    "10k": "from zero in 10k steps, and then linearly decay to zero",
    "16,384": "the total effective batch size is 16384",
    "2,048": "the global batch size from 16384 to 2048",
    "16": "with 16 positive pairs on each core",
    "64": "wordpiece sequence of maximum 64 tokens",
    "1376": "(L2 uses 1376)",
    "1.0": "temperature variable is initialized as 1.0",
    "1/64": "converged to about 1/64",
    "52.2": "w/ softmax temp=1/64 52.2",
    "1/32": "w/ softmax temp=1/32 39.6",
    "39.6": "w/ softmax temp=1/32 39.6",
    "72.9": "ALIGN 72.9±0.4",
    "74.4": "VSE++ 74.4±0.4",
    "45.4": "ALIGN 78.1 94.3 97.4 61.8 84.9 91.1 45.4",
    "1.8B": "a much larger (1.8B image-text pairs) but noisier dataset",
    "85.5%": "SOTA result of 85.5% top-1 accuracy",
    "50%": "using fewer in-batch negatives (50% and 25%)",
    "25%": "using fewer in-batch negatives (50% and 25%)",
    "51.7": "B5 + BERT-base 51.7",
    "50.2": "w/ 50% in-batch negs 50.2",
    "48.7": "w/ 25% in-batch negs 48.7",
    "346": "resize input images to $346 \\times 346$",
    "289": "resolution of $289 \\times 289$ pixels",
    "360": "train/eval resolution is 289/360 with frozen visual features",
    "475": "and is 475/600 when",
    "600": "and is 475/600 when",
    "2": "a scale of 2 for the text embedding and 1 for the image embedding",
    "1:1": "although 1:1 also works well",
}
BOUNDS = {"0", "1", "-1"}  # of probabilities, cosines and lengths
NAMES = re.compile(  # what holds digits and is no number of ours
    r"(Sections?|Tables?|Figures?|[Ff]ootnotes?|[Nn]otebooks?|[Ee]q\.) ?\(?[\d.]+\)?"
    r"((,| and|,? [Tt]able|, eq\.) \(?\d[\d.]*\)?)*|\b(B|L)\d\b|R@\d+|arXiv v2|CC-3M"
)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:[/:]\d+)?(?:e-\d+|k\b|B\b|%)?")


def slopes_in_the_right_logit(right: float) -> tuple[float, float]:
    """Of the cross-entropy and of the mean squared error, when the class has this chance."""
    logits = torch.tensor([0.0, math.log(1 / right - 1)], requires_grad=True)
    error = (logits.softmax(dim=0) - torch.tensor([1.0, 0.0])).square().mean()
    losses = (-logits.log_softmax(dim=0)[0], error)
    entropy, squared = (torch.autograd.grad(each, logits)[0][0].item() for each in losses)
    return entropy, squared


def best_guess(values: list[float], power: int) -> float:
    tries = [step / 100 for step in range(1001)]
    return min(tries, key=lambda guess: sum(abs(value - guess) ** power for value in values))


def worked_out() -> dict[str, set[str]]:
    """The numbers that follow from others, worked out here; and those that a question assumes."""
    full = (24 * 24 * 64) * (24 * 24 * 128)
    depth = IMAGE_SIZES["L2"].depth
    blocks = sum(math.ceil(repeats * depth) for repeats in (1, 2, 2, 3, 3, 4, 1))
    others = 16_383 * math.exp(-2)  # cosine 1 for the pair, -1 for the others
    batch = get_preset("l2_large").recipe.batch_size
    lost = (f"{2 * math.log(1 + others):.2f}", f"{chance_loss(batch):.2f}")
    guesses = {f"{best_guess([1, 2, 9], power):g}" for power in (1, 2)}
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


@each_question
def test_a_question_has_a_short_answer_and_the_cell_or_lesson_that_measures_it(question):
    assert question.answer.endswith(".") and len(question.answer.split()) <= 100
    assert bool(question.corrected) == (question.kind == "paper")
    assert bool(question.cells) != bool(question.comes_later)
    for cell in question.cells:
        assert [heading for heading, _ in stored(cell)] == [cell.heading]
    if question.comes_later is not None:  # only until the lesson is written
        assert find_lesson(question.comes_later).minutes is None


def test_the_right_option_is_told_neither_by_its_length_nor_by_its_place():
    counts: Counter[object] = Counter()
    for question in BANK.values():
        sizes = [len(option.text) for option in question.options]
        right = [option.right for option in question.options].index(True)
        counts[right] += 1
        counts["longest"] += sizes[right] == max(sizes)
        counts["shortest"] += sizes[right] == min(sizes)
    assert counts.keys() == {0, 1, 2, "longest", "shortest"}
    assert all(4 <= count <= 13 for count in counts.values()), counts


def test_what_the_answers_say_of_measurements_is_what_the_cells_print():
    def printed(name: str, place: int = 0) -> str:
        return stored(BANK[name].cells[place])[0][1]

    hardest = re.findall(r"hardest negative (-?[\d.]+)", printed("paper-10"))
    assert len(hardest) > 3 and hardest == sorted(hardest, key=float)
    assert re.search(r"eval +same vector in both batches: True", printed("general-5", 1))
    assert re.search(r"train +same vector in both batches: False", printed("general-5", 1))
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


def test_there_are_twelve_general_questions_and_fourteen_about_the_paper():
    general, paper = ([f"{kind}-{n}" for n in range(1, 15)] for kind in ("general", "paper"))
    assert list(BANK) == general[:12] + paper
