"""Several processes train the model that one process would, and survive the loss of one."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from align_edu import World, train
from align_edu.presets import get_preset, replace_fields
from align_edu.training import step
from align_edu.training.metrics import read_metrics
from tests.processes import run_processes

SETTINGS = {
    "image.ghost_batch": "4",
    "image.width": "0.2",
    "image.depth": "0.2",
    "image.resize": "38",
    "image.crop": "32",
    "text.layers": "1",
    "text.width": "32",
    "text.vocabulary_size": "300",
    "recipe.batch_size": "32",
    "recipe.optimizer": "lamb",
    "recipe.learning_rate": "0.01",
    "recipe.checkpoint_steps": "5",
    "recipe.log_steps": "1",
}
PRESET = replace_fields(get_preset("toy"), SETTINGS)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As each of the processes has, so that they do not wait for each other's threads."""
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
    """Train in float64: there the order of adding up is all that differs."""
    in_float32 = step.scale_pixels
    torch.set_default_dtype(torch.float64)
    step.scale_pixels = lambda pictures: in_float32(pictures).double()
    try:
        train(preset, [shards], out, steps=steps, progress=False)
    finally:
        torch.set_default_dtype(torch.float32)
        step.scale_pixels = in_float32
    return torch.tensor(rank)


@pytest.fixture(scope="module")
def alone(shards, tmp_path_factory):
    """The weights after ten steps of one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    train_here(0, PRESET, shards, out, 10)
    return load_file(out / "model.safetensors")


def assert_same_model(ours, theirs):
    """Equal to a millionth of each tensor's norm.

    In float32 this cannot be asked: a bias in front of a BatchNorm has no gradient but rounding,
    and LAMB divides a gradient by its own size. In float64 that rounding is far below LAMB's
    epsilon of 1e-6. A missing factor or a wrong statistic is a matter of per cents.
    """
    assert ours.keys() == theirs.keys()
    for name, there in theirs.items():
        off = (ours[name].double() - there.double()).norm()
        assert off <= 1e-6 * there.double().norm() + 1e-9, (name, off.item())


@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_processes_gives_the_same_model(shards, alone, tmp_path, count):
    run_processes(count, train_here, PRESET, shards, tmp_path / "run", 10)
    assert_same_model(load_file(tmp_path / "run" / "model.safetensors"), alone)


def test_processes_tiles_and_chunks_together_give_the_same_model(shards, alone, tmp_path):
    preset = replace_fields(PRESET, {"recipe.chunk": "8", "loss.tile": "5"})
    run_processes(2, train_here, preset, shards, tmp_path / "run", 10)
    assert_same_model(load_file(tmp_path / "run" / "model.safetensors"), alone)


def start(count, shards, out, steps, *more):
    """``align-edu train`` under torchrun."""
    changes = [part for item in SETTINGS.items() for part in ("--set", "=".join(item))]
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python",
         f"--nproc-per-node={count}", sys.executable, "-c",
         "import sys; from align_edu.cli import main; sys.exit(main())",
         "train", "--data", str(shards), "--out", str(out), "--steps", str(steps),
         "--device", "cpu", *changes, *more],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def workers_of(parent):
    """Numbers of the processes that torchrun started."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False
    )
    return [int(number) for number in listed.stdout.split()]


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes with Linux's ps")
def test_a_killed_process_stops_the_others_and_the_run_goes_on_with_fewer(shards, tmp_path):
    out = tmp_path / "run"
    run = start(4, shards, out, 40)
    checkpoints = out / "checkpoints"
    wait_for(lambda: checkpoints.exists() and list(checkpoints.glob("*.safetensors")), 240)
    os.kill(workers_of(run.pid)[2], signal.SIGKILL)
    began = time.monotonic()
    told, _ = run.communicate(timeout=60)
    assert time.monotonic() - began < 60
    assert run.returncode != 0
    assert re.search("another process of the run has ended.*--resume", told)
    assert not (out / "model.safetensors").exists()

    done = start(2, shards, out, 40, "--resume")
    told, _ = done.communicate(timeout=240)
    assert done.returncode == 0, told
    whole = train(PRESET, [shards], tmp_path / "whole", steps=40, progress=False)
    ours, theirs = read_metrics(out), read_metrics(whole.folder)
    assert [row["pairs_seen"] for row in ours] == [row["pairs_seen"] for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=0.02)
