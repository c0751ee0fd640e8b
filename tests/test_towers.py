"""Towers and BatchNorm: every size of the paper against timm, torchvision and transformers."""

import dataclasses

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models
from transformers import AlignVisionConfig, AlignVisionModel

from align_edu.model.align import Align
from align_edu.model.image_tower import GhostBatchNorm2d, ImageTower
from align_edu.model.text_tower import TextTower
from align_edu.presets import IMAGE_SIZES, TextSettings, get_preset
from tests.samples import cases, refused
from tests.tiny_released import with_random_weights

TOY = get_preset("toy")
SAME = dataclasses.replace(TOY.image, padding="same")
SIDES = (64, 224, 256, 288, 289, 346, 380)


def batch(size=4, length=7, vocabulary=100):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(size, 3, 48, 48, generator=generator)
    ids = torch.randint(5, vocabulary, (size, length), generator=generator)
    return pixels, ids, torch.ones_like(ids)


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    settings = TextSettings(layers=2, width=32, heads=2, dropout=0.0, positions=64)
    return TextTower(settings, 100, width=16).eval()


@pytest.mark.parametrize("size", [4, 70])
def test_padding_and_the_order_of_lengths_do_not_change_a_text(tower, size):
    _, ids, _ = batch(size, 20)
    lengths = torch.randint(3, 12, (size, 1), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(20) < lengths).long()
    with torch.no_grad():
        together = tower(ids * mask, mask)  # on a CPU by length, 32 at a time
        at_once = tower._encode(ids * mask, mask)  # as a GPU and XLA encode them
        alone = torch.cat([tower(i[None, :n], m[None, :n]) for i, m, n in zip(ids, mask, lengths)])
    assert torch.allclose(together, alone, atol=1e-5) and torch.allclose(at_once, alone, atol=1e-5)


