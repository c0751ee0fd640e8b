"""README, the course map, TEACHING.md and REAL_DATA.md name what exists, and their commands run."""

import json
import re
import shlex
from pathlib import Path

import pytest

from align_edu import lab
from align_edu.cli import _build_parser, main
from align_edu.lab.course import COURSE
from align_edu.lab.exercises import EXERCISES, find_exercise
from align_edu.pairs import read_pairs
from tests.samples import REAL, ROOT, refused, source_of

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAP = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_parts_names_each_part_once_with_a_file_to_begin_with():
    table = README.partition("| `align_edu/` |")[2].partition("\n\n")[0]
    parts = [row for row in rows(table) if row[0].endswith("/`")]
    there = sorted(path.parent.name for path in (ROOT / "align_edu").glob("*/__init__.py"))
    assert sorted(row[0].strip("`/") for row in parts) == there
    for part, what, begin in parts:
        assert what and f"(align_edu/{part.strip('`')}" in begin


def test_every_file_that_the_pages_name_exists():
    for folder, text in ((ROOT, README), (ROOT / "notebooks", MAP)):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (folder / target).exists(), target
    beside = README.partition("| beside the package |")[2].partition("\n\n")[0]
    for name in re.findall(r"`([^`]+)`", beside):
        assert (ROOT / name).exists(), name


def test_the_tables_have_the_notebooks_with_their_minutes_and_their_state():
    table = {row[0]: row[1:] for row in rows(README) if row[0].startswith("[")}
    states = [row for row in rows(MAP) if re.match(r"\[?\d\d_", row[0])]
    assert len(table) == sum(bool(lesson.minutes) for lesson in COURSE)
    for row, lesson in zip(states, COURSE, strict=True):
        said, state = [lesson.question, lesson.paper], "available" if lesson.minutes else "planned"
        assert lesson.file in row[0] and row[1:] == [*said, state]
        if lesson.minutes:
            link = f"[{lesson.file}](notebooks/{lesson.file}.ipynb)"
            assert table[link] == [*said, f"{lesson.minutes:g}"]


def test_each_term_of_the_glossary_is_bold_in_the_notebook_that_it_names():
    terms = rows((ROOT / "notebooks" / "GLOSSARY.md").read_text(encoding="utf-8"))[2:]
    names = [term for term, _, _ in terms]
    assert names == sorted(names, key=str.lower) and len(set(names)) == len(names) > 100
    for term, meaning, link in terms:
        prose = source_of(ROOT / "notebooks" / re.search(r"\((.+)\)", link)[1], "markdown")
        assert meaning and re.search(rf"\*\*{re.escape(term)}s?\*\*", prose, re.IGNORECASE), term


TEACHING = (ROOT / "notebooks" / "TEACHING.md").read_text(encoding="utf-8")


def costs() -> list[list[str]]:
    """The table of notebooks; the plans of weeks have fewer columns."""
    return [row for row in rows(TEACHING) if re.fullmatch(r"\d\d", row[0]) and len(row) == 5]


def test_the_table_has_every_notebook_its_exercises_and_what_it_costs():
    written = [lesson.number for lesson in COURSE if lesson.minutes]
    assert [row[0] for row in costs()] == written
    for number, _, exercises, minutes, memory in costs():
        names = [name for name, each in EXERCISES.items() if each.notebook == number]
        assert sorted(re.findall(r"`(\w+)`", exercises)) == sorted(names), number
        assert float(minutes) <= (2.0 if number == "08" else 1.0), number
        assert 0.2 < float(memory.removesuffix(" GiB")) <= 2.0, number


def test_what_the_page_names_exists():
    for name in re.findall(r"(?<!\.)\blab\.(\w+)", TEACHING):
        assert hasattr(lab, name), name
    for path in re.findall(r"tests/benchmarks/\w+\.py", TEACHING):
        assert (ROOT / path).is_file(), path
    numbers = set(re.findall(r"\b([012]\d)\b", re.sub(r"\b\d{4,}\b", "", TEACHING)))
    assert numbers <= {lesson.number for lesson in COURSE}


