"""Recall at k between images and texts, with ties counted against the model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align_edu.evaluation.embed import Encoder, embed_images, embed_texts
from align_edu.evaluation.record import bootstrap_interval
from align_edu.io import InputError
from align_edu.pairs.splits import Benchmark, read_split

KS = (1, 5, 10)  # paper: Tables 1 to 3
DIRECTIONS = ("image_to_text", "text_to_image")
CHUNK = 256  # queries compared at once: memory is CHUNK × gallery, never queries × gallery


def retrieval_recall(
    image: Tensor,
    text: Tensor,
    text_to_image: Tensor | Sequence[int],
    ks: Sequence[int] = KS,
) -> dict[str, dict[str, float]]:
    """Return the recall at k in both directions.

    A query is a hit when any of its own candidates is among the k most similar ones. A wrong
    candidate that is exactly as similar as the right one counts as more similar, so a model
    that gives every input the same vector gets nothing for it.

    Parameters
    ----------
    image : (I, D) embeddings, compared by inner product: unit vectors give the cosine.
    text : (T, D) embeddings.
    text_to_image : (T,) the image that each text describes; every image needs a text.
    ks : the k's, each at least 1.

    Returns
    -------
    {"image_to_text": {"R@1": ..., ...}, "text_to_image": {...}}, fractions in [0, 1].

    Raises
    ------
    ValueError for shapes that do not fit and for images without a text; InputError for
    embeddings that are not finite.

    Paper: Section 5.1, Tables 1 and 2.

    >>> image = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> text = torch.tensor([[0.8, 0.6], [0.6, 0.8], [0.8, 0.6]])
    >>> retrieval_recall(image, text, [0, 1, 1], ks=(1,))["text_to_image"]["R@1"]
    0.6666666666666666
    """
    _check_ks(ks)
    ranks = retrieval_ranks(image, text, text_to_image)
    return {direction: _recall(ranks[direction], ks) for direction in DIRECTIONS}


def retrieval_ranks(
    image: Tensor, text: Tensor, text_to_image: Tensor | Sequence[int]
) -> dict[str, Tensor]:
    """Return the rank of the best right candidate of each query; 1 is the best.

    The rank is one more than the number of wrong candidates that are at least as similar.
    The other texts of the same image are right as well and push nothing down.

    Parameters and errors are those of :func:`retrieval_recall`.

    Returns
    -------
    {"image_to_text": (I,), "text_to_image": (T,)} integers.

    >>> same = torch.ones(3, 4)  # all alike: every wrong candidate is ahead
    >>> retrieval_ranks(same, same, [0, 1, 2])["text_to_image"]
    tensor([3, 3, 3])
    """
    image, text = torch.as_tensor(image), torch.as_tensor(text)
    owner = _check_shapes(image, text, torch.as_tensor(text_to_image))
    # Equal vectors must give equal similarities. Sums in float32 differ in the last bit with
    # their place in the matrix, so sums are made in float64 and then rounded.
    return _ranks(_exact("image", image), _exact("text", text), owner)


def best_ranks(similarity: Tensor, right: Tensor) -> Tensor:
    """Return the rank of each query's best right candidate: (Q,); 1 is the best.

    similarity: (Q, G). right: (Q, G) booleans. A wrong candidate that is as similar counts as
    more similar; other right ones push nothing down.
    Raises InputError for similarities that are no numbers, which would rank first.

    >>> best_ranks(torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[False, True, False]])).tolist()
    [3]
    """
    if similarity.isnan().any():
        raise InputError("embeddings that are not finite; the model or its input is broken")
    best = similarity.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
    return 1 + ((similarity >= best) & ~right).sum(dim=1)


def precision_at_k(queries: Tensor, images: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Return for each query the share of relevant images among the k most similar.

    queries: (Q, D). images: (I, D). relevant: (Q, I) flags. Where fewer than k images are
    relevant, the share is of those. Returns (Q,) in 0…1.

    >>> eye = torch.eye(3)
    >>> precision_at_k(eye[:1], eye, torch.tensor([[True, True, False]]), k=1).tolist()
    [1.0]
    """
    top = (queries @ images.T).topk(min(k, len(images)), dim=1).indices  # (Q, k)
    hits = relevant.gather(1, top).sum(dim=1)
    return hits.double() / relevant.sum(dim=1).clamp(1, k)


def evaluate_retrieval(
    run: Encoder,
    benchmark: Benchmark | str | Path,
    *,
    split: str = "test",
    progress: bool = False,
) -> dict[str, Any]:
    """Measure a run on a retrieval benchmark.

    Parameters
    ----------
    run : a trained run, see `load_run`.
    benchmark : images and texts, or the folder that holds them in Karpathy's JSON form.
    split : of the folder, "test" or another one.
    progress : show bars on standard error.

    Returns
    -------
    The recalls as :func:`retrieval_recall`, the same under "interval" as 95 % bootstrap
    intervals over queries, the numbers of "images" and "texts", and, where the benchmark has
    compositions that training never shows, the same under "held_out": held-out scenes as
    queries against the whole gallery.

    Raises
    ------
    InputError for a benchmark that cannot be read whole: a gallery with fewer images would
    make a better-looking number.

    Paper: Section 5.1.
    """
    if not isinstance(benchmark, Benchmark):
        benchmark = read_split(benchmark, split)
    images = embed_gallery(run, benchmark, progress=progress)
    texts = embed_texts(run, benchmark.texts, progress=progress)
    ranks = retrieval_ranks(images, texts, benchmark.text_to_image)
    result = _part(ranks, torch.ones(len(benchmark.images), dtype=torch.bool), benchmark)
    held_out = torch.tensor(benchmark.held_out, dtype=torch.bool)
    if held_out.any():
        result["held_out"] = _part(ranks, held_out, benchmark)
    return result


