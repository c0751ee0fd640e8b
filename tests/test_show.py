"""Figures are whole and small; the report is one file, complete and safe to open."""

import base64
import io
import json
import re
import warnings

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from align_edu import show
from align_edu.show import Found, Sample
from align_edu.show.charts import cost_bars
from align_edu.show.style import BLUE, LINE, ORANGE, Picture
from tests.samples import MODEL, Page

CAPTIONS = [
    "a small red cat on a snowy mountain at night under the stars, seen from far away",
    "from $5 ^^ to $9",
    "DSC_20190203_123456789.JPG THUMBNAIL FOR VERSION AS OF 21:57",
    "снег и 猫 на крыше",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
]
RECORD = json.loads((MODEL / "results.json").read_text("utf-8"))
ROWS = [
    {"step": s, "loss": 9.7 / s + 1, "floor": 0.4, "chance": 9.7, "temperature": 0.07 - s / 1e5}
    for s in range(1, 2000, 50)
]
SIGMAS = [2.0**-k for k in range(8, -1, -1)]
RANDOM = np.random.default_rng(0).uniform(-1, 1, (3, 6, 6))
EVIL = '<script>alert("1")</script> & "><img src=x onerror=alert(1)>'


def pictures(count: int) -> list[Image.Image]:
    sizes = [(58, 58), (128, 80), (40, 120)]
    return [Image.new("RGB", sizes[i % 3], (40 * i % 255, 99, 160)) for i in range(count)]


def gallery(starts: list[Image.Image] | None = None) -> Picture:
    return show.search_gallery(
        CAPTIONS,
        [pictures(6) for _ in CAPTIONS],
        [[0.9, 0.8, 0.7, 0.6, 0.5, -0.4]] * len(CAPTIONS),
        [[place == row for place in range(6)] for row in range(len(CAPTIONS))],
        starts,
    )


FIGURES = {
    "grid": lambda: show.picture_grid(pictures(10), CAPTIONS * 2, 4, "a very long title " * 20),
    "gallery": gallery,
    "gallery of pictures with words": lambda: gallery(pictures(len(CAPTIONS))),
    "matrix": lambda: show.similarity_matrix(torch.eye(5) - 0.5, pictures(5), CAPTIONS),
    "large matrix": lambda: show.similarity_matrix(np.random.default_rng(0).random((40, 40))),
    "funnel": lambda: show.funnel_bars(RECORD["funnel"]),
    "training": lambda: show.training_curves(ROWS),
    "one step": lambda: show.training_curves(ROWS[:1]),
    "recall": lambda: show.recall_bars(RECORD["retrieval"]),
    "costs": lambda: cost_bars({"weights": 3.0, "activations": 20.0}, "GiB", 16.0, "One device"),
    "rules": lambda: show.rule_matrix(RECORD["funnel"]),
    "curves": lambda: show.curves({f"edit {i}": [(0, 1), (9, i)] for i in range(10)}, "x", "y"),
    "two rows": lambda: show.matrix_row({f"{i}": RANDOM[i % 3] for i in range(6)}, 1, "cosine"),
    "temperatures": lambda: show.temperature_curves(
        SIGMAS, {"one": SIGMAS, "two": SIGMAS[::-1]}, "loss", {"lowest": (1 / 64, 0.1)}
    ),
    "softmax": lambda: show.softmax_bars([0.5, 0.4, -0.2], {"probability": [0.5, 0.4, 0.1]}),
}


