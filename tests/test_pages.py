"""The pages name what exists, and their commands run: REAL_DATA.md's on real photographs."""

import csv
import json
import re
import shlex
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from align_edu import Align, lab, load_run
from align_edu.cli import _build_parser, main
from align_edu.evaluation import evaluate_retrieval
from align_edu.lab.course import COURSE
from align_edu.lab.exercises import EXERCISES, find_exercise
from align_edu.pairs import read_pairs
from align_edu.training import Run
from align_edu.training.metrics import read_metrics
from tests.samples import LONG, MODEL, REAL, ROOT, cases, refused, source_of

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAP = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
TEACHING = (ROOT / "notebooks" / "TEACHING.md").read_text(encoding="utf-8")
REAL_DATA = (ROOT / "notebooks" / "REAL_DATA.md").read_text(encoding="utf-8")
LINES = [
    line for block in re.findall(r"```sh\n(.*?)```", REAL_DATA, re.S) for line in block.split("\n")
]
COMMANDS = [shlex.split(line) for line in LINES if line]
OURS = [each[each.index("align-edu") + 1 :] for each in COMMANDS if "align-edu" in each]
SECTION = REAL_DATA.split("## Your own photographs")[1].split("\n## ")[0]
STEPS = "100" if LONG else "10"
Row = tuple[str, str]  # a picture's file name and a caption
on_real_data = pytest.mark.skipif(not REAL.exists(), reason="../shared/real is missing")


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


@cases(
    "notebook, name, function, words",
    ("mine", "cosine", lambda x: x, "an exercise of notebook 05; choose another name"),
    ("06", "thrice", lambda x: 3 * x, "'06' is part of the course"),
    ("mine", "<lambda>", lambda x: 3 * x, "use def"),
    ("mine", "twice", lambda x: 2 * x, "no case tells the right answer.*square.*add a case"),
    ("mine", "numbers", lambda x: (i for i in range(x)), "its results cannot be compared"),
)
def test_an_exercise_that_checks_nothing_is_refused(notebook, name, function, words):
    function.__name__ = name
    square = lab.WrongAnswer(lambda x: x * x, "That is the square.")
    hints, before = find_exercise("cosine").hints, dict(EXERCISES)
    exercise = lab.Exercise(notebook, function, lambda _: [(2,)], (square,), hints)
    refused(words, lab.add_exercise, exercise)
    assert before == EXERCISES


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


@on_real_data
def test_a_tsv_is_filtered_on_its_texts_alone(tmp_path, monkeypatch, answer):
    monkeypatch.chdir(tmp_path)
    rows = read_pairs(REAL / "alt_text" / "web_10000.parquet").to_pylist()
    clean = [(" ".join((row["caption"] or "").split()), row["url"]) for row in rows]
    Path("cc3m.tsv").write_text("".join(f"{text}\t{url}\n" for text, url in clean), "utf-8")
    (command,) = (command for command in OURS if "cc3m.tsv" in command)
    funnel = answer(*command)
    assert funnel["raw"] == 10_000 > funnel["kept"] > 1_000
    assert read_pairs("texts").column_names == ["caption", "url"]


@pytest.fixture
def call(tmp_path, monkeypatch, answer):
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return answer


def recipes() -> list[Row]:
    """WebP photographs with the alt-text of their authors; three have none."""
    lines = (REAL / "recipes" / "pairs.tsv").read_text(encoding="utf-8").split("\n")
    return [(name, text) for name, text in (line.split("\t") for line in lines if line)]


def coco() -> list[Row]:
    whole = json.loads((REAL / "coco" / "captions.json").read_text(encoding="utf-8"))
    names = {image["id"]: image["file_name"] for image in whole["images"]}
    return [(names[note["image_id"]], note["caption"]) for note in whole["annotations"]]


