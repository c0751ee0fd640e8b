"""The report: one file, complete, safe to open, and readable by a program that knows HTML."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from PIL import Image

from align_edu.show import Found, Sample, similarity_matrix, training_curves, write_report

EVIL = '<script>alert("1")</script> & "><img src=x onerror=alert(1)>'
RECALL = {"R@1": 0.8534, "R@5": 0.98, "R@10": 1.0}
BOTH = {"image_to_text": RECALL, "text_to_image": RECALL | {"R@1": 0.8671}}
HELD_OUT = {"image_to_text": RECALL | {"R@1": 0.611}, "text_to_image": RECALL}
STEP = ("rule", "says", "applied", "note", "pairs_in", "dropped")
STEPS = (
    ("short_side", "shorter side <= 200 px", True, "", 120_000, 21_235),
    ("near_duplicate", "near-duplicate", False, "no evaluation set given", 98_765, 0),
)
NAMED = {"single": {"top-1": 0.123}, "ensemble": {"top-1": 0.234}, "chance": 0.025}
RESULTS: dict[str, Any] = {
    "retrieval": BOTH
    | {"images": 1000, "texts": 5000, "held_out": HELD_OUT | {"images": 63, "texts": 315}},
    "retrieval_hard": BOTH,
    "zero_shot": {"object": NAMED | {"classes": ["cat", "car"]}},
    "kind_search": {"precision@10": 0.456},
    "seconds": {"world": 41.0, "train": 299.6, "evaluate": 9.4},
    "pairs": {"raw": 120_000, "kept": 98_765, "seen": 290_000},
    "parameters": 1_234_567,
    "temperature": 0.03125,
    "seed": 7,
    "versions": {"torch": "2.9.0"},
    "machine": "two <cores>",
    "funnel": {
        "raw": 120_000,
        "kept": 98_765,
        "steps": [dict(zip(STEP, step, strict=True)) for step in STEPS],
    },
}


class Reader(HTMLParser):
    """Collects tags and text; knows whether every tag was closed."""

    EMPTY = {"meta", "img", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    picture = Image.new("RGB", (300, 200), "teal")
    row = {"step": 1, "loss": 5.0, "floor": 0.3, "chance": 9.7, "temperature": 0.07}
    path = write_report(
        tmp_path_factory.mktemp("run") / "report.html",
        RESULTS,
        samples=[Sample(picture, EVIL, "clean"), Sample(picture, "IMG_1.JPG", "file_name")],
        training=training_curves([row]),
        gallery=[Found(EVIL, [picture, picture], [0.91, 0.5], [False, True])],
        similarity=similarity_matrix([[0.9]], [picture], ["a cat"]),  # type: ignore[arg-type]
    )
    return path.read_text(encoding="utf-8")


def test_every_section_is_there_in_order_and_every_tag_is_closed(whole):
    assert Reader(whole).open == []
    assert "; ".join(re.findall("<h2>(.*?)</h2>", whole)) == (
        "The funnel; Raw pairs; Training; Retrieval; Naming and finding; Searching with words;"
        " Images against texts; Details"
    )


def test_words_of_the_web_are_shown_and_not_obeyed(whole):
    reader = Reader(whole)
    assert reader.text.count(EVIL) == 2  # once as a caption, once as a query
    assert EVIL in [attributes.get("alt") for tag, attributes in reader.tags if tag == "img"]
    assert "<cores>" in reader.text


def test_the_headline_and_the_tables_hold_the_numbers(whole):
    text = Reader(whole).text
    for number in ("85.3 %", "86.7 %", "5 min 50 s", "5 min 0 s", "98,765", "1.23 M", "0.0312"):
        assert number in text
    assert "61.1 %" in text and "63 of the scenes" in text  # held out
    assert "object, of 2 12.3 % 23.4 % 2.5 %" in text and "that kind in 45.6 % of" in text
    assert "shorter side <= 200 px 21,235 98,765 17.7 %" in text
    assert "near-duplicate (not applied: no evaluation set given)" in text
    assert "file name IMG_1.JPG" in text
    assert "✓ 0.50" in text


def test_the_page_asks_for_nothing_from_outside_and_runs_nothing(whole):
    assert 'name="viewport" content="width=device-width' in whole  # a phone's own width
    for tag, attributes in Reader(whole).tags:
        assert tag not in ("script", "link", "iframe", "object", "a", "base")
        assert not [name for name in attributes if name.startswith("on") or name == "href"]
        if "src" in attributes:
            assert str(attributes["src"]).startswith("data:image/")
    assert "http:" not in whole and "https:" not in whole
    assert "url(" not in whole and "@import" not in whole
    assert "default-src 'none'" in whole


def test_every_picture_inside_is_whole_and_described(whole):
    images = [attributes for tag, attributes in Reader(whole).tags if tag == "img"]
    assert len(images) == 4 + 4  # thumbnails; funnel, training, recall, matrix
    for attributes in images:
        assert attributes["alt"]
        data = str(attributes["src"]).split(",")[1]
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        picture.load()
        assert max(picture.size) in (160, 800)


def test_the_wheel_holds_the_template_the_style_and_the_tables_of_evaluation():
    builder = WheelBuilder(str(Path(__file__).parent.parent))
    files = {file.distribution_path for file in builder.recurse_included_files()}
    assert {"align_edu/show/report.html.j2", "align_edu/show/course.mplstyle"} <= files
    for name in ("protocols.toml", "published.toml", "templates.txt"):
        assert f"align_edu/evaluation/{name}" in files


def test_what_is_not_given_is_left_out(tmp_path):
    path = write_report(tmp_path / "report.html", {"temperature": 0.07})
    text = path.read_text(encoding="utf-8")
    assert Reader(text).open == []
    assert "<section>" not in text and "0.0700" in text
