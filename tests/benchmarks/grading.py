"""How long grading takes: every known mistake, right answers, and everything broken.

python tests/benchmarks/grading.py [SECONDS A FUNCTION]

It hands in more than 400 notebooks, grades them with two workers, and says what is marked amiss.
"""

import sys
import tempfile
import time
from pathlib import Path

from align_edu.lab.grade import grade_folder
from tests import hostile_submissions as hostile
from tests.submissions import hand_in_code, hand_in_right, hand_in_wrong


def main() -> None:
    """Hand in, grade, compare."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    folder = Path(tempfile.mkdtemp(prefix="grading_"))
    (folder / "class").mkdir()
    expected = hand_in_right(folder / "class") + hand_in_wrong(folder / "class")
    rows = [(name, "right", cells) for name, cells in hostile.ODD_BUT_RIGHT.items()]
    for name, (outcome, body) in hostile.WRONG_OR_BROKEN.items():
        if name != "spoilt":
            rows.append((name, outcome, hostile.function(body)))
    expected += hand_in_code(folder / "class", rows)
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
