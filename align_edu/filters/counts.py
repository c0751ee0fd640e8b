"""The passes of a filter: describe each chunk, add up over all chunks, judge each chunk.

A pass is a task for a chunk of the raw pairs, or for a share of the fingerprints of all images,
texts or tokens. It writes tables that the next pass reads, so that memory holds one chunk or
share at a time. Frequencies are those of the raw data, whatever other rules drop.
"""

from collections import Counter
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
from align_edu.filters.near_duplicates import hash_images, nearest_distance
from align_edu.filters.rules import RULES, Rule, Rules
from align_edu.filters.unsafe import unsafe_probabilities
from align_edu.filters.vocabulary import auto_edge, edge_of
from align_edu.io import InputError, written_whole
from align_edu.pairs.shards import PairSource, open_pairs
from align_edu.pairs.table import Chunk

COLUMNS = ("key", "caption", "sha256", "url", *image.SIZE, *image.SCORES)
_IS_BIGRAM = pl.col("spelling").str.contains(" ", literal=True)


@dataclass(frozen=True)
class Job:
    """One filter run as plain values, so that it can be sent to other processes."""

    work: Path  # folder of the tables between the passes; all workers must see it
    chunks: tuple[Chunk, ...]  # the raw pairs
    rules: Rules
    absent: Mapping[str, str]  # rule -> why it is not applied
    bigrams: bool  # whether bigrams are counted and judged
    shards: Path | None = None  # the pictures; None if no rule looks at them
    against: Path | None = None  # file of the evaluation images' hashes
    unsafe_model: Path | None = None  # folder of an image classifier
    processes: int = 1  # that hash images
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
        return self.scan(name, range(len(self.chunks))).filter(pl.col(key).is_between(low, high))


def describe(job: Job, number: int) -> None:
    """Write the tables of a chunk, in which images, texts and words are fingerprints.

    images : each different picture, its alt-texts and pairs in the chunk, and its distance in
        bits to the nearest evaluation image.
    texts : the different (text, image).
    tokens : each different unigram (and bigram), its count in the chunk, and its spelling.
    pairs : each pair's image, picture, text and words, and which rules on one pair drop it.
    """
    raw = prepared(pl.DataFrame(pl.from_arrow(job.chunks[number].read(COLUMNS))))
    if job.shards is not None:
        raw = _with_pictures(job, job.shards, raw)
    pairs = raw.select(
        text.fingerprint(pl.col("image")),
        text.fingerprint(pl.coalesce("image", "key")).alias("picture"),
        text.fingerprint(pl.col("text")),
        *[rule.drops(bound).alias(rule.name) for rule, bound in job.applied("pair")],
    )
    if job.applied("image"):
        job.write(_images(raw, pairs), "images", number)
    if job.applied("text"):
        texts = pairs.select("text", "image").drop_nulls().unique().sort("text")
        job.write(texts, "texts", number)
    if job.applied("token"):
        words = text.words(raw)
        tokens = text.count_tokens(words, job.bigrams).sort("token")
        chunk = pl.lit(number, pl.UInt32).alias("chunk")
        job.write(tokens.with_columns(chunk), "tokens", number)
        of_row = words.group_by("row").agg(pl.col("unigram").alias("words"))
        pairs = pairs.with_row_index("row").join(of_row, "row", "left", maintain_order="left")
        pairs = pairs.drop("row")
    job.write(pairs, "pairs", number)


def prepared(rows: pl.DataFrame) -> pl.DataFrame:
    """Bring the columns into the types that the rules read; add `text`, `image` and `unsafe`.

    Raises InputError for a column that its rule cannot read.
    """
    for name, dtype in rows.schema.items():
        number, word = dtype.is_numeric(), dtype == pl.String
        fits = number if name in image.SIZE else word or (number and name in (*image.SCORES, "key"))
        if not fits and dtype != pl.Null:
            raise InputError(f"column `{name}` holds {dtype}, which its rule cannot read; cast it")
    derived: list[pl.Expr | pl.Series] = [
        _normalised(rows["caption"].cast(pl.String)),
        image.image_identity(rows.columns),
        (pl.col("key") if "key" in rows.columns else pl.lit(None)).cast(pl.String).alias("key"),
    ]
    sizes = [name for name in image.SIZE if name in rows.columns]
    derived += [pl.col(name).cast(pl.Float64).fill_nan(None) for name in sizes]
    scores = [name for name in image.SCORES if name in rows.columns]
    derived += [image.unsafe_score(rows[name]) for name in scores[:1]]
    return rows.with_columns(derived)


