"""Real photographs, alt-text, emoji and foreign shards take the whole path of REAL_DATA.md."""

import csv
import json
import os
import re
import shlex
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from align_edu import Align, load_run
from align_edu.cli import main
from align_edu.evaluation import evaluate_retrieval
from align_edu.training import Run
from align_edu.training.metrics import read_metrics
from tests.samples import MODEL, REAL, ROOT

PAGE = (ROOT / "notebooks" / "REAL_DATA.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## Your own photographs")[1].split("\n## ")[0]
STEPS = "100" if os.environ.get("ALIGN_EDU_LONG") == "1" else "10"  # make test-long
Row = tuple[str, str]  # a picture's file name and a caption
pytestmark = pytest.mark.skipif(not REAL.exists(), reason="../shared/real is missing")


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


def expected(
    rows: list[Row], sizes: dict[str, tuple[int, int]], side: int, words: int
) -> dict[str, int]:
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
@pytest.mark.parametrize(
    ("rows", "side", "words"), [(recipes, 300, 0), (coco, 400, 0), (emoji, 100, 2)]
)
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
