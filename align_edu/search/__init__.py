"""Search for images: words and a picture become one query, and an index finds what is near it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.io import InputError, weights_of
from align_edu.pairs.images import open_image
from align_edu.search.index import Hit, ImageIndex

if TYPE_CHECKING:
    from align_edu.evaluation.embed import Encoder

__all__ = ["Hit", "ImageIndex", "combine_query", "search"]

TEXT_WEIGHT = 2.0  # paper: footnote 4; image–image cosines are larger than image–text ones
IMAGE_WEIGHT = 1.0
_WEIGHT = re.compile(r"(.*\S)::(\d+(?:\.\d+)?)", re.DOTALL)


def combine_query(terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """Return one query: each embedding normalised, added with its weight, normalised again.

    terms: (weight, embedding) pairs; each embedding is (D,), a negative weight subtracts.
    Returns a (D,) float32 unit vector. Raises InputError when there is no term, when widths
    differ, when a number is not finite, and when an embedding or the sum is zero.

    Paper: Section 7, image + text queries; footnote 4 gives text weight 2, image weight 1.

    >>> image, text = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 0.5])
    >>> combine_query([(IMAGE_WEIGHT, image), (TEXT_WEIGHT, text)])
    tensor([0.4472, 0.8944])
    """
    if not terms:
        raise InputError("the query has no terms; give at least one text or image")
    weights = [float(weight) for weight, _ in terms]
    if not all(map(math.isfinite, weights)):
        raise InputError(f"query weights {weights}: each must be a finite number")
    vectors = [torch.as_tensor(one).detach().to("cpu", torch.float32) for _, one in terms]
    shapes = {tuple(vector.shape) for vector in vectors}
    if len(shapes) > 1 or vectors[0].ndim != 1:
        raise InputError(f"query terms {sorted(shapes)}: all embeddings must be (D,) of one model")
    if not all(0 < vector.norm() < math.inf for vector in vectors):
        raise InputError("the embedding of a query term is zero or not finite")
    total = torch.zeros_like(vectors[0])
    for weight, vector in zip(weights, vectors, strict=True):
        total = total + weight * (vector / vector.norm())
    # A smaller sum is a rounding error, whose direction means nothing.
    if total.norm() <= 1e-5 * sum(map(abs, weights)):
        raise InputError("the terms of the query cancel out; change a weight or a term")
    return F.normalize(total, dim=0)


def search(
    index: ImageIndex | str | Path, text: str | None = None, image: str | Path | None = None,
    plus: Sequence[str] = (), minus: Sequence[str] = (), top: int = 10,
    run: Encoder | None = None, device: str | None = None,
) -> list[Hit]:  # fmt: skip
    """Find images by a text, an image, or an image with texts added and subtracted.

    index: an index, or the folder of one. text, plus: words that describe the images, weight 2.
    minus: texts to subtract, weight -2. "snow::1.5" weighs 1.5 times as much as "snow".
    image: a picture to start from, weight 1; never among its own results. top: how many images
    to find. run: the model that built the index; by default `load_model` loads it.

    Returns hits, the best first. Raises InputError for a query without terms, when the index
    or its model cannot be read, when another model built the index, and for a broken picture.

    Paper: Section 7, image + text queries, with the weights of footnote 4.
    """
    words = [weighted(one) for one in (text, *plus) if one is not None]
    if not words and image is None:
        raise InputError("nothing to search for; give a text, an image or a text to add")
    words += [(-weight, one) for weight, one in map(weighted, minus)]
    if any(not one.strip() for _, one in words):
        raise InputError("a text of the query is empty; write at least one word")
    index = index if isinstance(index, ImageIndex) else ImageIndex.load(index)
    run = run or load_model(index, device)
    folder = getattr(run, "folder", None)
    weights = None if folder is None else weights_of(folder)
    if None not in (index.model, weights) and weights != index.model:
        raise InputError(f"{folder}: not the model that built this index; build the index again")
    terms: list[tuple[float, Tensor]] = []
    if words:
        vectors = run.encode_texts([one for _, one in words])
        terms += [(weight, vector) for (weight, _), vector in zip(words, vectors, strict=True)]
    if image is not None:
        terms.append((IMAGE_WEIGHT, run.encode_images([open_image(Path(image))])[0]))
    return index.search(combine_query(terms), top, exclude=[] if image is None else [image])


def load_model(index: ImageIndex, device: str | None = None) -> Encoder:
    """Return the model that built an index; on the CPU as plain towers, which start sooner."""
    from align_edu.search.towers import load_plain_towers

    if index.run is None:
        raise InputError("the index names no run; give the run that built it")
    on_cpu = device == "cpu" or (device is None and not torch.cuda.is_available())
    if on_cpu and (towers := load_plain_towers(index.run)) is not None:
        return towers
    from align_edu.evaluation.embed import load_encoder

    return load_encoder(index.run, device)


def weighted(text: str) -> tuple[float, str]:
    """Return the weight of a text and its words; a number after "::" at its end multiplies it.

    >>> weighted("snow::1.5"), weighted("snow"), weighted("a clock showing 10:30")
    ((3.0, 'snow'), (2.0, 'snow'), (2.0, 'a clock showing 10:30'))
    """
    found = _WEIGHT.fullmatch(text)
    return (TEXT_WEIGHT * float(found[2]), found[1]) if found else (TEXT_WEIGHT, text)
