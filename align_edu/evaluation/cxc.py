"""Crisscrossed Captions: retrieval within and across modalities, and agreement with people."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.evaluation import retrieval
from align_edu.evaluation.embed import Encoder, embed_texts
from align_edu.io import InputError
from align_edu.pairs.splits import Benchmark, read_split

KS = (1, 5, 10)  # paper: Table 2
# What the two columns of identifiers name.
KINDS = {"sts": ("text", "text"), "sis": ("image", "image"), "sits": ("text", "image")}
HIGHEST = 5.0
# A pair counts as a match from this rating on (Parekh et al., 2021).
THRESHOLDS = {"sts": 3.0, "sis": 2.5, "sits": 3.0}
_DRAWN = 2**22  # drawn values in memory at a time
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
    """Read sts_SPLIT.csv, sis_SPLIT.csv and sits_SPLIT.csv of a folder: Ratings by kind.

    benchmark: the same split of the same images; captions are named by ``sentid``, images by file.
    Raises InputError for a file that is missing or broken, or does not fit. Paper: Section 4.2.
    """
    indices = {
        "text": {str(number): i for i, number in enumerate(benchmark.text_ids)},
        "image": {image.name: i for i, image in enumerate(benchmark.images)},
    }
    return {
        kind: _read_csv(Path(folder) / f"{kind}_{split}.csv", indices[one], indices[two])
        for kind, (one, two) in KINDS.items()
    }


def _read_csv(path: Path, first: Mapping[str, int], second: Mapping[str, int]) -> Ratings:
    """Read a file whose rows are two identifiers and a score; the indices are by identifier."""
    if not path.is_file():
        raise InputError(f"{path}: missing; get it from {_HOME}, or make a toy benchmark anew")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV ({error}); get it again") from None
    if len(header) > 2 and header[2].replace(".", "", 1).isdecimal():
        raise InputError(f"{path}: its first row is a rating; put the names of the columns above")
    if not rows:
        raise InputError(f"{path}: no rating in it; get it again from {_HOME}")
    found = []
    for number, row in enumerate(rows, start=2):
        try:
            one, two = (name.rpartition(":")[2] for name in row[:2])
            found.append((first[one], second[two], float(row[2])))
            if not 0.0 <= found[-1][2] <= HIGHEST:
                raise ValueError
        except KeyError as error:
            reason = f"{error} is not in the benchmark; use the images of these ratings"
            raise InputError(f"{path}, row {number}: {reason}") from None
        except (ValueError, IndexError):
            reason = f"needs two identifiers and a score from 0 to {HIGHEST:g}"
            raise InputError(f"{path}, row {number}: {reason}") from None
    return Ratings(*map(torch.tensor, zip(*found, strict=True)))


def pair_ranks(
    query: Tensor, gallery: Tensor, matches: tuple[Tensor, Tensor], *, itself: bool = False
) -> Tensor:
    """Return the rank of the best match of each query that has one, in order: (R,).

    query: (Q, D), gallery: (G, D), by cosine. matches: (M,) queries and (M,) gallery items.
    itself: query i is gallery item i, is never found, and matches hold both ways.
    """
    x = retrieval.exact_vectors("query", query, unit=True)
    y = retrieval.exact_vectors("gallery", gallery, unit=True)
    owner, candidate = matches
    if itself:
        owner, candidate = torch.cat([owner, candidate]), torch.cat([candidate, owner])
    if not len(owner):
        raise InputError("no rating reaches the threshold of a match; rate more or closer pairs")
    queries, position = owner.unique(return_inverse=True)  # sorted

    def right(rows: Tensor) -> Tensor:
        matching = torch.zeros(len(rows), len(y), dtype=torch.bool)
        inside = (position >= rows[0]) & (position <= rows[-1])
        matching[position[inside] - rows[0], candidate[inside]] = True
        return matching

    return retrieval.chunked_ranks(x[queries], y, right, queries if itself else None)


def measure_cxc(
    image: Tensor, text: Tensor, text_to_image: Tensor, ratings: Mapping[str, Ratings],
    *, own_pairs: bool = False, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Measure embeddings by all seven tasks of CxC.

    image: (I, D). text: (T, D). text_to_image: (T,), the image of each caption. own_pairs: a
    caption matches its image whatever their rating. seed: of the bootstrap.
    Returns the recalls of the four directions, and for "sts", "sis" and "sits" the mean and
    deviation of the correlation over the resamples.

    Paper: Section 5.1, Tables 2 and 3. Thresholds, and who is a query of the bootstrap, are
    inferred: captions for STS, images for SIS and SITS.
    """
    caption, picture = ratings["sits"].at_least(THRESHOLDS["sits"])
    if own_pairs:
        caption = torch.cat([caption, torch.arange(len(text))])
        picture = torch.cat([picture, text_to_image])
    sts, sis = (ratings[kind].at_least(THRESHOLDS[kind]) for kind in ("sts", "sis"))
    ranks = {
        "image_to_text": pair_ranks(image, text, (picture, caption)),
        "text_to_image": pair_ranks(text, image, (caption, picture)),
        "text_to_text": pair_ranks(text, text, sts, itself=True),
        "image_to_image": pair_ranks(image, image, sis, itself=True),
    }
    result: dict[str, Any] = {}
    for name, r in ranks.items():
        more = {"interval": retrieval.recall_intervals(r, KS), "queries": len(r)}
        result[name] = retrieval.recall_at(r, KS) | more
    units = {"text": F.normalize(text, dim=1), "image": F.normalize(image, dim=1)}
    for kind, (one, two) in KINDS.items():
        values = _agreement(ratings[kind], units[one], units[two], one == two, seed)
        mean, sd, pairs = values.mean().item(), values.std().item(), len(ratings[kind].scores)
        result[kind] = {"mean": mean, "sd": sd, "pairs": pairs}
    return result


