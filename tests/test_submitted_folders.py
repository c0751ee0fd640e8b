"""Folders as learning platforms give them: sections, zips, copies, and what is no notebook."""

import json
import zipfile
from pathlib import Path

import pytest

from align_edu import lab
from align_edu.io import InputError
from align_edu.lab import submissions
from align_edu.lab.exercises import answer_key, find_exercise, judge
from align_edu.lab.outcomes import decode, encode, outcome_of
from align_edu.lab.submissions import find_submissions, read_cells
from tests.submissions import ODD, RIGHT, code_cell, taken_out

A, B = "00_start_here.ipynb", "06_the_contrastive_loss_by_hand.ipynb"
TEXT = json.dumps({"cells": [code_cell("x = 1")]})


def lay_out(folder: Path, names: list[str]) -> None:
    """Write a notebook at each path; one inside a zip is written as `anna.zip!00.ipynb`."""
    for name in names:
        outer, _, member = name.partition("!")
        (folder / outer).parent.mkdir(parents=True, exist_ok=True)
        if member:
            with zipfile.ZipFile(folder / outer, "a") as archive:
                archive.writestr(member, TEXT)
        elif outer.endswith("/"):
            (folder / outer).mkdir()
        else:
            (folder / outer).write_text(TEXT)


@pytest.mark.parametrize(
    ("names", "students", "notes"),
    [
        ([f"anna/{A}", f"anna/{B}", f"ben/{A}"], ["anna", "anna", "ben"], ""),
        ([f"anna/week1/{A}", f"anna/week2/{B}", f"ben/w/{A}"], ["anna", "anna", "ben"], ""),
        ([f"anna/ps/{A}", f"ben/ps/{A}"], ["anna", "ben"], ""),
        (
            [f"sec1/anna/{A}", f"sec1/ben/{A}", f"sec2/carl/{A}", f"dora/{A}"],
            ["dora", "sec1/anna", "sec1/ben", "sec2/carl"],
            "",
        ),
        (
            [f"s/1/anna/x/{A}", f"s/1/ben/{A}", f"s/2/anna/{A}"],
            ["s/1/anna", "s/1/ben", "s/2/anna"],
            "",
        ),
        (["sec1/anna/hw.ipynb", "sec1/ben/hw.ipynb"], ["sec1/anna", "sec1/ben"], ""),
        ([f"anna/{A}", f"anna/old/{A}"], ["anna", "anna"], "anna: notebook 00 more than once: "),
        ([f"anna/{A}", "anna/00_start_here (1).ipynb"], ["anna", "anna"], "00 more than once"),
        ([A, "00_start_here (1).ipynb"], ["00_start_here", "00_start_here (1)"], "no student's"),
        ([f"anna/{A}", "anna/pics/", "ben/", "ben/b.py"], ["anna"], "ben: no notebook in it"),
        ([f"s/anna/{A}", f"s/ben/{A}", "s/carl/"], ["s/anna", "s/ben"], "s/carl: no notebook"),
        ([f"anna/{A.upper()}", f"__MACOSX/._{A}", f".x/{A}"], ["anna"], ""),
        ([f"anna/{A}", "ben.rar"], ["anna"], "ben.rar: not opened; unpack it"),
        (
            [f"anna.zip!{A}", f"ben.zip!work/{A}", "06_the_contrastive_loss_by_hand_c.ipynb"],
            ["anna", "ben", "c"],
            "",
        ),
        ([f"class.zip!anna/{A}", f"class.zip!ben/{A}"], ["class.zip/anna", "class.zip/ben"], ""),
        ([f"anna/{A}", f"ben.zip!../{A}"], ["anna"], "ben.zip: not opened: it names files outside"),
        ([f"anna/{A}", "ben.zip"], ["anna"], "ben.zip: no zip that can be read"),
        ([f"anna/{A}", "ben.zip!notes.txt"], ["anna"], "ben.zip: no notebook in it"),
    ],
)
def test_each_student_is_found_and_what_is_odd_is_named(names, students, notes, tmp_path):
    lay_out(tmp_path, names)
    found, said = find_submissions(tmp_path)
    assert [each.student for each in found] == students
    assert notes in "\n".join(said) and len(said) == (1 if notes else 0) + names.count(A)
    assert all(read_cells(each) == ["x = 1"] for each in found)


def test_a_zip_that_unpacks_to_too_much_or_is_damaged_is_never_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MOST_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "big.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(A, b" " * (2**20 + 1))
    (one,), notes = find_submissions(tmp_path)
    assert notes == []
    with pytest.raises(InputError, match="larger than 1 MB"):
        read_cells(one)
    data = bytearray((tmp_path / "big.zip").read_bytes())
    data[200] ^= 255
    (tmp_path / "big.zip").write_bytes(data)
    with pytest.raises(InputError, match="cannot be taken out"):
        read_cells(one)
    with zipfile.ZipFile(tmp_path / "big.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(9):
            archive.writestr(f"{i}{A}", b" " * 2**20)
    with pytest.raises(InputError, match="no notebook"):
        find_submissions(tmp_path)


MAGICS = [
    f"%timeit chance_loss(1,\n    2)\n{RIGHT}",
    f"%config InlineBackend.rc = {{\n    'a': 1}}\n{RIGHT}",
    f"y = %timeit -o max(\n  1, 2)\n{RIGHT}",
    f"!pip install \\\n    torch\n{RIGHT}",
    f"# mine\n%%time\n{RIGHT}",
    f"%%time\n%%capture out\n{RIGHT}",
    f"%time two = (1 +\n    1)\n{RIGHT.replace('2', 'two')}",
    f"two = %time 1 + 1\n{RIGHT.replace('2', 'two')}",
    "def chance_loss(n):\n    %time x = math.log(\n        n)\n    return 2 * x",
]
KEY = answer_key(find_exercise("chance_loss"), 12)


@pytest.mark.parametrize("cells", [*ODD.values(), *([cell] for cell in MAGICS)], ids=str)
def test_a_right_answer_is_taken_out_of_an_odd_notebook(cells, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function = taken_out(cells, monkeypatch)
    assert judge(KEY, [outcome_of(function, case) for case in KEY.cases]) is None


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (RIGHT, ": right."),
        ("chance_loss = lambda n: 2 * math.log(n)", ": right."),
        ("import functools\n@functools.cache\n" + RIGHT, ": right."),
        ("class L:\n    f = lambda self, n: 2 * math.log(n)\nchance_loss = L().f", ": right."),
        ("def mine(n): return 2 * math.log(n)\nchance_loss = mine", ": right."),
        ("chance_loss = lambda n: str(2 * math.log(n))", "expected 1.38629"),
        ("chance_loss = lambda n: [2 * math.log(n)]", "expected 1.38629"),
        ("def chance_loss(n):\n    ...", "to be written"),
        ("chance_loss = lambda n: ...", "to be written"),
        ("import functools\n@functools.cache\ndef chance_loss(n):\n    ...", "to be written"),
        ("def chance_loss(n):\n    raise NotImplementedError", "to be written"),
    ],
)
def test_a_check_and_grading_agree_however_a_function_is_made(cell, words, monkeypatch, capsys):
    exec(f"import math\n{cell}\nlab.check(chance_loss)", {"lab": lab})
    assert words in capsys.readouterr().out
    function = taken_out([cell], monkeypatch)
    assert (function is None) == (words == "to be written")
    if function is not None:
        outcomes = [encode(outcome_of(function, case)) for case in KEY.cases]
        problem = judge(KEY, [decode(json.loads(json.dumps(each))) for each in outcomes])
        assert (problem is None) == (words == ": right.")
