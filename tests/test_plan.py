"""What a run costs: the paper's numbers, hand arithmetic, and independent counts."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from align_edu.cli import main
from align_edu.model.image_tower import ImageTower
from align_edu.planning import CPU_TEXT_LENGTH, plan_run
from align_edu.planning.chips import get_chip, measure_here
from align_edu.planning.count import Counting, count_image_tower, count_text_tower, optimizer_cost
from align_edu.presets import Recipe, get_preset, replace_fields
from align_edu.training import build_optimizer
from tests.samples import refused

TOY = get_preset("toy")
SIDE = TOY.image.crop


@pytest.fixture(scope="module")
def paper():
    return plan_run(get_preset("l2_large"), get_chip("tpu-v3-core"), 1024)


def test_b7_and_base_is_91_gigaflops_a_pair_and_170_a100_days_at_120_teraflops():
    # The paper's padding: the preset's own, of the released weights, sees 9 × 9 for 10 × 10.
    preset = replace_fields(get_preset("b7_base"), {"image.padding": "same"})
    b7 = plan_run(preset, get_chip("a100"), 8)
    assert b7.flops_per_pair["image"] == pytest.approx(3 * 19.16e9, rel=0.01)
    assert b7.flops_per_pair["text"] == pytest.approx(3 * 11.0e9, rel=0.01)
    assert b7.flops == pytest.approx(1.8e21, rel=0.02)
    assert b7.assumed_days * 8 == pytest.approx(170, rel=0.02)

    # An A100 cannot reach that share on EfficientNet, and the plan says so.
    assert b7.roofline_seconds > b7.assumed_seconds
    assert b7.days > b7.assumed_days and b7.utilisation < 120 / 312
    assert "the slower counts: the roofline" in str(b7)
    assert b7.gather_bytes / 1e6 == pytest.approx(84, abs=0.5)


def test_the_paper_s_run_does_not_fit_its_cores_and_the_plan_names_the_remedy(paper):
    assert paper.assumed_days == pytest.approx(5.5, abs=0.05) and paper.days > paper.assumed_days
    assert paper.memory["loss matrix"] == 2 * 16 * 16_384 * 4
    assert not paper.fits and "image.recompute=true" in str(paper)


def test_the_time_of_the_links_is_bytes_over_bandwidth(paper):
    bytes_sent = 1023 / 1024 * 8 * sum(paper.parameters.values())
    assert paper.seconds["gradient all-reduce"] == pytest.approx(bytes_sent / paper.chip.link)
    alone = plan_run(TOY, get_chip("a100"))
    assert alone.seconds["gather"] == alone.seconds["gradient all-reduce"] == 0
    near, far = (plan_run(TOY, get_chip("a100"), n) for n in (8, 16))
    by_hand = (15 / 16 / 25e9) / (7 / 8 / 300e9)  # beyond eight it goes over the network
    ratio = far.seconds["gradient all-reduce"] / near.seconds["gradient all-reduce"]
    assert ratio == pytest.approx(by_hand)


def test_bert_computes_what_its_formula_says():
    preset, rows, length = get_preset("b7_base"), 4, 64
    h, layers = 768, 12
    by_hand = layers * (2 * length * 12 * h * h + 4 * length**2 * h) + 2 * h * 640
    work = count_text_tower(preset, rows, length)
    assert work.flops(forwards=1) - work.flops(forwards=0) == rows * by_hand
    assert work.flops(forwards=0) == 2 * rows * by_hand


def test_efficientnet_forward_agrees_with_torchs_counter_and_backward_is_twice_that():
    work = count_image_tower(TOY, 4)
    with torch.device("meta"):
        tower, pixels = ImageTower(TOY.image), torch.zeros(4, 3, SIDE, SIDE)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        tower(pixels)
    forward = work.flops() - work.flops(forwards=0)
    assert forward == counter.get_total_flops()
    stem = 2 * 4 * (SIDE // 2) ** 2 * 16 * 27  # pixels need no gradient
    assert work.flops(forwards=0) == 2 * forward - stem


def test_memory_counted_without_memory_is_what_real_tensors_take():
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    tower, pixels = ImageTower(TOY.image), torch.rand(4, 3, SIDE, SIDE)
    own = {t.untyped_storage().data_ptr() for t in [*tower.parameters(), *tower.buffers(), pixels]}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        tower(pixels)
    saved = sum(s.nbytes() for pointer, s in kept.items() if pointer not in own)
    assert saved <= count_image_tower(TOY, 4).peak_bytes <= 1.25 * saved


def test_gradient_cache_embeds_twice_and_keeps_one_chunk():
    chip = get_chip("a100")
    # A ghost batch of a single group keeps less than one of many: compare without.
    preset = replace_fields(get_preset("cc3m"), {"image.ghost_batch": "null"})
    whole = plan_run(preset, chip, 64)  # 256 pairs on each
    cached = plan_run(replace_fields(preset, {"recipe.chunk": "16"}), chip, 64)
    for tower in ("image", "text"):
        ratio = cached.flops_per_pair[tower] / whole.flops_per_pair[tower]
        assert ratio == pytest.approx(4 / 3, rel=0.01)
    share = cached.memory["activations"] / whole.memory["activations"]
    assert share == pytest.approx(16 / 256, rel=0.05)


@pytest.mark.parametrize("name", ["lamb", "adamw", "muon", "sgd"])
def test_an_optimisers_cost_is_that_of_its_real_step(name):
    model = torch.nn.Sequential(*(torch.nn.Linear(128, 128) for _ in range(8)))
    optimizer = build_optimizer(model, dataclasses.replace(Recipe(), optimizer=name))
    for _ in range(2):
        for p in model.parameters():
            p.grad = torch.rand_like(p)
        with Counting() as counting:
            optimizer.step()
    shapes = {"text": [(n, p.shape) for n, p in model.named_parameters()]}
    cost = optimizer_cost(shapes, name)
    state = [v for s in optimizer.state.values() for v in s.values() if torch.is_tensor(v)]
    assert cost.state == sum(v.numel() for v in state if v.ndim)
    assert cost.flops == sum(op.flops * n for op, n in counting.operations.items())
    moved = sum(op.bytes * n for op, n in counting.operations.items())
    assert cost.bytes == pytest.approx(moved, rel=0.1)


def test_this_machine_is_planned_from_measured_rates_with_a_warning_if_it_is_busy(monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 0.0, 0.0))
    chip = measure_here(TOY, rounds=1)
    plan = plan_run(TOY, chip)
    assert plan.assumed_days is None and plan.text_length == CPU_TEXT_LENGTH
    assert plan.pairs_per_second > 0 and plan.fits
    assert "measured just now" in str(plan) and "busy (load 99.0" in str(plan)
    refused("one device", plan_run, TOY, chip, 2)


def test_a_plan_in_json_says_what_the_table_says_and_follows_settings(answer, capsys):
    words = ["plan", "--preset", "cc3m", "--chip", "tpu-v5e", "--chips", "64"]
    words += ["--set", "recipe.steps=120000", "--text-length", "20"]
    found = answer(*words)
    assert found["text_length"] == 20 and found["pairs"] == 16_384 * 120_000
    total = sum(found["step_seconds"].values())
    assert found["days"] == pytest.approx(total * 120_000 / 86_400)
    assert found["pairs_per_second"] == pytest.approx(16_384 / total)
    assert found["fits"] == (sum(found["memory_bytes"].values()) <= found["memory_of_chip"])
    assert main(words) == 0
    table = capsys.readouterr().out
    assert "1.97 billion pairs" in table and "Assumptions:" in table and found["driver"] in table
    assert f"{found['days']:,.1f} days" in table or "hours" in table
