"""The site and its page to try, in a real browser: they ask for nothing outside.

The page ranks pictures as Python does. The site is built without a warning, shows each notebook as
it is stored, and its links lead to pages and places that exist."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch

from align_edu import Align, combine_query
from align_edu.cli import main
from align_edu.evaluation.embed import embed_images, load_encoder
from align_edu.model.text_tower import encode_texts, load_wordpiece
from align_edu.presets import get_preset, replace_fields
from align_edu.show import export_page
from align_edu.training.run import Run
from tests.samples import DATA, MODEL, ROOT, Page, cases, cells_of, image_file, refused, source_of
from tests.test_browser import REQUIRED, WHY_NOT, open_browser

SCENES = DATA / "benchmark"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
in_a_browser = pytest.mark.skipif(bool(WHY_NOT) and not REQUIRED, reason=WHY_NOT or "")
# Other scripts, accents, unknown and long words, special tokens as text, too many pieces.
TEXTS = (
    "a red cat", "A photo of TWO small dogs, at night!", "Ünïcode näïve façade", "猫 and 犬在雪中",
    "ΣΑΣ ΟΔΟΣ İstanbul ß", "[CLS] [SEP] [UNK] red", "1,000.5 % off—“buy” $5 <now> `x`~^|",
    "tab\there\nnew\u00a0line \u200bzero\u00adwidth \ufffd", "e\u0301 \U0001f431 \U00020000",
    "x" * 101, "snow " * 80, "qqqq##red ##cat", ".", "antidisestablishmentarianism",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


def opened(browser, file: Path):
    """Open a page from the disk; note its errors, and what it asks for outside its folder."""
    page, complaints = browser.new_context(viewport={"width": 1000, "height": 900}).new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text))
    own = (f"{file.parent.as_uri()}/", "data:image/")
    page.on("request", lambda out: out.url.startswith(own) or complaints.append(out.url))
    page.goto(file.as_uri())
    return page, complaints


@pytest.fixture(scope="module")
def run():
    return load_encoder(MODEL, "cpu")


@pytest.fixture(scope="module")
def pictures(run):
    return embed_images(run, sorted((SCENES / "images").glob("*.jpg"))).embeddings  # (I, D)


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    out = tmp_path_factory.mktemp("try")
    assert main(["export", str(MODEL), str(out), "--gallery", str(SCENES)]) == 0
    page, complaints = opened(browser, out / "index.html")
    yield page
    assert complaints == []


def shown(page) -> list[list[str]]:
    """Return caption and cosine of each picture, in the order on the page."""
    return page.evaluate("""[...document.querySelectorAll("#gallery li:not([hidden])")].map(
        card => [card.querySelector("img").alt, card.querySelector(".cosine").textContent])""")


@in_a_browser
def test_the_page_cuts_texts_into_the_same_pieces_and_gives_the_same_vectors(page, run):
    ids, mask = encode_texts(run.tokenizer, TEXTS)
    for text, row, length, vector in zip(TEXTS, ids, mask.sum(1), run.encode_texts(list(TEXTS))):
        got = page.evaluate("text => tokens(text).map(token => VOCABULARY.get(token))", text)
        assert got == row[:length].tolist(), text
        got = page.evaluate("text => [...encodeText(text)]", text)
        assert np.abs(np.array(got) - vector.numpy()).max() < 1e-5, text


@in_a_browser
def test_scores_of_words_and_pictures_added_and_subtracted_are_pythons(page, run, pictures):
    text = lambda words: run.encode_texts([words])[0]  # noqa: E731
    queries = {
        '[{sign: 1, text: "a red cat"}]': [(2, text("a red cat"))],
        '[{sign: 1, picture: 7}, {sign: 1, text: "at night"}, {sign: -1, text: "snow"}]': [
            (1, pictures[7]), (2, text("at night")), (-2, text("snow"))],
        '[{sign: -1, picture: 3}, {sign: 1, text: "  "}]': [(-1, pictures[3])],
    }  # fmt: skip
    for query, terms in queries.items():
        scores = pictures @ combine_query(terms)
        got = np.array(page.evaluate(f"search({query})"))
        assert np.abs(got - scores.numpy()).max() <= 1e-4, query
        share = page.evaluate(f"softmax(search({query}), 0.02)")
        assert np.abs(np.array(share) - (scores / 0.02).softmax(0).numpy()).max() <= 1e-4, query
    cancel = '[{sign: 1, text: "a cat"}, {sign: -1, text: "a cat"}]'
    assert page.evaluate(f"search({cancel})") is None


@in_a_browser
def test_a_reader_types_adds_subtracts_moves_the_temperature_and_reads_facts(page, run, pictures):
    rows = json.loads((SCENES / "dataset_toy.json").read_text())["images"]
    scenes = {row["sentences"][0]["raw"]: row["scene"] for row in rows}
    titles = list(scenes)

    def ranked(*terms):
        scores = pictures @ combine_query(terms)
        order = scores.argsort(descending=True, stable=True)[:24].tolist()
        return [[titles[i], f"cos {scores[i]:.3f}"] for i in order]

    cat, night = run.encode_texts(["a cat", "at night"])
    page.locator("#terms input").fill("a cat")
    assert shown(page) == ranked((2, cat))
    assert page.locator(".pieces code").all_inner_texts() == ["a", "cat"]
    first = page.locator("#gallery li").first
    assert not first.locator(".facts").is_visible()
    first.hover()
    said = first.locator(".facts").inner_text().split("\n")
    best = scenes[first.locator("img").get_attribute("alt")]
    facts = {f"{name.replace('_', ' ')} {value}" for name, value in best.items() if value}
    assert facts < set(said)
    page.get_by_text("− subtract words").click()
    page.keyboard.insert_text("at night")
    assert shown(page) == ranked((2, cat), (-2, night))
    page.locator("#terms .away").last.click()
    first.hover()
    first.get_by_text("+", exact=True).click()
    chosen = pictures[titles.index(ranked((2, cat))[0][0])]
    assert shown(page) == ranked((2, cat), (1, chosen))
    page.locator("#terms .sign").last.click()
    assert shown(page) == ranked((2, cat), (-1, chosen))
    sharpest = first.locator(".share").inner_text()
    page.locator("#sigma").fill("0.5")
    assert page.locator("#value").inner_text() == "1.65"
    assert float(first.locator(".share").inner_text()[:-2]) < 1 < float(sharpest[:-2])
    page.locator("#learned").click()
    assert first.locator(".share").inner_text() == sharpest
    page.get_by_text("Show all pictures").click()
    assert len(shown(page)) == len(pictures)


@in_a_browser
def test_larger_towers_and_plain_photographs_agree(browser, tmp_path):
    sizes = {"text.layers": 3, "text.width": 48, "text.heads": 4, "image.projection": 24}
    preset = replace_fields(get_preset("toy"), [f"{name}={value}" for name, value in sizes.items()])
    tokenizer = load_wordpiece(MODEL / "tokenizer.json")
    model = Align(preset, tokenizer.get_vocab_size(), seed=3).eval()
    with torch.no_grad():  # LayerNorm's and the linear layers' own numbers count too
        for name, weights in model.text_tower.named_parameters():
            if name.endswith("bias"):
                weights.normal_(0, 0.3, generator=torch.Generator().manual_seed(len(name)))
    run = Run(tmp_path / "mine", preset, tokenizer, model)
    caption = "</script><b>red"
    row = {"filename": "a.png", "sentences": [{"raw": caption}]}
    (tmp_path / "dataset_mine.json").write_text(json.dumps({"images": [row]}))
    (tmp_path / "a.png").write_bytes(image_file("red", form="PNG"))
    (tmp_path / "b.jpg").write_bytes(image_file("blue"))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "c.heic").touch()
    file = export_page(run, tmp_path, tmp_path / "page", left_out=(left_out := Counter()))
    assert left_out["not an image"] == left_out[".heic (convert to .jpg)"] == 1
    page, complaints = opened(browser, file)
    wanted = run.encode_texts(["a red cat in the snow"])[0].numpy()
    got = page.evaluate("[...encodeText('a red cat in the snow')]")
    assert len(got) == 24 and np.abs(np.array(got) - wanted).max() < 1e-5
    assert {title for title, _ in shown(page)} == {caption, "b.jpg"}
    assert complaints == []


def test_what_no_page_can_hold_is_refused(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert main(["export", str(MODEL), str(out), "--gallery", str(tmp_path)]) == 2
    assert "no picture can be read" in capsys.readouterr().err
    monkeypatch.setattr("align_edu.show.report.MOST_PICTURES", 199)
    refused("200 pictures; a page holds 199", export_page, run, SCENES, out)
    monkeypatch.setattr("align_edu.show.report.MOST_NUMBERS", 1000)
    refused("text tower of 125,616 numbers", export_page, run, SCENES / "cxc", out)
    assert not out.exists()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, str(ROOT / "notebooks" / "site" / "build.py"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def pages(site):
    files = site.rglob("*.html")
    return {f.relative_to(site).as_posix(): Page(f.read_text(encoding="utf-8")) for f in files}


@pytest.mark.long
def test_links_lead_to_places_that_exist_and_no_page_loads_anything_from_outside(site, pages):
    assert {"index.html", "CLAIMS.html", "GLOSSARY.html", "try/index.html"} < set(pages)
    outside = ("http:", "https:", "mailto:", "//")
    places = {name: {each.get("id") for _, each in page.tags} for name, page in pages.items()}
    for name, page in pages.items():
        for tag, attributes in page.tags:
            for link in filter(None, map(attributes.get, ("src", "href", "data"))):
                if link.startswith((*outside, "data:")):
                    assert tag == "a" or link.startswith("data:"), (name, link)
                    continue
                path, _, place = unquote(link).partition("#")
                target = ((site / name).parent / path.partition("?")[0]) if path else site / name
                assert target.is_file(), (name, link)
                there = target.resolve().relative_to(site.resolve()).as_posix()
                assert not place or place in places.get(there, {place}), (name, link)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url)[^;]{0,9}(?:https?:)?//", sheet.read_text()), sheet


@pytest.mark.long
def test_each_notebook_is_shown_with_its_equations_and_its_stored_outputs(pages):
    for path in NOTEBOOKS:
        page = pages[f"{path.stem}.html"]
        outputs = [each for cell in cells_of(path, "code") for each in cell["outputs"]]
        printed = " ".join("".join(each.get("text", ())) for each in outputs).split()
        shown = " ".join(re.sub(r"<[^>]+>", " ", page.html).split())
        numbers = [word for word in printed if re.fullmatch(r"\d+\.\d{3,}", word)]
        assert not [number for number in numbers if number not in shown], path.stem
        drawn = sum("image/png" in each.get("data", {}) for each in outputs)
        assert len(re.findall(r'<img[^>]+src="_images/', page.html)) >= drawn, path.stem
        equations = source_of(path, "markdown").count("$$") // 2
        assert page.html.count('display="block"') >= equations, path.stem
        assert "merror" not in page.html and not re.search(r">[^<]*\\\\(frac|sum|text)", page.html)


@pytest.mark.long
def test_functions_name_the_notebooks_whose_code_uses_them(pages):
    api = "".join(page.html for name, page in pages.items() if name.startswith("api_"))
    uses = {
        "loss.contrastive.contrastive_loss": r"^from align_edu.*\bcontrastive_loss\b",
        "lab.check": r"\blab\.check\(",
    }
    for name, pattern in uses.items():
        users = [p.stem for p in NOTEBOOKS if re.search(pattern, source_of(p, "code"), re.M)]
        part = api.partition(f'id="align_edu.{name}"')[2].partition("<dt")[0]
        assert re.findall(r'href="(\d\d_\w+)\.html"', part) == users != []


@pytest.mark.long
@in_a_browser
@cases("name", "index", "06_the_contrastive_loss_by_hand", "CLAIMS", "api_06_loss", "try/index")
def test_pages_open_without_an_error_and_without_a_request_outside(browser, site, name):
    page, complaints = opened(browser, site / f"{name}.html")
    assert page.locator("h1").first.is_visible()
    assert complaints == []
