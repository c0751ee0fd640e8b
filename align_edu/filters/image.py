"""Section 3's image filters: each expression is true for what a rule drops."""

import polars as pl

SIZE = ("original_width", "original_height")
SCORES = ("nsfw", "NSFW", "punsafe")


def image_identity(columns: list[str]) -> pl.Expr:
    """Identify an image by its content (sha256), or by its address (url) if that is missing.

    Mirrors of one image have many addresses but one content. Rows with neither are null.

    >>> table = pl.DataFrame({"sha256": ["aa", None], "url": ["http://x/1", "http://x/2"]})
    >>> table.select(image_identity(table.columns)).to_series().to_list()
    ['aa', 'http://x/2']
    """
    present = [name for name in ("sha256", "url") if name in columns]
    parts = [pl.col(name).cast(pl.String).replace("", None) for name in present]
    return pl.coalesce([*parts, pl.lit(None, pl.String)]).alias("image")


def unsafe_score(column: pl.Series) -> pl.Series:
    """Return scores from 0 to 1, given scores or words of which "NSFW" counts as 1.

    >>> unsafe_score(pl.Series("NSFW", ["UNLIKELY", "NSFW", None])).to_list()
    [0.0, 1.0, None]
    """
    if column.dtype == pl.String:
        column = column.str.to_uppercase() == "NSFW"
    return column.cast(pl.Float64).fill_nan(None).alias("unsafe")


def pornographic(max_unsafe: float) -> pl.Expr:
    """Drop pairs whose image scores above the bound; keep images without a score."""
    return (pl.col("unsafe") > max_unsafe).fill_null(False)


def short_side(min_side: float) -> pl.Expr:
    """Drop pairs whose image has a side of at most `min_side` pixels, or an unknown size.

    >>> pairs = pl.DataFrame({"original_width": [201, 200], "original_height": [300, 300]})
    >>> pairs.select(short_side(200)).to_series().to_list()
    [False, True]
    """
    width, height = map(pl.col, SIZE)
    return ((width <= min_side) | (height <= min_side)).fill_null(True)


def aspect_ratio(max_aspect: float) -> pl.Expr:
    """Drop pairs whose image has a longer side of at least `max_aspect` times the shorter.

    >>> pairs = pl.DataFrame({"original_width": [899, 900], "original_height": [300, 300]})
    >>> pairs.select(aspect_ratio(3)).to_series().to_list()
    [False, True]
    """
    longer, shorter = pl.max_horizontal(*SIZE), pl.min_horizontal(*SIZE)
    return (longer >= max_aspect * shorter).fill_null(False)


def texts_per_image(max_texts: int) -> pl.Expr:
    """Drop images with more than `max_texts` alt-texts in the raw data; each pair has one."""
    return pl.col("texts") > max_texts


def near_duplicate(max_distance: int) -> pl.Expr:
    """Drop images within `max_distance` bits of an evaluation image; keep unreadable ones."""
    return (pl.col("distance") <= max_distance).fill_null(False)
