"""Every size in the paper, number for number: timm, torchvision, transformers, and hand work."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from align_edu.hub.names import load_trunk
from align_edu.io import InputError
from align_edu.model.image_tower import ImageTower, edge_zeros
from align_edu.model.text_tower import TextTower
from align_edu.presets import IMAGE_SIZES, TEXT_SIZES, get_preset
from tests.tiny_released import with_random_weights

SIDES = (64, 224, 256, 288, 289, 346, 380)
# Millions of weights without head convolution and classifier, width of the last stage, GFLOP
# of one picture of 289 × 289 pixels (two for each multiplication and addition).
TRUNKS = {
    "B0": (3.60, 320, 1.35),
    "B1": (6.10, 320, 2.05),
    "B2": (7.20, 352, None),
    "B3": (10.10, 384, 3.48),
    "B4": (16.74, 448, None),
    "B5": (27.29, 512, 8.65),
    "B6": (39.40, 576, None),
    "B7": (62.14, 640, 19.16),
    "B8": (82.61, 704, None),
    "L2": (467.22, 1376, 139.77),
}
# Millions of weights with 30,522 and with 100,000 pieces, GFLOP of one text of 64 pieces.
BERTS = {
    "mini": (11.1, 28.9, 0.42),
    "medium": (41.1, 76.7, 3.3),
    "base": (108.9, 162.3, 11.0),
    "large": (334.1, 405.2, 39.1),
}


def tower_of(size, padding, **changes):
    """An image tower with uninitialised weights."""
    with torch.device("meta"):
        tower = ImageTower(dataclasses.replace(IMAGE_SIZES[size], padding=padding, **changes))
    return tower.to_empty(device="cpu").eval()


def timm_trunk(size):
    """timm's model of TensorFlow's EfficientNet, without weights."""
    import timm

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
def test_a_trunk_has_as_many_weights_and_operations_as_published(size):
    millions, width, gigaflops = TRUNKS[size]
    theirs = timm_trunk(size)
    with torch.device("meta"):
        ours = ImageTower(IMAGE_SIZES[size])
        pixels = torch.zeros(1, 3, 289, 289)
    count = sum(p.numel() for p in ours.parameters())
    head = (theirs.conv_head, theirs.bn2, theirs.classifier)
    assert count == sum(p.numel() for p in theirs.parameters()) - sum(
        p.numel() for part in head for p in part.parameters()
    )
    assert f"{count / 1e6:.2f}" == f"{millions:.2f}" and ours.width == width
    operations = flops(ours, pixels)
    trunk = nn.Sequential(theirs.conv_stem, theirs.bn1, theirs.blocks)
    assert operations == flops(trunk, pixels)
    assert gigaflops is None or operations == pytest.approx(gigaflops * 1e9, rel=0.01)


@pytest.mark.parametrize("size", TEXT_SIZES)
def test_a_text_tower_has_as_many_weights_and_operations_as_published(size):
    settings = TEXT_SIZES[size]
    h, layers = settings.width, settings.layers
    for pieces, millions in zip((30_522, 100_000), BERTS[size], strict=False):
        with torch.device("meta"):
            tower = TextTower(settings, pieces, 640)
            ids = torch.zeros(1, 64, dtype=torch.long)
        # Tables of pieces, 512 positions, 2 segments; a norm; 4 + 8 matrices a layer, and
        # biases and norms: by hand.
        by_hand = (pieces + 512 + 2 + 2) * h + layers * (12 * h * h + 13 * h)
        assert sum(p.numel() for p in tower.bert.parameters()) == by_hand
        assert round(by_hand / 1e6, 1) == millions
    assert flops(tower.bert, ids) == pytest.approx(BERTS[size][2] * 1e9, rel=0.01)


@pytest.mark.parametrize("size", range(32, 48))
@pytest.mark.parametrize("kernel", [3, 5])
def test_same_padding_is_tensorflows_rule(size, kernel):
    # tf.nn: the output has ceil(size / 2) pixels; zeros as needed, the odd one at the end.
    needed = max((-(-size // 2) - 1) * 2 + kernel - size, 0)
    assert edge_zeros(size, kernel, "same") == (needed // 2, needed - needed // 2)


def transformers_tower(size):
    """AlignModel's vision tower: its network, its embedding, and its name."""
    from transformers import AlignVisionConfig, AlignVisionModel

    settings = IMAGE_SIZES[size]
    config = AlignVisionConfig(
        width_coefficient=settings.width, depth_coefficient=settings.depth, hidden_dim=640
    )
    with torch.device("meta"):
        network = AlignVisionModel(config)
    network.to_empty(device="cpu")
    return network, lambda pixels: network(pixels).pooler_output, "transformers"


def timm_tower(size):
    network = timm_trunk(size).to_empty(device="cpu")
    network.conv_head, network.bn2, network.classifier = (nn.Identity() for _ in range(3))

    def embed(pixels):
        return network.blocks(network.bn1(network.conv_stem(pixels))).mean(dim=(2, 3))

    return network, embed, "timm"


def torchvision_tower(size):
    from torchvision import models

    with torch.device("meta"):
        network = getattr(models, f"efficientnet_{size.lower()}")()
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eps = 1e-3  # theirs is 1e-5 up to B4
    network.to_empty(device="cpu")
    return network, lambda pixels: network.features[:-1](pixels).mean(dim=(2, 3)), "torchvision"


@pytest.mark.parametrize(
    ("padding", "library"),
    [
        ("tf_static", transformers_tower),
        ("same", timm_tower),
        ("symmetric", torchvision_tower),
    ],
)
@pytest.mark.parametrize(
    ("size", "sides"), [("B0", SIDES), ("B3", (224, 289)), ("B7", (64, 97)), ("L2", (64,))]
)
def test_a_tower_gives_the_embeddings_of_the_library_with_its_padding(
    size, sides, padding, library
):
    if size == "L2" and library is not timm_tower:
        pytest.skip("only timm has L2")
    theirs, embed, source = library(size)
    with_random_weights(theirs, side=64 if size == "L2" else 128)
    ours = tower_of(size, padding)
    load_trunk(ours, theirs.state_dict(), source)
    for side in sides:
        pixels = torch.randn(1, 3, side, side)
        with torch.no_grad():
            assert_same(ours(pixels), embed(pixels))


@pytest.mark.parametrize(
    ("changes", "source", "words"),
    [
        ({}, "timm", "conv_stem.weight is missing"),
        ({}, "keras", "source 'keras': choose one"),
        ({"features.0.0.weight": torch.zeros(99, 3, 3, 3)}, "torchvision",
         r"features.0.0.weight has shape \(99, 3, 3, 3\), not"),
        ({"features.7.9.block.0.0.weight": torch.zeros(1)}, "torchvision",
         "features.7.9.block.0.0.weight does not exist"),
    ],
)  # fmt: skip
def test_weights_of_another_size_or_library_are_refused_in_one_line(changes, source, words):
    tower = ImageTower(get_preset("toy").image)
    weights = {f"features.{name}": w for name, w in tower.trunk.state_dict().items()}
    with pytest.raises(InputError, match=words):
        load_trunk(tower, weights | changes, source)
