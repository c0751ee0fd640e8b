"""The gradient cache: the exact step of a large batch in the memory of a small one.

The loss needs all embeddings at once, the towers do not. The first pass computes the embeddings
without keeping activations; the loss gives the gradient of each embedding; the second pass
recomputes one chunk at a time and sends that gradient backwards through it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Embed = Callable[[int], tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


def backward_in_chunks(
    model: nn.Module, embed: Embed, chunks: int, loss: Loss
) -> tuple[Tensor, Tensor, Tensor]:
    """Add the gradient of a batch's loss to ``model``; return loss, image and text embeddings.

    embed: returns the (B, D) image and text embeddings of chunk 0, 1, …; called twice with one
    number it must return the same (same crops, same dropout). loss: takes the embeddings of all
    chunks. With one chunk this is a plain forward and backward pass.

    BatchNorm normalises each chunk separately. Its running statistics move once per batch, to
    the mean of what each chunk alone would have made of them.

    Not in the paper, whose cores hold 16 pairs each: Gao et al. (2021), Scaling Deep
    Contrastive Learning Batch Size under Memory Limited Setup.

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
