"""Section 3's image filters: each expression is true for what a rule drops.

The paper names no classifier of pornographic images, and none is shipped: the rule reads scores
from the table, or those of a transformers image classifier in a local folder.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from align_edu.io import InputError
from align_edu.pairs.images import BrokenImage, decode_image
from align_edu.pairs.shards import Place, read_part

STATUS = "status"
IDENTITY = ("sha256", "url")
SIZE = ("original_width", "original_height")
SCORES = ("nsfw", "NSFW", "punsafe")
_UNSAFE = re.compile(r"nsfw|porn|unsafe|explicit|hentai|sexy", re.IGNORECASE)
_NEGATED = re.compile(r"\b(not|non|no)[-_ ]", re.IGNORECASE)
_BATCH = 64  # pictures that the classifier sees at once


def image_identity(columns: list[str]) -> pl.Expr:
    """Identify an image by its content, or if that is unknown by its address; null without both.

    >>> table = pl.DataFrame({"sha256": ["aa", None], "url": ["http://x/1", "http://x/2"]})
    >>> table.select(image_identity(table.columns)).to_series().to_list()
    ['aa', 'http://x/2']
    """
    present = [name for name in IDENTITY if name in columns]
    parts = [pl.col(name).cast(pl.String).replace("", None) for name in present]
    return pl.coalesce([*parts, pl.lit(None, pl.String)]).alias("image")


def unsafe_score(column: pl.Series) -> pl.Series:
    """Return scores from 0 to 1, given scores or words of which "NSFW" counts as 1."""
    if column.dtype == pl.String:
        column = column.str.to_uppercase() == "NSFW"
    return column.cast(pl.Float64).fill_nan(None).alias("unsafe")


def failed_download(success: str) -> pl.Expr:
    """Drop pairs whose image was not downloaded: with a status other than `success`."""
    return (pl.col(STATUS).str.to_lowercase() != success).fill_null(False)


def pornographic(max_unsafe: float) -> pl.Expr:
    """Drop pairs whose image scores above the bound; keep images without a score."""
    return (pl.col("unsafe") > max_unsafe).fill_null(False)


def no_size(min_side: float) -> pl.Expr:
    """Drop pairs whose image has an unknown size, so that `min_side` cannot be judged."""
    return pl.any_horizontal(pl.col(*SIZE).is_null())


def short_side(min_side: float) -> pl.Expr:
    """Drop pairs whose image has a side of at most `min_side` pixels."""
    return (pl.min_horizontal(*SIZE) <= min_side).fill_null(False)


def aspect_ratio(max_aspect: float) -> pl.Expr:
    """Drop pairs whose image has a longer side of at least `max_aspect` times the shorter."""
    longer, shorter = pl.max_horizontal(*SIZE), pl.min_horizontal(*SIZE)
    return (longer >= max_aspect * shorter).fill_null(False)


def texts_per_image(max_texts: int) -> pl.Expr:
    """Drop images with more than `max_texts` alt-texts in the raw data; each pair has one."""
    return pl.col("texts") > max_texts


def near_duplicate(max_distance: int) -> pl.Expr:
    """Drop images within `max_distance` bits of an evaluation image; keep unreadable ones."""
    return (pl.col("distance") <= max_distance).fill_null(False)


def load_classifier(folder: Path) -> tuple[Any, list[str]]:
    """Load an image classifier of a local folder as a pipeline, and its unsafe labels."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a transformers image classifier's")
    local: dict[str, Any] = {"local_files_only": True}
    try:
        processor = AutoImageProcessor.from_pretrained(folder, **local)
        load = AutoModelForImageClassification.from_pretrained
        model = load(folder, **local, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder}: no transformers image classifier with safetensors weights"
            f" ({str(error).splitlines()[0][:160]}); give its folder"
        ) from None
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    unsafe = [label for label in labels if _UNSAFE.search(label) and not _NEGATED.search(label)]
    if not unsafe:
        raise InputError(
            f"{folder}: no label of the classifier says what is unsafe (it has"
            f" {', '.join(labels[:8])}); give a classifier with a label such as nsfw or porn"
        )
    parts = {"model": model, "image_processor": processor, "top_k": None, "device": "cpu"}
    return pipeline("image-classification", **parts), unsafe


def unsafe_probabilities(folder: Path, places: Sequence[Place]) -> list[float | None]:
    """Add the probabilities of a classifier's unsafe labels; None for an unreadable image."""
    classify, unsafe = load_classifier(folder)
    scores: list[float | None] = [None] * len(places)
    for start in range(0, len(places), _BATCH):
        pictures = {}
        for row, place in enumerate(places[start : start + _BATCH], start):
            with suppress(BrokenImage, OSError):
                pictures[row] = decode_image(read_part(*place))
        answers = classify(list(pictures.values()), batch_size=_BATCH) if pictures else []
        for row, answer in zip(pictures, answers):
            scores[row] = sum(found["score"] for found in answer if found["label"] in unsafe)
    return scores