def _agreement(ratings: Ratings, one: Tensor, two: Tensor, both: bool, seed: int) -> Tensor:
    """Return the correlation of cosines with ratings in each resample; both: either is a query."""
    pairs = one[ratings.first].double() * two[ratings.second].double()
    model, human, query = pairs.sum(dim=1).float(), ratings.scores, ratings.second  # (P,)
    if both:
        query = torch.cat([ratings.first, ratings.second])
        human, model = human.repeat(2), model.repeat(2)
    return bootstrap_spearman(query, human, model, seed=seed)


def evaluate_cxc(
    run: Encoder, benchmark: str | Path, *, ratings: str | Path | None = None,
    own_pairs: bool = False, split: str = "test", seed: int = 0, progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Measure a model by Crisscrossed Captions.

    benchmark: COCO's Karpathy JSON with its images, or a toy benchmark. ratings: the folder of
    the CSV files; by default ``cxc`` beside the JSON. split: "val" or "test". Captions that no
    rating names are left out: a few COCO images have six or seven, of which CxC rates five.
    Other arguments and the result are those of :func:`measure_cxc`.
    Raises InputError for files that are missing, broken or do not fit.
    """
    data = read_split(benchmark, split)
    folder = Path(benchmark) if Path(benchmark).is_dir() else Path(benchmark).parent
    rated = read_ratings(folder / "cxc" if ratings is None else ratings, data, split)
    sts, sits = rated["sts"], rated["sits"]
    named = torch.cat([sts.first, sts.second, sits.first]).unique()  # (R,) texts, sorted
    first, second = (torch.searchsorted(named, side) for side in (sts.first, sts.second))
    rated["sts"] = Ratings(first, second, sts.scores)
    rated["sits"] = Ratings(torch.searchsorted(named, sits.first), sits.second, sits.scores)
    image = retrieval.embed_gallery(run, data, progress=progress)
    text = embed_texts(run, [data.texts[i] for i in named.tolist()], progress=progress)
    owner = torch.tensor(data.text_to_image)[named]
    result = measure_cxc(image, text, owner, rated, own_pairs=own_pairs, seed=seed)
    return result | {"images": len(image), "texts": len(text), "seed": seed}


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Return Spearman's correlation (B,) of the rows of a and b (B, N); 0 for constant rows."""
    x, y = average_ranks(a), average_ranks(b)
    x, y = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    size = x.norm(dim=1) * y.norm(dim=1)
    return torch.where(size > 0, (x * y).sum(dim=1) / size.clamp(min=1e-300), 0.0)


def average_ranks(values: Tensor) -> Tensor:
    """Return the ranks (B, N) of each row's values, from 1; equal values share their mean rank."""
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (below + up_to + 1).double() / 2


def bootstrap_spearman(
    query: Tensor, human: Tensor, model: Tensor, *, resamples: int = retrieval.RESAMPLES,
    seed: int = 0,
) -> Tensor:  # fmt: skip
    """Return the correlation of human and model scores (P,) in each resample: (resamples,) float64.

    query: (P,) whole numbers. Each resample draws half of the queries without replacement, and one
    pair of each, so that a query with many pairs counts no more than one with few.
    Paper: Section 5.1, Table 3; the scheme is that of Parekh et al. (2021), Section 5.
    """
    order = query.argsort(stable=True)
    counts = query.unique(return_counts=True)[1]  # (Q,)
    starts = counts.cumsum(0) - counts
    generator = torch.Generator().manual_seed(seed)
    half = max(2, len(counts) // 2)
    parts = []
    for some in torch.arange(resamples).split(max(1, _DRAWN // len(counts))):
        drawn = torch.rand(len(some), len(counts), generator=generator).argsort(dim=1)[:, :half]
        place = (torch.rand(len(some), half, generator=generator) * counts[drawn]).long()
        pairs = order[starts[drawn] + place]  # (B, half)
        parts.append(spearman(human[pairs], model[pairs]))
    return torch.cat(parts)
