"""Section 3's rules: bounds, the paper's own examples, and the rule for small data."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from align_edu.filters import Rules, Step, filter_pairs, text
from align_edu.io import InputError
from tests.samples import words_of

GOOD = "a red cat on a beach"
OFF = Rules(None, None, None, None, None, None, None, None, None)
LARGE = {"original_width": 640, "original_height": 480}


def kept_rows(rows: list[dict[str, Any]], out: Path, rules: Rules | None = None) -> list[int]:
    """The numbers of the rows that the filter keeps; each row has its own url unless it says so."""
    columns = sorted({name for row in rows for name in row} | {"caption"})
    data = {name: [row.get(name) for row in rows] for name in columns}
    data = {"url": [f"x/{i}" for i in range(len(rows))], "number": range(len(rows))} | data
    filter_pairs(pa.table(data), out, rules=rules)
    return pa.parquet.read_table(out / "pairs.parquet")["number"].to_pylist()


def rare_words(captions: list[str], out: Path) -> Step:
    """What the rule on rare words does by default."""
    table = pa.table({"caption": captions, "url": [str(i) for i in range(len(captions))]})
    steps = filter_pairs(table, out, rules=Rules(max_images_per_text=None)).steps
    return next(step for step in steps if step.rule == "rare_words")


@pytest.mark.parametrize(("texts", "stays"), [(1000, True), (1001, False)])
def test_an_image_with_more_than_1000_alt_texts_is_dropped(tmp_path, texts, stays):
    rows = [{"caption": f"a red cat number {i}", "sha256": "same"} for i in range(texts)]
    rows.append({"caption": GOOD, "sha256": "other"})
    kept = kept_rows(rows, tmp_path, Rules(vocabulary_size=None))
    assert len(kept) == (texts + 1 if stays else 1)


@pytest.mark.parametrize(("images", "stays"), [(10, True), (11, False)])
def test_an_alt_text_of_more_than_10_images_is_dropped_however_it_is_written(
    tmp_path, images, stays
):
    forms = ["Click to ENLARGE!", "click  to enlarge", "click-to-enlarge...", "Ｃlick to enlarge"]
    rows = [{"caption": forms[i % 4], "sha256": str(i), "url": "same"} for i in range(images)]
    rows.append({"caption": GOOD, "sha256": "other", "url": "same"})
    assert len(kept_rows(rows, tmp_path)) == (images + 1 if stays else 1)


def test_mirrors_of_one_image_are_one_image(tmp_path):
    rows = [{"caption": GOOD, "sha256": "same"} for i in range(30)]
    assert len(kept_rows(rows, tmp_path)) == 30
    # Without a content hash the address is all there is.
    assert kept_rows([{"caption": GOOD}] * 30, tmp_path) == []


CASES: dict[str, tuple[list[dict[str, Any]], list[int]]] = {
    "sides": (
        [{"caption": f"{GOOD} {w}", "original_width": w, "original_height": 201}
         for w in (640, 201, 599, 602, 603, 200, None)], [1, 2, 3],
    ),
    "words": ([{"caption": " ".join(["cat"] * n)} for n in (0, 2, 3, 20, 21)], [2, 3]),
    "score": ([{"caption": GOOD, "nsfw": x} for x in (0.5, 0.51, None, float("nan"))], [0, 2, 3]),
    "LAION": ([{"caption": GOOD, "punsafe": x} for x in (0.0, 1.0, 0.2, 0.9)], [0, 2]),
    "word": ([{"caption": GOOD, "NSFW": x} for x in ("UNLIKELY", "NSFW", "?", None)], [0, 2, 3]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_default_bounds_are_strict_as_in_the_paper(tmp_path, case):
    rows, stay = CASES[case]
    assert kept_rows(rows, tmp_path) == stay


def test_the_paper_s_examples_fall_by_the_rules_that_the_paper_names(tmp_path):
    shared = ["1920x1080", "alt_img", "cristina"]
    query = "image_tid 25&id mggqpuwe-qdpd&cache 0&lan_code 0"
    thumbnail = "thumbnail for version as of 21"
    captions = [text for text in shared for _ in range(11)]
    captions += [query, thumbnail] + [f"{thumbnail} a red cat"] * 3
    captions += [f"a {which} on a beach" for which in ("red cat", "blue cat", "red dog")] * 3
    table = pa.table({"caption": captions, "sha256": [str(i) for i in range(len(captions))]})
    tokens: Counter[str] = Counter()
    for words in map(words_of, captions):
        tokens.update(words + list(map(" ".join, zip(words, words[1:]))))
    seen_twice = sum(count >= 2 for count in tokens.values())
    funnel = filter_pairs(table, tmp_path, rules=Rules(vocabulary_size=seen_twice))
    dropped = {step.rule: (step.dropped, step.examples) for step in funnel.steps if step.dropped}
    assert dropped == {"images_per_text": (33, shared), "rare_words": (1, [query])}
    # No rule names the thumbnail: Figure 2 of the paper shows it among the kept pairs.
    assert thumbnail in pa.parquet.read_table(tmp_path / "pairs.parquet")["caption"].to_pylist()


def test_failed_downloads_have_their_own_line_and_count_for_no_other_rule(tmp_path):
    text = "a red cat"
    rows = [{"caption": text, "url": f"s{i}", "status": "success", **LARGE} for i in range(10)]
    rows += [{"caption": f"{text} {i}", "sha256": "x", "status": "SUCCESS", **LARGE} for i in "ab"]
    rows += [{"caption": text, "url": f"f{i}", "status": "failed_to_download"} for i in range(5)]
    rows += [{"caption": f"{text} b", "sha256": "x", "status": "failed_to_resize"}] * 4
    rows += [{"caption": "a red cat without a status", "url": "n", **LARGE}]
    table = pa.table({n: [row.get(n) for row in rows] for n in [*rows[0], "sha256"]})
    rules = Rules(max_texts_per_image=2, max_images_per_text=10, vocabulary_size=7)
    funnel = filter_pairs(table, tmp_path, rules=rules)
    # In bounds without the failed ones: the texts of image x, and the images of the text. Their
    # words are in it: a, red, cat, "a red", "red cat", "a status", b; not so "cat b".
    assert [(s.rule, s.dropped) for s in funnel.steps if s.dropped] == [
        ("failed_download", 9), ("rare_words", 3),
    ]  # fmt: skip
    assert [s.alone for s in funnel.steps if s.alone] == [9, 3] and funnel.kept == 10
    off = filter_pairs(table, tmp_path, rules=replace(rules, status=None))
    assert {s.rule: s.dropped for s in off.steps if s.dropped} == {
        "no_size": 9, "texts_per_image": 2, "images_per_text": 10, "rare_words": 1,
    }  # fmt: skip


def test_missing_values_have_their_own_lines_and_no_rule_is_blamed(tmp_path):
    rows = [{"caption": GOOD, **LARGE}, {"caption": None, **LARGE}, {"caption": "cat", **LARGE}]
    rows += [{"caption": GOOD, "original_width": w, "original_height": None} for w in (None, 500)]
    table = {n: [row[n] for row in rows] for n in rows[0]} | {"url": list("abcde")}
    funnel = filter_pairs(pa.table(table), tmp_path)
    alone = {step.rule: step.alone for step in funnel.steps if step.alone}
    assert alone == {"no_size": 2, "no_text": 1, "length": 1}
    whole = {"caption": [GOOD], "url": ["x"], "status": ["success"]}
    steps = {step.rule for step in filter_pairs(pa.table(whole), tmp_path).steps}
    assert steps.isdisjoint({"failed_download", "no_size", "no_text"})


def test_each_rule_can_be_turned_off(tmp_path):
    bad = {"caption": "x", "original_width": 1, "original_height": 9, "nsfw": 1.0}
    rows = [{**bad, "url": str(i % 20)} for i in range(1100)]
    assert kept_rows(rows, tmp_path / "on") == []
    assert len(kept_rows(rows, tmp_path / "off", OFF)) == len(rows)


@pytest.mark.parametrize("bound", [{"min_side": -1}, {"max_aspect": "3"}, {"vocabulary_size": 0}])
def test_a_bound_that_is_none_is_refused(bound):
    with pytest.raises(InputError, match=next(iter(bound))):
        Rules(**bound)


@pytest.mark.parametrize(
    ("pairs", "caption", "reason"), [(300, "a cat x{}", "too few"), (3000, "word{} cat dog", "33%")]
)
def test_data_too_small_to_tell_keeps_its_rare_words_and_the_funnel_says_why(
    tmp_path, pairs, caption, reason
):
    step = rare_words([caption.format(i) for i in range(pairs)], tmp_path)
    assert not step.applied and reason in step.note


@pytest.mark.parametrize(("pairs", "needed"), [(2000, 2), (5000, 3)])
def test_by_itself_the_vocabulary_holds_words_seen_twice_or_thrice(tmp_path, pairs, needed):
    captions = [f"a red cat on page {i % 40}" for i in range(pairs - 6)]
    captions += [f"a red {word}" for word in ("one", "two", "two", "three", "three", "three")]
    dropped = rare_words(captions, tmp_path).dropped
    assert dropped == sum(n for n in (1, 2, 3) if n < needed)


@pytest.mark.parametrize(
    ("pairs", "rare", "judged"), [(5999, 2, False), (6000, 2, True), (6000, 400, False)]
)
def test_bigrams_are_judged_from_a_number_of_pairs_on_unless_many_would_be_rare(
    tmp_path, monkeypatch, pairs, rare, judged
):
    assert text.BIGRAMS_FROM > 200_000  # the toy's results stay as they are
    monkeypatch.setattr(text, "BIGRAMS_FROM", 6000)
    captions = [f"a red cat on page {i % 40}" for i in range(pairs - rare)]
    captions += [f"on {i % 40} {i // 40} page" for i in range(rare)]  # frequent words, new bigrams
    step = rare_words(captions, tmp_path)
    assert step.applied and step.dropped == (rare if judged else 0)
    assert ("bigrams not judged" in step.note) != judged == ("or bigram" in step.says)
