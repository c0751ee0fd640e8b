"""The gradient cache: the exact step of a large batch in the memory of a small one.

The loss needs all embeddings at once, the towers do not. So the towers run twice: first
without keeping anything, to get the embeddings; then, once the loss has said what each
embedding should change, a chunk of pairs at a time with its own backward pass.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

Embed = Callable[[int], tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


def backward_in_chunks(
    model: nn.Module, embed: Embed, chunks: int, loss: Loss
) -> tuple[Tensor, Tensor, Tensor]:
    """Add the gradient of a batch's loss to ``model``; return loss, image and text embeddings.

    embed: gives the (B, D) embeddings of the images and of the texts of chunk 0, 1, …; called
    twice with the same number it must give the same (same crops, same dropout). loss: of the
    embeddings of all chunks. With one chunk this is a plain forward and backward pass.

    BatchNorm sees each chunk by itself. Its running statistics move once a batch, to the mean
    of what each chunk alone would have made of them.

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
    statistics = RunningStatistics(model)
    with torch.no_grad():
        parts = [statistics.after(partial(embed, i)) for i in range(chunks)]
    image, text = (torch.cat(side).requires_grad_() for side in zip(*parts, strict=True))
    value = loss(image, text)
    value.backward()
    assert image.grad is not None and text.grad is not None
    sizes = [len(part[0]) for part in parts]
    for i, wanted in enumerate(zip(image.grad.split(sizes), text.grad.split(sizes), strict=True)):
        torch.autograd.backward(embed(i), wanted)
    statistics.settle()
    return value.detach(), image.detach(), text.detach()


class RunningStatistics:
    """BatchNorm's running statistics of a model, over chunks that all start from the same.

    >>> norm = nn.BatchNorm1d(1, momentum=1.0)
    >>> statistics = RunningStatistics(norm)
    >>> for x in (torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [6.0]])):
    ...     _ = statistics.after(lambda: norm(x))
    >>> statistics.settle()
    >>> norm.running_mean.item()
    3.0
    """

    def __init__(self, model: nn.Module) -> None:
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self.buffers = [buffer for norm in norms for buffer in norm.buffers()]
        self.start = [buffer.clone() for buffer in self.buffers]
        self.totals = [torch.zeros_like(buffer) for buffer in self.buffers]
        self.chunks = 0

    def after(self, chunk: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Run one chunk from the start and keep what it made of the statistics."""
        for buffer, start in zip(self.buffers, self.start, strict=True):
            buffer.copy_(start)
        result = chunk()
        for total, buffer in zip(self.totals, self.buffers, strict=True):
            total += buffer
        self.chunks += 1
        return result

    def settle(self) -> None:
        """Put the mean over the chunks in place, whatever has run since."""
        for buffer, total in zip(self.buffers, self.totals, strict=True):
            buffer.copy_(total / self.chunks)