def _normalised(captions: pl.Series) -> pl.Series:
    """Do as `text.normalised` does, but spare ASCII texts NFKC, which is slow."""
    captions = captions.fill_null("")
    other = captions.str.contains(r"[^\x00-\x7F]")
    composed = captions.filter(other).str.normalize("NFKC")
    captions = captions.scatter(other.arg_true(), composed).alias("text")
    return captions.to_frame().select(text.words_only(pl.col("text"))).to_series()


def _images(raw: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Count each picture's alt-texts; pairs without an image identity count for none."""
    identified = raw["caption"].is_not_null() & raw["image"].is_not_null()
    distance = raw["distance"] if "distance" in raw.columns else pl.lit(None, pl.Int32)
    rows = pairs.select("picture", identified.alias("texts"), distance.alias("distance"))
    totals = (pl.col("texts").sum(), pl.len().alias("pairs"), pl.col("distance").min())
    return rows.drop_nulls("picture").group_by("picture").agg(totals).sort("picture")


def _with_pictures(job: Job, shards: Path, pairs: pl.DataFrame) -> pl.DataFrame:
    """Add the columns `distance` and `unsafe`, null for pairs without a readable picture.

    Looks once at each different picture, by the first of its pairs that is in the shards.
    """
    source, number_of = _index(shards)
    names = pairs.select(pl.coalesce("image", "key")).to_series().to_list()
    numbers: dict[str, int] = {}
    for key, name in zip(pairs["key"], names):
        if key in number_of:
            numbers.setdefault(name, number_of[key])
    places = [source.place(number) for number in numbers.values()]
    columns: dict[str, tuple[Any, Any]] = {}
    if job.against is not None and places:
        hashes, readable = hash_images(places, job.processes)
        distances = nearest_distance(hashes, np.load(job.against)).tolist()
        columns["distance"] = pl.Int32, [d if r else None for d, r in zip(distances, readable)]
    if job.unsafe_model is not None:
        columns["unsafe"] = pl.Float64, unsafe_probabilities(job.unsafe_model, places)
    for column, (dtype, values) in columns.items():
        of_name = dict(zip(numbers, values))
        pairs = pairs.with_columns(pl.Series(column, [of_name.get(n) for n in names], dtype))
    return pairs


@lru_cache(maxsize=1)
def _index(shards: Path) -> tuple[PairSource, dict[str, int]]:
    source = open_pairs([shards])
    return source, {key: number for number, key in enumerate(source.keys)}


def add_up_images(job: Job, share: int) -> int:
    """Write the pictures of a share that a rule drops; count the pairs without a distance."""
    totals = (pl.col("texts", "pairs").sum(), pl.col("distance").min())
    rules = [rule.drops(bound).alias(rule.name) for rule, bound in job.applied("image")]
    images = job.share("images", "picture", share).group_by("picture").agg(totals)
    found = images.with_columns(rules).collect(engine="streaming")
    names = [rule.name for rule, _ in job.applied("image")]
    dropped = found.filter(pl.any_horizontal(names)).select("picture", *names)
    job.write(dropped, "dropped_images", share)
    return int(found.filter(pl.col("distance").is_null())["pairs"].sum())


def add_up_texts(job: Job, share: int) -> None:
    """Write the texts of a share that a rule drops."""
    ((rule, bound),) = job.applied("text")
    texts = job.share("texts", "text", share).unique().group_by("text")
    dropped = texts.agg(pl.len().alias("images")).filter(rule.drops(bound)).select("text")
    job.write(dropped.collect(engine="streaming"), "dropped_texts", share)


def add_up_tokens(job: Job, share: int) -> list[dict[str, int]]:
    """Write the counts of a share's tokens; return count -> number of tokens with that count.

    "auto" needs them for unigrams and for bigrams; a fixed size ranks both together.
    """
    totals = (pl.col("count").sum(), pl.col("spelling").first())
    tokens = job.share("tokens", "token", share).group_by("token").agg(totals)
    found = tokens.collect(engine="streaming")
    job.write(found, "all_tokens", share)
    parts = [found]
    if job.rules.vocabulary_size == "auto" and job.bigrams:
        parts = [found.filter(~_IS_BIGRAM), found.filter(_IS_BIGRAM)]
    sizes = [part["count"].value_counts(name="tokens").rows() for part in parts]
    return [{str(count): tokens for count, tokens in rows} for rows in sizes]


def find_edge(
    job: Job, sizes: Iterable[list[dict[str, int]]], pairs: int
) -> tuple[tuple[int, str | None] | None, bool, str]:
    """Find where the vocabulary ends, from what `add_up_tokens` returned for each share.

    Returns the count of its rarest token with, if only some tokens of that count are in, the
    last one's spelling, or None if the rule cannot be applied; whether bigrams are judged; and
    a note.

    Paper: Section 3 (the most frequent unigrams and bigrams of the raw data).
    """
    unigrams, bigrams = Counter[int](), Counter[int]()
    for parts in sizes:
        for counter, part in zip((unigrams, bigrams), parts):
            counter.update({int(count): tokens for count, tokens in part.items()})
    size = job.rules.vocabulary_size
    if size == "auto" or size is None:
        found, with_bigrams, note = auto_edge(unigrams, bigrams, pairs)
        return found and (found.least, None), with_bigrams, note
    edge = edge_of(unigrams, size)
    note = f"vocabulary of {min(size, unigrams.total()):,} unigrams and bigrams"
    if edge.room is None:
        return (edge.least, None), True, note
    tied = (
        job.scan("all_tokens", range(job.shares))
        .filter(pl.col("count") == edge.least)
        .select("spelling")
    )
    return (edge.least, tied.collect().to_series().sort()[edge.room - 1]), True, note


def find_rare(job: Job, share: int) -> None:
    """Write which chunks hold which tokens of a share that are outside the vocabulary."""
    assert job.edge is not None
    outside = text.rare_words(*job.edge)
    if not job.bigrams:
        outside &= ~_IS_BIGRAM
    rare = pl.scan_parquet(job.table("all_tokens", share)).filter(outside).select("token")
    held = job.share("tokens", "token", share).select("chunk", "token").join(rare, "token", "semi")
    job.write(held.collect(engine="streaming").sort("chunk"), "rare_tokens", share)


def judge(job: Job, number: int) -> dict[str, Any]:
    """Write the pairs of a chunk that stay, their columns unchanged; return the funnel's tally."""
    pairs, shares = pl.read_parquet(job.table("pairs", number)), range(job.shares)
    drops = {rule.name: pairs[rule.name] for rule, _ in job.applied("pair")}
    for rule, _ in job.applied("image"):
        dropped = job.scan("dropped_images", shares).filter(rule.name)
        drops[rule.name] = _among(pairs["picture"], dropped)
    for rule, _ in job.applied("text"):
        drops[rule.name] = _among(pairs["text"], job.scan("dropped_texts", shares))
    for rule, _ in job.applied("token"):
        rare = job.scan("rare_tokens", shares).filter(pl.col("chunk") == number)
        tokens = rare.select("token").collect().to_series()
        drops[rule.name] = text.rows_with(tokens, pairs, job.bigrams)
    in_order = {rule.name: drops[rule.name] for rule in RULES if rule.name in drops}
    kept = np.ones(pairs.height, bool)
    for column in in_order.values():
        kept &= ~column.to_numpy()
    table = job.chunks[number].read()
    with written_whole(job.table("kept", number)) as beside:
        pa.parquet.write_table(table.filter(pa.array(kept)), beside)
    return tally(table, pl.DataFrame(in_order), kept)


def _among(prints: pl.Series, dropped: pl.LazyFrame) -> pl.Series:
    """Return True for the fingerprints among the dropped ones, False for unknown ones (null)."""
    found = dropped.select(prints.name).collect().to_series()
    return prints.is_in(found.implode()).fill_null(False)
