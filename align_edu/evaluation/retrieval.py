"""Recall at k: ranks of right candidates, ties counted against the model, and their intervals."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.evaluation.embed import Encoder, embed_images, embed_texts
from align_edu.io import InputError
from align_edu.pairs.images import open_image
from align_edu.pairs.splits import Benchmark, read_split

KS = (1, 5, 10)  # paper: Tables 1 to 3
DIRECTIONS = ("image_to_text", "text_to_image")
CELLS = 2**23  # similarities in memory at a time
RESAMPLES = 1_000
LEVEL = 0.95  # of an interval


def retrieval_recall(
    image: Tensor, text: Tensor, text_to_image: Tensor | Sequence[int], ks: Sequence[int] = KS
) -> dict[str, dict[str, float]]:
    """Return the recall at k in both directions, as fractions in [0, 1].

    A query is a hit when any of its right candidates is among the k most similar ones. Ties count
    against the model, so one that gives every input the same vector scores zero.

    image: (I, D) and text: (T, D) embeddings, compared by inner product: unit vectors give the
    cosine. text_to_image: (T,) the image that each text describes; every image needs a text.
    Raises ValueError for shapes that do not fit and for images without a text; InputError for
    embeddings that are not finite.
    Paper: Section 5.1, Tables 1 and 2.

    >>> image = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> text = torch.tensor([[0.8, 0.6], [0.6, 0.8], [0.8, 0.6]])
    >>> retrieval_recall(image, text, [0, 1, 1], ks=(1,))["text_to_image"]["R@1"]
    0.6666666666666666
    """
    if not ks or any(not isinstance(k, int) or k < 1 for k in ks):
        raise ValueError(f"ks {tuple(ks)}: give whole numbers, each at least 1")
    ranks = retrieval_ranks(image, text, text_to_image)
    return {direction: recall_at(ranks[direction], ks) for direction in DIRECTIONS}


def retrieval_ranks(
    image: Tensor, text: Tensor, text_to_image: Tensor | Sequence[int]
) -> dict[str, Tensor]:
    """Return the rank of the best right candidate of each query; 1 is the best.

    Parameters and errors are those of :func:`retrieval_recall`.
    Returns {"image_to_text": (I,), "text_to_image": (T,)}.
    """
    image, text = torch.as_tensor(image), torch.as_tensor(text)
    owner = _check_shapes(image, text, torch.as_tensor(text_to_image))
    x, y = exact_vectors("image", image), exact_vectors("text", text)
    # Similarities are computed once, chunk by chunk, and serve both directions.
    own = (x[owner] * y).sum(dim=1).float()  # (T,) each text with its image
    best = torch.full((len(x),), -torch.inf).scatter_reduce_(0, owner, own, "amax")  # (I,)
    of_image, of_text = [], torch.ones(len(y), dtype=torch.int64)
    for rows in _chunks(len(x), len(y)):
        similarity = (x[rows] @ y.T).float()  # (C, T)
        right = owner == rows[:, None]
        of_image.append(best_ranks(similarity, right, best[rows, None]))
        of_text += best_ranks(similarity.T, right.T, own[:, None]) - 1
    return {"image_to_text": torch.cat(of_image), "text_to_image": of_text}


def evaluate_retrieval(
    run: Encoder, benchmark: Benchmark | str | Path, *, split: str = "test", progress: bool = False
) -> dict[str, Any]:
    """Measure a model on a retrieval benchmark.

    benchmark: images and texts, or the folder that holds them in Karpathy's JSON form.
    Returns recalls as :func:`retrieval_recall` with their 95 % bootstrap intervals; the same under
    "held_out" for compositions that training never shows, searched in the whole gallery.
    Raises InputError for an image that cannot be read: a smaller gallery would be easier.
    Paper: Section 5.1.
    """
    if not isinstance(benchmark, Benchmark):
        benchmark = read_split(benchmark, split)
    images = embed_gallery(run, benchmark, progress=progress)
    texts = embed_texts(run, benchmark.texts, progress=progress)
    ranks = retrieval_ranks(images, texts, benchmark.text_to_image)
    held_out = torch.tensor(benchmark.held_out, dtype=torch.bool)  # (I,)
    result = _part(ranks, torch.ones_like(held_out), benchmark)
    return result | ({"held_out": _part(ranks, held_out, benchmark)} if held_out.any() else {})


def embed_gallery(run: Encoder, benchmark: Benchmark, *, progress: bool = False) -> Tensor:
    """Return the embeddings of all images, (I, D); raise InputError for one, or a broken one."""
    if len(benchmark.images) < 2:
        raise InputError(f"{benchmark.images[0]}: the only image of this split; give two or more")
    files = benchmark.images
    return embed_images(run, files, lambda i: open_image(files[i]), progress=progress).embeddings


def _part(ranks: dict[str, Tensor], images: Tensor, benchmark: Benchmark) -> dict[str, Any]:
    """Return the recalls with the chosen images, a mask (I,), and their texts as queries."""
    texts = images[torch.tensor(benchmark.text_to_image)]  # (T,)
    chosen = {d: ranks[d][mask] for d, mask in zip(DIRECTIONS, (images, texts), strict=True)}
    return {
        **{direction: recall_at(r, KS) for direction, r in chosen.items()},
        "interval": {d: recall_intervals(r, KS) for d, r in chosen.items()},
        "images": int(images.sum()),
        "texts": int(texts.sum()),
    }


def _check_shapes(image: Tensor, text: Tensor, owner: Tensor) -> Tensor:
    """Return the owners as int64 on the CPU; raise ValueError for shapes that do not fit."""
    if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1] or 0 in image.shape:
        shapes = f"image {tuple(image.shape)} and text {tuple(text.shape)}"
        raise ValueError(f"{shapes}: they must be (I, D) and (T, D) with the same D, I > 0")
    if owner.shape != (len(text),) or owner.is_floating_point() or owner.dtype == torch.bool:
        raise ValueError(f"text_to_image {tuple(owner.shape)}: give one whole number per text")
    owner = owner.to("cpu", torch.int64)
    for row in ((owner < 0) | (owner >= len(image))).nonzero()[:1]:
        raise ValueError(f"text_to_image, row {int(row)}: {int(owner[row])} is no image index")
    for row in (torch.bincount(owner, minlength=len(image)) == 0).nonzero()[:1]:
        raise ValueError(f"image {int(row)} has no text; leave it out or give it one")
    return owner


def exact_vectors(name: str, vectors: Tensor, *, unit: bool = False) -> Tensor:
    """Return embeddings (N, D) as float64 on the CPU, with length 1 if ``unit``.

    Equal vectors must get equal similarities; in float32 their position decides the last bit of
    a sum. Raises InputError with the first row that is not finite.
    """
    for row in (~vectors.isfinite()).any(dim=1).nonzero()[:1].flatten().tolist():
        raise InputError(f"{name} embeddings, row {row}: not finite; the model or input is broken")
    exact = vectors.detach().to("cpu", torch.float64)
    return F.normalize(exact, dim=1) if unit else exact


def _chunks(queries: int, gallery: int) -> tuple[Tensor, ...]:
    """Return the rows of queries in chunks that keep the matrix of similarities small."""
    return torch.arange(queries).split(max(1, CELLS // gallery))


def best_ranks(similarity: Tensor, right: Tensor, best: Tensor | None = None) -> Tensor:
    """Return the rank of each query's best right candidate: (Q,); 1 is the best.

    similarity: (Q, G). right: (Q, G) booleans. best: (Q, 1) of the best right candidate, computed
    when None. A wrong candidate that is as similar counts as more similar.
    """
    if best is None:
        best = similarity.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
    return 1 + ((similarity >= best) & ~right).sum(dim=1)


def chunked_ranks(
    query: Tensor, gallery: Tensor, right: Callable[[Tensor], Tensor], itself: Tensor | None = None
) -> Tensor:
    """Return the :func:`best_ranks` of (Q, D) in (G, D) without holding all similarities: (Q,).

    right: rows of queries (C,) to booleans (C, G). itself: (Q,) items that are the query.
    """
    ranks = []
    for rows in _chunks(len(query), len(gallery)):
        similarity = (query[rows] @ gallery.T).float()  # (C, G)
        if itself is not None:
            similarity[torch.arange(len(rows)), itself[rows]] = -torch.inf
        ranks.append(best_ranks(similarity, right(rows)))
    return torch.cat(ranks)


def recall_at(ranks: Tensor, ks: Sequence[int], prefix: str = "R@") -> dict[str, float]:
    """Return the share of ranks up to each k, such as {"R@1": 0.5}."""
    return {f"{prefix}{k}": int((ranks <= k).sum()) / len(ranks) for k in ks}


def recall_intervals(
    ranks: Tensor, ks: Sequence[int], prefix: str = "R@"
) -> dict[str, list[float]]:
    """Return the 95 % bootstrap interval of each :func:`recall_at`."""
    return {f"{prefix}{k}": bootstrap_interval(ranks <= k) for k in ks}


def precision_at_k(queries: Tensor, images: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Return for each query the share of relevant images among the k most similar: (Q,).

    relevant: (Q, I) booleans. Where fewer than k images are relevant, the share is of those.
    """
    top = (queries @ images.T).topk(min(k, len(images)), dim=1).indices  # (Q, k)
    hits = relevant.gather(1, top).sum(dim=1)
    return hits.double() / relevant.sum(dim=1).clamp(1, k)


def bootstrap_interval(values: Tensor, *, resamples: int = RESAMPLES, seed: int = 0) -> list[float]:
    """Return the 95 % bootstrap interval of the mean of ``values``: [low, high].

    values: (Q,), Q > 0, one number per query, such as 1 for a hit and 0 for a miss. The number of
    hits in a resample is binomial: it is drawn directly.

    >>> low, high = bootstrap_interval(torch.tensor([1.0, 1.0, 0.0, 1.0] * 25))
    >>> 0.6 < low < 0.75 < high < 0.9
    True
    """
    numbers = values.double().numpy()
    rng = np.random.default_rng(seed)
    if np.isin(numbers, (0.0, 1.0)).all():
        means = rng.binomial(len(numbers), numbers.mean(), resamples) / len(numbers)
    else:
        draws = (rng.integers(len(numbers), size=len(numbers)) for _ in range(resamples))
        means = np.array([numbers[drawn].mean() for drawn in draws])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]
