"""How long grading takes: every known mistake, right answers, and everything broken.

python tests/benchmarks/grading.py [SECONDS A FUNCTION]

It hands in more than 400 notebooks, grades them with two workers, and says what is marked amiss.
"""

import sys
import tempfile
import time
from pathlib import Path

from align_edu.lab.grade import grade_folder
from tests.submissions import (
    ODD,
    hand_in_code,
    hand_in_reordered,
    hand_in_right,
    hand_in_wrong,
    hostile_rows,
)


def main() -> None:
    """Hand in, grade, compare."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    folder = Path(tempfile.mkdtemp(prefix="grading_"))
    (folder / "class").mkdir()
    there = {"class": folder / "class", "neighbour": folder / "class/neighbour.ipynb"}
    places = there | {"outside": folder / "file.txt", "marks": folder / "grades.csv", "port": 9}
    rows = [(name, "right", cells) for name, cells in ODD.items()]
    rows += [row for row in hostile_rows(**places) if row[0] != "spoilt"]
    expected = hand_in_right(folder / "class") + hand_in_wrong(folder / "class")
    expected += hand_in_code(folder / "class", rows) + hand_in_reordered(folder / "class")
    began = time.perf_counter()
    grades = grade_folder(folder / "class", 12, folder / "grades.csv", seconds, workers=2)
    took = time.perf_counter() - began
    marks = {(mark.student, mark.exercise): mark for mark in grades.marks}
    amiss = 0
    for each in expected:
        mark = marks[each.student, each.exercise]
        if mark.outcome != each.outcome or each.words not in mark.mistake:
            amiss += 1
            print(each, mark)
    print(f"{len(expected)} functions: {took:.0f} s, {amiss} amiss\n{grades.to_dict()}")


if __name__ == "__main__":
    main()
