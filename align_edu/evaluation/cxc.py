"""Crisscrossed Captions: retrieval within and across modalities, and agreement with people."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.evaluation.embed import Encoder, embed_texts
from align_edu.evaluation.ranks import (
    bootstrap_spearman,
    chunked_ranks,
    exact_vectors,
    recall_at,
    recall_intervals,
)
from align_edu.evaluation.retrieval import embed_gallery
from align_edu.io import InputError
from align_edu.pairs.splits import Benchmark, read_split

KS = (1, 5, 10)  # paper: Table 2
# What the two columns of identifiers name.
KINDS = {"sts": ("text", "text"), "sis": ("image", "image"), "sits": ("text", "image")}
HIGHEST = 5.0
# A pair counts as a match from this rating on (Parekh et al., 2021).
THRESHOLDS = {"sts": 3.0, "sis": 2.5, "sits": 3.0}
_HOME = "https://github.com/google-research-datasets/Crisscrossed-Captions (folder data)"


@dataclass(frozen=True)
class Ratings:
    """Human ratings of pairs of texts or images of a benchmark, see `KINDS`."""

    first: Tensor  # (P,) indices
    second: Tensor  # (P,) indices
    scores: Tensor  # (P,) float32, 0 to 5

    def at_least(self, threshold: float) -> tuple[Tensor, Tensor]:
        """Return the pairs with this score or more: two (M,) tensors."""
        kept = self.scores >= threshold
        return self.first[kept], self.second[kept]


def read_ratings(folder: str | Path, benchmark: Benchmark, split: str) -> dict[str, Ratings]:
    """Read sts_SPLIT.csv, sis_SPLIT.csv and sits_SPLIT.csv of a folder.

    benchmark: the same split of the same images; captions are named by their ``sentid``,
    images by their file name. Returns Ratings by kind.
    Raises InputError for a file that is missing or broken, and an identifier that the
    benchmark does not have.

    Paper: Section 4.2.
    """
    indices = {
        "text": {str(number): i for i, number in enumerate(benchmark.text_ids)},
        "image": {image.name: i for i, image in enumerate(benchmark.images)},
    }
    found = {}
    for kind, sides in KINDS.items():
        path = Path(folder) / f"{kind}_{split}.csv"
        rows = [
            _rating(f"{path}, row {number}", row, sides, indices)
            for number, row in enumerate(_rows(path), start=2)
        ]
        if not rows:
            raise InputError(f"{path}: no rating in it; get it again from {_HOME}")
        first, second, scores = zip(*rows, strict=True)
        found[kind] = Ratings(torch.tensor(first), torch.tensor(second), torch.tensor(scores))
    return found


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
    queries, position = owner.unique(return_inverse=True)  # sorted

    def right(rows: Tensor) -> Tensor:
        matching = torch.zeros(len(rows), len(y), dtype=torch.bool)
        inside = (position >= rows[0]) & (position <= rows[-1])
        matching[position[inside] - rows[0], candidate[inside]] = True
        return matching

    return queries, chunked_ranks(x[queries], y, right, queries if itself else None)


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
    texts, images, (caption, picture) = (
        ratings[kind].at_least(THRESHOLDS[kind]) for kind in ("sts", "sis", "sits")
    )
    if own_pairs:
        caption = torch.cat([caption, torch.arange(len(text))])
        picture = torch.cat([picture, text_to_image])
    ranks = {
        "image_to_text": pair_ranks(image, text, (picture, caption)),
        "text_to_image": pair_ranks(text, image, (caption, picture)),
        "text_to_text": pair_ranks(text, text, _both_ways(*texts), itself=True),
        "image_to_image": pair_ranks(image, image, _both_ways(*images), itself=True),
    }
    recalls = {
        name: {**recall_at(r, KS), "interval": recall_intervals(r, KS), "queries": len(r)}
        for name, (_, r) in ranks.items()
    }
    vectors = {"text": F.normalize(text, dim=1), "image": F.normalize(image, dim=1)}
    return recalls | {kind: _agreement(kind, ratings[kind], vectors, seed) for kind in KINDS}


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
    sts, sits = rated["sts"], rated["sits"]
    named = torch.cat([sts.first, sts.second, sits.first]).unique()  # (R,) texts, sorted
    first, second, caption = (
        torch.searchsorted(named, side) for side in (sts.first, sts.second, sits.first)
    )
    rated["sts"] = Ratings(first, second, sts.scores)
    rated["sits"] = Ratings(caption, sits.second, sits.scores)
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


def _rows(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file below its header."""
    if not path.is_file():
        raise InputError(f"{path}: missing; get it from {_HOME}, or make a toy benchmark anew")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV ({error}); get it again") from None
    if len(header) > 2 and header[2].replace(".", "", 1).isdecimal():
        raise InputError(f"{path}: its first row is a rating; put the names of the columns above")
    return rows


def _rating(
    where: str, row: Sequence[str], sides: Sequence[str], indices: Mapping[str, Mapping[str, int]]
) -> tuple[int, int, float]:
    """Return the two indices and the score of a row."""
    if len(row) < 3:
        raise InputError(f"{where}: needs two identifiers and a score")
    found = []
    for name, side in zip(row, sides, strict=False):
        index = indices[side].get(name.rpartition(":")[2] if side == "text" else name)
        if index is None:
            raise InputError(
                f"{where}: {side} {name!r} is not in the benchmark; use the split and the images"
                " that these ratings belong to"
            )
        found.append(index)
    try:
        score = float(row[2])
    except ValueError:
        score = -1.0
    if not 0.0 <= score <= HIGHEST:
        raise InputError(f"{where}: {row[2]!r} is no score from 0 to 5")
    return found[0], found[1], score


def _both_ways(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([one, two]), torch.cat([two, one])


def _agreement(
    kind: str, ratings: Ratings, vectors: Mapping[str, Tensor], seed: int
) -> dict[str, Any]:
    """Return the correlation of cosines with ratings, over the resamples of the bootstrap."""
    one, two = KINDS[kind]
    pairs = vectors[one][ratings.first].double() * vectors[two][ratings.second].double()
    model = pairs.sum(dim=1).float()  # (P,)
    query, human = ratings.second, ratings.scores
    if one == two:  # each of the two is the query of the other
        query = torch.cat([ratings.first, ratings.second])
        human, model = human.repeat(2), model.repeat(2)
    values = bootstrap_spearman(query, human, model, seed=seed)
    mean, sd = values.mean().item(), values.std().item()
    return {"mean": mean, "sd": sd, "pairs": len(ratings.scores)}
