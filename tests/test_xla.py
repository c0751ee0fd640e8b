"""Training on virtual XLA devices of the processor, each number of them in a separate process."""

import importlib.util
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from align_edu.io import InputError
from align_edu.training import xla
from align_edu.training.xla import XlaLamb, XlaMesh, open_mesh
from align_edu.world import World

ROOT = Path(__file__).parent.parent
DEVICES = (1, 4, 8) if os.environ.get("ALIGN_EDU_LONG") == "1" else (4,)  # make test-long
needs_xla = pytest.mark.skipif(
    importlib.util.find_spec("torch_xla") is None,
    reason="torch_xla is not installed (it exists for Linux on x86-64 only)",
)


def run(*arguments, **environment):
    flags = "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true"
    settings = {"PJRT_DEVICE": "CPU", "XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "3"}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | settings | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("xla")
    done = run(ROOT / "tests" / "xla_steps.py", folder, *DEVICES)
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


@pytest.mark.longer
@needs_xla
def test_a_step_is_compiled_once_whatever_changes_in_it(steps):
    # The learning rate warms up, falls and ends at 0; the bias corrections reach 1.
    assert all(steps[str(count)]["graphs"] == 1 for count in DEVICES)


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


def test_each_host_reads_its_own_rows_and_a_batch_must_divide():
    hosts = [XlaMesh(torch.device("cpu"), rank=rank, processes=2, devices=8) for rank in range(2)]
    assert [host.rows(32) for host in hosts] == [range(16), range(16, 32)]
    with pytest.raises(InputError, match="batch_size 36 .*multiple of 8"):
        hosts[0].rows(36)


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
    with pytest.raises(InputError, match="torch_xla cannot be imported.*pip install") as caught:
        open_mesh()
    assert "\n" not in str(caught.value)


@needs_xla
def test_without_a_device_the_error_names_what_to_set(steps):
    assert "finds no device" in steps["refused"] and "PJRT_DEVICE=TPU" in steps["refused"]


LOOP = """
import sys
from align_edu.presets import replace_fields
from align_edu import train
from align_edu.training.metrics import read_metrics
from tests.test_processes import PRESET

data, out, device = sys.argv[1:]
settings = {"recipe.optimizer": "lamb", "recipe.learning_rate": "0.01"}
lamb = replace_fields(PRESET, settings)
run = train(lamb, [data], out, steps=6, device=device, progress=False)
print([row["loss"] for row in read_metrics(run.folder)])
"""


@pytest.mark.long
@needs_xla
def test_the_training_loop_runs_on_four_devices_as_on_the_processor(tmp_path):
    # In float32, six steps of LAMB: rounding only.
    world = World(seed=5, image_size=38).write(tmp_path / "w", pairs=200, workers=1)
    runs = {d: run("-c", LOOP, world, tmp_path / d, d, CPU_NUM_DEVICES="4") for d in ("cpu", "xla")}
    assert not any(done.returncode for done in runs.values()), runs["xla"].stderr[-3000:]
    cpu, xla = (json.loads(done.stdout.splitlines()[-1]) for done in runs.values())
    assert xla == pytest.approx(cpu, rel=1e-3)
    ours, theirs = (load_file(tmp_path / d / "model.safetensors") for d in ("xla", "cpu"))
    assert farthest(ours, theirs) < 0.02