@pytest.mark.parametrize("name", list(FIGURES))
def test_a_figure_is_whole_small_and_the_same_twice_and_leaves_matplotlib_alone(name):
    before = dict(matplotlib.rcParams)
    figure = FIGURES[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing letter or a failed layout is a warning
        png = show.to_png(figure)
    assert dict(matplotlib.rcParams) == before
    assert Image.open(io.BytesIO(png)).width == 800
    needed, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    pixel = 0.01  # inches
    assert needed.x0 >= -pixel and needed.y0 >= -pixel
    assert needed.x1 <= width + pixel and needed.y1 <= height + pixel
    assert png == show.to_png(FIGURES[name]())
    assert len(png) < 60_000


def test_the_funnel_shows_what_is_left_and_the_loss_stands_between_its_floor_and_chance():
    axes, funnel = show.funnel_bars(RECORD["funnel"]).axes[0], RECORD["funnel"]
    steps = [step for step in funnel["steps"] if step["applied"]]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[0] == "raw pairs" and len(names) == 1 + len(steps)
    shown, first = [text.get_text() for text in axes.texts], steps[0]
    left = first["pairs_in"] - first["dropped"]
    assert shown[:2] == [f"{funnel['raw']:,}", f"{left:,}  (−{first['dropped']:,})"]
    assert shown[-1].startswith(f"{funnel['kept']:,}  ")
    loss, _ = show.training_curves(ROWS).axes
    assert [line.get_ydata()[-1] for line in loss.lines] == [9.7, 0.4, ROWS[-1]["loss"]]


def test_a_matrix_is_blue_above_zero_and_orange_below_with_its_range_and_numbers_that_fit():
    axes = show.matrix_row({"cosines": np.array([[1.0, 0.0], [0.25, -1.0]])}).axes[0]
    drawn = axes.images[0]
    colours = drawn.cmap(drawn.norm(np.array([1.0, 0.0, -1.0])))[:, :3]
    assert np.allclose(colours, [to_rgb(BLUE), (1, 1, 1), to_rgb(ORANGE)], atol=0.02)
    missing = drawn.cmap(drawn.norm(np.ma.masked_invalid([np.nan])))[0, :3]
    assert np.allclose(missing, to_rgb(LINE))
    assert [text.get_text() for text in axes.texts] == ["1.00", "0.00", "0.25", "-1.00"]
    first, second, scale = show.matrix_row({"a": np.eye(6), "b": -np.eye(6)}, 1, "cosine").axes
    assert len(first.texts) == 0 and first.get_title(loc="left") == "a\n0.00 to 1.00"
    assert second.get_title(loc="left") == "b\n-1.00 to 0.00"
    assert (scale.get_ylabel(), scale.get_ylim()) == ("cosine", (-1, 1))


def test_the_matrix_has_one_image_a_row_and_one_text_a_column():
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.3, 0.8, 0.4]])  # 2 images, 3 texts
    axes = show.similarity_matrix(similarity, pictures(2), ["one", "two", "three"]).axes[0]
    assert np.allclose(np.asarray(axes.images[0].get_array()), similarity)
    shown = [text.get_text() for text in axes.texts]
    assert shown == ["0.90", "0.10", "0.20", "0.30", "0.80", "0.40"]
    low = show.similarity_matrix(torch.tensor([[-0.004, -0.006]])).axes[0]
    assert [text.get_text() for text in low.texts] == ["0.00", "-0.01"]  # no minus zero
    assert len(axes.images) == 1 + 2
    assert len(axes.patches) == 2  # the framed cells


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    picture = Image.new("RGB", (300, 200), "teal")
    row = {"step": 1, "loss": 5.0, "floor": 0.3, "chance": 9.7, "temperature": 0.07}
    path = show.write_report(
        tmp_path_factory.mktemp("run") / "report.html",
        RECORD | {"machine": "two <cores>"},
        samples=[Sample(picture, EVIL, "clean"), Sample(picture, "IMG_1.JPG", "file_name")],
        training=show.training_curves([row]),
        gallery=[Found(EVIL, [picture, picture], [0.91, 0.5], [False, True])],
        similarity=show.similarity_matrix([[0.9]], [picture], ["a cat"]),  # type: ignore[arg-type]
    )
    return path.read_text(encoding="utf-8")


def test_every_section_is_there_in_order_and_only_what_is_given(whole, tmp_path):
    assert Page(whole).open == []
    assert "; ".join(re.findall("<h2>(.*?)</h2>", whole)) == (
        "The funnel; Raw pairs; Training; Retrieval; Naming and finding; Searching with words;"
        " Images against texts; Details"
    )
    path = show.write_report(tmp_path / "report.html", {"temperature": 0.07})
    text = path.read_text(encoding="utf-8")
    assert Page(text).open == [] and "<section>" not in text and "0.0700" in text


def test_the_headline_and_the_tables_hold_the_numbers(whole):
    text = " ".join(Page(whole).texts)
    named, funnel = RECORD["zero_shot"]["object"], RECORD["funnel"]
    shares = [RECORD["retrieval"][way]["R@1"] for way in ("image_to_text", "text_to_image")]
    shares += [named[kind]["top-1"] for kind in ("single", "ensemble")]
    shares += [named["chance"], RECORD["kind_search"]["precision@10"]]
    seconds = (sum(RECORD["seconds"].values()), RECORD["seconds"]["train"])
    expected = [f"{100 * share:.1f} %" for share in shares]
    expected += [f"{round(each) // 60} min {round(each) % 60} s" for each in seconds]
    expected += [f"{RECORD['temperature']:.4f}", f"{RECORD['retrieval']['held_out']['images']} of"]
    for step in funnel["steps"]:
        if step["applied"]:
            left = step["pairs_in"] - step["dropped"]
            expected.append(f"{step['dropped']:,} {left:,} {100 * step['share']:.1f} %")
        else:
            expected.append(f"{step['says']} (not applied: {step['note']})")
    assert [words for words in expected if words not in text] == []
    assert "file name IMG_1.JPG" in text
    assert "✓ 0.50" in text


def test_the_page_asks_for_nothing_from_outside_and_runs_nothing_of_the_webs_words(whole):
    assert 'name="viewport" content="width=device-width' in whole  # a phone's own width
    page, images = Page(whole), []
    text = " ".join(page.texts)
    assert text.count(EVIL) == 2  # once as a caption, once as a query
    assert "<cores>" in text
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "a", "base")
        assert not [name for name in attributes if name.startswith("on") or name == "href"]
        if "src" in attributes:
            images.append(attributes["alt"])
            form, data = str(attributes["src"]).split(",")
            assert form.startswith("data:image/")
            picture = Image.open(io.BytesIO(base64.b64decode(data)))
            picture.load()
            assert max(picture.size) in (160, 800)
    assert len(images) == 4 + 4 and all(images) and EVIL in images  # thumbnails and figures
    for words in ("http:", "https:", "url(", "@import"):
        assert words not in whole
    assert "default-src 'none'" in whole
