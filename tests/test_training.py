"""Presets, optimisers, the loop, its gradient cache, checkpoints: exact, and clear when wrong."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.optim import muon as timm_muon
from torch import Tensor, nn

from align_edu.io import InputError
from align_edu.loss import contrastive_loss, sigmoid_loss
from align_edu.model.align import Align
from align_edu.presets import PRESETS, Recipe, get_preset, preset_from_dict, replace_fields
from align_edu.training import TrainingStopped, build_optimizer, load_run, loop, train
from align_edu.training.gradient_cache import backward_in_chunks
from align_edu.training.metrics import loss_range, read_metrics
from align_edu.training.recipe import Muon, orthogonalised
from align_edu.training.run import load_checkpoint, newest_checkpoint, save_checkpoint
from align_edu.world import World
from tests.samples import LONG, disk_of, refused

SMALL = {
    "image.width": "0.1", "image.depth": "0.1", "image.resize": "40", "image.crop": "33",
    "text.width": "32", "text.vocabulary_size": "300", "recipe.batch_size": "16",
    "recipe.checkpoint_steps": "5", "recipe.log_steps": "5",
}  # fmt: skip
TOY = get_preset("toy")
TINY = replace_fields(TOY, SMALL)
CHUNKED = {"image.width": "0.2", "image.depth": "0.2", "image.crop": "32", "text.layers": "1"}
PLAIN = replace_fields(TINY, CHUNKED | {"image.ghost_batch": "4"})
DROPPING = replace_fields(PLAIN, {"text.dropout": "0.1", "image.stochastic_depth": "0.2"})
WEIGHT = "text_tower.projection.weight"
VALUES = TOY.to_dict()
# The default of a missing field may not be what the run was trained with.
UNPADDED = {name: value for name, value in VALUES["image"].items() if name != "padding"}


@pytest.fixture
def fit(shards, tmp_path):
    def fit(name="run", steps=1, changes=None, data=shards, **options):
        preset = replace_fields(TINY, changes or {})
        return train(preset, [data], tmp_path / name, steps=steps, progress=False, **options).folder

    return fit


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def lamb_by_hand(value, gradient, lr, decay):
    """Two steps of Algorithm 2 of You et al. (2020)."""
    beta1, beta2, eps = 0.9, 0.999, 1e-6
    m, v = torch.zeros_like(value), torch.zeros_like(value)
    for t in (1, 2):
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        r = (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + eps)
        update = r + decay * value
        value = value - lr * value.norm() / update.norm() * update
    return value


def test_lamb_adapts_every_parameter_decays_all_but_batch_norm_and_clips_no_gradient():
    torch.manual_seed(0)
    model = nn.Linear(3, 4)
    gradients = [100 * torch.randn_like(p) for p in model.parameters()]
    learned = [(p, p.detach().clone(), g) for p, g in zip(model.parameters(), gradients)]
    optimizer = build_optimizer(model, Recipe(learning_rate=1e-2))
    for _ in range(2):
        for p, _, gradient in learned:
            p.grad = gradient.clone()
        optimizer.step()
    for p, before, gradient in learned:
        assert torch.allclose(p, lamb_by_hand(before, gradient, 1e-2, 1e-5), atol=1e-6)
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    decayed, plain = build_optimizer(layers, Recipe()).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (1e-5, 0.0)
    assert {id(p) for p in plain["params"]} == {id(p) for p in layers[1].parameters()}


def test_cores_that_do_not_gather_have_only_their_own_negatives(fit):
    preset = replace_fields(TINY, {"recipe.batch_size": "4", "loss.cores": "2"})
    changes = {"loss.label_smoothing": "0", "loss.temperature": "1"}
    model = Align(replace_fields(preset, changes), 100)
    eye = torch.eye(4)
    image = text = torch.cat([eye[:2], eye[:2]])  # both cores have the same two embeddings
    own = math.log(1 + math.exp(-1))  # one negative, of cosine 0; σ = 1
    assert model.loss(image, text).item() == pytest.approx(2 * own)
    alike = torch.ones(4, 4)
    assert model.loss(alike, alike).item() == pytest.approx(2 * math.log(2))
    assert loss_range(preset, 1.0)[1] == pytest.approx(2 * math.log(2))
    with pytest.raises(ValueError, match="3 pairs do not divide among loss.cores=2"):
        model.loss(eye[:3], eye[:3])
    refused("train with one process", fit, changes={"loss.cores": "4"}, processes=2)


def test_training_lowers_the_loss_and_leaves_a_whole_run(shards, tmp_path):
    run = train(TINY, [shards], tmp_path / "run", steps=60, progress=False)
    rows = read_metrics(run.folder)
    assert [row["step"] for row in rows] == list(range(5, 61, 5))
    assert rows[0]["chance"] == pytest.approx(2 * math.log(16))
    assert rows[-1]["floor"] < rows[-1]["loss"] < 0.85 * rows[0]["loss"]
    # The last step is half a step from the end of a fall that takes all but the warm-up.
    fall = (0.5 / 60) / (1 - TINY.recipe.warmup)
    assert rows[-1]["learning_rate"] == pytest.approx(TINY.recipe.learning_rate * fall)
    assert rows[-1]["pairs_seen"] == 60 * 16
    loaded, texts = load_run(run.folder), ["a red cat", "two dogs on a beach in the rain"]
    assert torch.equal(loaded.encode_texts(texts), run.encode_texts(texts))
    pictures = [Image.linear_gradient("L").resize((90, 70)).convert("RGB")]
    assert torch.equal(loaded.encode_images(pictures), run.encode_images(pictures))
    assert len(list((run.folder / "checkpoints").iterdir())) == 2
    assert os.listdir(tmp_path) == ["run"]  # the lock is gone


def test_workers_that_read_uncached_pictures_change_nothing(fit):
    uncached = {"recipe.pixel_cache_gib": "0"}
    cached = weights(fit("cached", 3))
    assert weights(fit("none", 3, uncached)) == cached
    assert weights(fit("two", 3, uncached | {"recipe.workers": "2"})) == cached


def test_the_minutes_are_honoured_and_the_learning_rate_ends_near_zero(fit, monkeypatch):
    # Each look at the clock is an eighth of a second later; a step takes one look.
    clock = itertools.count(start=100.0, step=0.125)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    last = read_metrics(fit(steps=None, minutes=0.05))[-1]
    assert (last["step"], last["seconds"]) == (24, 3.0)
    assert 0 < last["learning_rate"] < 0.05 * TINY.recipe.learning_rate


def test_a_loss_that_is_not_finite_stops_the_run_with_one_sentence(fit, tmp_path):
    with pytest.raises(TrainingStopped, match="the loss is nan; lower recipe.learning_rate"):
        fit(steps=40, changes={"recipe.learning_rate": "1e30"})
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("negatives", [1.0, 0.5, 0.1])
def test_floor_and_chance_are_those_of_the_negatives_that_count(negatives):
    preset = replace_fields(get_preset("toy"), {"loss.negatives": str(negatives)})
    floor, chance, best = loss_range(preset, gap=1.0)

    def loss(x, sigma, smoothing=preset.loss.label_smoothing):
        options = {"label_smoothing": smoothing, "negatives": negatives}
        return contrastive_loss(x, x, sigma, **options).item()

    apart, equal = torch.eye(256, dtype=torch.double), torch.ones(256, 4, dtype=torch.double)
    assert loss(apart, best) == pytest.approx(floor, rel=1e-9)
    assert min(loss(apart, best * factor) for factor in (0.9, 1.1)) > floor
    assert loss(equal, 1.0, smoothing=0.0) == pytest.approx(chance, rel=1e-9)


def test_floor_and_chance_of_the_sigmoid_loss_are_its_own(fit):
    row = read_metrics(fit(changes={"loss.kind": "sigmoid"}))[-1]
    equal, apart = torch.ones(16, 4, dtype=torch.double), torch.eye(16, dtype=torch.double)
    # All cosines are 1, so the bias alone answers; its best answer is yes once in 16.
    biases = [math.log(1 / 15) - 1 + shift for shift in (0.0, -0.1, 0.1)]
    best, *others = (sigmoid_loss(equal, equal, 1.0, bias).item() for bias in biases)
    assert row["chance"] == pytest.approx(best, rel=1e-9) and min(others) > best
    assert row["floor"] == pytest.approx(sigmoid_loss(apart, apart, 1e-3, -500.0).item(), abs=1e-9)
    assert row["best_temperature"] == 0.0


@pytest.mark.parametrize("optimizer", ["adamw", "lamb", "muon", "sgd"])
def test_a_run_cut_at_a_checkpoint_ends_as_the_unbroken_one(fit, optimizer):
    changes = {"recipe.optimizer": optimizer, "text.dropout": "0.1"}
    out = fit(steps=10, changes=changes)
    whole = weights(out)
    newest_checkpoint(out / "checkpoints").unlink()  # now the last one is of step 5
    (out / "model.safetensors").unlink()
    assert weights(fit(steps=10, changes=changes, resume=True)) == whole
    assert [row["step"] for row in read_metrics(out)] == [5, 10]


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch._dynamo, transformers.models.bert.modeling_bert  # once, not in each life
from tests.test_training import TINY, train

data, out, steps, most = *sys.argv[2:4], int(sys.argv[4]), int(sys.argv[5])
chance, kills = random.Random(8), 0
while True:
    child = os.fork()
    if child == 0:
        train(TINY, [data], out, steps=steps, resume=True, progress=False)
        os._exit(0)
    if kills < most:
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


@pytest.mark.longer
def test_killed_at_random_moments_a_run_ends_bit_for_bit_as_the_unbroken_one(fit, shards, tmp_path):
    steps, kills = (200, 10) if LONG else (80, 3)
    root, out = Path(__file__).parents[1], tmp_path / "killed"
    command = [sys.executable, "-c", KILLER, root, shards, out, str(steps), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.stdout.split() == [str(kills)], done.stderr
    assert weights(out) == weights(fit("whole", steps))


def test_a_full_disk_keeps_the_older_checkpoint(tmp_path):
    model = nn.Linear(64, 64)
    optimizer = build_optimizer(model, Recipe(optimizer="adamw"))
    model(torch.ones(1, 64)).sum().backward()
    optimizer.step()
    older = save_checkpoint(tmp_path, model, optimizer, {"step": 1})
    with disk_of(4_096), pytest.raises(InputError, match="cannot be written"):
        save_checkpoint(tmp_path, model, optimizer, {"step": 2})
    assert os.listdir(tmp_path) == [older.name]
    assert load_checkpoint(older, model, optimizer) == {"step": 1}


def test_a_folder_with_a_run_is_not_overwritten(fit, tmp_path):
    before = weights(fit())
    refused("--resume", fit)
    refused("preset differs", fit, changes={"text.layers": "2"}, resume=True)
    refused("seed differs", fit, seed=1, resume=True)
    other = World(seed=4, image_size=40).write(tmp_path / "w", 200, workers=1)
    refused("data differs", fit, data=other, resume=True)
    assert weights(fit(resume=True)) == before


HOLDER = """
import os, sys, time
from pathlib import Path
from align_edu.io import only_writer

