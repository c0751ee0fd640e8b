"""Training on virtual XLA devices of the processor, each number of them in a separate process."""

import importlib.util
import json
import os
import runpy
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from align_edu.training import xla
from align_edu.training.xla import XlaLamb, XlaMesh, open_mesh
from tests.samples import LONG, ROOT, refused

DEVICES = (1, 4, 8) if LONG else (4,)
needs_xla = pytest.mark.skipif(
    importlib.util.find_spec("torch_xla") is None,
    reason="torch_xla is not installed (it exists for Linux on x86-64 only)",
)


FLAGS = "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true"
ON_CPU = {"PJRT_DEVICE": "CPU", "XLA_FLAGS": FLAGS, "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("xla")
    command = [sys.executable, "tests/xla_steps.py", folder, *map(str, DEVICES)]
    path = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    options = {"cwd": ROOT, "env": os.environ | ON_CPU | path, "capture_output": True, "text": True}
    done = subprocess.run(command, timeout=900, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return {
        name: json.loads((folder / f"{name}.json").read_text())
        | {"weights": load_file(folder / f"weights_{name}.safetensors")}
        for name in ("plain", *map(str, DEVICES))
    } | {
        "resumed": load_file(folder / "weights_resumed.safetensors"),
        "refused": (folder / "refused.txt").read_text(),
    }


def farthest(one, two):
    assert one.keys() == two.keys()
    return max((one[name].double() - two[name].double()).abs().max().item() for name in one)


@pytest.mark.long
@needs_xla
def test_any_number_of_devices_trains_the_same_model(steps):
    # In float64, so that only a true difference is seen: what is left is rounding, divided by
    # LAMB's epsilon of 1e-6 where a gradient is zero (biases before another BatchNorm).
    for count in DEVICES[1:]:
        assert steps[str(count)]["devices"] == count
        assert farthest(steps["1"]["weights"], steps[str(count)]["weights"]) < 1e-9
        assert steps["1"]["losses"] == pytest.approx(steps[str(count)]["losses"], abs=1e-11)


@pytest.mark.longer
@needs_xla
def test_they_train_the_model_that_plain_torch_trains(steps):
    # XLA has GELU's √½ and LayerNorm's epsilon in float32: differences of 5e-9 a layer.
    for count in DEVICES:
        assert farthest(steps["plain"]["weights"], steps[str(count)]["weights"]) < 1e-5
        assert steps["plain"]["losses"] == pytest.approx(steps[str(count)]["losses"], abs=1e-6)
    assert len(set(steps["plain"]["losses"])) == 10  # the steps did something


@needs_xla
def test_a_resumed_run_equals_the_unbroken_one_and_compiles_nothing(steps):
    assert steps["4"]["resumed"] == steps["4"]["losses"][5:]
    assert farthest(steps["4"]["weights"], steps["resumed"]) == 0
    assert steps["4"]["graphs_after_resuming"] == steps["4"]["graphs_after_loading"]


@pytest.mark.longer
@needs_xla
def test_a_seed_draws_the_same_on_any_number_of_devices(steps):
    first, again, other = steps["4"]["draws"]
    assert first == again != other and set(first) == {0.0, 2.0}
    assert all(steps[str(count)]["draws"] == steps["4"]["draws"] for count in DEVICES)


@needs_xla
def test_a_recomputed_block_draws_the_same_and_counts_once(steps):
    assert max(steps[str(count)]["computed_again"] for count in DEVICES) < 1e-5


def test_a_batch_must_divide_among_the_devices():
    host = XlaMesh(torch.device("cpu"), rank=0, processes=2, devices=8)
    refused("batch_size 36 .*multiple of 8", host.rows, 36)


def test_lamb_for_xla_is_timms_with_the_same_state():
    from timm.optim.lamb import Lamb

    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 4).double(), nn.Linear(3, 4).double()
    with torch.no_grad():
        ours.bias.zero_()  # a norm of zero: the ratio is 1
    theirs.load_state_dict(ours.state_dict())
    options = {"lr": 0.1, "weight_decay": 0.01, "max_grad_norm": None, "always_adapt": True}
    one, two = XlaLamb(ours.parameters(), **options), Lamb(theirs.parameters(), **options)
    for step in range(5):
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        one.param_groups[0]["lr"] = two.param_groups[0]["lr"] = 0.1 / (step + 1)
        one.step()
        two.step()
        if step == 2:  # they take over from each other
            states = one.state_dict(), two.state_dict()
            one.load_state_dict(states[1])
            two.load_state_dict(states[0])
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-12)


def test_without_torch_xla_the_module_imports_and_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_xla", None)
    runpy.run_path(xla.__file__, run_name="imported_again")
    refused("torch_xla cannot be imported.*pip install", open_mesh)


@needs_xla
def test_without_a_device_the_error_names_what_to_set(steps):
    assert "finds no device" in steps["refused"] and "PJRT_DEVICE=TPU" in steps["refused"]
