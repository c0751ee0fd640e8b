"""The pictures of a chunk of pairs, where a rule has to look at them."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from align_edu.filters.job import Job
from align_edu.filters.near_duplicates import Place, hash_images, nearest_distance
from align_edu.filters.unsafe import unsafe_probabilities
from align_edu.pairs.shards import PairSource, open_pairs


def look_at_pictures(job: Job, pairs: pl.DataFrame) -> pl.DataFrame:
    """Add what the rules need to know of the pairs' pictures, each looked at once.

    `distance` : bits to the nearest evaluation image; null where it was not looked at: for a
    pair without picture, one that cannot be decoded, or a further pair of the same picture.
    `unsafe` : the classifier's probability, where the table itself has no scores.
    """
    if job.pictures is None:
        return pairs
    rows, places = _places(job.pictures, pairs)
    if job.against is not None:
        hashes, readable = hash_images(places, job.processes)
        far = nearest_distance(hashes, np.load(job.against)) if places else np.empty(0, np.int32)
        distance = pl.Series("distance", far, pl.Int32).set(
            pl.Series(~readable, dtype=pl.Boolean), None
        )
        pairs = _with(pairs, rows, distance)
    if job.unsafe_model is not None:
        scores = unsafe_probabilities(job.unsafe_model, places)
        pairs = _with(pairs, rows, pl.Series("unsafe", scores, pl.Float64))
    return pairs


def _with(pairs: pl.DataFrame, rows: list[int], values: pl.Series) -> pl.DataFrame:
    """Add a column that has the values at the given rows and null elsewhere."""
    column = pl.Series(values.name, [None] * pairs.height, values.dtype)
    return pairs.with_columns(column.scatter(rows, values) if rows else column)


def _places(pictures: Path, pairs: pl.DataFrame) -> tuple[list[int], list[Place]]:
    """The first row of each different picture that is there, and where the picture lies."""
    source, number_of = _index(pictures)
    first: dict[str, tuple[int, int]] = {}
    for row, (key, image) in enumerate(pairs.select("key", pl.coalesce("image", "key")).rows()):
        if key in number_of:
            first.setdefault(image, (row, number_of[key]))
    return [row for row, _ in first.values()], [source.place(n) for _, n in first.values()]


@lru_cache(maxsize=1)
def _index(pictures: Path) -> tuple[PairSource, dict[str, int]]:
    source = open_pairs([pictures])
    return source, {key: number for number, key in enumerate(source.keys)}
