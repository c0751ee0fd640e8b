"""The last pass: each chunk's pairs against every rule, and what stays."""

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet

from align_edu.filters import text
from align_edu.filters.funnel import tally
from align_edu.filters.job import Job
from align_edu.filters.rules import RULES
from align_edu.io import written_whole


def judge(job: Job, number: int) -> dict[str, Any]:
    """Write the pairs of a chunk that stay, their columns unchanged; return the funnel's counts."""
    pairs = pl.read_parquet(job.table("pairs", number))
    drops = {rule.name: pairs[rule.name] for rule, _ in job.applied("pair")}
    for rule, _ in job.applied("image"):
        dropped = _totals(job, "dropped_images").filter(rule.name)
        drops[rule.name] = _among(pairs["picture"], dropped, "picture")
    for rule, _ in job.applied("text"):
        drops[rule.name] = _among(pairs["text"], _totals(job, "dropped_texts"), "text")
    for rule, _ in job.applied("token"):
        rare = _totals(job, "rare_tokens").filter(pl.col("chunk") == number)
        tokens = rare.select("token").collect().to_series()
        drops[rule.name] = text.rows_with(tokens, pairs, job.with_bigrams)
    in_order = {rule.name: drops[rule.name] for rule in RULES if rule.name in drops}
    kept = np.ones(pairs.height, bool)
    for column in in_order.values():
        kept &= ~column.to_numpy()
    table = job.chunks[number].read()
    with written_whole(job.table("kept", number)) as beside:
        pa.parquet.write_table(table.filter(pa.array(kept)), beside)
    return tally(table, pl.DataFrame(in_order), pl.Series("kept", kept))


def _totals(job: Job, name: str) -> pl.LazyFrame:
    return pl.scan_parquet([job.table(name, share) for share in range(job.shares)])


def _among(prints: pl.Series, dropped: pl.LazyFrame, key: str) -> pl.Series:
    """Tell which fingerprints are among the dropped ones; an unknown one (null) is not."""
    found = dropped.select(key).collect().to_series()
    return prints.is_in(found.implode()).fill_null(False)
