"""Near-duplicates of an evaluation set's images, found by perceptual hash.

The hash is ImageHash's `phash` with 16 x 16 bits: the signs of the lowest frequencies of the
grey image, so that size, compression and colour change few of the 256 bits. The default bound,
66 bits, is the largest at which no more than a few of a million pairs of different images count
as duplicates (what it finds: `tests/benchmarks/near_duplicates.py`).
A flat picture, of fewer than 8 grey levels, has no hash: all white pictures would share one.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from align_edu.io import InputError, lfs_remedy
from align_edu.pairs.images import BrokenImage, decode_image, find_every_image
from align_edu.pairs.shards import Place, read_part
from align_edu.pairs.splits import is_benchmark, read_split

HASH_SIDE = 16  # 16 x 16 = 256 bits, 32 bytes
FLAT = 8  # a picture that spans fewer of 256 grey levels has no structure to hash
_AT_ONCE = 500  # images that a process hashes in one go
FLAT_IMAGE = "flat image"
Hash = np.ndarray | str  # (32,) uint8, or why there is none


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
