"""The recipe, the loop, its checkpoints, and what it says when something is wrong."""

import dataclasses
import itertools
import json
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from align_edu.io import InputError
from align_edu.model.align import Align
from align_edu.presets import Recipe, get_preset, replace_fields
from align_edu.training import Budget, TrainingStopped, build_optimizer, load_run, loop, step, train
from align_edu.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from align_edu.training.metrics import read_metrics
from align_edu.training.recipe import learning_rate_factor
from align_edu.world import World

TINY = replace_fields(
    get_preset("toy"),
    {
        "image.width": "0.1",
        "image.depth": "0.1",
        "image.resize": "40",
        "image.crop": "33",
        "text.layers": "1",
        "text.width": "32",
        "text.vocabulary_size": "300",
        "recipe.batch_size": "16",
        "recipe.compile": "false",
        "recipe.checkpoint_steps": "5",
        "recipe.log_steps": "5",
    },
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return World(seed=3, image_size=40).write(tmp_path_factory.mktemp("toy") / "w", 200, workers=1)


def weights(folder):
    return (Path(folder) / "model.safetensors").read_bytes()


def test_the_learning_rate_rises_from_zero_and_falls_to_zero_in_straight_lines():
    recipe = get_preset("l2_large").recipe
    rate = [
        recipe.learning_rate * learning_rate_factor(done / recipe.steps, recipe.warmup)
        for done in (0, 5_000, 10_000, 605_000, 1_200_000)
    ]
    assert rate == pytest.approx([0, 5e-4, 1e-3, 5e-4, 0])


def test_a_run_is_as_long_as_its_steps_or_its_minutes():
    assert Budget(steps=10).progress(5, 99.0) == 0.5
    assert Budget(minutes=2).progress(5, 60.0) == 0.5
    too_much = {"steps": 1, "minutes": 1}
    never = [{"minutes": minutes} for minutes in (0, -1, math.nan, math.inf)]
    for wrong in ({}, too_much, {"steps": 0}, *never):
        with pytest.raises(InputError, match="the length of the run"):
            Budget(**wrong)


def test_no_step_stands_at_the_beginning_or_the_end_where_the_learning_rate_is_zero():
    assert [Budget(steps=4).of_step(done, 99.0) for done in range(4)] == [
        0.125,
        0.375,
        0.625,
        0.875,
    ]
    assert Budget(minutes=2).of_step(0, 0.0) > 0
    assert Budget(minutes=2).of_step(9, 90.0) == 0.75


@pytest.mark.parametrize("optimizer", ["adamw", "lamb", "muon"])
def test_a_single_step_changes_the_weights(shards, tmp_path, optimizer):
    preset = replace_fields(TINY, {"recipe.optimizer": optimizer})
    run = train(preset, [shards], tmp_path / "run", steps=1, progress=False)
    (row,) = read_metrics(run.folder)
    assert row["learning_rate"] > 0
    untrained = Align(preset, run.tokenizer.get_vocab_size(), seed=0)
    same = [
        name
        for (name, p), (_, new) in zip(
            untrained.named_parameters(), run.model.named_parameters(), strict=True
        )
        if torch.equal(p, new)
    ]
    assert not [name for name in same if "bias" not in name]


def lamb_by_hand(value, gradient, lr, decay, steps=2, beta1=0.9, beta2=0.999, eps=1e-6):
    """Algorithm 2 of You et al. (2020) on one tensor, with bias correction."""
    m, v = torch.zeros_like(value), torch.zeros_like(value)
    for t in range(1, steps + 1):
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        r = (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + eps)
        update = r + decay * value
        value = value - lr * value.norm() / update.norm() * update
    return value


def test_lamb_adapts_every_parameter_and_does_not_clip_gradients():
    torch.manual_seed(0)
    model = nn.Linear(3, 4)
    gradients = {name: 100 * torch.randn_like(p) for name, p in model.named_parameters()}
    expected = {
        name: lamb_by_hand(p.detach().clone(), gradients[name], 1e-2, 1e-5)
        for name, p in model.named_parameters()
    }
    optimizer = build_optimizer(model, Recipe(learning_rate=1e-2))
    for _ in range(2):
        for name, p in model.named_parameters():
            p.grad = gradients[name].clone()
        optimizer.step()
    for name, p in model.named_parameters():
        assert torch.allclose(p, expected[name], atol=1e-6), name


def test_lamb_leaves_batch_norm_without_weight_decay():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    decayed, plain = build_optimizer(model, Recipe()).param_groups
    assert decayed["weight_decay"] == 1e-5 and plain["weight_decay"] == 0.0
    assert {id(p) for p in plain["params"]} == {id(p) for p in model[1].parameters()}


def test_training_lowers_the_loss_and_leaves_a_whole_run(shards, tmp_path):
    run = train(TINY, [shards], tmp_path / "run", steps=60, progress=False)
    rows = read_metrics(run.folder)
    assert [row["step"] for row in rows] == list(range(5, 61, 5))
    assert rows[0]["chance"] == pytest.approx(2 * math.log(16))
    assert rows[-1]["loss"] < 0.85 * rows[0]["loss"]
    assert rows[-1]["loss"] > rows[-1]["floor"]
    # The last step is half a step from the end of a fall that takes all but the warm-up.
    fall = (0.5 / 60) / (1 - TINY.recipe.warmup)
    assert rows[-1]["learning_rate"] == pytest.approx(TINY.recipe.learning_rate * fall)
    assert rows[-1]["pairs_seen"] == 60 * 16
    loaded = load_run(run.folder)
    texts = ["a red cat", "two dogs on a beach in the rain"]
    assert torch.equal(loaded.encode_texts(texts), run.encode_texts(texts))
    pictures = [Image.effect_mandelbrot((90, 70), (-2, -1, 1, 1), n) for n in range(3, 12)]
    pictures = [picture.convert("RGB") for picture in pictures]
    assert torch.equal(loaded.encode_images(pictures), run.encode_images(pictures))
    assert len(list((run.folder / "checkpoints").iterdir())) == 2


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(shards, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(TINY, [shards], tmp_path / name, steps=8, seed=seed, progress=False)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


@pytest.mark.parametrize("optimizer", ["adamw", "lamb", "muon"])
def test_a_run_cut_at_a_checkpoint_ends_as_the_unbroken_one(shards, tmp_path, optimizer):
    preset = replace_fields(TINY, {"recipe.optimizer": optimizer, "text.dropout": "0.1"})
    train(preset, [shards], tmp_path / "whole", steps=20, progress=False)
    cut = tmp_path / "cut"
    train(preset, [shards], cut, steps=20, progress=False)
    newest_checkpoint(cut / "checkpoints").unlink()  # now the last one is of step 15
    (cut / "model.safetensors").unlink()
    train(preset, [shards], cut, steps=20, resume=True, progress=False)
    assert weights(cut) == weights(tmp_path / "whole")
    steps = [row["step"] for row in read_metrics(cut)]
    assert steps == [5, 10, 15, 20]


def test_workers_that_read_uncached_pictures_change_nothing(shards, tmp_path):
    train(TINY, [shards], tmp_path / "cached", steps=6, progress=False)
    for workers in ("0", "2"):
        preset = replace_fields(TINY, {"recipe.pixel_cache_gib": "0", "recipe.workers": workers})
        train(preset, [shards], tmp_path / workers, steps=6, progress=False)
        assert weights(tmp_path / workers) == weights(tmp_path / "cached")


KILLER = """
import dataclasses, os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.test_training import TINY, train

data, out = sys.argv[2:4]
chance, kills = random.Random(8), 0
while True:
    child = os.fork()
    if child == 0:
        train(TINY, [data], out, steps=200, resume=True, progress=False)
        os._exit(0)
    if kills < 10:
        before = {p.name for p in Path(out, "checkpoints").glob("*")}
        while kills and before == {p.name for p in Path(out, "checkpoints").glob("0*")}:
            time.sleep(0.002)  # each life gets at least one checkpoint further
        time.sleep(chance.random() * 0.15)
        os.kill(child, signal.SIGKILL)
        kills += 1
    if os.waitpid(child, 0)[1] == 0:
        break
print(kills)
"""


def test_killed_at_ten_random_moments_a_run_ends_bit_for_bit_as_the_unbroken_one(shards, tmp_path):
    train(TINY, [shards], tmp_path / "whole", steps=200, progress=False)
    script = tmp_path / "killer.py"
    script.write_text(KILLER)
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, script, root, str(shards), str(tmp_path / "killed")],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.stdout.split() == ["10"], done.stderr
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


def test_a_loss_that_is_not_finite_stops_the_run_with_one_sentence(shards, tmp_path):
    preset = replace_fields(TINY, {"recipe.learning_rate": "1e30"})
    with pytest.raises(TrainingStopped, match="the loss is nan; lower recipe.learning_rate"):
        train(preset, [shards], tmp_path / "run", steps=40, progress=False)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_folder_with_a_run_is_not_overwritten(shards, tmp_path):
    train(TINY, [shards], tmp_path / "run", steps=2, progress=False)
    before = weights(tmp_path / "run")
    with pytest.raises(InputError, match="--resume"):
        train(TINY, [shards], tmp_path / "run", steps=2, progress=False)
    with pytest.raises(InputError, match="preset differs"):
        other = replace_fields(TINY, {"text.layers": "2"})
        train(other, [shards], tmp_path / "run", steps=2, resume=True, progress=False)
    with pytest.raises(InputError, match="seed differs"):
        train(TINY, [shards], tmp_path / "run", steps=2, seed=1, resume=True, progress=False)
    assert weights(tmp_path / "run") == before


def test_weights_of_another_size_are_refused_in_one_line(shards, tmp_path):
    run = train(TINY, [shards], tmp_path / "run", steps=2, progress=False)
    tensors = load_file(run.folder / "model.safetensors")
    tensors["text_tower.projection.bias"] = torch.zeros(3)
    save_file(tensors, run.folder / "model.safetensors")
    with pytest.raises(InputError, match="another preset or size"):
        load_run(run.folder)
    (run.folder / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_run(run.folder)
    (run.folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="not finished"):
        load_run(run.folder)


def test_too_few_pairs_for_one_batch_are_refused(shards, tmp_path):
    preset = replace_fields(TINY, {"recipe.batch_size": "4096"})
    with pytest.raises(InputError, match="do not fill one batch of 4096"):
        train(preset, [shards], tmp_path / "run", steps=1, progress=False)


def test_a_full_disk_keeps_the_older_checkpoint(tmp_path):
    model = nn.Linear(64, 64)
    optimizer = build_optimizer(model, Recipe(optimizer="adamw"))
    model(torch.ones(1, 64)).sum().backward()
    optimizer.step()
    older = save_checkpoint(tmp_path, model, optimizer, {"step": 1})
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit fails as on a full disk
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, limits[1]))
    try:
        with pytest.raises(InputError, match="cannot be written"):
            save_checkpoint(tmp_path, model, optimizer, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == [older.name]
    assert load_checkpoint(older, model, optimizer) == {"step": 1}


def test_a_checkpoint_holds_no_pickle_and_names_its_step(tmp_path):
    model = nn.Linear(2, 2)
    path = save_checkpoint(tmp_path, model, build_optimizer(model, Recipe()), {"step": 7})
    header_size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + header_size])
    assert json.loads(header["__metadata__"]["state"]) == {"step": 7}


def test_the_minutes_are_honoured_and_the_learning_rate_ends_near_zero(
    shards, tmp_path, monkeypatch
):
    # Each look at the clock is an eighth of a second later; a step takes one look.
    clock = itertools.count(start=100.0, step=0.125)
    for module in (loop, step):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    run = train(TINY, [shards], tmp_path / "run", minutes=0.05, progress=False)
    last = read_metrics(run.folder)[-1]
    assert (last["step"], last["seconds"]) == (24, 3.0)
    assert 0 < last["learning_rate"] < 0.05 * TINY.recipe.learning_rate


def test_the_step_of_a_preset_is_its_default_length(shards, tmp_path):
    preset = dataclasses.replace(TINY, recipe=dataclasses.replace(TINY.recipe, steps=3))
    run = train(preset, [shards], tmp_path / "run", progress=False)
    assert read_metrics(run.folder)[-1]["step"] == 3
