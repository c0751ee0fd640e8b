"""The second pass: adding up what all chunks say of an image, a text or a token.

Each task looks at one share of the fingerprints, over all chunks. Frequencies are those of the
raw data, whatever other rules drop.
"""

from collections import Counter

import polars as pl

from align_edu.filters import text
from align_edu.filters.job import Job
from align_edu.filters.vocabulary import Edge, auto_edge, edge_of


def add_up_images(job: Job, share: int) -> dict[str, int]:
    """Write the pictures of a share that a rule drops; return the pairs that were not looked at."""
    totals = (pl.col("texts", "pairs").sum(), pl.col("distance").min())
    rules = [rule.drops(bound).alias(rule.name) for rule, bound in job.applied("image")]
    images = job.share("images", "picture", share).group_by("picture").agg(totals)
    found = images.with_columns(rules).collect(engine="streaming")
    names = [rule.name for rule, _ in job.applied("image")]
    job.write(
        found.filter(pl.any_horizontal(names)).select("picture", *names), "dropped_images", share
    )
    return {"not looked at": int(found.filter(pl.col("distance").is_null())["pairs"].sum())}


def add_up_texts(job: Job, share: int) -> None:
    """Write the texts of a share that a rule drops."""
    texts = (
        job.share("texts", "text", share).unique().group_by("text").agg(pl.len().alias("images"))
    )
    ((rule, bound),) = job.applied("text")
    job.write(
        texts.filter(rule.drops(bound)).select("text").collect(engine="streaming"),
        "dropped_texts",
        share,
    )


def add_up_tokens(job: Job, share: int) -> dict[str, int]:
    """Write the counts of a share's tokens; return how many tokens were seen how often."""
    totals = (pl.col("count").sum(), pl.col("spelling").first())
    tokens = job.share("tokens", "token", share).group_by("token").agg(totals)
    found = tokens.collect(engine="streaming")
    job.write(found, "all_tokens", share)
    sizes = found["count"].value_counts(name="tokens")
    return {str(count): tokens for count, tokens in sizes.rows()}


def find_edge(
    job: Job, sizes: Counter[int], pairs: int
) -> tuple[tuple[int, str | None] | None, str]:
    """Find the rarest token of the vocabulary, from how many tokens were seen how often.

    Returns its count and, if only some tokens of that count are in, the last one's spelling;
    None if the rule cannot be applied; and a note.

    Paper: Section 3 (the most frequent unigrams and bigrams of the raw data).
    """
    size = job.rules.vocabulary_size
    if size == "auto" or size is None:
        edge, note = auto_edge(sizes, pairs)
        return edge and (edge.least, None), note
    edge = edge_of(sizes, size)
    note = f"vocabulary of {min(size, sizes.total()):,} unigrams and bigrams"
    return (edge.least, _last_in(job, edge)), note


def _last_in(job: Job, edge: Edge) -> str | None:
    """The last of the tied tokens, by the alphabet, for which the vocabulary has room."""
    if edge.room is None:
        return None
    files = [job.table("all_tokens", share) for share in range(job.shares)]
    tied = pl.scan_parquet(files).filter(pl.col("count") == edge.least).select("spelling")
    return tied.collect().to_series().sort()[edge.room - 1]


def find_rare(job: Job, share: int) -> None:
    """Write which chunks hold which tokens of a share that are outside the vocabulary."""
    assert job.edge is not None
    tokens = pl.scan_parquet(job.table("all_tokens", share))
    rare = tokens.filter(text.rare_words(*job.edge)).select("token")
    held = job.share("tokens", "token", share).select("chunk", "token").join(rare, "token", "semi")
    job.write(held.collect(engine="streaming").sort("chunk"), "rare_tokens", share)