def test_align_gives_unit_vectors_and_the_same_weights_for_the_same_seed():
    before = torch.get_rng_state()
    one, same, other = (Align(TOY, 100, seed=s) for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    for embeddings in one.eval()(*batch()):
        assert torch.allclose(embeddings.norm(dim=1), torch.ones(4), atol=1e-5)
    a, b, c = (torch.cat([p.flatten() for p in model.parameters()]) for model in (one, same, other))
    assert torch.equal(a, b) and not torch.equal(a, c)


def tower_of(size, padding, **changes):
    with torch.device("meta"):
        tower = ImageTower(dataclasses.replace(IMAGE_SIZES[size], padding=padding, **changes))
    return tower.to_empty(device="cpu").eval()


def timm_trunk(size):
    with torch.device("meta"):
        return timm.create_model(f"tf_efficientnet_{size.lower()}")


def assert_same(ours, theirs):
    assert theirs.abs().max() > 0.1  # no agreement about nothing
    assert (ours - theirs).abs().max() <= 1e-4
    assert (F.normalize(ours, dim=1) - F.normalize(theirs, dim=1)).abs().max() <= 1e-5


def flops(network, *inputs):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(*inputs)
    return counter.get_total_flops()


@pytest.mark.parametrize("size", IMAGE_SIZES)
def test_a_trunk_has_as_many_weights_and_operations_as_timms(size):
    theirs = timm_trunk(size)
    trunk = nn.Sequential(theirs.conv_stem, theirs.bn1, theirs.blocks)
    with torch.device("meta"):
        ours, pixels = ImageTower(IMAGE_SIZES[size]), torch.zeros(1, 3, 289, 289)
    weights = [sum(p.numel() for p in network.parameters()) for network in (ours, trunk)]
    assert weights[0] == weights[1] and flops(ours, pixels) == flops(trunk, pixels)


def transformers_tower(size):
    settings = IMAGE_SIZES[size]
    sizes = {"width_coefficient": settings.width, "depth_coefficient": settings.depth}
    with torch.device("meta"):
        network = AlignVisionModel(AlignVisionConfig(**sizes, hidden_dim=640))
    return network, lambda pixels: network(pixels).pooler_output


def timm_tower(size):
    network = timm_trunk(size)
    network.conv_head, network.bn2, network.classifier = (nn.Identity() for _ in range(3))
    trunk = nn.Sequential(network.conv_stem, network.bn1, network.blocks)
    return network, lambda pixels: trunk(pixels).mean(dim=(2, 3))


def torchvision_tower(size):
    with torch.device("meta"):
        network = getattr(models, f"efficientnet_{size.lower()}")()
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eps = 1e-3  # theirs is 1e-5 up to B4
    network.features[-1] = network.classifier = nn.Identity()
    return network, lambda pixels: network.features(pixels).mean(dim=(2, 3))


LIBRARIES = (
    ("tf_static", transformers_tower), ("same", timm_tower), ("symmetric", torchvision_tower),
)  # fmt: skip


@cases(
    "size, sides, padding, library",
        *((size, sides, *library) for library in LIBRARIES
          for size, sides in (("B0", SIDES), ("B3", (224, 289)), ("B7", (64, 97)))),
        ("L2", (64,), "same", timm_tower),  # only timm has it
)  # fmt: skip
def test_a_tower_gives_the_embeddings_of_its_library(size, sides, padding, library):
    theirs, embed = library(size)
    with_random_weights(theirs.to_empty(device="cpu"), side=64 if size == "L2" else 128)
    ours = tower_of(size, padding)
    # All libraries list the layers of a block in the order in which they are computed.
    weights = theirs.state_dict().values()
    ours.trunk.load_state_dict(dict(zip(ours.trunk.state_dict(), weights, strict=True)))
    for side in sides:
        pixels = torch.randn(1, 3, side, side)
        with torch.no_grad():
            assert_same(ours(pixels), embed(pixels))


@pytest.mark.parametrize("padding", ["tf_static", "same", "symmetric"])
def test_any_size_from_32_pixels_on_gives_the_same_width_and_a_smaller_one_is_refused(padding):
    tower = with_random_weights(tower_of("B0", padding))
    with torch.no_grad():
        for height, width in ((32, 32), (33, 47), (65, 32)):
            pixels = torch.randn(1, 3, height, width)
            out = tower(pixels)
            assert out.shape == (1, 320)
            last = tower(pixels.to(memory_format=torch.channels_last))
            assert torch.allclose(out, last, atol=1e-4)
    refused("31×64 pixels.*give it 32×32 or more", tower, torch.zeros(1, 3, 31, 64))


def train_step(tower, pixels, forward=None):
    torch.manual_seed(7)  # stochastic depth
    out = (forward or tower)(pixels)
    out.square().sum().backward()
    return out, *(p.grad.clone() for p in tower.parameters())


@pytest.mark.parametrize("group", [None, 2])
def test_computing_blocks_again_changes_nothing_but_memory(group):
    settings = dataclasses.replace(SAME, stochastic_depth=0.5, ghost_batch=group)
    torch.manual_seed(0)
    plain = ImageTower(settings).train()
    again = ImageTower(dataclasses.replace(settings, recompute=True)).train()
    again.load_state_dict(plain.state_dict())
    pixels = torch.randn(4, 3, 65, 65).to(memory_format=torch.channels_last)
    kept, found = [], []

    def keep(tensor):
        kept[-1] += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        for tower in (plain, again):
            kept.append(0)
            found.append([*train_step(tower, pixels), *tower.buffers()])
    assert kept[1] < kept[0] / 4
    assert all(map(torch.equal, *found))  # BatchNorm's running statistics count a batch once


def test_the_tower_compiles_as_one_graph():
    settings = dataclasses.replace(SAME, recompute=True, ghost_batch=2)
    tower, plain = (ImageTower(settings).train() for _ in range(2))
    plain.load_state_dict(tower.state_dict())
    # Tracing is what can fail; it needs no C++ compiler.
    compiled = torch.compile(tower, backend="aot_eager", fullgraph=True)
    pixels = torch.randn(4, 3, 65, 65)
    one, two = train_step(plain, pixels), train_step(tower, pixels, compiled)
    assert torch.allclose(one[0], two[0], atol=1e-5)
    a, b = (torch.cat([g.flatten() for g in grads]) for _, *grads in (one, two))
    assert (a - b).norm() <= 1e-4 * a.norm()


def pictures(count, dtype=torch.float32):
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
    expected, means, variances = group_by_group(norm, x)
    leaves = [x, norm.weight, norm.bias]
    ours, theirs = (torch.autograd.grad((y * weights).sum(), leaves) for y in (out, expected))
    assert torch.allclose(out, expected, atol=1e-12)
    assert out.is_contiguous(memory_format=order)
    assert all(torch.allclose(a, b, atol=1e-11) for a, b in zip(ours, theirs, strict=True))
    # From mean 0 and variance 1, by hand: the mean over the groups of their unbiased statistics.
    assert torch.allclose(norm.running_mean, 0.3 * means.mean(0), atol=1e-12)
    assert torch.allclose(norm.running_var, 0.7 + 0.3 * variances.mean(0), atol=1e-12)
    assert norm.num_batches_tracked == 1


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
    refused("batch of 10 pairs.*groups of 4.*multiple of 4", norm, pictures(10))
    norm.eval()(pictures(10))
