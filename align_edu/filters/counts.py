"""The passes of a filter: describe each chunk, add up over all chunks, judge each chunk.

Each task of a pass, for a chunk of the raw pairs or a share of all fingerprints, writes tables
that the next pass reads, so that memory holds one chunk or share at a time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet

from align_edu.filters import image, text
from align_edu.filters.funnel import tally
from align_edu.filters.image import distances
from align_edu.filters.rules import RULES, Rule, Rules
from align_edu.io import InputError, written_whole
from align_edu.pairs.shards import PairSource, open_pairs, shard_faults
from align_edu.pairs.table import Chunks

COLUMNS = ("key", "shard", "caption", image.STATUS, *image.IDENTITY, *image.SIZE, *image.SCORES)
_IS_BIGRAM = pl.col("spelling").str.contains(" ", literal=True)


@dataclass(frozen=True)
class Job:
    """One filter run as plain values, so that it can be sent to other processes."""

    work: Path  # folder of the tables between the passes; all workers must see it
    raw: Chunks  # the raw pairs
    rules: Rules
    absent: Mapping[str, str]  # rule -> why it is not applied
    bigrams: bool  # whether bigrams are counted and judged
    shards: Path | None  # the pictures; None if the pairs have none
    hashes: Path | None  # file of the evaluation images' hashes, if the rule is applied
    unsafe_model: Path | None  # folder of an image classifier, if the rule is applied
    processes: int  # that hash images
    shares: int = 1  # equal ranges into which the fingerprints are divided
    edge: tuple[int, str | None] | None = None  # of the vocabulary: arguments of text.rare_words

    def table(self, name: str, number: int) -> Path:
        """Return the file of a table of one chunk or share."""
        return self.work / name / f"{number:05d}.parquet"

    def applied(self, of: str) -> list[tuple[Rule, Any]]:
        """Return the applied rules on a pair, image, text or token, with their bounds."""
        rules = [rule for rule in RULES if rule.of == of and rule.name not in self.absent]
        return [(rule, getattr(self.rules, rule.bound)) for rule in rules]

    def write(self, table: pl.DataFrame, name: str, number: int) -> None:
        """Write a table of one chunk or share, whole or not at all."""
        with written_whole(self.table(name, number)) as beside:
            table.write_parquet(beside, compression="lz4", row_group_size=200_000)

    def scan(self, name: str, numbers: Iterable[int]) -> pl.LazyFrame:
        """Scan a table of several chunks or shares."""
        return pl.scan_parquet([self.table(name, number) for number in numbers], glob=False)

    def share(self, name: str, key: str, number: int) -> pl.LazyFrame:
        """Scan one share of a table of all chunks; as they are sorted by `key`, little else."""
        edges = [2**64 * i // self.shares for i in (number, number + 1)]
        low, high = pl.lit(edges[0], pl.UInt64), pl.lit(edges[1] - 1, pl.UInt64)
        whole = self.scan(name, range(len(self.raw.chunks)))
        return whole.filter(pl.col(key).is_between(low, high))


def describe(job: Job, number: int) -> tuple[int, dict[str, int]]:
    """Write the tables of a chunk, in which images, texts and words are fingerprints.

    pairs: picture, text, and which rules on one pair drop it. images: each different picture with
    its number of alt-texts and pairs, and its distance in bits to the nearest evaluation image.
    texts: the different (text, image). words: row and fingerprint. tokens: counts and spellings.

    Returns the number of pairs whose download did not fail, and what the chunk's shard lacks.
    """
    chunk = job.raw.chunks[number]
    raw = prepared(chunk.read(COLUMNS))
    failed = pl.lit(False)
    for rule, bound in job.applied("download"):
        failed = rule.drops(bound)
    raw = raw.with_columns(pl.when(~failed).then(n).alias(n) for n in ("text", "image", "key"))
    if job.shards is not None and (job.hashes or job.unsafe_model):
        raw = _with_pictures(job, job.shards, raw)
    pairs = raw.select(
        text.fingerprint(pl.col("image")),
        text.fingerprint(pl.coalesce("image", "key")).alias("picture"),
        text.fingerprint(pl.col("text")),
        (pl.col("caption").is_not_null() & pl.col("image").is_not_null()).alias("texts"),
        "distance",
        *[failed.alias(rule.name) for rule, _ in job.applied("download")],
        *[(rule.drops(b) & ~failed).alias(rule.name) for rule, b in job.applied("pair")],
    )
    job.write(pairs.drop("image", "texts", "distance"), "pairs", number)
    if job.applied("image"):
        images = pairs.drop_nulls("picture").group_by("picture")
        totals = (pl.col("texts").sum(), pl.len().alias("pairs"), pl.col("distance").min())
        job.write(images.agg(totals).sort("picture"), "images", number)
    if job.applied("text"):
        texts = pairs.select("text", "image").drop_nulls().unique()
        job.write(texts.sort("text"), "texts", number)
    if job.applied("token"):
        words = text.words(raw)
        job.write(words.drop("word"), "words", number)
        tokens = text.count_tokens(words, job.bigrams).sort("token")
        job.write(tokens.with_columns(pl.lit(number, pl.UInt32).alias("chunk")), "tokens", number)
    return pairs["text"].count(), shard_faults(chunk.tar) if chunk.tar else {}


def prepared(table: pa.Table) -> pl.DataFrame:
    """Give columns the types that the rules read, or raise InputError; add derived ones."""
    # Without the metadata of the schema and its fields, which polars wants in UTF-8.
    rows = pl.DataFrame(pl.from_arrow(pa.table(table.columns, names=table.column_names)))
    for name, dtype in rows.schema.items():
        number, word = dtype.is_numeric(), dtype == pl.String
        either = name in ("key", "shard", *image.SIZE, *image.SCORES)
        if not (word or (number and either)) and dtype != pl.Null:
            raise InputError(f"column `{name}` holds {dtype}, which its rule cannot read; cast it")
    key = pl.col("key") if "key" in rows.columns else pl.lit(None, pl.String)
    if {"shard", "key"} <= set(rows.columns):  # a key is unique in its shard
        key = pl.concat_str("shard", "key", separator="/")
    sizes = [name for name in image.SIZE if name in rows.columns]
    scores = [name for name in image.SCORES if name in rows.columns]
    return rows.with_columns(
        text.normalised(pl.col("caption").cast(pl.String)).alias("text"),
        image.image_identity(rows.columns),
        key.cast(pl.String).alias("key"),
        pl.lit(None, pl.Float64).alias("distance"),
        *[pl.col(name).cast(pl.Float64, strict=False).fill_nan(None) for name in sizes],
        *[pl.col(name).cast(pl.String) for name in rows.columns if name == image.STATUS],
        *[image.unsafe_score(rows[name]) for name in scores[:1]],
    )


def _with_pictures(job: Job, shards: Path, pairs: pl.DataFrame) -> pl.DataFrame:
    """Measure `distance` and `unsafe` of each different picture; null without a readable one."""
    source, number_of = _index(shards, "shard" in pairs.columns)
    names = pairs.select(pl.coalesce("image", "key")).to_series().to_list()
    numbers: dict[str, int] = {}
    for key, name in zip(pairs["key"], names):
        if key in number_of:
            numbers.setdefault(name, number_of[key])
    places = [source.place(number) for number in numbers.values()]
    measured: dict[str, list[float | None]] = {}
    if job.hashes:
        measured["distance"] = distances(places, np.load(job.hashes)["hashes"], job.processes)
    if job.unsafe_model:
        measured["unsafe"] = image.unsafe_probabilities(job.unsafe_model, places)
    for column, values in measured.items():
        of_name = dict(zip(numbers, values))
        pairs = pairs.with_columns(pl.Series(column, map(of_name.get, names), pl.Float64))
    return pairs


@lru_cache(maxsize=1)
def _index(shards: Path, many: bool) -> tuple[PairSource, dict[str, int]]:
    """Return the images of shards, and key -> number; of many shards, SHARD/KEY -> number."""
    source = open_pairs([shards], texts=False)
    stems = [source.shards[shard].stem for shard in source.places[:, 0]] if many else []
    keys = map("/".join, zip(stems, source.keys)) if many else source.keys
    return source, {key: i for i, key in enumerate(keys)}


def total(job: Job, share: int) -> tuple[int, int]:
    """Add a share up over all chunks: write the dropped images and texts, and all tokens' counts.

    Returns the number of pairs without a distance to an evaluation image, and with a flat image.
    """
    unread = flat = 0
    if rules := job.applied("image"):
        totals = (pl.col("texts", "pairs").sum(), pl.col("distance").min())
        images = job.share("images", "picture", share).group_by("picture").agg(totals)
        drops = [rule.drops(bound).alias(rule.name) for rule, bound in rules]
        found = images.with_columns(drops).collect(engine="streaming")
        dropped = pl.any_horizontal([rule.name for rule, _ in rules])
        job.write(found.filter(dropped), "dropped_images", share)
        kinds = (pl.col("distance").is_null(), pl.col("distance").is_infinite())
        unread, flat = (int(found.filter(kind)["pairs"].sum()) for kind in kinds)
    for rule, bound in job.applied("text"):
        pairs = job.share("texts", "text", share).unique()
        texts = pairs.group_by("text").agg(pl.len().alias("images"))
        shared = texts.select("text", rule.drops(bound).alias(rule.name)).filter(rule.name)
        job.write(shared.collect(engine="streaming"), "dropped_texts", share)
    if job.applied("token"):
        sums = (pl.col("count").sum(), pl.col("spelling").first())
        tokens = job.share("tokens", "token", share).group_by("token").agg(sums)
        job.write(tokens.collect(engine="streaming"), "all_tokens", share)
    return unread, flat


def find_edge(job: Job, pairs: int) -> tuple[tuple[int, str | None] | None, bool, str]:
    """Return arguments of `text.rare_words` (None: not applied), whether bigrams count, a note."""
    tokens, size = job.scan("all_tokens", range(job.shares)), job.rules.vocabulary_size
    if size == "auto" or size is None:
        doubles = _sizes(tokens.filter(_IS_BIGRAM)) if job.bigrams else {}
        singles = _sizes(tokens.filter(~_IS_BIGRAM) if job.bigrams else tokens)
        found, bigrams, note = text.auto_edge(singles, doubles, pairs)
        return found and (found.least, None), bigrams, note
    sizes = _sizes(tokens)
    edge = text.edge_of(sizes, size)
    note, last = f"vocabulary of {min(size, sum(sizes.values())):,} unigrams and bigrams", None
    if edge.room is not None:
        tied = tokens.filter(pl.col("count") == edge.least).select("spelling").collect()
        last = tied.to_series().sort()[edge.room - 1]
    return (edge.least, last), True, note


def _sizes(tokens: pl.LazyFrame) -> dict[int, int]:
    """Return count -> number of tokens with that count."""
    sizes = tokens.group_by("count").agg(pl.len().alias("tokens"))
    return dict(sizes.collect(engine="streaming").rows())


def find_rare(job: Job, share: int) -> None:
    """Write which chunks hold which tokens of a share that are outside the vocabulary."""
    ((rule, _),) = job.applied("token")
    tokens = pl.scan_parquet(job.table("all_tokens", share)).filter(rule.drops(job.edge))
    rare = (tokens if job.bigrams else tokens.filter(~_IS_BIGRAM)).select("token")
    held = job.share("tokens", "token", share).select("chunk", "token").join(rare, "token", "semi")
    job.write(held.collect(engine="streaming").sort("chunk"), "rare_tokens", share)


def judge(job: Job, number: int) -> dict[str, Any]:
    """Write the pairs of a chunk that stay, their columns unchanged; return the funnel's tally."""
    pairs, shares = pl.read_parquet(job.table("pairs", number)), range(job.shares)
    own = [*job.applied("download"), *job.applied("pair")]
    drops = {rule.name: pairs[rule.name] for rule, _ in own}
    for of, key in (("image", "picture"), ("text", "text")):
        for rule, _ in job.applied(of):
            dropped = job.scan(f"dropped_{of}s", shares).filter(rule.name).select(key).collect()
            drops[rule.name] = pairs[key].is_in(dropped[key].implode()).fill_null(False)
    for rule, _ in job.applied("token"):
        rare = job.scan("rare_tokens", shares).filter(pl.col("chunk") == number)
        tokens = text.tokens(pl.read_parquet(job.table("words", number)), job.bigrams)
        mask = np.zeros(pairs.height, bool)
        mask[tokens.join(rare, "token", "semi").select("row").collect()["row"]] = True
        drops[rule.name] = pl.Series(mask)
    in_order = {rule.name: drops[rule.name] for rule in RULES if rule.name in drops}
    raw = job.raw.chunks[number].read()
    kept, counts = tally(raw, pl.DataFrame(in_order))
    with written_whole(job.table("kept", number)) as beside:
        pa.parquet.write_table(raw.filter(pa.array(kept)), beside)
    return counts
