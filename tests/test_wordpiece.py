"""WordPiece: trained the same every time, and read by transformers with the same ids."""

import subprocess
import sys

import pytest
import torch
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from align_edu.io import InputError
from align_edu.model.text_tower import encode_texts, load_wordpiece, save_wordpiece, train_wordpiece
from align_edu.pairs import read_pairs
from tests.samples import REAL, ROOT

TEXTS = [
    f"{size} {colour} {kind} {place}"
    for size in ("small", "large")
    for colour in ("red", "green", "blue", "yellow")
    for kind in ("cat", "cats", "dog", "dogs", "bicycle")
    for place in ("on a beach", "in the snow", "at night")
]
SIZE = 80


def test_the_same_texts_in_any_order_and_process_give_the_same_file(tmp_path):
    here, other = tmp_path / "here.json", tmp_path / "other.json"
    save_wordpiece(train_wordpiece(TEXTS[::-1], SIZE), here)
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.test_wordpiece import TEXTS, SIZE, train_wordpiece, save_wordpiece\n"
        f"save_wordpiece(train_wordpiece(sorted(TEXTS), SIZE), {str(other)!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    save_wordpiece(train_wordpiece(TEXTS, SIZE), tmp_path / "third.json")
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1


@pytest.fixture(scope="module")
def tokenizer():
    return train_wordpiece(TEXTS, SIZE)


def test_frequent_words_are_one_piece_and_rare_ones_are_spelled(tokenizer):
    assert tokenizer.encode("RED Cat").tokens == ["[CLS]", "red", "cat", "[SEP]"]
    pieces = tokenizer.encode("bay").tokens[1:-1]
    assert len(pieces) > 1 and "".join(piece.removeprefix("##") for piece in pieces) == "bay"
    assert tokenizer.encode("R\u00c9D D\u00f6gs").ids == tokenizer.encode("red dogs").ids
    assert tokenizer.encode("caf\u00e9 \u4e2d").tokens == ["[CLS]", "[UNK]", "[UNK]", "[SEP]"]


def test_batches_are_padded_to_their_longest_text_and_masked(tokenizer):
    ids, mask = encode_texts(tokenizer, ["red", "red cat at night", ""])
    assert ids.dtype == mask.dtype == torch.int64
    assert ids.shape == mask.shape == (3, 6)
    assert mask.sum(1).tolist() == [3, 6, 2]
    assert (ids[mask == 0] == 0).all() and (ids[mask == 1] != 0).all()
    assert ids[2].tolist() == [2, 3, 0, 0, 0, 0]
    ids, mask = encode_texts(tokenizer, [])
    assert ids.shape == mask.shape == (0, 0)


def test_texts_of_fixed_length_have_the_same_pieces_and_more_padding(tokenizer):
    ids, mask = encode_texts(tokenizer, TEXTS)
    fixed, fixed_mask = encode_texts(tokenizer, TEXTS, fixed_length=True)
    length = ids.shape[1]
    assert length < 64 and fixed.shape == fixed_mask.shape == (len(TEXTS), 64)
    assert torch.equal(fixed[:, :length], ids) and not fixed[:, length:].any()
    assert torch.equal(fixed_mask[:, :length], mask) and not fixed_mask[:, length:].any()


@pytest.mark.parametrize("words", [61, 62, 63, 200])
def test_a_long_text_is_cut_to_64_tokens_and_keeps_its_end_mark(tokenizer, words):
    ids, mask = encode_texts(tokenizer, ["red " * words])
    assert ids.shape == (1, min(words + 2, 64))
    assert ids[0, 0] == 2 and ids[0, -1] == 3 and mask.all()
    assert (ids[0, 1:-1] == ids[0, 1]).all()


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


@pytest.mark.skipif(not (REAL / "alt_text").exists(), reason="../shared/real is not here")
def test_real_alt_text_in_many_scripts_trains_the_same_twice(tmp_path):
    texts = read_pairs(REAL / "alt_text" / "web_10000.parquet")["caption"].to_pylist()
    texts = [text for text in texts if text]
    first, second = (train_wordpiece(order, 4000) for order in (texts, texts[::-1]))
    assert first.to_str() == second.to_str()
    ids, mask = encode_texts(first, texts)
    assert ids.shape[1] <= 64
    assert ((ids == 1) & (mask == 1)).sum() / mask.sum() < 0.01  # nearly no [UNK]


def test_a_vocabulary_larger_than_the_text_allows_says_how_many_it_gives():
    with pytest.raises(InputError, match="larger than these texts allow") as error:
        train_wordpiece(TEXTS, 5000)
    possible = int(str(error.value).split("give ")[1].split()[0])
    assert train_wordpiece(TEXTS, possible).get_vocab_size() == possible
    for texts in (TEXTS, []):
        with pytest.raises(InputError, match="letters"):
            train_wordpiece(texts, 4)


def test_what_is_no_tokenizer_file_is_refused(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(InputError, match="no such file"):
        load_wordpiece(path)
    path.write_text('{"model": 1}')
    with pytest.raises(InputError, match="not a tokenizer file"):
        load_wordpiece(path)
    path.write_text(tokenizer.to_str().replace('"[PAD]"', '"[XXX]"'))
    with pytest.raises(InputError, match="first five"):
        load_wordpiece(path)
