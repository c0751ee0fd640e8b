"""Where the released weights' library and torch's would train or see another model than ours."""

import dataclasses

import pytest
import torch
from transformers import AlignVisionConfig, AlignVisionModel

from align_edu.model.image_tower import ImageTower
from align_edu.presets import IMAGE_SIZES, get_preset
from tests.tiny_released import with_random_weights


def share_of_a_batch(network, norm):
    """Return how far one training step moves a running mean from 0 to the batch's mean."""
    seen = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    with torch.no_grad():
        network.train()(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    mean = seen[0].mean(dim=(0, 2, 3))
    return (norm.running_mean @ mean / (mean @ mean)).item()


def test_a_training_step_replaces_alignmodels_statistics_and_moves_ours_by_a_hundredth():
    # TensorFlow's momentum of 0.99 is 0.01 in torch; transformers passes it on as 0.99.
    config = AlignVisionConfig(width_coefficient=0.35, depth_coefficient=0.35, hidden_dim=112)
    theirs = AlignVisionModel(config)
    assert share_of_a_batch(theirs, theirs.embeddings.batchnorm) == pytest.approx(0.99, abs=1e-3)
    sizes = dataclasses.replace(get_preset("l2_large").image, width=0.35, depth=0.35)
    ours = ImageTower(sizes)
    assert share_of_a_batch(ours, ours.trunk[0][1]) == pytest.approx(0.01, abs=1e-4)


@pytest.mark.parametrize(
    ("side", "maps", "like_torchs"),
    [
        (64, (2, 2, 2), []),  # even at each stage: zeros at the end only, where torch has both
        (65, (2, 3, 3), ["same"]),  # odd at each stage, as the paper's 289
        (72, (2, 3, 3), []),  # 72, 36, 18, 9: even, then odd
    ],
)
def test_the_paddings_differ_from_torchs_at_even_sizes_and_the_released_one_everywhere(
    side, maps, like_torchs
):
    towers = {}
    for padding in ("tf_static", "same", "symmetric"):
        settings = dataclasses.replace(IMAGE_SIZES["B0"], padding=padding, ghost_batch=None)
        towers[padding] = ImageTower(settings).eval()
    weights = with_random_weights(towers["symmetric"]).state_dict()
    pixels = torch.randn(1, 3, side, side)
    found = {}
    for padding, tower in towers.items():
        tower.load_state_dict(weights)
        with torch.no_grad():
            found[padding] = tower.trunk(pixels)
    assert tuple(map.shape[-1] for map in found.values()) == maps
    torchs = found.pop("symmetric").mean(dim=(2, 3))
    same = [p for p, f in found.items() if torch.allclose(f.mean(dim=(2, 3)), torchs, atol=1e-4)]
    assert same == like_torchs
