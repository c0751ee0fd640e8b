"""Notebooks and their diagrams: the conventions, which find each breach; what answers give."""

import ast
import base64
import inspect
import itertools
import json
import re
import runpy
import statistics
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from matplotlib.font_manager import FontProperties, findfont
from PIL import ImageFont

from align_edu.lab.__main__ import METADATA, canonical, rewrite, run, store_outputs
from align_edu.lab.course import COURSE
from align_edu.lab.exercises import EXERCISES
from align_edu.show.style import FONT
from tests.samples import ROOT, cases

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
FORBIDDEN = {
    r"(pip|conda|mamba|apt(-get)?|uv) install": "installs something",
    r"sys\.path": "edits sys.path",
    r"warnings\.(filterwarnings|simplefilter)": "hides warnings",
    r"manual_seed\(|np\.random\.seed|random\.seed\(": "sets a global seed; use lab.rng",
    r"https?://": "reads an address",
    r";\s*\Z": "ends in a semicolon, which strict comparison cannot take; write _ = …",
}
# A number with a unit of measurement, or a decimal fraction, as an experiment would give it.
MEASUREMENT = re.compile(
    r"\d\s*(%|per cent|percent|×(?!\s*\d)|s\b|ms\b|sec|min\b|minute|hour|[kKMG]i?B\b|GFLOP|"
    r"(pairs|images|texts|pictures)\s*/\s*s)|\b0\.\d{2,}"
)
CITATION = re.compile(r"Sections?\s+\d|Tables?\s+\d|Figures?\s+\d|[Ee]q\.\s*\(\d|[Pp]aper")
EXERCISE = re.compile(
    r"^Difficulty \d of 5, importance \d of 5, about \d+ minutes\.$", re.MULTILINE
)
BARE = re.compile(r"(?<!=)\b(True|False)\b")  # where a number should be seen
PLACE = re.compile(r"/(home|root|tmp|work|Users|private)/|0x[0-9a-f]{6,}")
SHIPPED = {n: each for n, each in EXERCISES.items() if each.notebook.isdecimal()}
# What the lab says of an exercise differs; all else must be as it is stored.
VERDICT = re.compile(
    r"\w+: (still to be written|right|yours is in use|"
    r"ours is in use until yours (is written|passes its check))\."
)
IMAGES = FOLDER / "images"
DIAGRAMS: dict[str, Any] = runpy.run_path(str(IMAGES / "diagrams.py"))["DIAGRAMS"]
ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}
prose = nbformat.v4.new_markdown_cell


def faults_of(notebook: Any, size: int, number: str) -> Iterator[str]:
    """One sentence for each broken convention of a notebook whose file has that size and number."""
    cells, form = notebook.cells, nbformat.from_dict(notebook)
    canonical(form)
    if form != notebook:
        yield "it is not in the canonical form: run make notebooks"
    code = [cell for cell in cells if cell.cell_type == "code"]
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    yield from bounded("code cells", len(code), 15, 30)
    yield from bounded("lines in the median cell", statistics.median(map(lines_of, code)), 1, 6)
    yield from bounded("words of prose", words, 0, 2_500)
    yield from bounded("bytes", size, 0, 350_000)
    if not cells[0].source.startswith("# ") or "will be able to" not in cells[0].source:
        yield 'the first cell is not a title with "You will be able to"'
    if f'lab.start("{number}")' not in code[0].source or lines_of(code[0]) > 4:
        yield f'the first code cell is not lab.start("{number}") in 4 lines at most'
    if "[notebooks], if not installed" not in code[0].source:
        yield "the first code cell does not say what it needs"
    story = "\n".join(cell.source for cell in cells[:2] if cell.cell_type == "markdown")
    if len(re.sub("^- .*$", "", story, flags=re.MULTILINE).split()) < 60:
        yield "begins without a story of 60 words"
    if f'lab.quiz("{number}")' not in code[-1].source:
        yield f'the last code cell is not lab.quiz("{number}")'
    if "Now you can say" not in cells[-1].source:
        yield 'the last cell is not "Now you can say"'
    yield from faults_of_reading("\n".join(c.source for c in cells if c.cell_type == "markdown"))
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        yield "its cells were not run in order, each once; run make notebooks"
    for before, cell in itertools.pairwise(cells):
        is_check = cell.cell_type == "code" and re.search(r"^lab\.check\(", cell.source, re.M)
        if is_check and not EXERCISE.search(before.source):
            yield "the cell before a check lacks the exercise's header, as EXERCISE has it"
    for cell in cells:
        yield from faults_of_code(cell) if cell.cell_type == "code" else faults_of_prose(cell)


