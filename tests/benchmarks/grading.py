"""How long grading takes: every known mistake, right answers, and everything broken.

    python tests/benchmarks/grading.py [--seconds 10]

It hands in more than 400 notebooks, grades them with two workers, and says what is marked amiss.
"""

import tempfile
from pathlib import Path

from align_edu.lab.grade import grade_folder
from tests import submissions as made
from tests.benchmarks.measure import options, timed

if __name__ == "__main__":
    seconds, folder = options(__doc__, seconds=10.0).seconds, Path(tempfile.mkdtemp())
    handed_in = folder / "class"
    handed_in.mkdir()
    places = {"class": handed_in, "neighbour": handed_in / "neighbour.ipynb", "port": 9}
    places |= {"outside": folder / "file.txt", "marks": folder / "grades.csv"}
    rows = [(name, "right", cells) for name, cells in made.ODD.items()]
    rows += [row for row in made.hostile_rows(**places) if row[0] != "spoilt"]
    expected = made.hand_in_right(handed_in) + made.hand_in_wrong(handed_in)
    expected += made.hand_in_code(handed_in, rows) + made.hand_in_reordered(handed_in)
    took, grades = timed(
        lambda: grade_folder(handed_in, 12, folder / "grades.csv", seconds, workers=2)
    )
    marks = {(mark.student, mark.exercise): mark for mark in grades.marks}
    amiss = 0
    for each in expected:
        mark = marks[each.student, each.exercise]
        if mark.outcome != each.outcome or each.words not in mark.mistake:
            amiss += 1
            print(each, mark)
    print(f"{len(expected)} functions: {took:.0f} s, {amiss} amiss\n{grades.to_dict()}")
