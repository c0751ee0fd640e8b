"""Exercises of notebook 06: the contrastive loss, and one direction with smoothed labels."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.functional import normalize as unit

from align_edu.lab.exercises import Answer, Cases, exercise


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


def _loss_cases(g: torch.Generator) -> Cases:
    def pairs(n: int, d: int) -> tuple[Tensor, Tensor]:
        """Return vectors of all lengths, in which a pair has something in common."""
        shared, image, text = torch.randn(3, n, d, generator=g)
        return 3 * (image + 0.5 * shared), text + 0.5 * shared + 0.3

    cases: Cases = [(*pairs(n, d), s) for n, d, s in ((5, 3, 1.0), (4, 9, 0.2), (7, 3, 1 / 64))]
    image, text = torch.randn(2, 12, 4, generator=g)
    return [*cases, (image, text, 0.001)]  # strangers, logits near 1,000: a plain exp overflows


def _pairs(matrix: Tensor) -> Tensor:
    return torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)


def _rows(logits: Tensor, shift: int = 0, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of the rows, whose labels are ``shift`` off the diagonal."""
    labels = torch.arange(len(logits), device=logits.device).roll(-shift)
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def _both(matrix: Tensor, direction: Callable[[Tensor], Tensor] = _rows) -> Tensor:
    return direction(matrix) + direction(matrix.T)


def _cosines(image: Tensor, text: Tensor) -> Tensor:
    return unit(image) @ unit(text).T  # (N, N)


def _of(loss: Callable[[Tensor], Tensor]) -> Answer:
    """Return a loss of the logits."""
    return lambda image, text, sigma: loss(_cosines(image, text) / sigma)


def _in_both(direction: Callable[[Tensor], Tensor]) -> Answer:
    """Return a loss made of ``direction``, once on the logits and once on the transposed ones."""
    return _of(lambda logits: _both(logits, direction))


def _likely(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1).diagonal()  # (N,)


def _soft_targets(image: Tensor, text: Tensor, sigma: Tensor | float) -> Tensor:
    x, y = unit(image), unit(text)
    target = ((x @ x.T + y @ y.T) / 2 * sigma).softmax(dim=1)  # (N, N)
    logits = x @ y.T / sigma
    return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target.T)


def _margin(cosines: Tensor) -> Tensor:
    """Return the pairwise loss of VSE++: each negative at least 0.2 below its pair."""
    too_near = (0.2 + cosines - cosines.diagonal()[:, None]).clamp(min=0)  # (N, N)
    return too_near.masked_fill(_pairs(cosines), 0).sum() / len(cosines)


def _all_against_all(image: Tensor, text: Tensor, sigma: Tensor | float) -> Tensor:
    both = unit(torch.cat([image, text]))  # (2N, D)
    logits = (both @ both.T / sigma).masked_fill(_pairs(both), -torch.inf)
    return 2 * _rows(logits, shift=len(image))


def _target(logits: Tensor, pair: float, other: float) -> Tensor:
    return torch.full_like(logits, other).fill_diagonal_(pair)


def _against(logits: Tensor, pair: float, other: float) -> Tensor:
    """Return the cross-entropy with a target of ``pair`` on the diagonal, ``other`` elsewhere."""
    return -(_target(logits, pair, other) * logits.log_softmax(dim=1)).sum(dim=1).mean()