def faults_of_reading(prose: str) -> Iterator[str]:
    """What a reader would miss: an equation, terms, links to other notebooks and others' work."""
    _, _, end = prose.rpartition("**Further reading**")
    if prose.count("$") < 2:
        yield "has no equation"
    if len(re.findall(r"\*\*[^*\n?]+\*\*", prose.replace("**Predict**", ""))) < 4:
        yield "has no terms in bold"
    yield from bounded("addresses of further reading", len(re.findall(r"https://", end)), 3, 8)
    if not re.search(r"Before: \[.*\]\(.*\) · (Next:|Back to) \[.*\]\(.*\)", end):
        yield "does not end with links to the notebooks before and after"
    for target in re.findall(r"\]\((?!https:)([^)#]+)\)", prose):
        if not (FOLDER / target).exists():
            yield f"links to {target}, which does not exist"


def bounded(what: str, count: float, low: int, high: int) -> Iterator[str]:
    if not low <= count <= high:
        yield f"{count:,} {what}; {low:,} to {high:,} are right"


def lines_of(cell: Any) -> int:
    return cell.source.count("\n") + 1


def faults_of_code(cell: Any) -> Iterator[str]:
    yield from (why for pattern, why in FORBIDDEN.items() if re.search(pattern, cell.source))
    yield from bounded("lines in a cell", lines_of(cell), 1, 25)
    yield from bounded("columns in a line", max(map(len, cell.source.split("\n"))), 1, 76)
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"fails: {output.ename}"
        if output.get("name") == "stderr":
            yield "writes to standard error"
        data = output.get("data", {})
        png = len(base64.b64decode(data.get("image/png", "")))
        yield from bounded("bytes of a picture", png, 0, 60_000)
        if found := BARE.search(f"{output.get('text', '')}"):
            yield f"prints {found[0]} instead of a number"
        if found := PLACE.search(f"{output.get('text', '')}{data.get('text/plain', '')}"):
            yield f"prints a place of this machine: {found[0]}"


def faults_of_prose(cell: Any) -> Iterator[str]:
    yield from bounded("words in a cell", len(cell.source.split()), 0, 120)
    for sentence in re.split(r"(?<=[.!?:])\s+|\n", EXERCISE.sub("", cell.source)):
        if MEASUREMENT.search(sentence) and not CITATION.search(sentence):
            yield f"a typed-in measurement without its place in the paper: {sentence!r}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_notebook_keeps_the_conventions(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert list(faults_of(notebook, path.stat().st_size, path.name[:2])) == []


def test_the_written_notebooks_are_those_whose_minutes_the_course_states() -> None:
    assert {lesson.file for lesson in COURSE if lesson.minutes} == {p.stem for p in NOTEBOOKS}
    assert len(NOTEBOOKS) > 9


def code(source: str, *outputs: dict[str, Any]) -> Any:
    made = list(map(nbformat.from_dict, outputs))
    return nbformat.v4.new_code_cell(source, outputs=made, execution_count=9)


def shown(kind: str, value: str) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {kind: value}, "metadata": {}}


