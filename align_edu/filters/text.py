"""Section 3's text filters: normal forms, expressions true for what a rule drops, and counts."""

import polars as pl

_ODD = 0x9E3779B97F4A7C15  # multiplies the first word's fingerprint, so that order matters


def normalised(caption: pl.Expr) -> pl.Expr:
    """Bring alt-texts into the form that is compared and counted: lower-case words, one space.

    Applies Unicode NFKC and lower case, then replaces all but letters, digits and their marks
    by spaces. A missing caption becomes an empty text.

    >>> table = pl.DataFrame({"caption": ["Alt_IMG", "A  cat (red)!", None]})
    >>> table.select(normalised(pl.col("caption"))).to_series().to_list()
    ['alt img', 'a cat red', '']
    """
    return words_only(caption.fill_null("").str.normalize("NFKC"))


def words_only(text: pl.Expr) -> pl.Expr:
    """Do what `normalised` does after NFKC; enough for ASCII, which NFKC leaves as it is."""
    text = text.str.to_lowercase()
    # A mark needs a letter before it: an emoji's variation selector alone is no word.
    words = text.str.replace_all(r"(?:[^\p{L}\p{N}\p{M}]+\p{M}*)+", " ")
    return words.str.replace(r"^\p{M}+ ?", "").str.strip_chars(" ")


def word_count() -> pl.Expr:
    """Count the unigrams of the normalised column `text`."""
    spaces = pl.col("text").str.count_matches(" ", literal=True)
    return pl.when(pl.col("text") == "").then(0).otherwise(spaces + 1)


def length(min_words: int | None, max_words: int | None) -> pl.Expr:
    """Drop texts of fewer than `min_words` or more than `max_words` unigrams.

    >>> table = pl.DataFrame({"text": ["1920x1080", "a red cat", "very " * 20 + "big"]})
    >>> table.select(length(3, 20)).to_series().to_list()
    [True, False, True]
    """
    too_short = pl.lit(False) if min_words is None else word_count() < min_words
    too_long = pl.lit(False) if max_words is None else word_count() > max_words
    return too_short | too_long


def images_per_text(max_images: int) -> pl.Expr:
    """Drop texts that more than `max_images` different images have in the raw data."""
    return pl.col("images") > max_images


def rare_words(least: int, last: str | None = None) -> pl.Expr:
    """Drop tokens seen fewer than `least` times; of those seen `least` times, all after `last`.

    >>> tokens = pl.DataFrame({"spelling": ["a", "cat", "dog", "fig"], "count": [9, 2, 2, 1]})
    >>> tokens.select(rare_words(2, last="cat")).to_series().to_list()
    [False, False, True, True]
    """
    rarer = pl.col("count") < least
    if last is None:
        return rarer
    return rarer | ((pl.col("count") == least) & (pl.col("spelling") > last))


def fingerprint(values: pl.Expr) -> pl.Expr:
    """Hash each text to 64 bits, null to null.

    Among a billion different texts, the chance that any two share a fingerprint is 3 %.
    """
    return pl.when(values.is_not_null()).then(values.hash(seed=0))


def words(texts: pl.DataFrame) -> pl.DataFrame:
    """Split a column `text`: one row per word, with its row number and fingerprint.

    >>> words(pl.DataFrame({"text": ["a cat", "", "rain"]})).select("row", "word").rows()
    [(0, 'a'), (0, 'cat'), (2, 'rain')]
    """
    split = texts.select(pl.col("text").str.split(" ").alias("word")).with_row_index("row")
    exploded = split.explode("word").filter(pl.col("word") != "")
    return exploded.with_columns(fingerprint(pl.col("word")).alias("unigram"))


def bigrams(unigrams: pl.DataFrame) -> pl.DataFrame:
    """Pair the neighbouring words of each row: `token`, `row`, and `at`, the first one's position.

    A bigram's fingerprint is made of its words' fingerprints, so that it need not be spelled.
    """
    following = pl.col("unigram").shift(-1)
    return (
        unigrams.lazy()
        .select(
            (pl.col("unigram") * pl.lit(_ODD, pl.UInt64) + following).alias("token"),
            pl.row_index("at"),
            "row",
            (pl.col("row") == pl.col("row").shift(-1)).alias("neighbours"),
        )
        .filter("neighbours")
        .drop("neighbours")
        .collect()
    )


def count_tokens(unigrams: pl.DataFrame, with_bigrams: bool) -> pl.DataFrame:
    """Count each different unigram, and each bigram: `token`, `count`, `spelling`.

    >>> counts = count_tokens(words(pl.DataFrame({"text": ["a cat", "a dog"]})), True)
    >>> counts.sort("spelling").select("spelling", "count").rows()
    [('a', 2), ('a cat', 1), ('a dog', 1), ('cat', 1), ('dog', 1)]
    """
    one = pl.col("unigram").alias("token"), pl.row_index("at"), pl.lit(False).alias("double")
    tokens = [unigrams.lazy().select(one)]
    if with_bigrams:
        tokens.append(bigrams(unigrams).lazy().select("token", "at", pl.lit(True).alias("double")))
    counts = (
        pl.concat(tokens)
        .group_by("token")
        .agg(pl.len().alias("count"), pl.first("at", "double"))
        .collect(engine="streaming")
    )
    word, at = unigrams["word"], counts["at"]
    following = word.gather((at + 1).clip(upper_bound=max(0, len(word) - 1)))
    spelled = counts.with_columns(word.gather(at).alias("first"), following.alias("second"))
    pair = pl.concat_str("first", "second", separator=" ")
    spelling = pl.when("double").then(pair).otherwise("first").alias("spelling")
    return spelled.select("token", "count", spelling)


def rows_with(tokens: pl.Series, pairs: pl.DataFrame, with_bigrams: bool) -> pl.Series:
    """Return True for each pair whose column `words` (fingerprints) holds one of the tokens."""
    unigrams = pairs.select(pl.col("words").alias("unigram")).with_row_index("row")
    unigrams = unigrams.explode("unigram").drop_nulls()
    found = [unigrams.filter(pl.col("unigram").is_in(tokens.implode()))["row"]]
    if with_bigrams:
        found.append(bigrams(unigrams).filter(pl.col("token").is_in(tokens.implode()))["row"])
    rows = pl.arange(0, pairs.height, dtype=pl.UInt32, eager=True)
    return rows.is_in(pl.concat(found).cast(pl.UInt32).implode())
