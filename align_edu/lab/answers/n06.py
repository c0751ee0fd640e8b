"""Exercises of notebook 06: the contrastive loss, and one direction with smoothed labels."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.lab.exercise import Cases, exercise

Sigma = Tensor | float
Loss = Callable[[Tensor, Tensor, Sigma], Tensor]


def align_loss(image: Tensor, text: Tensor, sigma: float) -> Tensor:
    """Return the plain loss of a batch: eq. (1) + eq. (2), no label smoothing.

    image, text: (N, D), of any length; row i of one belongs to row i of the other.

    Paper: Section 4.1, eq. (1) and eq. (2).

    >>> image = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    >>> text = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    >>> round(align_loss(image, text, 0.5).item(), 6)
    1.326823
    """
    import torch
    from torch.nn import functional as F

    x, y = F.normalize(image, dim=1), F.normalize(text, dim=1)
    logits = x @ y.T / sigma  # (N, N), image i in row i, text j in column j
    labels = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)


def smoothed_loss(logits: Tensor, label_smoothing: float) -> Tensor:
    """Return one direction of the loss: the cross-entropy of each row with a smoothed target.

    logits: (N, N), row i belongs to column i. label_smoothing: ε, spread over all N columns.

    Paper: Section 5 (label smoothing 0.1), eq. (1).

    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> [round(smoothed_loss(logits, e).item(), 4) for e in (0.0, 0.1)]
    [0.1269, 0.2269]
    """
    import torch

    n = len(logits)
    target = (1 - label_smoothing) * torch.eye(n).to(logits) + label_smoothing / n  # (N, N)
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


def _loss_cases(generator: torch.Generator) -> Cases:
    def pairs(n: int, d: int) -> tuple[Tensor, Tensor]:
        """Return vectors of all lengths, in which a pair has something in common."""
        shared, image, text = torch.randn(3, n, d, generator=generator)
        return 3 * (image + 0.5 * shared), text + 0.5 * shared + 0.3

    cases: Cases = [(*pairs(n, d), s) for n, d, s in ((5, 3, 1.0), (4, 9, 0.2), (7, 3, 1 / 64))]
    image, text = torch.randn(2, 12, 4, generator=generator)
    return [*cases, (image, text, 0.001)]  # strangers, logits near 1,000: a plain exp overflows


def _unit(x: Tensor, dim: int = 1, p: float = 2.0) -> Tensor:
    return F.normalize(x, p=p, dim=dim)


def _cosines(image: Tensor, text: Tensor) -> Tensor:
    return _unit(image) @ _unit(text).T  # (N, N)


def _pairs(matrix: Tensor) -> Tensor:
    return torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)


def _labels(logits: Tensor) -> Tensor:
    return torch.arange(len(logits), device=logits.device)


def _rows(logits: Tensor, shift: int = 0, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of the rows, whose labels are ``shift`` off the diagonal."""
    return F.cross_entropy(logits, _labels(logits).roll(-shift), label_smoothing=smoothing)


def _both(matrix: Tensor, direction: Callable[[Tensor], Tensor] = _rows) -> Tensor:
    return direction(matrix) + direction(matrix.T)


def _of_logits(loss: Callable[[Tensor], Tensor]) -> Loss:
    return lambda image, text, sigma: loss(_cosines(image, text) / sigma)


def _in_both(direction: Callable[[Tensor], Tensor]) -> Loss:
    """Return a loss made of ``direction``, once on the logits and once on the transposed ones."""
    return _of_logits(lambda logits: _both(logits, direction))


_right = _in_both(_rows)


def _likely(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1).diagonal()  # (N,)


def _plain_exp(logits: Tensor) -> Tensor:
    weights = logits.exp()
    return -(weights.diagonal() / weights.sum(dim=1)).log().mean()


def _without_pair(logits: Tensor) -> Tensor:
    others = logits.masked_fill(_pairs(logits), -torch.inf).logsumexp(dim=1)  # (N,)
    return (others - logits.diagonal()).mean()


def _soft_targets(image: Tensor, text: Tensor, sigma: Sigma) -> Tensor:
    x, y = _unit(image), _unit(text)
    target = ((x @ x.T + y @ y.T) / 2 * sigma).softmax(dim=1)  # (N, N)
    logits = x @ y.T / sigma
    return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target.T)


def _margin(cosines: Tensor) -> Tensor:
    """Return the pairwise loss of VSE++: each negative at least 0.2 below its pair."""
    too_near = (0.2 + cosines - cosines.diagonal()[:, None]).clamp(min=0)  # (N, N)
    return too_near.masked_fill(_pairs(cosines), 0).sum() / len(cosines)


def _sigmoid(logits: Tensor) -> Tensor:
    signs = 2 * _pairs(logits).to(logits.dtype) - 1
    return -F.logsigmoid(signs * logits).sum() / len(logits)


def _all_against_all(image: Tensor, text: Tensor, sigma: Sigma) -> Tensor:
    both = _unit(torch.cat([image, text]))  # (2N, D)
    logits = (both @ both.T / sigma).masked_fill(_pairs(both), -torch.inf)
    return 2 * _rows(logits, shift=len(image))


def _against(logits: Tensor, pair: float, other: float) -> Tensor:
    """Return the cross-entropy with a target of ``pair`` on the diagonal, ``other`` elsewhere."""
    target = torch.full_like(logits, other).fill_diagonal_(pair)
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


