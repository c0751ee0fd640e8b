"""The gradient cache takes the whole batch's step, running statistics included."""

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
    """Return loss, gradients and running statistics after one pass in chunks."""
    model = Align(preset, 50, seed=1).double().train()
    pixels, ids, mask = batch(n)

    def embed(i):
        rows = slice(i * chunk, (i + 1) * chunk)
        torch.manual_seed(seed + i)  # dropout of this chunk
        return model(pixels[rows].double(), ids[rows], mask[rows])

    value, _, _ = backward_in_chunks(model, embed, -(-n // chunk), model.loss)
    return (
        value,
        {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
        {name: b.clone() for name, b in model.named_buffers()},
    )


def without_chance(preset):
    return replace_fields(preset, {"text.dropout": "0.0", "image.stochastic_depth": "0.0"})


def assert_same(ours, theirs):
    assert ours[0].item() == pytest.approx(theirs[0].item(), rel=1e-12)
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        assert mine.keys() == other.keys()
        for name in other:
            torch.testing.assert_close(mine[name], other[name], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(("chunk", "tile"), [(4, "5"), (8, "null"), (12, "5")])
def test_chunks_give_the_gradient_and_statistics_of_the_whole_batch(chunk, tile):
    preset = replace_fields(without_chance(GHOST), {"loss.tile": tile})
    assert_same(gradients(preset, chunk), gradients(preset, 24))


def test_a_last_chunk_may_be_smaller():
    preset = replace_fields(without_chance(GHOST), {"image.ghost_batch": "2"})
    # Every chunk counts equally in the running statistics, so only loss and gradient are equal.
    assert_same(gradients(preset, 4, n=10)[:2], gradients(preset, 10, n=10)[:2])


def test_without_ghost_batches_each_chunk_is_one():
    plain = replace_fields(without_chance(GHOST), {"image.ghost_batch": "null"})
    ghost = replace_fields(without_chance(GHOST), {"image.ghost_batch": "8"})
    assert_same(gradients(plain, 8), gradients(ghost, 24))


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
            rows = slice(i * 8, (i + 1) * 8)
            torch.manual_seed(7 + i)
            return model(pixels[rows].double(), ids[rows], mask[rows])

        with torch.enable_grad():
            return backward_in_chunks(model, embed, 3, model.loss)[0].item()

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    assert grads[name][0, 0].item() == pytest.approx(slope, rel=1e-5)