def test_the_example_of_an_exercise_of_ones_own_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", TEACHING, re.DOTALL)
    try:
        for _ in range(2):  # a cell may run again
            exec(example, {})
        lab.check(find_exercise("mean_square").reference)
        lab.hint("mean_square", 2)
        assert capsys.readouterr().out == "mean_square: right.\nAnd then? Their sum.\n"
        mean_square = lambda values: (sum(values) / len(values)) ** 2  # noqa: E731
        lab.check(mean_square)
        assert "That is the square of the mean" in " ".join(capsys.readouterr().out.split())
    finally:
        EXERCISES.pop("mean_square", None)


@pytest.mark.parametrize(
    ("notebook", "name", "function", "words"),
    [
        ("mine", "cosine", lambda x: x, "an exercise of notebook 05; choose another name"),
        ("06", "thrice", lambda x: 3 * x, "'06' is part of the course"),
        ("mine", "<lambda>", lambda x: 3 * x, "use def"),
        ("mine", "twice", lambda x: 2 * x, "no case tells the right answer.*square.*add a case"),
        ("mine", "numbers", lambda x: (i for i in range(x)), "its results cannot be compared"),
    ],
)
def test_an_exercise_that_checks_nothing_is_refused(notebook, name, function, words):
    function.__name__ = name
    square = lab.WrongAnswer(lambda x: x * x, "That is the square.")
    hints, before = find_exercise("cosine").hints, dict(EXERCISES)
    exercise = lab.Exercise(notebook, function, lambda _: [(2,)], (square,), hints)
    refused(words, lab.add_exercise, exercise)
    assert before == EXERCISES


REAL_DATA = (ROOT / "notebooks" / "REAL_DATA.md").read_text(encoding="utf-8")
LINES = [
    line for block in re.findall(r"```sh\n(.*?)```", REAL_DATA, re.S) for line in block.split("\n")
]
COMMANDS = [shlex.split(line) for line in LINES if line]
OURS = [each[each.index("align-edu") + 1 :] for each in COMMANDS if "align-edu" in each]


def test_every_command_fits_the_parser():
    others = [command[0] for command in COMMANDS if command[0] != "align-edu"]
    assert others == ["img2dataset", "torchrun"]
    block = README.partition("## The command line")[2].split("```")[1]
    shown = [line.split()[1:2] for line in block.splitlines() if line.startswith("align-edu")]
    assert ["train"] in shown and ["search"] in shown
    for command in OURS:
        _build_parser(command).parse_args(command)
    for command in shown:
        with pytest.raises(SystemExit):
            main([*command, "--help"])


@pytest.mark.parametrize("chip", ["a100", "h100"])
def test_the_plan_is_quoted_as_it_is_printed(chip, capsys):
    (command,) = (list(command) for command in OURS if "plan" in command)
    command[command.index("--chip") + 1] = chip
    assert main(command) == 0
    printed = capsys.readouterr().out
    for quote in (r"Whole run: .*", r".* pairs seen, .* FLOPs"):
        assert f'"{re.findall(quote, printed)[0]}"' in REAL_DATA
    assert "DOES NOT FIT" not in printed


@pytest.mark.skipif(not REAL.exists(), reason="../shared/real is missing")
def test_a_tsv_is_filtered_on_its_texts_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = read_pairs(REAL / "alt_text" / "web_10000.parquet").to_pylist()
    clean = [(" ".join((row["caption"] or "").split()), row["url"]) for row in rows]
    Path("cc3m.tsv").write_text("".join(f"{text}\t{url}\n" for text, url in clean), "utf-8")
    (command,) = (command for command in OURS if "cc3m.tsv" in command)
    assert main([*command, "--json"]) == 0
    funnel = json.loads(capsys.readouterr().out)
    assert funnel["raw"] == 10_000 > funnel["kept"] > 1_000
    assert read_pairs("texts").column_names == ["caption", "url"]