def _divergence(logits: Tensor, e: float) -> Tensor:
    n = len(logits)
    target = torch.full_like(logits, e / n).fill_diagonal_(1 - e + e / n)
    return F.kl_div(logits.log_softmax(dim=1), target, reduction="batchmean")


# Any two of the wrong losses differ in some case, so that each mistake has a name.
ALIGN_LOSS = exercise(
    "06",
    align_loss,
    _loss_cases,
    not_normalised=lambda x, y, s: _both(x @ y.T / s),
    only_images=lambda x, y, s: _both(_unit(x) @ y.T / s),
    over_the_batch=lambda x, y, s: _both(_unit(x, dim=0) @ _unit(y, dim=0).T / s),
    one_length=lambda x, y, s: _both(x @ y.T / x.norm() / y.norm() / s),
    l1=lambda x, y, s: _both(_unit(x, p=1) @ _unit(y, p=1).T / s),
    only_rows=_of_logits(_rows),
    only_columns=_of_logits(lambda z: _rows(z.T)),
    rows_twice=_of_logits(lambda z: 2 * _rows(z)),
    columns_twice=_of_logits(lambda z: 2 * _rows(z.T)),
    averaged=lambda x, y, s: _right(x, y, s) / 2,
    summed=lambda x, y, s: _right(x, y, s) * len(x),
    mean_twice=lambda x, y, s: _right(x, y, s) / len(x),
    multiplied=lambda x, y, s: _both(_cosines(x, y) * s),
    no_sigma=lambda x, y, s: _both(_cosines(x, y)),
    sigma_in_rows=lambda x, y, s: _rows(_cosines(x, y) / s) + _rows(_cosines(y, x)),
    times_exp=lambda x, y, s: _both(_cosines(x, y) * torch.as_tensor(s).exp()),
    by_exp=lambda x, y, s: _both(_cosines(x, y) / torch.as_tensor(s).exp()),
    by_root=lambda x, y, s: _both(_cosines(x, y) / s**0.5),
    clamped=lambda x, y, s: _both(_cosines(x, y) / torch.as_tensor(s).clamp(min=0.01)),
    distances=lambda x, y, s: _both((1 - _cosines(x, y)) / s),
    euclidean=lambda x, y, s: _both(-torch.cdist(_unit(x), _unit(y)) / s),
    squared=lambda x, y, s: _both(_cosines(x, y).square() / s),
    softmax_twice=_of_logits(lambda z: _both(z.softmax(dim=1))),
    no_minus=lambda x, y, s: -_right(x, y, s),
    no_log=_in_both(lambda z: -_likely(z).mean()),
    log_of_mean=_in_both(lambda z: -_likely(z).mean().log()),
    log_plus_epsilon=_in_both(lambda z: -(_likely(z) + 1e-8).log().mean()),
    overflow=_in_both(_plain_exp),
    probability_underflow=_in_both(lambda z: -_likely(z).log().mean()),
    sum_overflow=_in_both(lambda z: (z.exp().sum(dim=1).log() - z.diagonal()).mean()),
    without_pair=_in_both(_without_pair),
    off_by_one=_in_both(lambda z: _rows(z, shift=1)),
    one_softmax=_of_logits(lambda z: z.logsumexp((0, 1)) - z.diagonal().mean()),
    smoothed=_in_both(lambda z: _rows(z, smoothing=0.1)),
    soft_targets=_soft_targets,
    all_against_all=_all_against_all,
    margin=lambda x, y, s: _both(_cosines(x, y), _margin),
    binary=_of_logits(lambda z: F.binary_cross_entropy_with_logits(z, _pairs(z).to(z))),
    sigmoid=_of_logits(_sigmoid),
    pairs_only=lambda x, y, s: (1 - _cosines(x, y).diagonal()).mean(),
    count_of_misses=_in_both(lambda z: (z.argmax(dim=1) != _labels(z)).float().mean()),
)

WRONG_LOSSES = ALIGN_LOSS.wrong

SMOOTHED_LOSS = exercise(
    "06",
    smoothed_loss,
    lambda g: [
        (4 * torch.randn(n, n, generator=g), e) for n, e in ((5, 0.1), (8, 0.5), (12, 0.02))
    ],
    not_smoothed=lambda z, e: _against(z, 1.0, 0.0),
    always_tenth=lambda z, e: smoothed_loss(z, 0.1),
    others_only=lambda z, e: _against(z, 1 - e, e / (len(z) - 1)),
    less_than_1=lambda z, e: _against(z, 1 - e, e / len(z)),
    whole_epsilon=lambda z, e: _against(z, 1 - e + e, e),
    more_than_1=lambda z, e: _against(z, 1 + e / len(z), e / len(z)),
    taken_not_given=lambda z, e: _against(z, 1 - e, 0.0),
    swapped=lambda z, e: _against(z, e + (1 - e) / len(z), (1 - e) / len(z)),
    smoothed_prediction=lambda z, e: -((1 - e) * _likely(z) + e / len(z)).log().mean(),
    shrunk_logits=lambda z, e: _against((1 - e) * z, 1.0, 0.0),
    mean_logits=lambda z, e: (1 - e) * _against(z, 1.0, 0.0) - e * z.mean(),
    divergence=_divergence,
    summed=lambda z, e: smoothed_loss(z, e) * len(z),
    mean_of_cells=lambda z, e: smoothed_loss(z, e) / len(z),
    columns=lambda z, e: smoothed_loss(z.T, e),
    both_directions=lambda z, e: smoothed_loss(z, e) + smoothed_loss(z.T, e),
)
