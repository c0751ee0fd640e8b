"""Queries that add and subtract meaning: an image plus or minus words."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.io import InputError

TEXT_WEIGHT = 2.0  # paper: footnote 4; image–image cosines are larger than image–text ones
IMAGE_WEIGHT = 1.0


def combine_query(terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """Return one query: each embedding normalised, added with its weight, normalised again.

    Parameters
    ----------
    terms : (weight, embedding) pairs; each embedding is (D,), a negative weight subtracts.

    Returns
    -------
    (D,) float32 unit vector.

    Raises
    ------
    InputError when there is no term, when widths differ, when a number is not finite, and
    when an embedding or the whole sum is zero, so that it has no direction.

    Paper: Section 7, image + text queries; footnote 4 gives text weight 2, image weight 1.

    >>> image, text = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 0.5])
    >>> combine_query([(IMAGE_WEIGHT, image), (TEXT_WEIGHT, text)])
    tensor([0.4472, 0.8944])
    """
    if not terms:
        raise InputError("the query has no terms; give at least one text or image")
    width = torch.as_tensor(terms[0][1]).shape
    units = [_unit(number, embedding, width) for number, (_, embedding) in enumerate(terms)]
    weights = [float(weight) for weight, _ in terms]
    if not all(math.isfinite(weight) for weight in weights):
        raise InputError(f"query weights {weights}: each must be a finite number")
    total = torch.as_tensor(sum(w * unit for w, unit in zip(weights, units, strict=True)))
    # A smaller sum is a rounding error, whose direction means nothing.
    if total.norm() <= 1e-5 * sum(map(abs, weights)):
        raise InputError("the terms of the query cancel out; change a weight or a term")
    return F.normalize(total, dim=0)


def _unit(number: int, embedding: Tensor, shape: torch.Size) -> Tensor:
    vector = torch.as_tensor(embedding).detach().to("cpu", torch.float32)
    if vector.ndim != 1 or vector.shape != shape:
        raise InputError(
            f"query term {number}: shape {tuple(vector.shape)} beside {tuple(shape)};"
            " every embedding must be (D,) of one model"
        )
    norm = vector.norm()
    if not torch.isfinite(norm) or norm == 0:
        raise InputError(f"query term {number}: the embedding is zero or not finite")
    return vector / norm