def printed(name: str, text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


@cases(
    "cell, fault",
    (code("\n".join(["x = 1"] * 26)), "26 lines in a cell"),
    (code("x = '" + "a" * 80 + "'"), "columns"),
    (code("!pip install torch"), "installs"),
    (code("import sys\nsys.path.insert(0, '..')"), "sys.path"),
    (code("import warnings\nwarnings.filterwarnings('ignore')"), "warnings"),
    (code("torch.manual_seed(0)"), "global seed"),
    (code("load('https://example.org/weights')"), "address"),
    (code("plot(x);"), "semicolon"),
    (code("x", ERROR), "fails: ValueError"),
    (code("x", printed("stderr", "warned")), "standard error"),
    (code("x", printed("stdout", "equal: True")), "prints True"),
    (code("x", shown("text/plain", "/home/me/file")), "place of this machine"),
    (code("x", shown("text/plain", "<at 0x7f3a2b1c>")), "place of this machine"),
    (code("x", shown("image/png", "A" * 80_004)), "60,003 bytes"),
    (prose("word " * 121), "121 words"),
    (prose("The loss fell to 0.83 here."), "measurement"),
    (prose("It takes 12 seconds."), "measurement"),
    (prose("The recall is 87 %."), "measurement"),
    (prose("We saw 900 pairs/s."), "measurement"),
)
def test_each_breach_in_a_cell_is_found(cell: Any, fault: str) -> None:
    find = faults_of_code if cell.cell_type == "code" else faults_of_prose
    assert fault in "\n".join(find(cell))


def test_each_breach_of_a_notebook_is_found() -> None:
    text = "word " * 2_501 + "[one](missing.ipynb)"
    cells = [prose(text), code("lab.check(cosine)"), code("x\n" * 20)]
    found = "\n".join(faults_of(nbformat.v4.new_notebook(cells=cells), 350_001, "08"))
    for fault in (
        "canonical form", "code cells; 15 to 30 are right", "lines in the median cell",
        "words of prose", "350,001 bytes", "title", "lab.start", "lab.quiz", "Now you can say",
        "not run in order", "exercise's header", "no equation", "no terms", "0 addresses",
        "missing.ipynb, which does not exist", "links to the notebooks before",
    ):  # fmt: skip
        assert fault in found


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def fill(notebook: Any) -> list[str]:
    """Write the body of the shipped answer into each stub; return the names."""
    filled = []
    for cell in code_cells(notebook):
        stub = re.match(r"def (\w+)\((.*)\):\n    \.\.\.\n", cell.source)
        if stub and stub[1] in SHIPPED:
            reference = SHIPPED[stub[1]].reference
            assert stub[2].split(", ") == list(inspect.signature(reference).parameters)
            _, _, body = inspect.getsource(reference).split('"""')
            cell.source = cell.source.replace("    ...\n", body, 1)
            filled.append(stub[1])
    return filled


def texts(cell: Any) -> str:
    """What a cell printed or returned, without the lab's verdicts and without pictures."""
    if "nbval-ignore-output" in cell.metadata.get("tags", []):
        return ""
    parts = [o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in cell.outputs]
    return VERDICT.sub("<verdict>", "".join(parts))


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name[:2])
def test_with_the_answers_in_place_a_notebook_gives_what_is_stored(path):
    notebook, stored = read(path), read(path)
    names = [name for name, each in SHIPPED.items() if each.notebook == path.name[:2]]
    assert sorted(fill(notebook)) == sorted(names)
    run(notebook, path.name, FOLDER)
    for cell, before in zip(code_cells(notebook), code_cells(stored), strict=True):
        assert texts(cell) == texts(before), cell.source
    printed = "".join(texts(cell) for cell in code_cells(notebook))
    assert printed.count("<verdict>") == 2 * len(names)


