"""The gradient of one step, and the gradient cache: a large batch in the memory of a small one.

The loss needs all embeddings at once, the towers do not. The first pass computes the embeddings
without keeping activations; the loss gives the gradient of each embedding; the second pass
recomputes one chunk at a time and sends that gradient backwards through it.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from align_edu.loss import cosine_gap
from align_edu.model.align import Align
from align_edu.model.image_tower import scale_pixels
from align_edu.training.batches import Batch
from align_edu.training.processes import Machine

REPLICATED = 4_096  # up to this batch size every process computes the whole N × N loss
Tower = Callable[[Tensor], Tensor]


def add_gradient(
    model: Align, tower: Tower, chunks: list[Batch], machine: Machine, seed: int
) -> tuple[Tensor, Tensor]:
    """Add the gradient of the whole batch's loss to ``model``; return the loss and the cosine gap.

    tower: the model's image tower, or its compiled form. chunks: of this process's rows.
    """

    def loss(image: Tensor, text: Tensor) -> Tensor:
        if model.preset.recipe.batch_size > REPLICATED:
            return model.loss(image, text, machine.group)
        return model.loss(*machine.whole_batch(image, text))

    embed = partial(embed_chunk, model, tower, machine, seed, chunks)
    value, image, text = backward_in_chunks(model, embed, len(chunks), loss)
    return value, cosine_gap(image, text)


def embed_chunk(
    model: Align, tower: Tower, machine: Machine, seed: int, chunks: list[Batch], i: int
) -> tuple[Tensor, Tensor]:
    """Return the outputs of both towers for chunk i of this process's rows, each (B, D).

    Each chunk of the global batch draws from a separate seed, so a second pass draws the same.
    """
    chunk = chunks[i]
    pixels = scale_pixels(machine.place(chunk.crops))  # (B, 3, C, C)
    ids, mask = machine.place(chunk.ids), machine.place(chunk.mask)  # (B, L)
    first = machine.rows(model.preset.recipe.batch_size).start  # of this process
    seed = seed * 1_000_003 ** (first // len(ids) + i) % 2**63
    low = torch.autocast(machine.device.type, torch.bfloat16, enabled=machine.low_precision)
    with machine.seeded(seed), low:
        return tower(pixels), model.text_tower(ids, mask)


def backward_in_chunks(
    model: nn.Module, embed: Callable[[int], tuple[Tensor, Tensor]], chunks: int,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Add the gradient of a batch's loss to ``model``; return loss, image and text embeddings.

    embed: returns the (B, D) image and text embeddings of chunk 0, 1, …; called twice with one
    number it must return the same (same crops, same dropout). loss: takes the embeddings of all
    chunks. BatchNorm normalises each chunk separately; its running statistics move once per
    batch, to the mean of what each chunk alone would have made of them.

    Not in the paper: Gao et al. (2021), Scaling Deep Contrastive Learning Batch Size.

    >>> tower = nn.Linear(3, 2)
    >>> x, y = torch.rand(2, 4, 3)
    >>> embed = lambda i: (tower(x[2 * i : 2 * i + 2]), tower(y[2 * i : 2 * i + 2]))
    >>> value, image, text = backward_in_chunks(tower, embed, 2, lambda a, b: (a - b).sum() ** 2)
    >>> image.shape, tower.weight.grad.shape
    (torch.Size([4, 2]), torch.Size([2, 3]))
    """
    if chunks == 1:
        image, text = embed(0)
        value = loss(image, text)
        value.backward()
        return value.detach(), image.detach(), text.detach()
    norms = (module for module in model.modules() if isinstance(module, _BatchNorm))
    statistics = [buffer for norm in norms for buffer in norm.buffers()]
    before = [buffer.clone() for buffer in statistics]
    totals = [torch.zeros_like(buffer) for buffer in statistics]
    parts = []
    with torch.no_grad():
        for i in range(chunks):
            _copy(before, statistics)
            parts.append(embed(i))
            for total, buffer in zip(totals, statistics, strict=True):
                total += buffer
    image, text = (torch.cat(side).requires_grad_() for side in zip(*parts, strict=True))
    value = loss(image, text)
    value.backward()
    assert image.grad is not None and text.grad is not None
    sizes = [len(part[0]) for part in parts]
    gradients = zip(image.grad.split(sizes), text.grad.split(sizes), strict=True)
    for i, gradient in enumerate(gradients):
        torch.autograd.backward(embed(i), gradient)
    _copy([total / chunks for total in totals], statistics)
    return value.detach(), image.detach(), text.detach()


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    for new, old in zip(source, target, strict=True):
        old.copy_(new)