def emoji() -> list[Row]:
    """Pictures of 128 px with alpha; English and Spanish names of each."""
    with (REAL / "emoji" / "names.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[:250]
    return [(row["file"], row[language]) for row in rows for language in ("en", "es")]


def expected(rows: list[Row], sizes, side: int, words: int) -> dict[str, int]:
    """Count by rule what Section 3 drops, by hand: each pair by the first rule it breaks."""
    dropped = Counter[str]()
    pictures: dict[str, set[str]] = {}
    for name, text in rows:
        pictures.setdefault(text.lower(), set()).add(name)
    for name, text in rows:
        short, long = sorted(sizes[name])
        if short <= side:
            dropped["short_side"] += 1
        elif long >= 3 * short:
            dropped["aspect_ratio"] += 1
        elif len(pictures[text.lower()]) > 10:
            dropped["images_per_text"] += 1
        elif not words <= len(re.findall(r"[\w'’]+", text)) <= 20:
            dropped["length"] += 1
    return dropped


@pytest.mark.longer
@on_real_data
@cases("rows, side, words", (recipes, 300, 0), (coco, 400, 0), (emoji, 100, 2))
def test_a_folder_goes_from_pictures_to_a_search(call, rows, side, words):
    listed = rows()
    names = sorted({name for name, _ in listed})
    Path("photos").mkdir()
    for name in names:
        shutil.copy(REAL / rows.__name__ / "images" / name, "photos")
    with Path("captions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "caption"), *listed])
    path = [shlex.split(line)[1:] for line in re.findall(r"^align-edu .*", SECTION, re.M)]
    assert [command[0] for command in path] == ["pairs", "filter", "train", "index", "search"]
    path[2][path[2].index("--steps") + 1] = STEPS
    path[1][path[1].index("min_words=none")] = f"min_words={words}"
    path[1] += ["--rule", f"min_side={side}"]
    made, funnel, trained, indexed, found = [call(*command) for command in path]

    full = [(name, text.strip()) for name, text in listed if text.strip()]
    empty = len(listed) - len(full)
    assert made["pairs"] == funnel["raw"] == len(full)
    assert made["skipped"] == ({"empty caption": empty} if empty else {})
    sizes = {name: Image.open(Path("photos", name)).size for name in names}
    dropped = expected(full, sizes, side, words)
    assert {s["rule"]: s["dropped"] for s in funnel["steps"] if s["dropped"]} == dropped
    assert funnel["kept"] == len(full) - sum(dropped.values()) and funnel["warnings"] == []
    assert trained["step"] == int(STEPS) and trained["skipped"] == {}
    losses = [row["loss"] for row in read_metrics(Path(path[2][path[2].index("--out") + 1]))]
    assert STEPS == "10" or losses[-1] < losses[0]
    assert (indexed["images"], indexed["skipped"], indexed["left_out"]) == (len(names), {}, {})
    places = [Path(hit["path"]) for hit in found["hits"]]
    assert len(set(places)) == 10 and all(place.is_file() for place in places)
    assert {place.parent for place in places} == {Path("photos").resolve()}

    # After a few steps all pictures look alike; the trained model tells them apart.
    call("index", MODEL, "photos", "known")
    copy = shutil.copy(Path("photos", names[len(names) // 2]), "copy")
    first, second = call("search", "known", "--image", copy, "--top", "2")["hits"]
    assert Path(first["path"]).name == names[len(names) // 2]
    assert first["score"] > 0.999 > second["score"]


@on_real_data
def test_foreign_shards_are_searched_and_refused_where_texts_are_needed(call, capsys):
    shards = REAL / "shards"
    for command in (["filter", shards, "kept"], ["train", "--data", shards, "--out", "run"]):
        assert main([str(part) for part in command]) == 2
        assert str(shards) in (error := capsys.readouterr().err) and "text" in error
    assert list(Path().iterdir()) == []
    pictures = {}
    for shard in sorted(shards.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar.getmembers():
                data = tar.extractfile(member)
                if data is not None and member.name.endswith((".jpg", ".png", ".webp")):
                    pictures[shard.resolve() / member.name] = data.read()
    indexed = call("index", MODEL, shards, "index")
    assert (indexed["images"], indexed["skipped"]) == (len(pictures), {})
    data = list(pictures.values())[-1]
    place = next(file for file in pictures if pictures[file] == data)  # some are there twice
    Path("copy").write_bytes(data)
    best = call("search", "index", "--image", "copy", "--top", "1")["hits"][0]
    assert Path(best["path"]) == place and best["score"] > 0.999


@on_real_data
def test_karpathys_file_is_evaluated_whole_and_a_random_model_is_at_chance(call):
    texts: dict[str, list[dict[str, str]]] = {}
    for name, text in coco():
        texts.setdefault(name, []).append({"raw": text})
    form = [{"filename": n, "split": "test", "sentences": s} for n, s in texts.items()]
    Path("coco").mkdir()
    Path("coco/dataset_coco.json").write_text(json.dumps({"images": form}), encoding="utf-8")
    Path("coco/images").symlink_to(REAL / "coco" / "images")
    shutil.copytree(MODEL, "run")
    record = call("evaluate", "run", "--benchmark", "coco", "--task", "retrieval")
    assert (record["images"], record["texts"]) == (51, 255)
    for direction, queries in (("image_to_text", 51), ("text_to_image", 255)):
        recalls = [record[direction][f"R@{k}"] for k in (1, 5, 10)]
        assert recalls == sorted(recalls) and recalls[-1] <= 1
        assert all(abs(r * queries - round(r * queries)) < 1e-6 for r in recalls)
    assert json.loads(Path("run/results/retrieval.json").read_text(encoding="utf-8")) == record

    run, results = load_run(MODEL), []
    for seed in range(3):
        model = Align(run.preset, run.tokenizer.get_vocab_size(), seed=seed).eval()
        new = Run(run.folder, run.preset, run.tokenizer, model)
        results.append(evaluate_retrieval(new, "coco")["text_to_image"])
    for k in (1, 10):
        found, chance = sum(result[f"R@{k}"] for result in results) / 3, k / 51
        # Captions of one image are not independent: five deviations of as many images.
        assert abs(found - chance) < 5 * (chance * (1 - chance) / (3 * 51)) ** 0.5
