"""Section 3's image filters; each expression is true for what a rule drops."""

import polars as pl

SIZE = ("original_width", "original_height")
SCORES = ("nsfw", "NSFW", "punsafe")


def image_identity(columns: list[str]) -> pl.Expr:
    """What makes two rows the same image: equal content (sha256), else equal address (url).

    Mirrors of one image have many addresses but one content. Rows with neither are null.

    >>> table = pl.DataFrame({"sha256": ["aa", None], "url": ["http://x/1", "http://x/2"]})
    >>> table.select(image_identity(table.columns)).to_series().to_list()
    ['aa', 'http://x/2']
    """
    known = [name for name in ("sha256", "url") if name in columns]
    parts = [pl.col(name).cast(pl.String).replace("", None) for name in known]
    return pl.coalesce([*parts, pl.lit(None, pl.String)]).alias("image")


def unsafe_score(column: pl.Series) -> pl.Series:
    """A score of 0 to 1 from what an earlier classifier left: a score, or the word "NSFW".

    >>> unsafe_score(pl.Series("NSFW", ["UNLIKELY", "NSFW", None])).to_list()
    [0.0, 1.0, None]
    """
    if column.dtype == pl.String:
        column = column.str.to_uppercase() == "NSFW"
    return column.cast(pl.Float64).fill_nan(None).alias("unsafe")


def pornographic(max_unsafe: float) -> pl.Expr:
    """Pairs whose image scores above the bound; an image without a score stays.

    >>> pairs = pl.DataFrame({"unsafe": [0.9, 0.5, None]})
    >>> pairs.select(pornographic(0.5)).to_series().to_list()
    [True, False, False]
    """
    return (pl.col("unsafe") > max_unsafe).fill_null(False)


def short_side(min_side: float) -> pl.Expr:
    """Pairs whose image is at most `min_side` pixels short; an unknown size is too small.

    >>> pairs = pl.DataFrame({"original_width": [201, 200], "original_height": [300, 300]})
    >>> pairs.select(short_side(200)).to_series().to_list()
    [False, True]
    """
    width, height = map(pl.col, SIZE)
    return ((width <= min_side) | (height <= min_side)).fill_null(True)


def aspect_ratio(max_aspect: float) -> pl.Expr:
    """Pairs whose image's longer side is at least `max_aspect` times the shorter.

    >>> pairs = pl.DataFrame({"original_width": [899, 900], "original_height": [300, 300]})
    >>> pairs.select(aspect_ratio(3)).to_series().to_list()
    [False, True]
    """
    longer, shorter = pl.max_horizontal(*SIZE), pl.min_horizontal(*SIZE)
    return (longer >= max_aspect * shorter).fill_null(False)


def texts_per_image(max_texts: int) -> pl.Expr:
    """Images with more than `max_texts` alt-texts in the raw data; each pair is one alt-text.

    >>> images = pl.DataFrame({"image": ["a", "b"], "texts": [1001, 1000]})
    >>> images.select(texts_per_image(1000)).to_series().to_list()
    [True, False]
    """
    return pl.col("texts") > max_texts


def near_duplicate(max_distance: int) -> pl.Expr:
    """Images whose hash differs in at most `max_distance` bits from an evaluation image's.

    An image that could not be hashed stays.

    >>> images = pl.DataFrame({"image": ["a", "b", "c"], "distance": [66, 67, None]})
    >>> images.select(near_duplicate(66)).to_series().to_list()
    [True, False, False]
    """
    return (pl.col("distance") <= max_distance).fill_null(False)
