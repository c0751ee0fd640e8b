"""The gradient cache takes the whole batch's step, running statistics included."""

import pytest
import torch

from align_edu.model.align import Align
from align_edu.presets import get_preset, replace_fields
from align_edu.training.gradient_cache import backward_in_chunks

SMALL = {"image.width": "0.2", "image.depth": "0.2", "image.resize": "38", "image.crop": "32"}
SMALL |= {"text.layers": "1", "text.width": "32", "image.ghost_batch": "4"}
PLAIN = replace_fields(get_preset("toy"), SMALL)
DROPPING = replace_fields(PLAIN, {"text.dropout": "0.1", "image.stochastic_depth": "0.2"})
WEIGHT = "text_tower.projection.weight"


def gradients(preset, chunk, n=24, shift=0.0):
    """Return loss, gradients and running statistics after one pass in chunks."""
    model = Align(preset, 50, seed=1).double().train()
    with torch.no_grad():
        dict(model.named_parameters())[WEIGHT][0, 0] += shift
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randn(n, 3, 32, 32, generator=generator)
    ids = torch.randint(5, 50, (n, 6), generator=generator)

    def embed(i):
        rows = slice(i * chunk, (i + 1) * chunk)
        torch.manual_seed(7 + i)  # dropout of this chunk
        return model(pixels[rows].double(), ids[rows], torch.ones_like(ids[rows]))

    value, _, _ = backward_in_chunks(model, embed, -(-n // chunk), model.loss)
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return value, grads, dict(model.named_buffers())


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(("chunk", "tile"), [(4, "5"), (8, "null"), (12, "5")])
def test_chunks_give_the_gradient_and_statistics_of_the_whole_batch(chunk, tile):
    preset = replace_fields(PLAIN, {"loss.tile": tile})
    assert_same(gradients(preset, chunk), gradients(preset, 24))


def test_a_last_chunk_may_be_smaller():
    preset = replace_fields(PLAIN, {"image.ghost_batch": "2"})
    # Every chunk counts equally in the running statistics, so only loss and gradient are equal.
    assert_same(gradients(preset, 4, n=10)[:2], gradients(preset, 10, n=10)[:2])


def test_without_ghost_batches_each_chunk_is_one():
    whole, ghost = (replace_fields(PLAIN, {"image.ghost_batch": n}) for n in ("null", "8"))
    assert_same(gradients(whole, 8), gradients(ghost, 24))


def test_dropout_and_stochastic_depth_draw_the_same_in_both_passes():
    # In float64 the loss is a smooth function of one weight, dropout held: its slope must be
    # the gradient, which it is only if the second pass saw what the first one saw.
    up, down = (gradients(DROPPING, 8, shift=shift)[0].item() for shift in (1e-5, -1e-5))
    slope = gradients(DROPPING, 8)[1][WEIGHT][0, 0].item()
    assert slope == pytest.approx((up - down) / 2e-5, rel=1e-5)
