"""Crisscrossed Captions: retrieval within and across modalities, and agreement with people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.evaluation.embed import Encoder, embed_texts
from align_edu.evaluation.ranks import chunked_ranks, exact_vectors, recall_at, recall_intervals
from align_edu.evaluation.ratings import KINDS, Ratings, read_ratings
from align_edu.evaluation.retrieval import embed_gallery
from align_edu.evaluation.spearman import bootstrap_spearman
from align_edu.io import InputError
from align_edu.pairs.splits import read_split

KS = (1, 5, 10)  # paper: Table 2
# A pair counts as a match from this rating on (Parekh et al., 2021).
THRESHOLDS = {"sts": 3.0, "sis": 2.5, "sits": 3.0}


def pair_ranks(
    query: Tensor, gallery: Tensor, matches: tuple[Tensor, Tensor], *, itself: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the queries that have a match, and the rank of the best match of each.

    query: (Q, D), gallery: (G, D), compared by cosine. matches: (M,) queries and (M,) gallery
    items that match. itself: query i is gallery item i, and is never found. A wrong item that
    is as similar counts as nearer; other matches push nothing down.
    Returns two (R,) tensors, the queries in order.
    Raises InputError for embeddings that are not finite, and where nothing matches.
    """
    x = exact_vectors("query", query, unit=True)
    y = exact_vectors("gallery", gallery, unit=True)
    owner, candidate = matches
    if not len(owner):
        raise InputError("no rating reaches the threshold of a match; rate more or closer pairs")
    asked, position = owner.unique(return_inverse=True)  # sorted

    def right(rows: Tensor) -> Tensor:
        matching = torch.zeros(len(rows), len(y), dtype=torch.bool)
        inside = (position >= rows[0]) & (position <= rows[-1])
        matching[position[inside] - rows[0], candidate[inside]] = True
        return matching

    return asked, chunked_ranks(x[asked], y, right, asked if itself else None)


