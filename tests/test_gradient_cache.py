"""The gradient cache takes the step of the whole batch, to the last running statistic."""

import pytest
import torch

from align_edu.model.align import Align
from align_edu.presets import get_preset, replace_fields
from align_edu.training.gradient_cache import backward_in_chunks

GHOST = replace_fields(
    get_preset("toy"),
    {
        "image.ghost_batch": "4",
        "image.width": "0.2",
        "image.depth": "0.2",
        "image.resize": "38",
        "image.crop": "32",
        "text.layers": "1",
        "text.width": "32",
        "text.dropout": "0.1",
        "image.stochastic_depth": "0.2",
    },
)


def batch(n=24):
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randn(n, 3, 32, 32, generator=generator)
    ids = torch.randint(5, 50, (n, 6), generator=generator)
    return pixels, ids, torch.ones_like(ids)


def gradients(preset, chunk, n=24, seed=7):
    """Loss, gradients and running statistics after one pass in chunks."""
    model = Align(preset, 50, seed=1).double().train()
    pixels, ids, mask = batch(n)

    def embed(i):
        here = slice(i * chunk, (i + 1) * chunk)
        torch.manual_seed(seed + i)  # dropout of this chunk
        return model(pixels[here].double(), ids[here], mask[here])

    value, _, _ = backward_in_chunks(model, embed, -(-n // chunk), model.loss)
    return (
        value,
        {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
        {name: b.clone() for name, b in model.named_buffers()},
    )


def without_chance(preset):
    return replace_fields(preset, {"text.dropout": "0.0", "image.stochastic_depth": "0.0"})


@pytest.mark.parametrize("tile", ["null", "5"])
@pytest.mark.parametrize("chunk", [4, 8, 12])
def test_chunks_give_the_gradient_and_statistics_of_the_whole_batch(chunk, tile):
    preset = replace_fields(without_chance(GHOST), {"loss.tile": tile})
    whole, ours = gradients(preset, 24), gradients(preset, chunk)
    assert ours[0].item() == pytest.approx(whole[0].item(), rel=1e-12)
    for there, here in zip(whole[1:], ours[1:], strict=True):
        assert there.keys() == here.keys()
        for name in there:
            assert torch.allclose(here[name], there[name], rtol=1e-7, atol=1e-12), name


def test_dropout_and_stochastic_depth_draw_the_same_in_both_passes():
    # In float64 the loss is a smooth function of one weight, dropout held: its slope must be
    # the gradient, which it is only if the second pass saw what the first one saw.
    preset = GHOST
    _, grads, _ = gradients(preset, 8)
    name = "text_tower.projection.weight"

    def value(shift):
        model = Align(preset, 50, seed=1).double().train()
        with torch.no_grad():
            dict(model.named_parameters())[name][0, 0] += shift
        pixels, ids, mask = batch()

        def embed(i):
            here = slice(i * 8, (i + 1) * 8)
            torch.manual_seed(7 + i)
            return model(pixels[here].double(), ids[here], mask[here])

        with torch.enable_grad():
            return backward_in_chunks(model, embed, 3, model.loss)[0].item()

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    assert grads[name][0, 0].item() == pytest.approx(slope, rel=1e-5)


def test_without_ghost_batches_each_chunk_is_one():
    # The paper's setting seen from the other side: 16 pairs a core, here a chunk of 8.
    plain = replace_fields(without_chance(GHOST), {"image.ghost_batch": "null"})
    ghost = replace_fields(without_chance(GHOST), {"image.ghost_batch": "8"})
    ours, whole = gradients(plain, 8), gradients(ghost, 24)
    for name, gradient in whole[1].items():
        assert torch.allclose(ours[1][name], gradient, rtol=1e-7, atol=1e-12), name
    for name, buffer in whole[2].items():
        assert torch.allclose(ours[2][name].double(), buffer.double(), rtol=1e-9), name


def test_a_last_chunk_may_be_smaller():
    preset = replace_fields(without_chance(GHOST), {"image.ghost_batch": "2"})
    whole, ours = gradients(preset, 10, n=10), gradients(preset, 4, n=10)
    assert ours[0].item() == pytest.approx(whole[0].item(), rel=1e-12)
    for name, gradient in whole[1].items():
        assert torch.allclose(ours[1][name], gradient, rtol=1e-7, atol=1e-12), name
