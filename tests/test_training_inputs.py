"""What people really train on: broken pictures, odd captions, wrong numbers, full disks."""

import io
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from align_edu.cli import main
from align_edu.io import InputError
from align_edu.loss import contrastive_loss, sigmoid_loss
from align_edu.model.text_tower import encode_texts, train_wordpiece
from align_edu.pairs import open_pairs
from align_edu.pairs.shards import PairSource
from align_edu.presets import replace_fields
from align_edu.training import TrainingStopped, train
from align_edu.training import batches as module
from align_edu.training.batches import TrainingBatches
from align_edu.training.metrics import MetricsLog, best_loss, loss_range, read_metrics
from align_edu.training.recipe import Budget
from tests.samples import write_tar
from tests.test_training import TINY

WORDS = train_wordpiece(["a red cat [sep] cat 0 1 2 3 4 5 6 7 8 9"] * 2, 60, at_most=True)
STREAMED = {"recipe.pixel_cache_gib": "0"}


def jpeg(number, size=(48, 40)):
    file = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size).save(file, "JPEG")
    return file.getvalue()


def shard(folder, count, broken=(), caption="a red cat {}"):
    """Write one shard; of the ``broken`` pairs the picture is no image."""
    members = []
    for i in range(count):
        members.append((f"{i:05d}.jpg", b"no image" if i in broken else jpeg(i)))
        members.append((f"{i:05d}.txt", caption.format(i).encode()))
    write_tar(folder / "00000.tar", members)
    return folder


def fit(shards, out, steps=1, changes=None, **options):
    preset = replace_fields(TINY, changes or {})
    return train(preset, [shards], out, steps=steps, progress=False, processes=1, **options)


def batches_of(folder, changes, **options):
    preset = replace_fields(TINY, changes)
    return TrainingBatches(open_pairs([folder]), WORDS, preset, seed=0, **options)


# --- broken pictures


@pytest.mark.parametrize("cache", ["2.0", "0"])
def test_broken_pictures_are_counted_once_and_no_batch_holds_a_pair_twice(tmp_path, cache):
    broken = set(range(10, 280))
    changes = {"recipe.pixel_cache_gib": cache, "recipe.batch_size": "16"}
    batches = batches_of(shard(tmp_path / "w", 300, broken), changes)
    steps = batches.from_step(0)
    for _ in range(4):  # epochs of one batch: 30 readable pairs
        (batch,) = next(steps)
        assert len(set(batch.texts)) == 16
        assert not {f"a red cat {i}" for i in broken} & set(batch.texts)
    assert batches.skipped == {"not an image": 270}
    with pytest.raises(InputError, match="30 readable pairs .* of 64 .skipped: 270 not an image"):
        batches_of(tmp_path / "w", changes | {"recipe.batch_size": "64"})


@pytest.mark.parametrize("workers", ["0", "1"])
def test_when_no_picture_of_a_long_epoch_can_be_read_the_message_names_the_reason(
    tmp_path, monkeypatch, workers
):
    monkeypatch.setattr(module, "_SHORT", 0)
    folder = shard(tmp_path / "w", 32, range(32))
    with pytest.raises(InputError, match="not an image") as caught:
        fit(folder, tmp_path / "run", changes=STREAMED | {"recipe.workers": workers})
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


def test_in_a_long_epoch_another_batch_of_it_stands_in_for_a_broken_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SHORT", 0)  # as if the epoch were too long to try all first
    monkeypatch.setattr(module, "_PIECE", 4)
    broken = set(range(0, 240, 3))
    folder = shard(tmp_path / "w", 240, broken)
    changes = STREAMED | {"recipe.batch_size": "16", "recipe.workers": "2"}
    runs = [batches_of(folder, changes | {"recipe.workers": n}) for n in ("0", "2")]
    steps = [run.from_step(0) for run in runs]
    for _ in range(45):  # three epochs
        (one,), (two,) = next(steps[0]), next(steps[1])
        assert one.texts == two.texts and torch.equal(one.crops, two.crops)
        assert len(set(one.texts)) == 16
    assert runs[0].skipped == runs[1].skipped == {"not an image": 80}


# --- the loader