def embed_gallery(run: Encoder, benchmark: Benchmark, *, progress: bool = False) -> Tensor:
    """Return the embeddings of all images of a benchmark: (I, D).

    Raises InputError for an image that cannot be read.
    """
    images = embed_images(run, benchmark.images, progress=progress)
    if images.skipped:
        raise InputError(
            f"{next(iter(images.skipped))}: not a readable image ({images.reasons()} in this"
            " benchmark); repair or make the benchmark again"
        )
    return images.embeddings


def retrieval_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`evaluate_retrieval` as a table for the terminal, in percent.

    >>> recall = {"R@1": 0.5, "R@5": 1.0}
    >>> both = {"image_to_text": recall, "text_to_image": recall, "images": 4, "texts": 20}
    >>> print(retrieval_table(both))
                                 R@1     R@5
    image to text               50.0   100.0
    text to image               50.0   100.0
    4 images and 20 texts; percent of queries
    """
    parts = [("", result)]
    if "held_out" in result:
        parts.append((", held out", result["held_out"]))
    names = list(result["image_to_text"])
    lines = [" " * 24 + "".join(f"{name:>8}" for name in names)]
    for suffix, part in parts:
        for direction in DIRECTIONS:
            label = direction.replace("_", " ") + suffix
            values = "".join(f"{100 * part[direction][name]:8.1f}" for name in names)
            lines.append(f"{label:<24}{values}")
    lines.append(f"{result['images']:,} images and {result['texts']:,} texts; percent of queries")
    if "held_out" in result:
        part = result["held_out"]
        lines.append(
            f"held out: {part['images']:,} images and {part['texts']:,} texts with compositions"
            " that training never shows, searched in the whole gallery"
        )
    return "\n".join(lines)


def _part(ranks: dict[str, Tensor], images: Tensor, benchmark: Benchmark) -> dict[str, Any]:
    """Recalls of the chosen images (a mask, (I,)) and of their texts as queries."""
    texts = images[torch.tensor(benchmark.text_to_image)]  # (T,)
    parts = {"image_to_text": ranks["image_to_text"][images]}
    parts["text_to_image"] = ranks["text_to_image"][texts]
    return {
        **{direction: _recall(part, KS) for direction, part in parts.items()},
        "interval": {direction: _intervals(part, KS) for direction, part in parts.items()},
        "images": int(images.sum()),
        "texts": int(texts.sum()),
    }


def _recall(ranks: Tensor, ks: Sequence[int]) -> dict[str, float]:
    return {f"R@{k}": int((ranks <= k).sum()) / len(ranks) for k in ks}


def _intervals(ranks: Tensor, ks: Sequence[int]) -> dict[str, list[float]]:
    return {f"R@{k}": bootstrap_interval(ranks <= k) for k in ks}


def _ranks(x: Tensor, y: Tensor, owner: Tensor) -> dict[str, Tensor]:
    """Ranks in both directions, from similarities that are made once, chunk by chunk."""
    own = (x[owner] * y).sum(dim=1).float()  # (T,) each text with its image
    best = torch.full((len(x),), -torch.inf).scatter_reduce_(0, owner, own, "amax")  # (I,)
    of_image, of_text = [], torch.ones(len(y), dtype=torch.int64)
    for start in range(0, len(x), CHUNK):
        similarity = (x[start : start + CHUNK] @ y.T).float()  # (C, T)
        rows = torch.arange(start, start + len(similarity))[:, None]
        similarity.masked_fill_(owner == rows, -torch.inf)  # only wrong ones push down
        of_image.append(1 + (similarity >= best[rows]).sum(dim=1))
        of_text += (similarity >= own).sum(dim=0)
    return {"image_to_text": torch.cat(of_image), "text_to_image": of_text}


def _exact(name: str, embeddings: Tensor) -> Tensor:
    wrong = (~torch.isfinite(embeddings)).any(dim=1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise InputError(
            f"{name} embeddings, row {row}: not finite; the model or its input is broken there"
        )
    return embeddings.detach().to("cpu", torch.float64)


def _check_ks(ks: Sequence[int]) -> None:
    if not ks or any(not isinstance(k, int) or k < 1 for k in ks):
        raise ValueError(f"ks {tuple(ks)}: give whole numbers, each at least 1")


def _check_shapes(image: Tensor, text: Tensor, owner: Tensor) -> Tensor:
    if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1] or 0 in image.shape:
        raise ValueError(
            f"image {tuple(image.shape)} and text {tuple(text.shape)}:"
            " they must be (I, D) and (T, D) with the same D, I > 0"
        )
    if owner.shape != (len(text),) or owner.is_floating_point() or owner.dtype == torch.bool:
        raise ValueError(
            f"text_to_image {tuple(owner.shape)} of {owner.dtype}:"
            f" it must hold one whole number a text, ({len(text)},)"
        )
    owner = owner.to("cpu", torch.int64)
    outside = (owner < 0) | (owner >= len(image))
    if outside.any():
        row = int(outside.nonzero()[0])
        raise ValueError(
            f"text_to_image, row {row}: {int(owner[row])} is no image index, 0 to {len(image) - 1}"
        )
    texts = torch.bincount(owner, minlength=len(image))
    if (texts == 0).any():
        row = int((texts == 0).nonzero()[0])
        raise ValueError(f"image {row} has no text; leave it out or give it one")
    return owner
