"""The image tower in use: any size, less memory, compiled, and its statistics in training."""

import dataclasses

import pytest
import torch
from torch import nn

from align_edu.io import InputError
from align_edu.model.image_tower import ImageTower
from align_edu.presets import IMAGE_SIZES, get_preset
from tests.test_towers_exact import tower_of
from tests.tiny_released import with_random_weights


@pytest.mark.parametrize("padding", ["tf_static", "same", "symmetric"])
def test_any_size_from_32_pixels_on_gives_the_same_width(padding):
    tower = with_random_weights(tower_of("B0", padding))
    with torch.no_grad():
        for height, width in ((32, 32), (33, 47), (65, 32)):
            pixels = torch.randn(1, 3, height, width)
            out = tower(pixels)
            assert out.shape == (1, 320)
            last = tower(pixels.to(memory_format=torch.channels_last))
            assert torch.allclose(out, last, atol=1e-4)


def test_a_picture_of_fewer_than_32_pixels_is_refused_in_one_line():
    tower = ImageTower(get_preset("toy").image)
    with pytest.raises(InputError, match="31×64 pixels.*give it 32×32 or more") as caught:
        tower(torch.zeros(1, 3, 31, 64))
    assert "\n" not in str(caught.value)


def train_step(tower, pixels, forward=None):
    torch.manual_seed(7)  # stochastic depth
    out = (forward or tower)(pixels)
    out.square().sum().backward()
    return out, [p.grad.clone() for p in tower.parameters()]


@pytest.mark.parametrize("group", [None, 2])
def test_computing_blocks_again_changes_nothing_but_memory(group):
    settings = dataclasses.replace(
        get_preset("toy").image, stochastic_depth=0.5, padding="same", ghost_batch=group
    )
    torch.manual_seed(0)
    plain = ImageTower(settings).train()
    again = ImageTower(dataclasses.replace(settings, recompute=True)).train()
    again.load_state_dict(plain.state_dict())
    pixels = torch.randn(4, 3, 65, 65).to(memory_format=torch.channels_last)
    kept = {}
    for name, tower in (("plain", plain), ("again", again)):
        total = [0]

        def keep(tensor, total=total):
            total[0] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            torch.manual_seed(7)
            tower(pixels)
        kept[name] = total[0]
    assert kept["again"] < kept["plain"] / 4
    one, two = train_step(plain, pixels), train_step(again, pixels)
    assert torch.equal(one[0], two[0])
    assert all(torch.equal(a, b) for a, b in zip(one[1], two[1], strict=True))
    # BatchNorm's running statistics count a batch once.
    for a, b in zip(plain.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("recompute", "group"), [(False, None), (True, 2)])
def test_the_tower_compiles_as_one_graph(recompute, group):
    settings = dataclasses.replace(
        get_preset("toy").image, padding="same", recompute=recompute, ghost_batch=group
    )
    torch.manual_seed(0)
    tower = ImageTower(settings).train()
    plain = ImageTower(settings).train()
    plain.load_state_dict(tower.state_dict())
    # Tracing is what can fail; it needs no C++ compiler.
    compiled = torch.compile(tower, backend="aot_eager", fullgraph=True)
    pixels = torch.randn(4, 3, 65, 65)
    one, two = train_step(plain, pixels), train_step(tower, pixels, compiled)
    assert torch.allclose(one[0], two[0], atol=1e-5)
    a, b = (torch.cat([g.flatten() for g in grads]) for _, grads in (one, two))
    assert (a - b).norm() <= 1e-4 * a.norm()
    for a, b in zip(plain.buffers(), tower.buffers(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_stochastic_depth_drops_whole_samples():
    tower = ImageTower(dataclasses.replace(get_preset("toy").image, stochastic_depth=0.5)).train()
    block = next(b for stage in tower.trunk[1:] for b in stage if b.use_res_connect)
    depth = block.stochastic_depth
    torch.manual_seed(0)
    out = depth(torch.ones(200, 2, 3, 3))
    per_sample = out.flatten(1)
    assert torch.equal(per_sample.min(dim=1).values, per_sample.max(dim=1).values)
    assert per_sample.unique().tolist() == pytest.approx([0.0, 1 / (1 - depth.p)])
    blocks = [b for stage in tower.trunk[1:] for b in stage]
    rates = [b.stochastic_depth.p for b in blocks]
    assert rates == pytest.approx([0.5 * i / len(blocks) for i in range(len(blocks))])


def test_a_training_step_moves_every_running_statistic_by_a_hundredth():
    settings = dataclasses.replace(IMAGE_SIZES["B0"], stochastic_depth=0.0)
    torch.manual_seed(0)
    tower = ImageTower(settings).train()
    seen = {}
    for norm in (m for m in tower.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.register_forward_hook(lambda m, inputs, _: seen.update({m: inputs[0].detach()}))
    with torch.no_grad():
        tower(torch.randn(2, 3, 64, 64))
    assert len(seen) == 1 + 3 * 16 - 1
    for norm, x in seen.items():
        # TensorFlow's momentum 0.99 by hand: 0.99 × old + 0.01 × batch, from mean 0, variance 1.
        values = x.transpose(0, 1).flatten(1)  # (C, B·H·W)
        assert torch.allclose(norm.running_mean, 0.01 * values.mean(dim=1), atol=1e-6)
        assert torch.allclose(norm.running_var, 0.99 + 0.01 * values.var(dim=1), rtol=1e-4)
