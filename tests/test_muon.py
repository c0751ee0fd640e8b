"""Our batched Muon moves matrices as timm's Muon does, and all else as torch's AdamW."""

from functools import partial

import torch
from timm.optim import muon as timm_muon
from torch import Tensor, nn

from align_edu.presets import Recipe
from align_edu.training import build_optimizer
from align_edu.training.recipe import Muon, orthogonalised


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
