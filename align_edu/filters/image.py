"""Section 3's image filters; each expression is true for the rows that a rule drops."""

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
    return pl.coalesce([pl.col(name).cast(pl.String).replace("", None) for name in known]).alias(
        "image"
    )


def unsafe_score(column: pl.Series) -> pl.Series:
    """A score of 0 to 1 from what an earlier classifier left: a score, or the word "NSFW".

    >>> unsafe_score(pl.Series("NSFW", ["UNLIKELY", "NSFW", None])).to_list()
    [0.0, 1.0, None]
    """
    if column.dtype == pl.String:
        column = column.str.to_uppercase() == "NSFW"
    return column.cast(pl.Float64).fill_nan(None).alias("unsafe")


def pornographic(max_unsafe: float) -> pl.Expr:
    """Score above the bound; an image without a score stays.

    >>> table = pl.DataFrame({"unsafe": [0.9, 0.5, None]})
    >>> table.select(pornographic(0.5)).to_series().to_list()
    [True, False, False]
    """
    return (pl.col("unsafe") > max_unsafe).fill_null(False)


def short_side(min_side: float) -> pl.Expr:
    """Shorter side not larger than `min_side` pixels; an unknown size counts as too small.

    >>> table = pl.DataFrame({"original_width": [201, 200], "original_height": [300, 300]})
    >>> table.select(short_side(200)).to_series().to_list()
    [False, True]
    """
    width, height = map(pl.col, SIZE)
    return ((width <= min_side) | (height <= min_side)).fill_null(True)


def aspect_ratio(max_aspect: float) -> pl.Expr:
    """Longer side at least `max_aspect` times the shorter.

    >>> table = pl.DataFrame({"original_width": [899, 900], "original_height": [300, 300]})
    >>> table.select(aspect_ratio(3)).to_series().to_list()
    [False, True]
    """
    longer, shorter = pl.max_horizontal(*SIZE), pl.min_horizontal(*SIZE)
    return (longer >= max_aspect * shorter).fill_null(False)


def texts_per_image(max_texts: int) -> pl.Expr:
    """Image with more than `max_texts` alt-texts in the raw data; each row is one alt-text.

    >>> table = pl.DataFrame({"image": ["a", "a", "b"], "caption": ["x", "y", "z"]})
    >>> table.select(texts_per_image(1)).to_series().to_list()
    [True, True, False]
    """
    count = pl.col("caption").count().over("image")
    return pl.col("image").is_not_null() & (count > max_texts)
