"""What people train on: word pieces, broken pictures, odd captions, full disks; and from a run."""

import json
import os
import shutil
import stat
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from align_edu import load_run
from align_edu.cli import main
from align_edu.io import InputError
from align_edu.loss import contrastive_loss, sigmoid_loss
from align_edu.model.text_tower import encode_texts, load_wordpiece, save_wordpiece, train_wordpiece
from align_edu.pairs import open_pairs
from align_edu.pairs.shards import PairSource
from align_edu.presets import Preset, fine_tuning, replace_fields
from align_edu.training import TrainingStopped, load_preset, train
from align_edu.training import batches as module
from align_edu.training.batches import TrainingBatches
from align_edu.training.metrics import MetricsLog, best_loss, loss_range, read_metrics
from align_edu.training.recipe import Budget
from tests import samples
from tests.samples import DATA, MODEL, pair, picture, refused, write_split, write_tar
from tests.test_training import TINY

WORDS = train_wordpiece(["a red cat [sep] cat 0 1 2 3 4 5 6 7 8 9"] * 2, 60, at_most=True)
STREAMED = {"recipe.pixel_cache_gib": "0"}
TEXTS = [
    f"{size} {colour} {kind} {place}"
    for size in ("small", "large")
    for colour in ("red", "green", "blue", "yellow")
    for kind in ("cat", "cats", "dog", "dogs", "bicycle")
    for place in ("on a beach", "in the snow", "at night")
]
SIZE = 80


def shard(folder, count, broken=(), caption="a red cat {}"):
    """Write one shard; of the ``broken`` pairs the picture is no image."""
    images = (b"no image" if i in broken else picture(i) for i in range(count))
    pairs = (pair(f"{i:05d}", caption.format(i), image) for i, image in enumerate(images))
    return write_tar(folder / "00000.tar", sum(pairs, [])).parent


def fit(shards, out, steps=1, changes=None, **options):
    preset = replace_fields(TINY, changes or {})
    options = {"progress": False, "processes": 1} | options
    return train(preset, [shards], out, steps=steps, **options)


def batches_of(folder, changes, **options):
    preset = replace_fields(TINY, changes)
    return TrainingBatches(open_pairs([folder]), WORDS, preset, seed=0, **options)


@pytest.mark.parametrize("cache", ["2.0", "0"])
def test_broken_pictures_are_counted_once_and_no_batch_holds_a_pair_twice(tmp_path, cache):
    broken = set(range(10, 280))
    changes = {"recipe.pixel_cache_gib": cache}
    batches = batches_of(shard(tmp_path / "w", 300, broken), changes)
    steps = batches.from_step(0)
    for _ in range(4):  # epochs of one batch: 30 readable pairs
        (batch,) = next(steps)
        assert len(set(batch.texts)) == 16
        assert not {f"a red cat {i}" for i in broken} & set(batch.texts)
    assert batches.skipped == {"not an image": 270}
    larger = changes | {"recipe.batch_size": "64"}
    words = "30 readable pairs .* of 64 .skipped: 270 not an image"
    refused(words, batches_of, tmp_path / "w", larger)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_when_no_picture_can_be_read_the_message_names_the_reason(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(module, "_SHORT", 0)
    folder = shard(tmp_path / "w", 32, range(32))
    changes, run = STREAMED | {"recipe.workers": workers}, tmp_path / "run"
    assert "Traceback" not in refused("not an image", fit, folder, run, changes=changes)


def test_in_a_long_epoch_another_batch_of_it_stands_in_for_a_broken_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SHORT", 0)  # as if the epoch were too long to try all first
    monkeypatch.setattr(module, "_PIECE", 4)
    folder = shard(tmp_path / "w", 240, broken=range(0, 240, 3))
    runs = [batches_of(folder, STREAMED | {"recipe.workers": n}) for n in ("0", "2")]
    steps = [run.from_step(0) for run in runs]
    for _ in range(45):  # three epochs
        (one,), (two,) = next(steps[0]), next(steps[1])
        assert one.texts == two.texts and torch.equal(one.crops, two.crops)
        assert len(set(one.texts)) == 16
    assert runs[0].skipped == runs[1].skipped == {"not an image": 80}


def test_a_batch_comes_in_the_chunks_of_the_gradient_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 8)
    changes = STREAMED | {"recipe.batch_size": "35", "recipe.chunk": "10"}
    batches = batches_of(shard(tmp_path / "w", 70), changes, rows=range(5, 35))
    chunks, whole = next(batches.from_step(1)), batches[1]
    assert [len(chunk.texts) for chunk in chunks] == [10, 10, 10]
    assert sum((chunk.texts for chunk in chunks), []) == whole.texts
    assert torch.equal(torch.cat([chunk.crops for chunk in chunks]), whole.crops)
    assert all((chunk.mask.sum(1) == (chunk.ids > 0).sum(1)).all() for chunk in chunks)


