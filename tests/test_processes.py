"""Several processes train the model that one would, and survive the loss of one."""

import itertools
import json
import os
import re
import signal
import sys
import time
from datetime import timedelta

import pytest
import torch
from safetensors.torch import load_file

from align_edu import train
from align_edu.io import TrainingStopped, _container_quota, usable_cores
from align_edu.presets import get_preset, replace_fields
from align_edu.training import gradient_cache as step
from align_edu.training import processes as local_processes
from align_edu.training.metrics import read_metrics
from align_edu.training.processes import Machine, best_processes
from tests.processes import alive, children_of, newest_step, run_processes, start_training, wait_for
from tests.samples import LONG, cases, write_files

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
SETTINGS = {
    "image.ghost_batch": "4", "image.width": "0.2", "image.depth": "0.2", "image.resize": "38",
    "image.crop": "32", "text.layers": "1", "text.width": "32", "text.vocabulary_size": "300",
    "recipe.batch_size": "32", "recipe.optimizer": "sgd", "recipe.learning_rate": "0.1",
    "recipe.checkpoint_steps": "5", "recipe.log_steps": "1",
}  # fmt: skip
PRESET = replace_fields(get_preset("toy"), SETTINGS)
HELPED = {"image.ghost_batch": "8", "image.width": "0.1", "image.depth": "0.1"}
HELPED |= {"recipe.batch_size": "16", "recipe.optimizer": "muon", "recipe.learning_rate": "0.003"}
WITH_HELP = replace_fields(PRESET, HELPED)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train_here(rank, presets, shards, folder):
    """Train each preset in float64, in which only a true difference is seen."""
    in_float32 = step.scale_pixels
    torch.set_default_dtype(torch.float64)
    step.scale_pixels = lambda pictures: in_float32(pictures).double()
    try:
        for name, preset in presets.items():
            train(preset, [shards], folder / name, steps=6, progress=False)
    finally:
        torch.set_default_dtype(torch.float32)
        step.scale_pixels = in_float32
    return torch.tensor(rank)


def test_processes_chunks_and_tiles_give_the_same_model(shards, tmp_path):
    chunks = replace_fields(PRESET, {"recipe.chunk": "4", "loss.tile": "5"})
    train_here(0, {"alone": PRESET}, shards, tmp_path)
    run_processes(4, train_here, {"whole": PRESET, "chunks": chunks}, shards, tmp_path)
    alone, *others = (
        load_file(tmp_path / name / "model.safetensors") for name in ("alone", "whole", "chunks")
    )
    for name, other in itertools.product(alone, others):
        # To a millionth of each tensor's norm: a wrong factor is seen, as SGD keeps it.
        off = (alone[name].double() - other[name].double()).norm()
        assert off <= 1e-6 * alone[name].double().norm() + 1e-9, (name, off.item())


@pytest.mark.longer
def test_a_process_may_pause_and_a_killed_one_stops_the_run_which_resumes(shards, tmp_path):
    out = tmp_path / "run"
    run = start_training(SETTINGS, shards, out, 40, "--device", "cpu", torchrun=2)
    wait_for(lambda: run.poll() is not None or newest_step(out), 240)
    worker = children_of(run.pid, "align_edu.cli")[1]
    os.kill(worker, signal.SIGSTOP)  # as while it decodes, or writes a large checkpoint
    time.sleep(60 if LONG else 1)
    os.kill(worker, signal.SIGCONT)
    paused_at = newest_step(out)
    wait_for(lambda: run.poll() is not None or newest_step(out) > paused_at, 60)
    assert run.poll() is None
    os.kill(worker, signal.SIGKILL)
    output = "".join(run.communicate(timeout=60))
    assert run.returncode != 0
    assert re.search("another process of the run has ended.*--resume", output)
    assert not (out / "model.safetensors").exists()

    train(PRESET, [shards], out, steps=40, resume=True, progress=False)  # with one process
    assert [row["step"] for row in read_metrics(out)] == list(range(1, 41))


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    run = start(shards, out, "--json")
    answer, errors = run.communicate(timeout=240)
    assert run.returncode == 0, errors
    found = json.loads(answer)  # standard output holds nothing else
    assert found == read_metrics(out)[-1] | {"out": str(out), "skipped": {}}
    assert f"training on 2 of {usable_cores()} cores" in errors
    return out


