"""Section 3's image filters: each rule an expression that is true for what it drops; its measures.

Near-duplicates of an evaluation set's images are found by ImageHash's `phash` with 16 x 16 bits:
the signs of the lowest frequencies of the grey image, so that size, compression and colour change
few of the 256 bits. The default bound, 66 bits, is the largest at which no more than a few of a
million pairs of different images count as duplicates (what it finds:
`tests/benchmarks/near_duplicates.py`). A flat picture, of fewer than 8 grey levels, has no hash:
all white pictures would share one.

The paper names no classifier of pornographic images, and none is shipped: the rule reads scores
from the table, or those of a transformers image classifier in a local folder.
"""

import math
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from align_edu.io import InputError, lfs_remedy
from align_edu.pairs.images import BrokenImage, decode_image, find_every_image
from align_edu.pairs.shards import Place, read_part
from align_edu.pairs.splits import is_benchmark, read_split

STATUS = "status"
IDENTITY = ("sha256", "url")
SIZE = ("original_width", "original_height")
SCORES = ("nsfw", "NSFW", "punsafe")
_UNSAFE = re.compile(r"nsfw|porn|unsafe|explicit|hentai|sexy", re.IGNORECASE)
_NEGATED = re.compile(r"\b(not|non|no)[-_ ]", re.IGNORECASE)
_BATCH = 64  # pictures that the classifier sees at once
HASH_SIDE = 16  # 16 x 16 = 256 bits, 32 bytes
FLAT = 8  # a picture that spans fewer of 256 grey levels has no structure to hash
_AT_ONCE = 500  # images that a process hashes in one go
FLAT_IMAGE = "flat image"
Hash = np.ndarray | str  # (32,) uint8, or why there is none


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
        word = (column.str.to_uppercase() == "NSFW").cast(pl.Float64)
        column = column.cast(pl.Float64, strict=False).fill_null(word)  # a CSV's are texts
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


def perceptual_hash(data: bytes) -> np.ndarray:
    """Hash the bytes of an image file to 256 bits: (32,) uint8.

    Raises BrokenImage if the image cannot be decoded or is flat.

    >>> import io
    >>> Image.linear_gradient("L").save(file := io.BytesIO(), "PNG")
    >>> perceptual_hash(file.getvalue()).shape
    (32,)
    """
    import imagehash

    # The hash reads 64 x 64 pixels, so a JPEG need not be decoded at its full size.
    picture = decode_image(data, at_least=128)
    grey = picture.convert("L").resize((4 * HASH_SIDE, 4 * HASH_SIDE), Image.Resampling.LANCZOS)
    if np.ptp(np.asarray(grey)) < FLAT:
        raise BrokenImage(FLAT_IMAGE)
    return np.packbits(imagehash.phash(grey, hash_size=HASH_SIDE).hash)


def hash_images(places: Sequence[Place], workers: int) -> list[Hash]:
    """Hash images on at most `workers` processes."""
    workers = min(workers, -(-len(places) // _AT_ONCE))
    if workers < 2:
        return list(map(_hash_or_reason, places))
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(_hash_or_reason, places, chunksize=_AT_ONCE))


def _hash_or_reason(place: Place) -> Hash:
    try:
        return perceptual_hash(read_part(*place))
    except (BrokenImage, OSError) as error:
        return str(error)


def nearest_distance(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the different bits from each hash, (N, 32) uint8, to the nearest other: (N,) int32."""
    import faiss

    index = faiss.IndexBinaryFlat(others.shape[1] * 8)
    index.add(np.ascontiguousarray(others))
    distances, _ = index.search(np.ascontiguousarray(hashes), 1)  # (N, 1)
    return distances[:, 0]


def distances(places: Sequence[Place], others: np.ndarray, workers: int) -> list[float | None]:
    """Measure the bits to the nearest of the others: None if unreadable, infinity if flat."""
    hashes = hash_images(places, workers)
    found = [one for one in hashes if isinstance(one, np.ndarray)]
    bits = iter(nearest_distance(np.stack(found), others).tolist() if found else ())
    without = {FLAT_IMAGE: math.inf}
    return [without.get(one) if isinstance(one, str) else next(bits) for one in hashes]


def evaluation_images(path: str | Path) -> list[Path]:
    """List the images of a benchmark's test split, or of a folder of images at any depth."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such evaluation set; give a benchmark or images")
    if path.is_file() or is_benchmark(path):
        return read_split(path).images
    if found := find_every_image(path):
        return found
    raise InputError(f"{path}: no image in this evaluation set; give .jpg, .png or .webp files")


def evaluation_hashes(against: Sequence[str | Path], workers: int = 1) -> tuple[np.ndarray, int]:
    """Hash evaluation sets: (M, 32) uint8, and the number of flat images, which have no hash.

    Paper: Section 3 (near-duplicates of test images of all evaluation sets are removed).
    """
    files = [file for path in against for file in evaluation_images(path)]
    found = hash_images([(file, 0, file.stat().st_size) for file in files], workers)
    for file, one in zip(files, found):
        if isinstance(one, str) and one != FLAT_IMAGE:
            remedy = lfs_remedy(file) or "cannot be decoded; repair or remove this evaluation image"
            raise InputError(f"{file}: {remedy}")
    hashes = [one for one in found if isinstance(one, np.ndarray)]
    return np.array(hashes, np.uint8).reshape(-1, HASH_SIDE**2 // 8), len(found) - len(hashes)


def load_classifier(folder: Path) -> tuple[Any, list[str]]:
    """Load an image classifier of a local folder as a pipeline, and its unsafe labels."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a transformers image classifier's")
    local = {"local_files_only": True}
    try:
        processor = AutoImageProcessor.from_pretrained(folder, **local)
        load = AutoModelForImageClassification.from_pretrained
        model = load(folder, **local, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        why = f"no transformers image classifier with safetensors weights ({error}"
        raise InputError(f"{folder}: {why.splitlines()[0][:220]}); give its folder") from None
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    unsafe = [label for label in labels if _UNSAFE.search(label) and not _NEGATED.search(label)]
    if not unsafe:
        found = f"no label of the classifier says what is unsafe (it has {', '.join(labels[:8])})"
        raise InputError(f"{folder}: {found}; give a classifier with a label such as nsfw or porn")
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
