"""The README and the course map name what there is, and nothing else."""

import re
from pathlib import Path

import pytest

from align_edu.cli import main
from align_edu.lab.course import COURSE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAP = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The cells of each table row."""
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


def test_the_commands_that_the_readme_shows_exist():
    block = README.partition("## The command line")[2].split("```")[1]
    shown = re.findall(r"^align-edu (\S+)", block, re.MULTILINE)
    assert {"world", "filter", "train", "evaluate", "index", "search"} <= set(shown)
    for command in set(shown):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
