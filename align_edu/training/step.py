"""One batch through both towers and the loss: the gradient of a training step."""

import torch
from torch import Tensor

from align_edu.loss import cosine_gap
from align_edu.model.align import Align
from align_edu.pairs.pixels import scale_pixels
from align_edu.training.batches import Batch
from align_edu.training.gradient_cache import backward_in_chunks
from align_edu.training.machine import Machine, Tower

REPLICATED = 4_096  # up to this batch size every process computes the whole N × N loss


def add_gradient(
    model: Align, tower: Tower, batch: Batch, machine: Machine, seed: int
) -> tuple[Tensor, Tensor]:
    """Add the gradient of the whole batch's loss to ``model``; return the loss and the cosine gap.

    tower: the model's image tower, or its compiled form. batch: this process's rows. seed: of
    this step's dropout and stochastic depth.

    Paper: Section 4.1 (loss).
    """
    recipe = model.preset.recipe
    size = recipe.chunk or len(batch.ids)
    chunks = -(-len(batch.ids) // size)

    def embed(i: int) -> tuple[Tensor, Tensor]:
        return embed_rows(model, tower, batch, slice(i * size, (i + 1) * size), machine, seed, i)

    def loss(image: Tensor, text: Tensor) -> Tensor:
        if recipe.batch_size > REPLICATED:
            return model.loss(image, text, machine.group)
        return model.loss(*machine.whole_batch(image, text))

    value, image, text = backward_in_chunks(model, embed, chunks, loss)
    return value, cosine_gap(image, text)


def embed_rows(
    model: Align, tower: Tower, batch: Batch, rows: slice, machine: Machine, seed: int, chunk: int
) -> tuple[Tensor, Tensor]:
    """Return the outputs of both towers for the rows of one chunk of a batch, each (B, D).

    Each chunk of the global batch draws from a separate seed, so a second pass draws the same.
    """
    pixels = scale_pixels(machine.place(batch.crops[rows]))  # (B, 3, C, C)
    ids, mask = machine.place(batch.ids[rows]), machine.place(batch.mask[rows])  # (B, L)
    first = machine.rows(model.preset.recipe.batch_size).start  # of this process
    seed = seed * 1_000_003 ** (first // len(ids) + chunk) % 2**63
    low = torch.autocast(machine.device.type, torch.bfloat16, enabled=machine.low_precision)
    with machine.seeded(seed), low:
        return tower(pixels), model.text_tower(ids, mask)
