"""Section 3's text filters: the form in which texts are compared, and how their words are counted.

A vocabulary ranks unigrams and bigrams together by their count; of those tied at its edge, the
first by code point belong to it, so that its size is exact.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import polars as pl

_ODD = 0x9E3779B97F4A7C15  # multiplies the first word's fingerprint, so that order matters
# vocabulary_size="auto": from this many pairs on, a token seen fewer times is rare.
RARE_BELOW = ((5_000, 3), (2_000, 2))
MOST_RARE = 0.10  # if more of all words would be rare, the data is too small to tell
# From this many pairs on bigrams are judged too, unless more of them than this would be rare.
BIGRAMS_FROM = 1_000_000
MOST_RARE_BIGRAMS = 0.01
Sizes = Mapping[int, int]  # count -> number of different tokens with that count


def normalised(caption: pl.Expr) -> pl.Expr:
    """Bring alt-texts into the form that is compared and counted: lower-case words, one space.

    Applies Unicode NFKC and lower case, then replaces all but letters, digits and their marks
    by spaces. A missing caption becomes an empty text.

    >>> table = pl.DataFrame({"caption": ["Alt_IMG", "A  cat (red)!", None]})
    >>> table.select(normalised(pl.col("caption"))).to_series().to_list()
    ['alt img', 'a cat red', '']
    """
    text = caption.fill_null("").map_batches(_composed, pl.String).str.to_lowercase()
    # A mark needs a letter before it: an emoji's variation selector alone is no word.
    words = text.str.replace_all(r"(?:[^\p{L}\p{N}\p{M}]+\p{M}*)+", " ")
    return words.str.replace(r"^\p{M}+ ?", "").str.strip_chars(" ")


def _composed(texts: pl.Series) -> pl.Series:
    """Apply NFKC to the texts that it can change; it is slow, and leaves ASCII as it is."""
    other = texts.str.contains(r"[^\x00-\x7F]")
    return texts.clone().scatter(other.arg_true(), texts.filter(other).str.normalize("NFKC"))


def length(min_words: int | None, max_words: int | None) -> pl.Expr:
    """Drop texts of fewer than `min_words` or more than `max_words` unigrams."""
    words = pl.col("text").str.count_matches("[^ ]+")
    return ~words.is_between(min_words or 0, math.inf if max_words is None else max_words)


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
    """Hash each text to 64 bits (of a billion, two share one with a chance of 3 %); keep nulls."""
    return pl.when(values.is_not_null()).then(values.hash(seed=0))


def words(texts: pl.DataFrame) -> pl.DataFrame:
    """Split a column `text`: one row per word, with its row number and fingerprint."""
    split = texts.select(pl.col("text").str.split(" ").alias("word")).with_row_index("row")
    exploded = split.explode("word").filter(pl.col("word") != "")
    return exploded.with_columns(fingerprint(pl.col("word")).alias("unigram"))


def tokens(words: pl.DataFrame, with_bigrams: bool) -> pl.LazyFrame:
    """List unigrams, and bigrams: `row`, `at` (its first word), `token`, `double` (a bigram)."""
    first, row = pl.col("unigram"), pl.col("row")
    at, one = pl.row_index("at"), pl.lit(False).alias("double")
    unigrams = words.lazy().select("row", at, first.alias("token"), one)
    if not with_bigrams:
        return unigrams
    token = (first * pl.lit(_ODD, pl.UInt64) + first.shift(-1)).alias("token")
    neighbours = (row == row.shift(-1)).alias("double")
    return pl.concat([unigrams, words.lazy().select("row", at, token, neighbours).filter("double")])


def count_tokens(words: pl.DataFrame, with_bigrams: bool) -> pl.DataFrame:
    """Count each different unigram, and each bigram: `token`, `count`, `spelling`.

    >>> counts = count_tokens(words(pl.DataFrame({"text": ["a cat", "a dog"]})), True)
    >>> counts.sort("spelling").select("spelling", "count").rows()
    [('a', 2), ('a cat', 1), ('a dog', 1), ('cat', 1), ('dog', 1)]
    """
    totals = (pl.len().alias("count"), pl.first("at", "double"))
    counts = tokens(words, with_bigrams).group_by("token").agg(totals).collect(engine="streaming")
    word, at = words["word"], counts["at"]
    following = word.gather((at + 1).clip(upper_bound=max(0, len(word) - 1)))
    spelled = counts.with_columns(word.gather(at).alias("first"), following.alias("second"))
    pair = pl.concat_str("first", "second", separator=" ")
    spelling = pl.when("double").then(pair).otherwise("first").alias("spelling")
    return spelled.select("token", "count", spelling)


class Edge(NamedTuple):
    """The vocabulary's end: at `room` of the tokens that occur `least` times; None: at all."""

    least: int
    room: int | None


def edge_of(sizes: Sizes, size: int) -> Edge:
    """Find where the `size` most frequent tokens end.

    >>> edge_of({1: 100, 2: 30, 7: 4}, size=10)
    Edge(least=2, room=6)
    """
    left = size
    for count in sorted(sizes, reverse=True):
        if sizes[count] >= left:
            return Edge(count, None if sizes[count] == left else left)
        left -= sizes[count]
    return Edge(0, None)


def auto_edge(unigrams: Sizes, bigrams: Sizes, pairs: int) -> tuple[Edge | None, bool, str]:
    """Choose the edge for data much smaller than the paper's, whose number would keep every word.

    A unigram seen fewer than 3 times is in no clean one of 100,000 toy pairs, but in every
    identifier, every query string and 99.9 % of the file names; of 300 pairs the rule would drop
    28 % of the clean ones. Such a bigram is in 3.8 % of 200,000 clean pairs, 0.7 % of 1,000,000.

    pairs: of the raw data. Returns the edge, None if the rule should not be applied; whether
    bigrams are judged; a note.

    >>> auto_edge({1: 5, 2: 4, 900: 80}, {}, pairs=6_000)
    (Edge(least=3, room=None), False, '80 unigrams seen 3 times or more; bigrams not judged')
    """
    least = next((count for fewest, count in RARE_BELOW if pairs >= fewest), None)
    if least is None:
        fewest = RARE_BELOW[-1][0]
        return None, False, f"{pairs:,} pairs are too few to tell rare words ({fewest:,} do)"
    (words, rare), (doubles, rare_doubles) = (_frequent(s, least) for s in (unigrams, bigrams))
    often, seldom = f"seen {least} times or more", f"were seen under {least} times"
    if rare > MOST_RARE:
        return None, False, f"too little data: {rare:.0%} of all words {seldom}"
    edge = Edge(least, None)
    if pairs >= BIGRAMS_FROM and rare_doubles <= MOST_RARE_BIGRAMS:
        return edge, True, f"{words + doubles:,} unigrams and bigrams {often}"
    why = f": {rare_doubles:.0%} of them {seldom}" if pairs >= BIGRAMS_FROM else ""
    return edge, False, f"{words:,} unigrams {often}; bigrams not judged{why}"


def _frequent(sizes: Sizes, least: int) -> tuple[int, float]:
    """Count the tokens seen at least `least` times, and the share of occurrences of the others."""
    frequent = {count: tokens for count, tokens in sizes.items() if count >= least}
    seen = sum(count * tokens for count, tokens in sizes.items())
    rare = 1 - sum(count * tokens for count, tokens in frequent.items()) / max(1, seen)
    return sum(frequent.values()), rare
