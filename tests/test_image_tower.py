"""The image tower in use: any size, less memory, compiled, and its statistics in training."""

import dataclasses

import pytest
import torch

from align_edu.io import InputError
from align_edu.model.image_tower import ImageTower
from align_edu.presets import get_preset
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
    kept, steps = [], []

    def keep(tensor):
        kept[-1] += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        for tower in (plain, again):
            kept.append(0)
            steps.append(train_step(tower, pixels))
    assert kept[1] < kept[0] / 4
    one, two = steps
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
    tower, plain = (ImageTower(settings).train() for _ in range(2))
    plain.load_state_dict(tower.state_dict())
    # Tracing is what can fail; it needs no C++ compiler.
    compiled = torch.compile(tower, backend="aot_eager", fullgraph=True)
    pixels = torch.randn(4, 3, 65, 65)
    one, two = train_step(plain, pixels), train_step(tower, pixels, compiled)
    assert torch.allclose(one[0], two[0], atol=1e-5)
    a, b = (torch.cat([g.flatten() for g in grads]) for _, grads in (one, two))
    assert (a - b).norm() <= 1e-4 * a.norm()


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