def start(shards, out, *more):
    return start_training(SETTINGS | HELPED, shards, out, 25, "--processes", "2", *more)


def test_two_processes_have_the_losses_of_one(shards, whole, tmp_path):
    alone = train(WITH_HELP, [shards], tmp_path / "run", steps=25, processes=1, progress=False)
    ours, theirs = read_metrics(whole), read_metrics(alone.folder)
    assert [row["pairs_seen"] for row in ours] == [16 * step for step in range(1, 26)]
    for mine, other in zip(ours, theirs, strict=True):  # the order of adding up differs
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-3)


def test_a_lost_helper_stops_the_run_which_resumes_bit_for_bit(shards, whole, tmp_path):
    out = tmp_path / "run"
    run = start(shards, out)
    wait_for(lambda: run.poll() is not None or newest_step(out))
    assert run.poll() is None, run.communicate()[1]
    (helper,) = children_of(run.pid, "help_training")
    os.kill(helper, signal.SIGKILL)
    _, errors = run.communicate(timeout=60)
    last = errors.splitlines()[-1]
    assert run.returncode == 1 and "Traceback" not in errors
    assert "another process of the run has ended" in last and "--resume" in last
    assert not (out / "model.safetensors").exists()

    train(WITH_HELP, [shards], out, steps=25, processes=2, resume=True, progress=False)
    ours, unbroken = ((folder / "model.safetensors").read_bytes() for folder in (out, whole))
    assert ours == unbroken
    assert [row["step"] for row in read_metrics(out)] == list(range(1, 26))
    assert children_of(os.getpid(), "help_training") == []


@pytest.mark.long
def test_a_helper_that_has_not_yet_met_its_parent_ends_with_it(shards, tmp_path):
    run = start(shards, tmp_path / "run")
    wait_for(lambda: run.poll() is not None or children_of(run.pid, "help_training"))
    (helper,) = children_of(run.pid, "help_training")
    run.kill()
    run.communicate()
    wait_for(lambda: not alive(helper), seconds=30)


def test_a_helper_that_ends_while_it_connects_is_noticed(monkeypatch, tmp_path):
    assert local_processes.MEETING.total_seconds() <= 600  # minutes, however long a pause may be
    monkeypatch.setattr(local_processes, "MEETING", timedelta(seconds=3))
    monkeypatch.setattr(local_processes, "_HELPER", "print('imported')")
    began = time.monotonic()
    with (
        pytest.raises(TrainingStopped, match="another process of the run has ended"),
        local_processes.helpers({}, tmp_path, 1),
    ):
        pass
    assert time.monotonic() - began < 60


@cases(
    "files, quota, cores",
    ({}, None, 8),
    ({"cpu.max": "max 100000\n"}, None, 8),
    ({"cpu.max": "150000 100000\n"}, 1.5, 1),
    ({"cpu.max": "nonsense"}, None, 8),
    ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5, 1),
)
def test_the_smaller_of_affinity_and_quota_counts(tmp_path, monkeypatch, files, quota, cores):
    assert _container_quota([write_files(tmp_path, files)]) == quota
    monkeypatch.setattr("align_edu.io._container_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert usable_cores() == cores


@cases(
    "cores, batch, ghost, small, pairs, processes",
    (1, 128, None, True, 60_000, 1),
    (3, 128, None, True, 60_000, 2),  # 128 is no multiple of 3
    (64, 128, None, True, 60_000, 4),  # at most 4
    (2, 128, None, True, 59_999, 1),
    (2, 128, None, False, 60_000, 0),  # one process with all threads
    (4, 128, 64, True, 60_000, 2),  # each process has whole groups
)
def test_each_core_gets_a_process(monkeypatch, cores, batch, ghost, small, pairs, processes):
    monkeypatch.setattr(local_processes, "is_small", lambda model: small)
    monkeypatch.setattr(local_processes, "usable_cores", lambda: cores)
    changes = {"image.ghost_batch": json.dumps(ghost), "recipe.batch_size": str(batch)}
    preset = replace_fields(WITH_HELP, changes)
    assert best_processes(Machine(torch.device("cpu")), preset, pairs) == processes
