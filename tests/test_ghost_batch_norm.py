"""Ghost BatchNorm against torch's own BatchNorm, applied to each group by itself."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from align_edu.io import InputError
from align_edu.model.image_tower import GhostBatchNorm2d, ImageTower
from align_edu.presets import get_preset


def pictures(count, dtype=torch.float32):
    """Groups of four that differ in mean and spread, so that one mean for all is wrong."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, 5, 4, generator=generator, dtype=dtype)
    group = torch.arange(count, dtype=dtype).div(4, rounding_mode="floor")[:, None, None, None]
    return x * (1 + group) + 3 * group


def ghost(dtype=torch.float32, **changes):
    norm = GhostBatchNorm2d(3, group=4, **changes).to(dtype)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.1, 0.2, -0.3]))
    return norm


def group_by_group(norm, x):
    """The same by torch's function: outputs, means, and unbiased variances of the groups."""
    means, variances = torch.zeros(2, len(x) // 4, 3, dtype=x.dtype)
    outputs = [
        F.batch_norm(group, mean, variance, norm.weight, norm.bias, True, 1.0, norm.eps)
        for group, mean, variance in zip(x.split(4), means, variances)
    ]
    return torch.cat(outputs), means, variances


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_each_group_is_normalised_as_torch_normalises_it_alone(order):
    norm = ghost(torch.float64, momentum=0.3)
    x = pictures(12, torch.float64).to(memory_format=order).requires_grad_()
    out = norm(x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).double()
    ours = torch.autograd.grad((out * weights).sum(), [x, norm.weight, norm.bias])
    expected, means, variances = group_by_group(norm, x)
    theirs = torch.autograd.grad((expected * weights).sum(), [x, norm.weight, norm.bias])
    assert torch.allclose(out, expected, atol=1e-12)
    assert out.is_contiguous(memory_format=order)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-11)
    # From mean 0 and variance 1, by hand: the mean over the groups of their unbiased statistics.
    assert torch.allclose(norm.running_mean, 0.3 * means.mean(0), atol=1e-12)
    assert torch.allclose(norm.running_var, 0.7 + 0.3 * variances.mean(0), atol=1e-12)
    assert norm.num_batches_tracked == 1


def test_gradients_agree_with_finite_differences():
    norm, x = ghost(torch.float64), pictures(8, torch.float64)[:, :, :2, :2].requires_grad_()

    def function(x, weight, bias):
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(function, (x, norm.weight, norm.bias))


@pytest.mark.parametrize("count", [2, 4])
def test_a_batch_no_larger_than_a_group_is_torchs_own_to_the_bit(count):
    norm, torchs = ghost(), nn.BatchNorm2d(3)
    torchs.load_state_dict(norm.state_dict())
    assert torch.equal(norm(pictures(count)), torchs(pictures(count)))
    assert all(map(torch.equal, norm.buffers(), torchs.buffers()))
    x = pictures(11)  # any number: evaluation knows no groups
    assert torch.equal(norm.eval()(x), torchs.eval()(x))


def test_half_precision_comes_back_as_it_came_and_is_computed_in_full():
    x, norm = pictures(8).bfloat16(), ghost()
    with torch.autocast("cpu", torch.bfloat16):
        out = norm(x)
    assert out.dtype == torch.bfloat16 and norm.running_mean.dtype == torch.float32
    expected, means, _ = group_by_group(norm, x.float())
    assert (out - expected).abs().max() < 0.02
    assert torch.allclose(norm.running_mean, 0.1 * means.mean(0), atol=1e-5)


def test_a_batch_of_broken_groups_is_refused_in_training_only():
    norm = ghost()
    with pytest.raises(InputError, match="batch of 10 pairs.*groups of 4.*multiple of 4"):
        norm(pictures(10))
    norm.eval()(pictures(10))


def test_a_group_of_a_tower_does_not_see_the_others():
    torch.manual_seed(0)
    image = get_preset("toy").image
    pixels = torch.randn(8, 3, 48, 48)
    other = torch.cat([pixels[:4], 5 * pixels[4:]])
    apart = ImageTower(dataclasses.replace(image, ghost_batch=4)).train()
    assert torch.allclose(apart(pixels)[:4], apart(other)[:4], atol=1e-5)
    whole = ImageTower(image).train()
    assert (whole(pixels)[:4] - whole(other)[:4]).abs().max() > 0.01