def test_a_picture_with_several_captions_is_decoded_once(tmp_path, monkeypatch):
    one = open_pairs([shard(tmp_path / "w", 20)])
    five = PairSource(
        [f"{text} {i}" for text in one.captions for i in range(5)],
        [f"{key}#{i}" for key in one.keys for i in range(5)],
        shards=one.shards, places=one.places.repeat(5, axis=0),
    )  # fmt: skip
    decode = mock.Mock(wraps=module.decode_image)
    monkeypatch.setattr(module, "decode_image", decode)
    batches = TrainingBatches(five, WORDS, TINY, seed=0)
    assert decode.call_count == 20
    alone = TrainingBatches(one, WORDS, TINY, seed=0).pictures
    assert torch.equal(batches.pictures[batches.picture_of], alone.repeat_interleave(5, dim=0))


@pytest.mark.parametrize("text", ["a [SEP] cat", "[PAD]", "[CLS][MASK]", "[UNK] cat"])
def test_names_of_special_tokens_in_a_text_are_plain_pieces(text):
    (ids,), _ = encode_texts(WORDS, [text])
    assert ids[0] == 2 and ids[-1] == 3
    plain = text.replace("[", "[ ").replace("]", " ]")
    assert torch.equal(ids, encode_texts(WORDS, [plain])[0][0])
    assert not set(ids[1:-1].tolist()) & {0, 2, 3, 4}


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_the_best_loss_of_repeated_captions_is_that_of_the_best_model(kind):
    changes = {"recipe.batch_size": "60", "loss.kind": kind, "loss.label_smoothing": "0.1"}
    preset = replace_fields(TINY, changes)
    x = torch.eye(3, dtype=torch.double).repeat(20, 1)  # as if a model knew each caption's pictures
    if kind == "softmax":
        losses = [contrastive_loss(x, x, 1 / g, label_smoothing=0.1) for g in np.arange(1, 9, 0.01)]
    else:  # cosines of 1 answer 1 in 20, cosines of 0 answer never
        bias = np.log(1 / 19) - 1e3
        losses = [sigmoid_loss(x, x, 1e-3, bias)]
    best = best_loss(preset, np.array([20, 20, 20]))
    assert best == pytest.approx(min(loss.item() for loss in losses), rel=1e-4)
    assert loss_range(preset, 1.0)[0] < best < loss_range(preset, 1.0)[1]


def test_captions_that_repeat_are_reported_before_the_first_step(tmp_path, capsys):
    fit(shard(tmp_path / "few", 64, caption="a red cat"), tmp_path / "one", progress=True)
    shown = capsys.readouterr().err
    note = next(line for line in shown.splitlines() if line.startswith("note: 64 pairs"))
    assert "1 distinct captions" in note and "below about 5.5" in note  # chance: 2 ln 16
    assert shown.index(note) < shown.index("floor")
    fit(shard(tmp_path / "many", 64), tmp_path / "two", progress=True)
    assert "distinct captions" not in capsys.readouterr().err


def test_a_run_is_not_resumed_with_another_vocabulary(tmp_path):
    folder, out = shard(tmp_path / "w", 32), tmp_path / "run"
    fit(folder, out, tokenizer=WORDS)
    before = (out / "tokenizer.json").read_bytes()
    (out / "model.safetensors").unlink()
    other = train_wordpiece(["a red dog"] * 2, 30, at_most=True)
    refused("vocabulary differs", fit, folder, out, tokenizer=other, resume=True)
    fit(folder, out, resume=True)
    assert (out / "tokenizer.json").read_bytes() == before


def test_a_run_that_fails_at_once_leaves_its_folder_free_and_files_have_usual_rights(tmp_path):
    folder, out = shard(tmp_path / "w", 32), tmp_path / "run"
    wrong = {"recipe.learning_rate": "1e30", "recipe.log_steps": "1"}
    with pytest.raises(TrainingStopped):
        fit(folder, out, steps=4, changes=wrong)
    before = os.umask(0o027)
    try:
        fit(folder, out, steps=4)
    finally:
        os.umask(before)
    assert [row["step"] for row in read_metrics(out)] == [4]
    assert json.loads((out / "config.json").read_text())["preset"] == TINY.to_dict()
    files = [file for file in out.rglob("*") if file.is_file()]
    made = {stat.S_IMODE(f.stat().st_mode) for f in files if f.name != "metrics.jsonl"}
    assert made == {0o640} and len(files) == 5  # metrics.jsonl is of the run that failed


def test_a_disk_that_fills_while_metrics_are_written_is_one_sentence(tmp_path):
    log = MetricsLog(tmp_path, TINY, Budget(steps=9), 0, 0.0)
    row = (0.1, torch.tensor(0.2), 1e-3)
    with pytest.raises(InputError, match="metrics.jsonl: cannot be written"), log:
        log.losses = [torch.tensor(5.0)]
        log.write(1, 1.0, *row)
        log.losses = [torch.tensor(5.0)]
        with samples.disk_of(300):
            log.write(2, 2.0, *row)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1]