@pytest.mark.long
def test_notebook_16_runs_and_explains_itself_without_torch_xla():
    notebook = read(FOLDER / "16_full_scale_on_tpu.ipynb")
    blocked = nbformat.v4.new_code_cell("import sys; sys.modules['torch_xla'] = None")
    notebook.cells.insert(0, blocked)
    run(notebook, "16 without torch_xla", FOLDER)  # raises where a cell fails
    printed = [texts(cell) for cell in code_cells(notebook)]
    assert any(text.rstrip().endswith("8 devices") for text in printed)  # no losses
    assert any("host 127 reads" in text for text in printed)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name[:2])
def test_a_students_function_is_reached_through_the_lab_alone(path):
    names = {name for name, each in SHIPPED.items() if each.notebook == path.name[:2]}
    uses = []
    for cell in code_cells(read(path)):
        nodes = list(ast.walk(ast.parse(cell.source)))
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        lab_calls = [c for c in calls if ast.unparse(c.func) in {"lab.check", "lab.yours_or_ours"}]
        given = [ast.unparse(call.args[0]) for call in lab_calls]
        used = [node.id for node in nodes if isinstance(node, ast.Name) and node.id in names]
        assert sorted(used) == sorted(given), cell.source
        uses += used
    assert sorted(uses) == sorted([*names, *names])  # once to check, once to use


@pytest.fixture
def write_cells(tmp_path):
    def write(*sources: str) -> Path:
        path = tmp_path / "00_start_here.ipynb"
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        return path

    return write


def test_cells_run_in_order_and_their_outputs_are_stored_the_same_each_time(write_cells):
    path = write_cells(
        "from align_edu import lab\nlab.quiz('00')",
        "import ipywidgets\nout = ipywidgets.Output()\nout",
        "with out:\n    print('hidden')\nprint('a')\nprint('b')\n21",
    )
    rewrite(path)
    first, found = path.read_bytes(), json.loads(path.read_text())
    assert found["metadata"] == METADATA
    cells = [(cell["execution_count"], cell["id"], cell["metadata"]) for cell in found["cells"]]
    assert cells == [(1, "cell-01", {}), (2, "cell-02", {}), (3, "cell-03", {})]
    stream, value = found["cells"][2]["outputs"]  # without what the widget shows
    assert stream["text"] == ["a\n", "b\n"] and value["data"] == {"text/plain": ["21"]}
    assert b"widget-view" not in first and b"Which pairs of image and text" in first
    rewrite(path)
    assert path.read_bytes() == first


@cases(
    "source, words",
    ("1 / 0", "00_start_here.ipynb: a cell fails: ZeroDivisionError"),
    ("import sys\nprint('no', file=sys.stderr)", "cell 1 writes to standard error: no"),
)
def test_a_cell_that_fails_or_warns_leaves_the_file_as_it_was(source, words, write_cells, capsys):
    path = write_cells(source)
    before = path.read_bytes()
    assert store_outputs([str(path)]) == 1
    assert words in capsys.readouterr().out
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_each_file_has_its_function_and_is_shown_in_a_notebook() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.ipynb"))
    assert {path.stem for path in IMAGES.glob("*.svg")} == set(DIAGRAMS)
    assert set(re.findall(r"\(images/(\w+)\.svg\)", sources)) == set(DIAGRAMS)


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_file_is_what_its_function_draws_and_its_letters_are_legible_and_inside(name) -> None:
    svg = DIAGRAMS[name]().svg()
    stored = (IMAGES / f"{name}.svg").read_text(encoding="utf-8")
    assert stored == svg, "run python notebooks/images/diagrams.py"
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    texts = [each for each in root.iter() if each.tag.endswith("}text")]
    assert texts
    for each in texts:
        size, x, y = (float(each.attrib[key]) for key in ("font-size", "x", "y"))
        assert size * 600 / width >= 11, each.text  # at 600 pixels
        weight = each.get("font-weight", "normal")
        font = ImageFont.truetype(findfont(FontProperties(family=FONT, weight=weight)), 100)
        wide = size * font.getlength(each.text or "") / 100
        left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[each.attrib["text-anchor"]] * wide
        assert 0 <= left and left + wide <= width and size / 2 <= y <= height, each.text