# Any two of the wrong losses differ in some case, so that each mistake has a name.
WRONG_LOSSES = exercise(
    align_loss,
    _loss_cases,
    times={"averaged": 1 / 2, "no_minus": -1},
    not_normalised=lambda x, y, s: _both(x @ y.T / s),
    only_images=lambda x, y, s: _both(unit(x) @ y.T / s),
    over_the_batch=lambda x, y, s: _both(unit(x, dim=0) @ unit(y, dim=0).T / s),
    one_length=lambda x, y, s: _both(x @ y.T / x.norm() / y.norm() / s),
    l1=lambda x, y, s: _both(unit(x, p=1) @ unit(y, p=1).T / s),
    only_rows=_of(_rows),
    only_columns=_of(lambda z: _rows(z.T)),
    rows_twice=_of(lambda z: 2 * _rows(z)),
    columns_twice=_of(lambda z: 2 * _rows(z.T)),
    summed=_of(lambda z: _both(z) * len(z)),
    mean_twice=_of(lambda z: _both(z) / len(z)),
    multiplied=lambda x, y, s: _both(_cosines(x, y) * s),
    no_sigma=lambda x, y, s: _both(_cosines(x, y)),
    sigma_in_rows=lambda x, y, s: _rows(_cosines(x, y) / s) + _rows(_cosines(y, x)),
    times_exp=lambda x, y, s: _both(_cosines(x, y) * torch.as_tensor(s).exp()),
    by_exp=lambda x, y, s: _both(_cosines(x, y) / torch.as_tensor(s).exp()),
    by_root=lambda x, y, s: _both(_cosines(x, y) / s**0.5),
    clamped=lambda x, y, s: _both(_cosines(x, y) / torch.as_tensor(s).clamp(min=0.01)),
    distances=lambda x, y, s: _both((1 - _cosines(x, y)) / s),
    euclidean=lambda x, y, s: _both(-torch.cdist(unit(x), unit(y)) / s),
    squared=lambda x, y, s: _both(_cosines(x, y).square() / s),
    softmax_twice=_of(lambda z: _both(z.softmax(dim=1))),
    no_log=_in_both(lambda z: -_likely(z).mean()),
    log_of_mean=_in_both(lambda z: -_likely(z).mean().log()),
    log_plus_epsilon=_in_both(lambda z: -(_likely(z) + 1e-8).log().mean()),
    overflow=_in_both(lambda z: -(z.exp().diagonal() / z.exp().sum(dim=1)).log().mean()),
    probability_underflow=_in_both(lambda z: -_likely(z).log().mean()),
    sum_overflow=_in_both(lambda z: (z.exp().sum(dim=1).log() - z.diagonal()).mean()),
    without_pair=_in_both(
        lambda z: (z.masked_fill(_pairs(z), -torch.inf).logsumexp(dim=1) - z.diagonal()).mean()
    ),
    off_by_one=_in_both(lambda z: _rows(z, shift=1)),
    one_softmax=_of(lambda z: z.logsumexp((0, 1)) - z.diagonal().mean()),
    smoothed=_in_both(lambda z: _rows(z, smoothing=0.1)),
    soft_targets=_soft_targets,
    all_against_all=_all_against_all,
    margin=lambda x, y, s: _both(_cosines(x, y), _margin),
    binary=_of(lambda z: F.binary_cross_entropy_with_logits(z, _pairs(z).to(z))),
    sigmoid=_of(lambda z: -F.logsigmoid((2 * _pairs(z).to(z) - 1) * z).sum() / len(z)),
    pairs_only=lambda x, y, s: (1 - _cosines(x, y).diagonal()).mean(),
    count_of_misses=_in_both(lambda z: 1 - _pairs(z)[z.argmax(dim=1)].diagonal().float().mean()),
).wrong

exercise(
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
    swapped=lambda z, e: smoothed_loss(z, 1 - e),
    smoothed_prediction=lambda z, e: -((1 - e) * _likely(z) + e / len(z)).log().mean(),
    shrunk_logits=lambda z, e: _against((1 - e) * z, 1.0, 0.0),
    mean_logits=lambda z, e: (1 - e) * _against(z, 1.0, 0.0) - e * z.mean(),
    divergence=lambda z, e: F.kl_div(
        z.log_softmax(dim=1), _target(z, 1 - e + e / len(z), e / len(z)), reduction="batchmean"
    ),
    summed=lambda z, e: smoothed_loss(z, e) * len(z),
    mean_of_cells=lambda z, e: smoothed_loss(z, e) / len(z),
    columns=lambda z, e: smoothed_loss(z.T, e),
    both_directions=lambda z, e: smoothed_loss(z, e) + smoothed_loss(z.T, e),
)