NOBODY = """
import os, pwd, torch
from align_edu.training.loop import compiled_or_same
pwd.getpwuid = {}.__getitem__
for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "TORCHINDUCTOR_CACHE_DIR"):
    os.environ.pop(name, None)
tower = torch.nn.Conv2d(3, 3, 1)
print(compiled_or_same(tower, torch.zeros(2, 3, 4, 4)) is not tower)
"""


@pytest.mark.long
def test_a_user_without_a_name_trains_and_compiles():
    done = subprocess.run([sys.executable, "-c", NOBODY], capture_output=True, text=True)
    assert done.returncode == 0 and "KeyError" not in done.stderr, done.stderr
    assert done.stdout == "True\n" or "is not compiled" in done.stderr


@pytest.fixture(scope="module")
def karpathy(tmp_path_factory):
    """Twenty images of the sample: 0 to 9 for training, 10 to 13 restval, the others test."""
    folder = tmp_path_factory.mktemp("karpathy")
    (folder / "images").symlink_to(DATA / "benchmark" / "images")
    images = json.loads((DATA / "benchmark" / "dataset_toy.json").read_text())["images"][:20]
    for number, image in enumerate(images):
        image["split"] = "train" if number < 10 else "restval" if number < 14 else "test"
    return write_split(folder, images)


def short() -> Preset:
    changes = {"recipe.batch_size": "32", "recipe.checkpoint_steps": "2"}
    return replace_fields(fine_tuning(load_preset(MODEL), 4), changes)


def test_each_text_of_the_training_splits_is_a_pair_with_its_image(karpathy):
    pairs = open_pairs([karpathy])
    images = json.loads((DATA / "benchmark" / "dataset_toy.json").read_text())["images"][:14]
    expected = [(text["raw"], image["filename"]) for image in images for text in image["sentences"]]
    assert list(zip(pairs.captions, pairs.names, strict=True)) == expected
    assert len(set(pairs.keys)) == len(pairs) == 70
    for number in (0, 4, 5, 69):
        assert pairs.image_bytes(number) == (karpathy / "images" / expected[number][1]).read_bytes()


def test_it_starts_from_the_weights_and_the_vocabulary_of_the_run(karpathy, tmp_path):
    still = replace_fields(short(), {"recipe.learning_rate": "0.0"})
    run = train(still, [karpathy], tmp_path / "run", start=MODEL, progress=False)
    before = load_run(MODEL)
    assert run.tokenizer.get_vocab() == before.tokenizer.get_vocab()
    assert all(map(torch.equal, run.model.parameters(), before.model.parameters()))


def test_it_resumes_to_the_same_weights_and_refuses_another_start(karpathy, tmp_path):
    run = train(short(), [karpathy], tmp_path / "run", start=MODEL, progress=False)
    weights = run.folder / "model.safetensors"
    whole = weights.rename(tmp_path / "model.safetensors").read_bytes()
    max((run.folder / "checkpoints").iterdir()).unlink()  # as if it was cut at step 2
    train(short(), [karpathy], run.folder, start=MODEL, resume=True, progress=False)
    assert weights.read_bytes() == whole
    shutil.copy(run.folder / "tokenizer.json", tmp_path)
    again = {"start": tmp_path, "resume": True, "progress": False}
    refused("start differs", train, short(), [karpathy], run.folder, **again)


def test_what_cannot_be_started_from_is_refused_in_one_line(karpathy, tmp_path):
    words = load_run(MODEL).tokenizer
    wider = replace_fields(short(), {"image.width": "0.5"})
    for preset, data, start, tokenizer, message in (
        (short(), karpathy, tmp_path, None, r"model\.safetensors: no such file"),
        (short(), karpathy, MODEL, words, "takes its vocabulary; leave yours out"),
        (wider, karpathy, MODEL, None, "weights of another preset"),
        (short(), DATA / "benchmark", MODEL, None, "no image of split 'train'"),
    ):
        refused(message, train, preset, [data], tmp_path / "run", start=start, tokenizer=tokenizer)


def test_the_command_line_fine_tunes_a_run(karpathy, tmp_path, capsys):
    common = ["train", "--data", str(karpathy), "--from", str(MODEL), "--steps", "2"]
    assert main([*common, "--out", str(tmp_path / "few")]) == 2  # 70 pairs
    assert "do not fill one batch of 128" in capsys.readouterr().err
    common += ["--set", "recipe.batch_size=32"]
    assert main([*common, "--out", str(tmp_path / "run"), "--json"]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["preset"]["recipe"]["learning_rate"] == pytest.approx(1.4e-4)
    assert config["preset"]["recipe"]["batch_size"] == 32 and len(config["start"]) == 64


def test_the_same_texts_in_any_order_and_process_give_the_same_file():
    code = (
        f"import sys; sys.path.insert(0, {str(samples.ROOT)!r})\n"
        "from tests.test_training_inputs import TEXTS, SIZE, train_wordpiece\n"
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
