"""Several processes train the model that one process would, and survive the loss of one."""

import os
import re
import signal
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from align_edu import World, train
from align_edu.presets import get_preset, replace_fields
from align_edu.training import gradient_cache as step
from align_edu.training.metrics import read_metrics
from tests.processes import (
    children_of,
    last_checkpoint,
    run_processes,
    start_training,
    wait_for,
)

SETTINGS = {
    "image.ghost_batch": "4", "image.width": "0.2", "image.depth": "0.2", "image.resize": "38",
    "image.crop": "32", "text.layers": "1", "text.width": "32", "text.vocabulary_size": "300",
    "recipe.batch_size": "32", "recipe.optimizer": "lamb", "recipe.learning_rate": "0.01",
    "recipe.checkpoint_steps": "5", "recipe.log_steps": "1",
}  # fmt: skip
LONG = os.environ.get("ALIGN_EDU_LONG") == "1"  # make test-long
PRESET = replace_fields(get_preset("toy"), SETTINGS)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute with one thread, as each of the processes does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return World(seed=5, image_size=38).write(
        tmp_path_factory.mktemp("world"), pairs=200, workers=1, progress=False
    )


def train_here(rank, preset, shards, out, steps):
    """Train in float64, where only the order of additions differs."""
    in_float32 = step.scale_pixels
    torch.set_default_dtype(torch.float64)
    step.scale_pixels = lambda pictures: in_float32(pictures).double()
    try:
        train(preset, [shards], out, steps=steps, progress=False)
    finally:
        torch.set_default_dtype(torch.float32)
        step.scale_pixels = in_float32
    return torch.tensor(rank)


STEPS = 6


@pytest.fixture(scope="module")
def alone(shards, tmp_path_factory):
    """The weights after the steps of one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    train_here(0, PRESET, shards, out, STEPS)
    return load_file(out / "model.safetensors")


def assert_same_model(ours, theirs):
    """Equal to a millionth of each tensor's norm.

    float32 is too coarse: the gradient of a bias before a BatchNorm is only rounding, and LAMB
    divides a gradient by its size. In float64 that rounding is far below LAMB's epsilon of 1e-6.
    A missing factor or a wrong statistic makes a difference of per cents.
    """
    assert ours.keys() == theirs.keys()
    for name, other in theirs.items():
        off = (ours[name].double() - other.double()).norm()
        assert off <= 1e-6 * other.double().norm() + 1e-9, (name, off.item())


@pytest.mark.parametrize(
    ("count", "changes"), [(4, {}), (2, {"recipe.chunk": "8", "loss.tile": "5"})]
)
def test_processes_chunks_and_tiles_give_the_same_model(shards, alone, tmp_path, count, changes):
    preset = replace_fields(PRESET, changes)
    run_processes(count, train_here, preset, shards, tmp_path / "run", STEPS)
    assert_same_model(load_file(tmp_path / "run" / "model.safetensors"), alone)


@pytest.mark.longer
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_a_process_may_pause_and_a_killed_one_stops_the_run_which_resumes_with_fewer(
    shards, tmp_path
):
    out = tmp_path / "run"
    run = start_training(SETTINGS, shards, out, 40, "--device", "cpu", torchrun=2)
    wait_for(lambda: run.poll() is not None or last_checkpoint(out), 240)
    worker = children_of(run.pid, "align_edu.cli")[1]
    os.kill(worker, signal.SIGSTOP)  # as while it decodes, or writes a large checkpoint
    time.sleep(60 if LONG else 1)
    os.kill(worker, signal.SIGCONT)
    paused_at = last_checkpoint(out)
    wait_for(lambda: run.poll() is not None or last_checkpoint(out) > paused_at, 60)
    assert run.poll() is None
    os.kill(worker, signal.SIGKILL)
    output = "".join(run.communicate(timeout=60))
    assert run.returncode != 0
    assert re.search("another process of the run has ended.*--resume", output)
    assert not (out / "model.safetensors").exists()

    train(PRESET, [shards], out, steps=40, resume=True, progress=False)
    whole = train(PRESET, [shards], tmp_path / "whole", steps=40, progress=False)
    ours, theirs = read_metrics(out), read_metrics(whole.folder)
    assert [row["pairs_seen"] for row in ours] == [row["pairs_seen"] for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=0.02)
