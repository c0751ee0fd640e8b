"""The first pass: what each chunk of raw pairs says by itself, before anything is added up."""

import polars as pl

from align_edu.filters import image, text
from align_edu.filters.job import Job
from align_edu.filters.pictures import look_at_pictures
from align_edu.io import InputError

COLUMNS = ("key", "caption", "sha256", "url", *image.SIZE, *image.SCORES)


def describe(job: Job, number: int) -> None:
    """Write the tables of a chunk, in which images, texts and words are fingerprints.

    images : each different picture, its alt-texts and its pairs in the chunk, and its
        distance in bits to the nearest evaluation image.
    texts : the different (text, image).
    tokens : each different unigram (and bigram), its count in the chunk, and its spelling.
    pairs : each pair's image, picture, text and words, and what the rules that look at one
        pair alone say of it.
    """
    raw = prepared(pl.DataFrame(pl.from_arrow(job.chunks[number].read(COLUMNS))))
    raw = look_at_pictures(job, raw)
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
        tokens = text.count_tokens(words, job.with_bigrams).sort("token")
        chunk = pl.lit(number, pl.UInt32).alias("chunk")
        job.write(tokens.with_columns(chunk), "tokens", number)
        of_row = words.group_by("row").agg(pl.col("unigram").alias("words"))
        pairs = pairs.with_row_index("row").join(of_row, "row", "left", maintain_order="left")
        pairs = pairs.drop("row")
    job.write(pairs, "pairs", number)


def prepared(rows: pl.DataFrame) -> pl.DataFrame:
    """Bring the columns into the types and forms that the rules read.

    `text` is the normalised caption, `image` what makes two images the same, `unsafe` a score.
    Raises InputError for a column that its rule cannot read.

    >>> pairs = prepared(pl.DataFrame({"caption": ["A Cat!"], "url": ["x/1"]}))
    >>> pairs.select("text", "image").row(0)
    ('a cat', 'x/1')
    """
    for name, dtype in rows.schema.items():
        number, word = dtype.is_numeric(), dtype == pl.String
        fits = number if name in image.SIZE else word or (number and name in (*image.SCORES, "key"))
        if not fits and dtype != pl.Null:
            raise InputError(f"column `{name}` holds {dtype}, which its rule cannot read")
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
    """`text.normalised`, but ASCII texts skip NFKC, which is slow and leaves them as they are."""
    captions = captions.fill_null("")
    other = captions.str.contains(r"[^\x00-\x7F]")
    composed = captions.filter(other).str.normalize("NFKC")
    captions = captions.scatter(other.arg_true(), composed).alias("text")
    return captions.to_frame().select(text.words_only(pl.col("text"))).to_series()


def _images(raw: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Count each picture's alt-texts; a pair of an unknown image is not an alt-text of any."""
    known = raw["caption"].is_not_null() & raw["image"].is_not_null()
    distance = raw["distance"] if "distance" in raw.columns else pl.lit(None, pl.Int32)
    rows = pairs.select("picture", known.alias("texts"), distance.alias("distance")).drop_nulls(
        "picture"
    )
    totals = (pl.col("texts").sum(), pl.len().alias("pairs"), pl.col("distance").min())
    return rows.group_by("picture").agg(totals).sort("picture")
