"""WordPiece: trained the same every time, and read by transformers with the same ids."""

import subprocess
import sys

import pytest
import torch
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from align_edu.model.text_tower import encode_texts, load_wordpiece, save_wordpiece, train_wordpiece
from tests.samples import ROOT, refused

TEXTS = [
    f"{size} {colour} {kind} {place}"
    for size in ("small", "large")
    for colour in ("red", "green", "blue", "yellow")
    for kind in ("cat", "cats", "dog", "dogs", "bicycle")
    for place in ("on a beach", "in the snow", "at night")
]
SIZE = 80


def test_the_same_texts_in_any_order_and_process_give_the_same_file():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.test_wordpiece import TEXTS, SIZE, train_wordpiece\n"
        "print(train_wordpiece(sorted(TEXTS), SIZE).to_str())"
    )
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    here, turned = (train_wordpiece(texts, SIZE).to_str() for texts in (TEXTS, TEXTS[::-1]))
    assert here == turned == other.stdout.rstrip("\n")


@pytest.fixture(scope="module")
def tokenizer():
    return train_wordpiece(TEXTS, SIZE)


def test_texts_of_fixed_length_have_the_same_pieces_and_more_padding(tokenizer):
    ids, mask = encode_texts(tokenizer, TEXTS)
    fixed, fixed_mask = encode_texts(tokenizer, TEXTS, fixed_length=True)
    length = ids.shape[1]
    assert length < 64 and fixed.shape == fixed_mask.shape == (len(TEXTS), 64)
    assert torch.equal(fixed[:, :length], ids) and not fixed[:, length:].any()
    assert torch.equal(fixed_mask[:, :length], mask) and not fixed_mask[:, length:].any()
    assert encode_texts(tokenizer, [])[0].shape == (0, 0)


@pytest.mark.parametrize("max_length", [64, 7])
def test_transformers_reads_the_file_and_gives_the_same_ids(tokenizer, tmp_path, max_length):
    texts = [*TEXTS, "", "A  red\tcat!", "dog's caf\u00e9, \U0001f600 \u4e2d\u6587", "red " * 100]
    save_wordpiece(tokenizer, tmp_path / "tokenizer.json")
    ids, mask = encode_texts(load_wordpiece(tmp_path / "tokenizer.json"), texts, max_length)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    for kind in (PreTrainedTokenizerFast, BertTokenizerFast):
        theirs = kind(tokenizer_file=str(tmp_path / "tokenizer.json"), **names)
        options = {"padding": True, "truncation": True, "return_tensors": "pt"}
        batch = theirs(texts, max_length=max_length, **options)
        assert torch.equal(batch["input_ids"], ids)
        assert torch.equal(batch["attention_mask"], mask)


def test_a_vocabulary_larger_than_the_text_allows_says_how_many_it_gives():
    line = refused("larger than these texts allow", train_wordpiece, TEXTS, 5000)
    possible = int(line.split("give ")[1].split()[0])
    assert train_wordpiece(TEXTS, possible).get_vocab_size() == possible
    for texts in (TEXTS, []):
        refused("letters", train_wordpiece, texts, 4)


def test_what_is_no_tokenizer_file_is_refused(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    refused("no such file", load_wordpiece, path)
    path.write_text('{"model": 1}')
    refused("not a tokenizer file", load_wordpiece, path)
    path.write_text(tokenizer.to_str().replace('"[PAD]"', '"[XXX]"'))
    refused("first five", load_wordpiece, path)