def measure_cxc(
    image: Tensor,
    text: Tensor,
    text_to_image: Tensor,
    ratings: Mapping[str, Ratings],
    *,
    own_pairs: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure embeddings by all seven tasks of CxC.

    image: (I, D). text: (T, D). text_to_image: (T,), the image of each caption. own_pairs: a
    caption matches its image whatever their rating; by default only ratings decide. seed: of
    the bootstrap.
    Returns, for "image_to_text", "text_to_image", "text_to_text" and "image_to_image", R@1, R@5,
    R@10, their 95 % "interval" and the number of "queries"; and for "sts", "sis" and "sits"
    the "mean" and "sd" of the correlation over the resamples, and the number of "pairs".

    Paper: Section 5.1, Tables 2 and 3. Thresholds, and who is a query of the bootstrap, are
    inferred: captions for STS, images for SIS and SITS.
    """
    across = ratings["sits"].at_least(THRESHOLDS["sits"])
    if own_pairs:
        own = torch.arange(len(text)), text_to_image
        across = torch.cat([across[0], own[0]]), torch.cat([across[1], own[1]])
    texts = _both_ways(ratings["sts"].at_least(THRESHOLDS["sts"]))
    images = _both_ways(ratings["sis"].at_least(THRESHOLDS["sis"]))
    ranks = {
        "image_to_text": pair_ranks(image, text, (across[1], across[0])),
        "text_to_image": pair_ranks(text, image, across),
        "text_to_text": pair_ranks(text, text, texts, itself=True),
        "image_to_image": pair_ranks(image, image, images, itself=True),
    }
    vectors = {"text": F.normalize(text, dim=1), "image": F.normalize(image, dim=1)}
    return {
        **{name: _recalls(found) for name, (_, found) in ranks.items()},
        **{kind: _agreement(kind, ratings[kind], vectors, seed) for kind in KINDS},
    }


def evaluate_cxc(
    run: Encoder,
    benchmark: str | Path,
    *,
    ratings: str | Path | None = None,
    own_pairs: bool = False,
    split: str = "test",
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure a model by Crisscrossed Captions.

    run: a trained model. benchmark: COCO's Karpathy JSON with its images, or a toy benchmark.
    ratings: the folder of the CSV files; by default ``cxc`` beside the JSON. own_pairs: as in
    :func:`measure_cxc`. split: "val" or "test". seed: of the bootstrap. Captions that no rating
    names are left out: a few COCO images have six or seven, of which CxC rates five.
    Returns what :func:`measure_cxc` does, and the numbers of "images" and "texts".
    Raises InputError for files that are missing, broken or do not fit.

    Paper: Section 5.1, Tables 2 and 3.
    """
    data = read_split(benchmark, split)
    folder = Path(benchmark) if Path(benchmark).is_dir() else Path(benchmark).parent
    rated = read_ratings(folder / "cxc" if ratings is None else ratings, data, split)
    named, rated = _rated_texts(rated)
    image = embed_gallery(run, data, progress=progress)
    text = embed_texts(run, [data.texts[i] for i in named.tolist()], progress=progress)
    owner = torch.tensor(data.text_to_image)[named]
    result = measure_cxc(image, text, owner, rated, own_pairs=own_pairs, seed=seed)
    return result | {"images": len(image), "texts": len(text), "seed": seed}


def cxc_table(result: Mapping[str, Any]) -> str:
    """Return the result of :func:`evaluate_cxc` as a table for the terminal, in percent."""
    lines = [f"{'':18}" + "".join(f"{f'R@{k}':>8}" for k in KS)]
    for name in ("image_to_text", "text_to_image", "text_to_text", "image_to_image"):
        values = "".join(f"{100 * result[name][f'R@{k}']:8.1f}" for k in KS)
        lines.append(f"{name.replace('_', ' '):<18}{values}   {result[name]['queries']:,} queries")
    for kind in KINDS:
        part = result[kind]
        lines.append(
            f"{kind.upper():<18}{100 * part['mean']:8.1f} ± {100 * part['sd']:.1f}"
            f"   {part['pairs']:,} rated pairs"
        )
    lines.append(
        f"{result['images']:,} images and {result['texts']:,} texts; percent of queries, and"
        " Spearman's correlation times 100 with its bootstrap deviation"
    )
    return "\n".join(lines)


def _rated_texts(ratings: Mapping[str, Ratings]) -> tuple[Tensor, dict[str, Ratings]]:
    """Return the texts that any rating names, sorted, and the ratings with their new indices."""
    sts, sits = ratings["sts"], ratings["sits"]
    named = torch.cat([sts.first, sts.second, sits.first]).unique()  # sorted
    first, second = (torch.searchsorted(named, side) for side in (sts.first, sts.second))
    renumbered = {
        "sts": Ratings(first, second, sts.scores),
        "sits": Ratings(torch.searchsorted(named, sits.first), sits.second, sits.scores),
    }
    return named, dict(ratings) | renumbered


def _both_ways(pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    one, two = pairs
    return torch.cat([one, two]), torch.cat([two, one])


def _recalls(ranks: Tensor) -> dict[str, Any]:
    return {**recall_at(ranks, KS), "interval": recall_intervals(ranks, KS), "queries": len(ranks)}


def _agreement(
    kind: str, ratings: Ratings, vectors: Mapping[str, Tensor], seed: int
) -> dict[str, Any]:
    sides = KINDS[kind]
    first, second = vectors[sides[0]][ratings.first], vectors[sides[1]][ratings.second]
    model = (first.double() * second.double()).sum(dim=1).float()  # (P,)
    query, human = ratings.second if kind == "sits" else ratings.first, ratings.scores
    if kind != "sits":  # each of the two is the query of the other
        query = torch.cat([ratings.first, ratings.second])
        human, model = human.repeat(2), model.repeat(2)
    values = bootstrap_spearman(query, human, model, seed=seed)
    mean, sd = values.mean().item(), values.std().item()
    return {"mean": mean, "sd": sd, "pairs": len(ratings.scores)}
