"""Retrieval in several languages and word similarity: against hand work and scipy."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor

from align_edu.cli import main
from align_edu.evaluation import evaluate_languages, evaluate_words, languages_table, words_table
from align_edu.evaluation.languages import read_captions, read_word_pairs
from align_edu.io import InputError
from align_edu.world.tasks import toy_captions, toy_word_pairs
from tests.samples import MODEL, ColourRun

RUN = ColourRun(Path())
HEAD = "word1\tword2\tPOS\tSimLex999\tconc(w1)\n"


@pytest.fixture
def multi30k(tmp_path):
    """Three pictures in Multi30K's files: one English caption each, gzipped, and two German."""
    texts = {
        "raw/test_2016_flickr.en.gz": "red\ngreen\nblue\n",
        "raw/test_2016_flickr.1.de": "green\nred\nblue\n",  # the first two are exchanged
        "raw/test_2016_flickr.2.de": "red\ngreen\nblue\n",
        "tok/test_2016_flickr.lc.norm.tok.de": "not read\n",
        "image_splits/test_2016_flickr.txt": "1.png\n2.png\n3.png\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        data = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
        (tmp_path / name).write_bytes(data)
    (tmp_path / "images").mkdir()
    for number, colour in enumerate(("red", "green", "blue"), start=1):
        Image.new("RGB", (8, 8), colour).save(tmp_path / "images" / f"{number}.png")
    return tmp_path


def test_mean_recall_of_each_language_is_that_of_hand_work(multi30k):
    result = evaluate_languages(RUN, multi30k)
    english, german = (result["languages"][name] for name in ("en", "de"))
    assert english["mean_recall"] == 1.0 and (english["texts"], german["texts"]) == (3, 6)
    # By hand: the red picture's own "red" ties with the "red" that describes the green one, so
    # it is second; likewise green. Of the six texts the two exchanged ones find another picture.
    assert german["image_to_text"] == {"R@1": 1 / 3, "R@5": 1.0, "R@10": 1.0}
    assert german["text_to_image"] == {"R@1": 4 / 6, "R@5": 1.0, "R@10": 1.0}
    assert german["mean_recall"] == pytest.approx((1 / 3 + 4 / 6 + 4) / 6)
    assert result["mean_recall"] == pytest.approx((1 + german["mean_recall"]) / 2)
    assert result["images"] == 3 and "83.3" in languages_table(result)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("raw/test_2016_flickr.en.gz", None, "test_2016_flickr.en.gz: cannot be read as text"),
        ("raw/test_2016_flickr.1.de", "one\ntwo\n", r"1\.de: 2 captions for 3 images"),
        ("image_splits/test_2016_flickr.txt", "1.png\n9.png\n3.png\n", "1 images are missing"),
        ("image_splits/test_2016_flickr.txt", "1.png\n", "lists one image"),
        ("test_2016_flickr_images.txt", "1.png\n", "test_2016_flickr.txt, found 2"),
        ("images/2.png", "no picture", r"2\.png: not a readable image \(not an image\)"),
    ],
)
def test_files_of_captions_that_do_not_fit_are_named(multi30k, file, text, message):
    (multi30k / file).write_bytes(b"\x1f\x8bcut" if text is None else text.encode())
    with pytest.raises(InputError, match=message):
        evaluate_languages(RUN, multi30k)


def test_a_separator_of_lines_inside_a_caption_moves_no_caption(multi30k):
    file = multi30k / "raw" / "test_2016_flickr.fr"
    file.write_bytes("\ufeffrouge\u2028vif\r\nvert\r\nbleu\x85\r\n".encode())
    assert read_captions(multi30k).texts["fr"] == ["rouge\u2028vif", "vert", "bleu"]
    for name in ("image_splits/val.txt", "raw/val.en"):
        (multi30k / name).write_text("3.png\n1.png\n")
    assert [image.name for image in read_captions(multi30k, "val").files] == ["3.png", "1.png"]


class AngleRun(ColourRun):
    """Embeds a text of digits as a direction of so many degrees."""

    def encode_texts(self, texts: list[str]) -> Tensor:
        angles = torch.tensor([float(text) for text in texts]).deg2rad()
        return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_word_similarity_is_scipys_correlation_overall_and_by_part_of_speech(tmp_path):
    rng = np.random.default_rng(3)
    angles = rng.integers(0, 90, 60)
    scores = np.round(10 - angles / 10 + rng.normal(0, 2, 60), 1)
    rows = [f"0\t{a}\t{'NAV'[i % 3]}\t{s}\t1\n" for i, (a, s) in enumerate(zip(angles, scores))]
    (tmp_path / "SimLex-999.txt").write_text(HEAD + "".join(rows))
    result = evaluate_words(AngleRun(Path()), tmp_path)
    cosines = np.cos(np.deg2rad(angles))
    assert result["spearman"] == pytest.approx(spearmanr(scores, cosines).statistic, abs=1e-6)
    for place, name in enumerate(("nouns", "adjectives", "verbs")):
        some = slice(place, None, 3)
        expected = spearmanr(scores[some], cosines[some]).statistic
        part = result["parts"][name]
        assert part["spearman"] == pytest.approx(expected, abs=1e-6) and part["pairs"] == 20
    draws = np.random.default_rng(1).integers(0, 60, (1_000, 60))
    theirs = [spearmanr(scores[d], cosines[d]).statistic for d in draws]
    assert result["interval"] == pytest.approx(np.quantile(theirs, [0.025, 0.975]), abs=0.03)
    assert "adjectives" in words_table(result) and "60 pairs" in words_table(result)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one\ttwo\tPOS\n", "no column 'word1'; give SimLex-999.txt"),
        (HEAD + "a\tb\tN\t3\n", "at least two pairs"),
        (HEAD + "a\tb\tN\t3\na\tb\n", "line 3: needs two words, POS and"),
        (HEAD + "a\tb\tN\tmuch\na\tb\tN\t2\n", "line 2: needs two words"),
        (HEAD + "a\tb\tN\tnan\na\tb\tN\t2\n", "line 2: needs two words"),
    ],
)
def test_files_of_words_that_are_broken_are_named_with_their_line(tmp_path, text, message):
    (tmp_path / "words.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_word_pairs(tmp_path / "words.txt")


def test_the_toy_world_draws_both_and_the_command_line_measures_them(tmp_path, capsys):
    captions, pairs = toy_captions(), toy_word_pairs()
    assert len({tuple(texts) for texts in captions.texts.values()}) == 5
    assert {pair.score for pair in pairs} == {0.0, 5.0, 10.0}
    run = shutil.copytree(MODEL, tmp_path / "run")
    for task in ("languages", "words"):
        assert main(["evaluate", str(run), "--task", task, "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert record["data"] == {"name": "drawn by the toy world"}
        assert json.loads((run / "results" / f"{task}.json").read_text()) == record
    assert record["interval"][0] > 0  # synonyms are nearer than other words
    english = json.loads((run / "results" / "languages.json").read_text())["languages"]["en"]
    assert english["mean_recall"] > 0.5
