"""Real photographs, alt-text, emoji and foreign shards take the whole path of REAL_DATA.md."""

import csv
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

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


@pytest.mark.longer
def test_a_folder_goes_from_pictures_to_a_search(call):
    listed, side = recipes(), 300
    names = sorted({name for name, _ in listed})
    Path("photos").mkdir()
    for name in names:
        shutil.copy(REAL / "recipes" / "images" / name, "photos")
    with Path("captions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "caption"), *listed])
    path = [shlex.split(line)[1:] for line in re.findall(r"^align-edu .*", SECTION, re.M)]
    assert [command[0] for command in path] == ["pairs", "filter", "train", "index", "search"]
    path[2][path[2].index("--steps") + 1] = STEPS
    path[1] += ["--rule", f"min_side={side}"]
    made, funnel, trained, indexed, found = [call(*command) for command in path]

    full = [(name, text) for name, text in listed if text.strip()]
    empty = len(listed) - len(full)
    assert made["pairs"] == funnel["raw"] == len(full)
    assert made["skipped"] == ({"empty caption": empty} if empty else {})
    small = sum(min(Image.open(Path("photos", name)).size) <= side for name, _ in full)
    dropped = {step["rule"]: step["dropped"] for step in funnel["steps"]}
    assert dropped["short_side"] == small and funnel["warnings"] == []
    assert funnel["kept"] == len(full) - sum(dropped.values()) > len(full) / 2
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
