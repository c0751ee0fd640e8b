"""Images that are, or nearly are, images of an evaluation set, found by perceptual hash.

The hash is ImageHash's `phash` with 16 x 16 bits: the signs of the lowest frequencies of the
grey image, so it does not see size, compression or colour. Two hashes of one image differ in
few of the 256 bits. The default, 66, is the largest distance at which no more than a few of a
million pairs of different images are taken for duplicates. `tests/benchmarks/near_duplicates.py`
measures it, on 200 toy drawings (1,500 for the different images) and 210 photographs:

| within 66 bits of 256 | toy | photographs |
|---|---|---|
| resized to 58 pixels, compressed to quality 20, half the colour: found | 100 % | 100 % |
| 30 % lighter or darker, a watermark, turned by 2 degrees: found | 100 % | 100 % |
| 5 % of width and height cropped: found | 100 % | 96 % |
| 10 % of width and height cropped: found | 41 % | 5 % |
| a border of 5 % on each side: found | 32 % | 0.5 % |
| 20 % of width and height cropped, mirrored: found | 0 % | 0 % |
| different images taken for duplicates, per pair | 1.8e-6 | 0 of 21,945 |

It misses large crops, borders and mirror images. At a distance that finds 95 % of the 5 %
crops of photographs, `dhash` with as many bits takes 2 times as many different toy images for
duplicates, and `average_hash` dozens of times.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from align_edu.cores import usable_cores
from align_edu.io import InputError
from align_edu.pairs.images import BrokenImage, decode_image
from align_edu.pairs.shards import IMAGES, read_part
from align_edu.pairs.splits import read_split

HASH_SIDE = 16  # 16 x 16 = 256 bits, 32 bytes
Place = tuple[Path, int, int]  # a file, or a part of a shard: path, offset, size in bytes
CHUNK = 500


def perceptual_hash(data: bytes) -> np.ndarray:
    """Hash the bytes of an image file.

    Returns
    -------
    (32,) uint8, 256 bits. Raises BrokenImage if the image cannot be decoded.

    >>> from PIL import Image
    >>> import io
    >>> ramp = Image.linear_gradient("L")
    >>> large, small = io.BytesIO(), io.BytesIO()
    >>> ramp.save(large, "PNG")
    >>> ramp.resize((64, 64)).save(small, "JPEG")
    >>> different = perceptual_hash(large.getvalue()) ^ perceptual_hash(small.getvalue())
    >>> bool(np.bitwise_count(different).sum() <= 66)
    True
    """
    import imagehash

    # 64 pixels a side are what the hash looks at, so a JPEG need not be decoded whole.
    picture = decode_image(data, at_least=128)
    return np.packbits(imagehash.phash(picture, hash_size=HASH_SIDE).hash)


def hash_images(
    places: Sequence[Place], workers: int | None = None, progress: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Hash many images on all cores.

    Parameters
    ----------
    places : N images, each a part of a shard or a whole file.
    workers : processes; as many as there are cores if None.
    progress : show a progress bar.

    Returns
    -------
    hashes : (N, 32) uint8.
    readable : (N,) bool, False where the image could not be decoded.
    """
    chunks = [places[start : start + CHUNK] for start in range(0, len(places), CHUNK)]
    workers = min(workers or usable_cores(), len(chunks))
    with tqdm(total=len(places), unit="image", desc="hashing", disable=not progress) as bar:
        parts = []
        for part in _in_order(chunks, workers):
            parts.append(part)
            bar.update(len(part[0]))
    if not parts:
        return np.empty((0, HASH_SIDE**2 // 8), np.uint8), np.empty(0, bool)
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _in_order(
    chunks: list[Sequence[Place]], workers: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if workers < 2:
        yield from map(_hash_chunk, chunks)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_hash_chunk, chunks)


def _hash_chunk(places: Sequence[Place]) -> tuple[np.ndarray, np.ndarray]:
    hashes = np.zeros((len(places), HASH_SIDE**2 // 8), np.uint8)
    readable = np.zeros(len(places), bool)
    for i, place in enumerate(places):
        try:
            hashes[i] = perceptual_hash(read_part(*place))
            readable[i] = True
        except (BrokenImage, OSError):
            continue
    return hashes, readable


def nearest_distance(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Number of bits in which each hash differs from the nearest of the others.

    Parameters
    ----------
    hashes : (N, 32) uint8.
    others : (M, 32) uint8, M > 0.

    Returns
    -------
    (N,) int32

    >>> ones, zeros = np.full((1, 32), 255, np.uint8), np.zeros((1, 32), np.uint8)
    >>> nearest_distance(np.concatenate([ones, zeros]), ones).tolist()
    [0, 256]
    """
    import faiss

    index = faiss.IndexBinaryFlat(others.shape[1] * 8)
    index.add(np.ascontiguousarray(others))
    distances, _ = index.search(np.ascontiguousarray(hashes), 1)  # (N, 1)
    return distances[:, 0]


def evaluation_images(path: str | Path) -> list[Path]:
    """List the images of an evaluation set.

    Parameters
    ----------
    path : a retrieval benchmark in Karpathy's JSON form (its test split), or a folder of
        images at any depth, such as ImageNet's.

    Raises
    ------
    InputError if there is no image.

    >>> evaluation_images("no/set")
    Traceback (most recent call last):
    align_edu.io.InputError: no/set: no such evaluation set; give a benchmark or images
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such evaluation set; give a benchmark or images")
    if path.is_file() or list(path.glob("dataset*.json")):
        return read_split(path).images
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES)
    if not found:
        raise InputError(f"{path}: no image in this evaluation set; give .jpg, .png or .webp files")
    return found


def evaluation_hashes(against: Sequence[str | Path], workers: int | None = None) -> np.ndarray:
    """Hash the images of evaluation sets: (M, 32) uint8.

    against : as for `evaluation_images`. workers : processes; as many as cores if None.

    Raises InputError if a set has no image, or one that cannot be decoded.

    Paper: Section 3 (near-duplicates of test images of all evaluation sets are removed).
    """
    files = [file for path in against for file in evaluation_images(path)]
    hashes, fine = hash_images([(file, 0, file.stat().st_size) for file in files], workers)
    if not fine.all():
        raise InputError(f"{files[int(fine.argmin())]}: this evaluation image cannot be decoded")
    return hashes