def test_a_batch_comes_in_pieces_and_its_chunks_are_those_of_the_gradient_cache(
    tmp_path, monkeypatch
):
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
    decoded = Counter()
    decode = module.decode_image
    monkeypatch.setattr(
        module, "decode_image", lambda data, **o: decoded.update([data]) or decode(data, **o)
    )
    batches = TrainingBatches(five, WORDS, TINY, seed=0)
    assert list(decoded.values()) == [1] * 20
    alone = TrainingBatches(one, WORDS, TINY, seed=0).pictures
    for pair in range(100):
        assert torch.equal(batches.pictures[batches.picture_of[pair]], alone[pair // 5])


# --- captions


@pytest.mark.parametrize("text", ["a [SEP] cat", "[PAD]", "[CLS][MASK]", "[UNK] cat"])
def test_names_of_special_tokens_in_a_text_are_plain_pieces(text):
    (ids,), _ = encode_texts(WORDS, [text])
    assert ids[0] == 2 and ids[-1] == 3
    plain = text.replace("[", "[ ").replace("]", " ]")
    assert torch.equal(ids, encode_texts(WORDS, [plain])[0][0])
    assert not set(ids[1:-1].tolist()) & {0, 2, 3, 4}


def test_half_of_a_surrogate_pair_is_a_replacement_character_in_texts_and_vocabularies():
    lone, replaced = "a \ud83d cat", "a \ufffd cat"
    assert torch.equal(encode_texts(WORDS, [lone])[0], encode_texts(WORDS, [replaced])[0])
    assert train_wordpiece([lone] * 2, 20, at_most=True).to_str() == (
        train_wordpiece([replaced] * 2, 20, at_most=True).to_str()
    )


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
    few = shard(tmp_path / "few", 64, caption="a red cat")
    changes = [part for item in (
        "recipe.batch_size=16", "image.width=0.1", "image.depth=0.1", "text.vocabulary_size=300"
    ) for part in ("--set", item)]  # fmt: skip
    command = ["train", "--data", str(few), "--steps", "1", *changes]
    assert main([*command, "--out", str(tmp_path / "one")]) == 0
    shown = capsys.readouterr().err
    note = next(line for line in shown.splitlines() if line.startswith("note: 64 pairs"))
    assert "1 distinct captions" in note and "below about 5.5" in note  # chance: 2 ln 16
    assert shown.index(note) < shown.index("floor")
    assert main([*command[:2], str(shard(tmp_path / "many", 64)), *command[3:],
                 "--out", str(tmp_path / "two")]) == 0  # fmt: skip
    assert "distinct captions" not in capsys.readouterr().err


# --- the run's folder


def test_a_run_is_not_resumed_with_another_vocabulary(tmp_path):
    folder, out = shard(tmp_path / "w", 32), tmp_path / "run"
    fit(folder, out, tokenizer=WORDS)
    other = train_wordpiece(["a red dog"] * 2, 30, at_most=True)
    with pytest.raises(InputError, match="vocabulary differs"):
        (out / "model.safetensors").unlink()
        fit(folder, out, tokenizer=other, resume=True)
    before = (out / "tokenizer.json").read_bytes()
    fit(folder, out, tokenizer=WORDS, resume=True)
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
    rights = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}
    assert len(files) == 5
    del rights["metrics.jsonl"]  # made by the run that failed
    assert set(rights.values()) == {0o640}


def test_a_disk_that_fills_while_metrics_are_written_is_one_sentence(tmp_path):
    log = MetricsLog(tmp_path, TINY, Budget(steps=9), 0, 0.0)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit fails as on a full disk
    limits, row = resource.getrlimit(resource.RLIMIT_FSIZE), (0.1, torch.tensor(0.2), 1e-3)
    with (
        pytest.raises(InputError, match="metrics.jsonl: cannot be written"),
        log,
    ):
        log.losses = [torch.tensor(5.0)]
        log.write(1, 1.0, *row)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
        try:
            log.losses = [torch.tensor(5.0)]
            log.write(2, 2.0, *row)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
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


def test_a_user_without_a_name_trains_and_compiles():
    done = subprocess.run([sys.executable, "-c", NOBODY], capture_output=True, text=True)
    assert done.returncode == 0 and "KeyError" not in done.stderr, done.stderr
    assert done.stdout == "True\n" or "is not compiled" in done.stderr
