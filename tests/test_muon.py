"""Our batched Muon moves matrices as timm's Muon does, and all else as torch's AdamW."""

import math
from functools import partial

import pytest
import torch
from timm.optim import muon as timm_muon
from torch import Tensor, nn

from align_edu.presets import Recipe
from align_edu.training import build_optimizer
from align_edu.training.muon import Muon, is_matrix, orthogonalised
from align_edu.training.run import load_checkpoint, save_checkpoint

WIDE, TALL, SQUARE = (24, 70), (90, 12), (33, 33)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def timms(matrix: Tensor) -> Tensor:
    """Orthogonalise one matrix with timm, in float32."""
    return timm_muon.zeropower_via_newtonschulz(
        matrix, steps=5, coefficients=timm_muon._COEFFICIENTS["quintic"], dtype=torch.float32
    )


def test_many_matrices_at_once_become_what_timm_makes_of_each() -> None:
    shapes = [WIDE, TALL, SQUARE, TALL[::-1], (4, 4), (8, 8), (300, 200), (5, 640), (129, 140)]
    shapes += [(1, 9), (16, 17), (17, 16)]
    matrices = [10.0 ** (i % 9 - 4) * random(*shape, seed=i) for i, shape in enumerate(shapes)]
    before = [m.clone() for m in matrices]
    for matrix, result in zip(matrices, orthogonalised(matrices), strict=True):
        torch.testing.assert_close(result, timms(matrix), atol=1e-3, rtol=0)
    assert all(map(torch.equal, matrices, before))


def test_the_singular_values_come_near_one_and_the_directions_stay() -> None:
    left, _ = torch.linalg.qr(random(20, 20))
    right, _ = torch.linalg.qr(random(50, 20, seed=1))
    spread = torch.logspace(0, -2, 20)
    (result,) = orthogonalised([left @ torch.diag(spread) @ right.T])
    seen = left.T @ result @ right
    assert ((0.7 < seen.diagonal()) & (seen.diagonal() < 1.3)).all()
    assert (seen - torch.diag(seen.diagonal())).abs().max() < 1e-3


def test_a_gradient_of_zeros_moves_nothing_and_is_no_number_trouble() -> None:
    weight = nn.Parameter(random(8, 8))
    before = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    Muon([weight], lr=0.1).step()
    assert torch.equal(weight, before)


def test_only_dense_weights_with_four_rows_and_columns_are_matrices() -> None:
    matrices = [(48, 8, 3, 3), (4, 512)]
    others = [(48,), (48, 1, 3, 3), (3, 48), (4, 513), (600, 4)]  # the second is depthwise
    assert all(is_matrix(torch.Size(shape)) for shape in matrices)
    assert not any(is_matrix(torch.Size(shape)) for shape in others)


def model() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.Conv2d(12, 12, 3, groups=12),
        nn.Flatten(), nn.Linear(48, 20), nn.Linear(20, 3),
    )  # fmt: skip


def set_gradients(parameters: list[nn.Parameter], step: int) -> None:
    for i, p in enumerate(parameters):
        p.grad = random(*p.shape, seed=100 * step + i)


def test_several_steps_move_matrices_as_timms_muon_and_all_else_as_torchs_adamw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact = partial(timm_muon.zeropower_via_newtonschulz, dtype=torch.float32)  # not bfloat16
    monkeypatch.setattr(timm_muon, "zeropower_via_newtonschulz", exact)
    ours, theirs = list(model().parameters()), list(model().parameters())
    matrices = [p for p in theirs if p.shape in {(12, 3, 3, 3), (20, 48)}]
    others = [p for p in theirs if all(p is not m for m in matrices)]
    optimizers = [
        Muon(ours, lr=0.0, betas=(0.9, 0.98), weight_decay=0.1),
        timm_muon.Muon(
            matrices, lr=0.0, momentum=0.95, nesterov=True, weight_decay=0.1, conv_mode="flatten",
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.98), weight_decay=0.1, eps=1e-8),
    ]  # fmt: skip
    assert len(matrices) == 2
    before = [p.detach().clone() for p in ours]
    for step in range(6):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = 0.02 * (1 + step)
            optimizer.step()
    for mine, other, start in zip(ours, theirs, before, strict=True):
        moved = (other - start).norm()
        assert moved > 0.01
        assert (mine - other).norm() < 1e-3 * moved, mine.shape


def test_a_checkpoint_goes_on_bit_for_bit(tmp_path) -> None:
    recipe = Recipe(optimizer="muon", learning_rate=0.01, weight_decay=0.1)
    whole = model().to(memory_format=torch.channels_last)
    optimizer = build_optimizer(whole, recipe)
    for step in range(6):
        set_gradients(list(whole.parameters()), step)
        optimizer.step()
        if step == 2:
            path = save_checkpoint(tmp_path, whole, optimizer, {"step": 3})
    resumed = model().to(memory_format=torch.channels_last)
    optimizer = build_optimizer(resumed, recipe)
    assert load_checkpoint(path, resumed, optimizer) == {"step": 3}
    for step in range(3, 6):
        set_gradients(list(resumed.parameters()), step)
        optimizer.step()
    for mine, other in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_word_vectors_and_vectors_are_left_to_adamw_and_only_matrices_are_decayed() -> None:
    layers = nn.Sequential(nn.Embedding(50, 16), nn.Linear(16, 8), nn.LayerNorm(8))
    optimizer = build_optimizer(layers, Recipe(optimizer="muon", learning_rate=1.0))
    for p in layers.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    state = {name: set(optimizer.state[p]) for name, p in layers.named_parameters()}
    adamw = {"exp_avg", "exp_avg_sq"}
    assert state == dict.fromkeys(state, adamw) | {"1.weight": {"momentum_buffer"}}
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert [decays[id(p)] > 0 for n, p in layers.named_parameters()] == [
        n == "1.weight" for n, _ in layers.named_parameters()
    ]


def test_the_step_of_a_matrix_is_as_long_as_adamws() -> None:
    """Its root mean square is 0.2 times the learning rate: Liu et al. (2025), equation 4."""
    weight = nn.Parameter(torch.zeros(32, 64))
    weight.grad = random(32, 64)
    Muon([weight], lr=1.0).step()
    assert weight.detach().square().mean().sqrt().item() == pytest.approx(0.2, rel=0.15)
    assert math.isfinite(weight.sum().item())
