"""The losses that people write instead of eq. (1) + eq. (2), each with what is wrong with it."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.lab.exercise import WrongAnswer

Sigma = Tensor | float


def _cosines(image: Tensor, text: Tensor) -> Tensor:
    return F.normalize(image, dim=1) @ F.normalize(text, dim=1).T  # (N, N)


def _own(matrix: Tensor) -> Tensor:
    return torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)


def _rows(logits: Tensor, shift: int = 0, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each row, whose right column is ``shift`` after the diagonal."""
    labels = torch.arange(len(logits), device=logits.device).roll(-shift)
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def _each(direction: Callable[[Tensor], Tensor], matrix: Tensor) -> Tensor:
    return direction(matrix) + direction(matrix.T)


def _both(logits: Tensor) -> Tensor:
    return _each(_rows, logits)


def _in_both(direction: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor, Sigma], Tensor]:
    """A loss made of ``direction``, once on the logits and once on the transposed ones."""
    return lambda image, text, sigma: _each(direction, _cosines(image, text) / sigma)


_right = _in_both(_rows)


def _plain_exp(logits: Tensor) -> Tensor:
    weights = logits.exp()
    return -(weights.diagonal() / weights.sum(dim=1)).log().mean()


def _probability(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1).diagonal().mean()


def _without_own(logits: Tensor) -> Tensor:
    others = logits.masked_fill(_own(logits), -torch.inf).logsumexp(dim=1)  # (N,)
    return (others - logits.diagonal()).mean()


def _saturated(logits: Tensor) -> Tensor:
    return -(logits.softmax(dim=1).diagonal() + 1e-8).log().mean()


def _soft_targets(image: Tensor, text: Tensor, sigma: Sigma) -> Tensor:
    x, y = F.normalize(image, dim=1), F.normalize(text, dim=1)
    target = ((x @ x.T + y @ y.T) / 2 * sigma).softmax(dim=1)  # (N, N)
    logits = x @ y.T / sigma
    return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target.T)


def _flattened(logits: Tensor) -> Tensor:
    return -logits.flatten().log_softmax(dim=0).view_as(logits).diagonal().mean()


def _margin(cosines: Tensor) -> Tensor:
    """The pairwise loss of VSE++: each negative at least 0.2 below its pair."""
    too_near = (0.2 + cosines - cosines.diagonal()[:, None]).clamp(min=0)  # (N, N)
    return too_near.masked_fill(_own(cosines), 0).sum() / len(cosines)


def _sigmoid(logits: Tensor) -> Tensor:
    signs = 2 * _own(logits).to(logits.dtype) - 1
    return -F.logsigmoid(signs * logits).sum() / len(logits)


def _all_against_all(image: Tensor, text: Tensor, sigma: Sigma) -> Tensor:
    both = F.normalize(torch.cat([image, text]), dim=1)  # (2N, D)
    logits = (both @ both.T / sigma).masked_fill(_own(both), -torch.inf)
    return 2 * _rows(logits, shift=len(image))


def _missed(logits: Tensor) -> Tensor:
    return (logits.argmax(dim=1) != torch.arange(len(logits), device=logits.device)).float().mean()


