"""Section 3's text filters; each expression is true for the rows that a rule drops."""

import polars as pl

# From so many pairs on, a word seen fewer times than the second number counts as rare.
RARE_BELOW = ((5_000, 3), (2_000, 2))
# If more of all words than this would be rare, the data is too small to tell.
MOST_RARE = 0.10


def normalised(caption: pl.Expr) -> pl.Expr:
    """The form in which alt-texts are compared and counted: lower-case words, single spaces.

    Unicode NFKC, lower case, then all but letters, digits and their marks become spaces. A
    missing caption is an empty text.

    >>> table = pl.DataFrame({"caption": ["Alt_IMG", "A  cat (red)!", None]})
    >>> table.select(normalised(pl.col("caption"))).to_series().to_list()
    ['alt img', 'a cat red', '']
    """
    text = caption.fill_null("").str.normalize("NFKC").str.to_lowercase()
    # A mark needs a letter before it: an emoji's variation selector alone is no word.
    words = text.str.replace_all(r"(?:[^\p{L}\p{N}\p{M}]+\p{M}*)+", " ")
    return words.str.replace(r"^\p{M}+ ?", "").str.strip_chars(" ")


def word_count() -> pl.Expr:
    """Number of unigrams in the normalised column `text`."""
    spaces = pl.col("text").str.count_matches(" ", literal=True)
    return pl.when(pl.col("text") == "").then(0).otherwise(spaces + 1)


def length(min_words: int | None, max_words: int | None) -> pl.Expr:
    """Fewer unigrams than `min_words` or more than `max_words`.

    >>> table = pl.DataFrame({"text": ["1920x1080", "a red cat", "very " * 20 + "big"]})
    >>> table.select(length(3, 20)).to_series().to_list()
    [True, False, True]
    """
    too_short = pl.lit(False) if min_words is None else word_count() < min_words
    too_long = pl.lit(False) if max_words is None else word_count() > max_words
    return too_short | too_long


def images_per_text(max_images: int) -> pl.Expr:
    """Text that more than `max_images` different images have in the raw data.

    >>> table = pl.DataFrame({"text": ["logo", "logo", "a cat"], "image": ["1", "2", "2"]})
    >>> table.select(images_per_text(1)).to_series().to_list()
    [True, True, False]
    """
    return pl.col("image").drop_nulls().n_unique().over("text") > max_images


def unigrams(table: pl.DataFrame) -> pl.DataFrame:
    """Each word of a column `text`, with the number of the row that it is in.

    >>> unigrams(pl.DataFrame({"text": ["a cat", "", "rain"]})).rows()
    [(0, 'a'), (0, 'cat'), (2, 'rain')]
    """
    words = table.select(pl.col("text").str.split(" ").alias("token")).with_row_index("row")
    return words.explode("token").filter(pl.col("token") != "")


def bigrams(words: pl.DataFrame) -> pl.DataFrame:
    """Each two neighbouring words of a row, joined by a space.

    >>> bigrams(pl.DataFrame({"row": [0, 0, 2], "token": ["a", "cat", "rain"]})).rows()
    [(0, 'a cat')]
    """
    pair = pl.col("token") + " " + pl.col("token").shift(-1)
    together = pl.col("row") == pl.col("row").shift(-1)
    return words.with_columns(token=pair, together=together).filter("together").drop("together")


def frequent_tokens(words: pl.DataFrame, size: int) -> pl.DataFrame:
    """The `size` most frequent unigrams and bigrams; ties go to the first by the alphabet.

    Paper: Section 3 ranks unigrams and bigrams together, by their count in the raw data.

    >>> words = pl.DataFrame({"row": [0, 0, 1, 1], "token": ["a", "cat", "a", "dog"]})
    >>> frequent_tokens(words, 2)["token"].to_list()
    ['a', 'a cat']
    """
    counts = pl.concat([words, bigrams(words)]).group_by("token").len("count")
    return counts.sort(["count", "token"], descending=[True, False]).head(size)


def auto_vocabulary(words: pl.DataFrame, pairs: int) -> tuple[pl.DataFrame | None, str]:
    """Choose the vocabulary for data too small for the paper's 100 million tokens.

    Differs from the paper, whose number would keep everything here: the vocabulary holds each
    unigram that was seen at least 3 times (2 times below 5,000 pairs), and bigrams are not
    judged. Most bigrams of good words are singletons in small data: among 100,000 toy pairs,
    4 % of the clean ones hold a bigram seen once, while no clean pair holds such a unigram and
    every identifier, query string and nearly every file name (99.9 %) does. Below 2,000 pairs,
    or where a tenth of all words would be rare, no word can be called rare, and the rule is
    not applied (of 300 toy pairs it would drop 28 % of the clean ones).

    Parameters
    ----------
    words : all unigrams of the raw data, as `unigrams` gives them.
    pairs : number of raw pairs.

    Returns
    -------
    Table with the column `token`, or None if the rule should not be applied; and a note.
    """
    rare_below = next((count for least, count in RARE_BELOW if pairs >= least), None)
    if rare_below is None:
        return None, f"{pairs:,} pairs are too few to tell rare words ({RARE_BELOW[-1][0]:,} do)"
    counts = words.group_by("token").len("count")
    known = counts.filter(pl.col("count") >= rare_below)
    rare = 1 - known["count"].sum() / max(1, len(words))
    if rare > MOST_RARE:
        return None, f"too little data: {rare:.0%} of all words were seen under {rare_below} times"
    note = f"{len(known):,} unigrams seen {rare_below} times or more; bigrams not judged"
    return known, note


def holds_other_tokens(tokens: pl.DataFrame, vocabulary: pl.DataFrame, rows: int) -> pl.Series:
    """Tell for each row whether it holds a token outside the vocabulary.

    >>> tokens = pl.DataFrame({"row": [0, 0, 2], "token": ["a", "cat", "x7q"]})
    >>> holds_other_tokens(tokens, pl.DataFrame({"token": ["a", "cat"]}), 3).to_list()
    [False, False, True]
    """
    other = tokens.join(vocabulary, on="token", how="anti").select(pl.col("row").unique())
    marked = pl.DataFrame({"row": pl.arange(0, rows, dtype=pl.UInt32, eager=True)})
    return marked.select(pl.col("row").is_in(other["row"].implode())).to_series()