with only_writer(Path(sys.argv[1])):
    child = os.fork()  # as a worker that reads data, which may live a little longer
    if not child:  # prints when it runs: until then it still holds its copy of the lock
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


def test_a_second_training_is_refused_until_the_first_ones_process_ends(fit, tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        child = int(holder.stdout.readline())
        try:
            refused("another process is writing", fit)
            holder.kill()
            holder.wait()
            fit()
        finally:
            os.kill(child, signal.SIGKILL)
    assert os.listdir(tmp_path) == ["run"]


def test_weights_that_do_not_fit_are_refused_in_one_line(fit):
    file = fit() / "model.safetensors"
    save_file(load_file(file) | {"text_tower.projection.bias": torch.zeros(3)}, file)
    refused("another preset or size", load_run, file.parent)
    file.write_bytes(b"half a file")
    refused("not a whole safetensors file", load_run, file.parent)
    file.unlink()
    refused("not finished", load_run, file.parent)


def gradients(preset, chunk, n=24, shift=0.0):
    """Return loss, gradients and running statistics after one pass in chunks."""
    model = Align(preset, 50, seed=1).double().train()
    with torch.no_grad():
        dict(model.named_parameters())[WEIGHT][0, 0] += shift
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randn(n, 3, 32, 32, generator=generator)
    ids = torch.randint(5, 50, (n, 6), generator=generator)

    def embed(i):
        rows = slice(i * chunk, (i + 1) * chunk)
        torch.manual_seed(7 + i)  # dropout of this chunk
        return model(pixels[rows].double(), ids[rows], torch.ones_like(ids[rows]))

    value, _, _ = backward_in_chunks(model, embed, -(-n // chunk), model.loss)
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return value, grads, dict(model.named_buffers())


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(("chunk", "tile"), [(4, "5"), (8, "null"), (12, "5")])
def test_chunks_give_the_gradient_and_statistics_of_the_whole_batch(chunk, tile):
    preset = replace_fields(PLAIN, {"loss.tile": tile})
    assert_same(gradients(preset, chunk), gradients(preset, 24))


def test_a_last_chunk_may_be_smaller():
    preset = replace_fields(PLAIN, {"image.ghost_batch": "2"})
    # Every chunk counts equally in the running statistics, so only loss and gradient are equal.
    assert_same(gradients(preset, 4, n=10)[:2], gradients(preset, 10, n=10)[:2])


def test_dropout_and_stochastic_depth_draw_the_same_in_both_passes():
    # In float64 the loss is a smooth function of one weight, dropout held: its slope must be
    # the gradient, which it is only if the second pass saw what the first one saw.
    up, down = (gradients(DROPPING, 8, shift=shift)[0].item() for shift in (1e-5, -1e-5))
    slope = gradients(DROPPING, 8)[1][WEIGHT][0, 0].item()
    assert slope == pytest.approx((up - down) / 2e-5, rel=1e-5)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_many_matrices_at_once_become_what_timm_makes_of_each():
    shapes = [(24, 70), (90, 12), (33, 33), (12, 90), (4, 4), (8, 8), (300, 200), (5, 640)]
    shapes += [(129, 140), (1, 9), (16, 17), (17, 16)]
    matrices = [10.0 ** (i % 9 - 4) * random(*shape, seed=i) for i, shape in enumerate(shapes)]
    before = [m.clone() for m in matrices]
    for matrix, result in zip(matrices, orthogonalised(matrices), strict=True):
        theirs = timm_muon.zeropower_via_newtonschulz(
            matrix, 5, timm_muon._COEFFICIENTS["quintic"], dtype=torch.float32
        )
        torch.testing.assert_close(result, theirs, atol=1e-3, rtol=0)
    assert all(map(torch.equal, matrices, before))


def test_a_gradient_of_zeros_moves_nothing_and_gives_no_nan():
    weight = nn.Parameter(random(8, 8))
    before = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    Muon([weight], lr=0.1).step()
    assert torch.equal(weight, before)


def test_several_steps_move_matrices_as_timms_muon_and_all_else_as_torchs_adamw(monkeypatch):
    exact = partial(timm_muon.zeropower_via_newtonschulz, dtype=torch.float32)  # not bfloat16
    monkeypatch.setattr(timm_muon, "zeropower_via_newtonschulz", exact)
    shapes = [(12, 3, 3, 3), (20, 48), (12,), (12, 1, 3, 3), (3, 20)]
    ours, theirs = ([nn.Parameter(random(*s, seed=9)) for s in shapes] for _ in range(2))
    optimizers = [
        Muon(ours, lr=0.0, betas=(0.9, 0.98), weight_decay=0.1),
        timm_muon.Muon(
            theirs[:2], lr=0.0, momentum=0.95, nesterov=True, weight_decay=0.1,
            conv_mode="flatten", adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(theirs[2:], lr=0.0, betas=(0.9, 0.98), weight_decay=0.1, eps=1e-8),
    ]  # fmt: skip
    before = [p.detach().clone() for p in ours]
    for step in range(6):
        for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            p.grad, q.grad = (random(*p.shape, seed=100 * step + i) for _ in range(2))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = 0.02 * (1 + step)
            optimizer.step()
    for mine, other, start in zip(ours, theirs, before, strict=True):
        moved = (other - start).norm()
        assert moved > 0.01 and (mine - other).norm() < 1e-3 * moved, mine.shape


def test_word_vectors_and_vectors_are_left_to_adamw_and_only_matrices_are_decayed():
    layers = nn.Sequential(nn.Embedding(50, 16), nn.Linear(16, 8), nn.LayerNorm(8))
    optimizer = build_optimizer(layers, Recipe(optimizer="muon", learning_rate=1.0))
    for p in layers.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    state = {name: set(optimizer.state[p]) for name, p in layers.named_parameters()}
    adamw = {"exp_avg", "exp_avg_sq"}
    assert state == dict.fromkeys(state, adamw) | {"1.weight": {"momentum_buffer"}}
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert [n for n, p in layers.named_parameters() if decays[id(p)] > 0] == ["1.weight"]


def test_a_preset_survives_the_way_through_json():
    for preset in PRESETS.values():
        assert preset_from_dict(json.loads(json.dumps(preset.to_dict()))) == preset
    values = TOY.to_dict()
    del values["loss"]["cores"]  # as in older runs
    assert preset_from_dict(values) == TOY


@pytest.mark.parametrize(
    "change",
    [{"image": UNPADDED}, {"recipe": VALUES["recipe"] | {"speed": 3}}, {"loss": {}}, {"loss": 3}],
)
def test_a_configuration_with_other_fields_is_refused(change):
    refused("config.json: not a preset of this version", preset_from_dict, VALUES | change)


def test_a_changed_field_is_read_as_json_and_whole_floats_become_floats():
    changed = replace_fields(TOY, {"recipe.learning_rate": "1", "image.projection": "64"})
    assert changed.recipe.learning_rate == 1.0 and type(changed.recipe.learning_rate) is float
    assert changed.image.projection == 64
    assert replace_fields(changed, {"image.projection": "null"}).image.projection is None
    assert replace_fields(TOY, {"loss.kind": "sigmoid"}).loss.kind == "sigmoid"