# Any two of these differ in some case of the check, so each has a name of its own.
WRONG_LOSSES = (
    WrongAnswer(
        lambda image, text, sigma: _both(image @ text.T / sigma),
        "You do not normalise: divide each embedding by its own length first, or a long vector "
        "wins by its length.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _both(F.normalize(image, dim=1) @ text.T / sigma),
        "Only the images are normalised. Divide each text by its length too.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _both(
            F.normalize(image, dim=0) @ F.normalize(text, dim=0).T / sigma
        ),
        "You normalise over the batch, down the columns. Each row is an embedding: dim=1.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _both(image @ text.T / image.norm() / text.norm() / sigma),
        "norm() without dim is one length for the whole matrix. Each row has its own: "
        "norm(dim=1, keepdim=True).",
    ),
    WrongAnswer(
        lambda image, text, sigma: _both(
            F.normalize(image, p=1, dim=1) @ F.normalize(text, p=1, dim=1).T / sigma
        ),
        "You divide by the L1 norm, the sum of absolute values. The paper's norm is L2.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _rows(_cosines(image, text) / sigma),
        "That is eq. (1) alone, image to text. Add eq. (2), text to image.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _rows(_cosines(text, image) / sigma),
        "That is eq. (2) alone, text to image. Add eq. (1), image to text.",
    ),
    WrongAnswer(
        lambda image, text, sigma: 2 * _rows(_cosines(image, text) / sigma),
        "Both of your terms run along the rows: that is eq. (1) twice. For eq. (2) transpose the "
        "logits.",
    ),
    WrongAnswer(
        lambda image, text, sigma: 2 * _rows(_cosines(text, image) / sigma),
        "Both of your terms run down the columns: that is eq. (2) twice. For eq. (1) a softmax "
        "runs along each row.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _right(image, text, sigma) / 2,
        "You average the two directions, as CLIP does. The paper minimises their sum.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _right(image, text, sigma) * len(image),
        "You add over the batch. Both equations have 1/N: take the mean over the pairs.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _right(image, text, sigma) / len(image),
        "You divide by N twice: cross_entropy and mean() have done it already.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _both(_cosines(image, text) * sigma),
        "You multiply by σ. The logits are cosines divided by it.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _both(_cosines(image, text)),
        "σ is not used. Divide the cosines by it.",
    ),
    WrongAnswer(
        lambda image, text, sigma: (
            _rows(_cosines(image, text) / sigma) + _rows(_cosines(text, image))
        ),
        "Only eq. (1) is divided by σ. Both directions share the one temperature.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _both(_cosines(image, text) * torch.as_tensor(sigma).exp()),
        "You multiply by exp(σ): CLIP's way, with the logarithm of 1/σ. Here σ itself divides.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _both(_cosines(image, text) / torch.as_tensor(sigma).exp()),
        "You divide by exp(σ), as if σ were a logarithm. Divide by σ itself.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _both(_cosines(image, text) / sigma**0.5),
        "You divide by the square root of σ, as attention does with a width. Divide by σ.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _both(
            _cosines(image, text) / torch.as_tensor(sigma).clamp(min=0.01)
        ),
        "You keep 1/σ at 100 or below, as CLIP does. The equations have no such bound.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _both((1 - _cosines(image, text)) / sigma),
        "You put cosine distances into the softmax, so the pairs are pushed apart. Logits must be "
        "large where vectors agree.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _both(
            -torch.cdist(F.normalize(image, dim=1), F.normalize(text, dim=1)) / sigma
        ),
        "You compare by Euclidean distance. The equations compare by dot product.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _both(_cosines(image, text).square() / sigma),
        "You square the similarities: vectors that point apart then look alike. Keep the sign.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _both((_cosines(image, text) / sigma).softmax(dim=1)),
        "You give probabilities to a function that takes logits, so the softmax runs twice. Leave "
        "your own softmax out.",
    ),
    WrongAnswer(
        lambda image, text, sigma: -_right(image, text, sigma),
        "The minus sign is missing: the logarithm of a probability is below zero.",
    ),
    WrongAnswer(
        _in_both(lambda logits: -_probability(logits)),
        "The logarithm is missing: you average the probabilities themselves.",
    ),
    WrongAnswer(
        _in_both(lambda logits: -_probability(logits).log()),
        "You take the logarithm of the mean probability. Take the mean of the logarithms.",
    ),
    WrongAnswer(
        _in_both(_saturated),
        "You add a small number inside the logarithm. It caps the loss and silences the worst "
        "pairs; log_softmax needs no such help.",
    ),
    WrongAnswer(
        _in_both(_plain_exp),
        "exp overflows at a small σ, and infinity over infinity is nan. Take log_softmax or "
        "logsumexp: they subtract the largest logit first.",
    ),
    WrongAnswer(
        _in_both(lambda logits: -logits.softmax(dim=1).diagonal().log().mean()),
        "It is infinite at a small σ: a probability falls to 0 before its logarithm. Take "
        "log_softmax or logsumexp.",
    ),
    WrongAnswer(
        _in_both(lambda logits: (logits.exp().sum(dim=1).log() - logits.diagonal()).mean()),
        "It is infinite at a small σ: a sum of exp overflows before its logarithm. Take "
        "logsumexp, which subtracts the largest logit first.",
    ),
    WrongAnswer(
        _in_both(_without_own),
        "Your denominator leaves the pair itself out. The sum runs over all j, i among them.",
    ),
    WrongAnswer(
        _in_both(lambda logits: _rows(logits, shift=1)),
        "Your labels are off by one: image i belongs to text i, not to the next.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _flattened(_cosines(image, text) / sigma),
        "One softmax runs over the whole matrix. Each row has its own, and each column.",
    ),
    WrongAnswer(
        _in_both(lambda logits: _rows(logits, smoothing=0.1)),
        "You smooth the labels. The paper does too, but this exercise is the plain eq. (1) + "
        "eq. (2).",
    ),
    WrongAnswer(
        _soft_targets,
        "Your targets are softmaxes of the embeddings' own similarities. In the paper the target "
        "of image i is text i and nothing else.",
    ),
    WrongAnswer(
        _all_against_all,
        "Images compete with images and texts with texts, as in SimCLR. Here an image competes "
        "with texts only.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _each(_margin, _cosines(image, text)),
        "That is a margin loss: it rests once each negative is a little below its pair. The paper "
        "takes a softmax over the batch.",
    ),
    WrongAnswer(
        lambda image, text, sigma: F.binary_cross_entropy_with_logits(
            _cosines(image, text) / sigma, torch.eye(len(image)).to(image)
        ),
        "You ask yes or no of each cell alone, a binary cross-entropy. A softmax makes the cells "
        "of a row compete.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _sigmoid(_cosines(image, text) / sigma),
        "That is SigLIP's sigmoid loss, without its bias. ALIGN takes a softmax over the batch.",
    ),
    WrongAnswer(
        lambda image, text, sigma: (1 - _cosines(image, text).diagonal()).mean(),
        "Your loss only pulls the pairs together; nothing pushes the others apart. All vectors "
        "equal would be perfect.",
    ),
    WrongAnswer(
        lambda image, text, sigma: _each(_missed, _cosines(image, text)),
        "You count the wrong answers. A count has no gradient; the loss needs the probabilities.",
    ),
)
