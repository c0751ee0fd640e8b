"""The images of an index: a folder or list of files, shards, or a file of embeddings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from align_edu.evaluation.embed import EmbeddedImages, Encoder, embed_images, embed_pictures
from align_edu.io import InputError
from align_edu.pairs.images import SUFFIXES, decode_image, find_images
from align_edu.pairs.shards import PairSource, open_pairs


def embed_source(
    run: Encoder, images: str | Path | Sequence[str | Path], *, progress: bool = False
) -> EmbeddedImages:
    """Return the embeddings of images of any source; broken ones are skipped and named.

    images: a folder of images or a list of files; a folder of webdataset shards or one .tar,
    whose images are named SHARD.tar/KEY.jpg; or embeddings that the same model made earlier:
    NAME.npy, float32 or float16 (N, D), beside NAME.txt, one name per line.
    Raises InputError when no image is found, or the embeddings do not fit the names or the run.
    """
    if isinstance(images, str | Path):
        path = Path(images)
        if path.suffix == ".npy":
            return _read_embeddings(path, run.encode_texts(["a"]).shape[1])
        if path.suffix == ".tar" or (path.is_dir() and any(path.glob("*.tar"))):
            return _embed_shards(run, open_pairs([path]), progress)
    return embed_images(run, _image_files(images), progress=progress)


def _read_embeddings(path: Path, width: int) -> EmbeddedImages:
    """Read NAME.npy as unit vectors of this width, and the names in NAME.txt beside it."""
    beside = path.with_suffix(".txt")
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
        names = beside.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename}: no such file; embeddings are NAME.npy and NAME.txt, a name per line"
        ) from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not readable embeddings ({error}); make them again") from None
    if rows.dtype not in (np.float32, np.float16) or rows.ndim != 2 or not len(rows):
        raise InputError(
            f"{path}: {rows.dtype} {rows.shape}; embeddings are float32 or float16 (N, D), N > 0"
        )
    if len(names) != len(rows):
        raise InputError(f"{beside}: {len(names)} names for {len(rows)} embeddings of {path.name}")
    if "" in names:
        raise InputError(f"{beside}: line {names.index('') + 1} is empty; each needs a name")
    if rows.shape[1] != width:
        raise InputError(
            f"{path}: embeddings of width {rows.shape[1]}, the run makes {width};"
            " give the run that made them"
        )
    vectors = np.array(rows, np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    broken = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(broken):
        raise InputError(f"{path}: row {broken[0]} is zero or not finite; make it again")
    vectors /= lengths
    return EmbeddedImages(torch.from_numpy(vectors), [path.parent / name for name in names])


def _embed_shards(run: Encoder, source: PairSource, progress: bool) -> EmbeddedImages:
    files = [source.place(i)[0] / name for i, name in enumerate(source.names)]
    return embed_pictures(
        run, files, lambda i: decode_image(source.image_bytes(i)), progress=progress
    )


def _image_files(images: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the image files of a folder and its folders, sorted, or the files of a list."""
    if not isinstance(images, str | Path):
        files = [Path(file) for file in images]
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise InputError(f"{missing[0]}: no such image file; check the list")
        if not files:
            raise InputError("the list of images is empty; give at least one file")
        return files
    folder = Path(images)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a folder of images")
    files = find_images(folder)
    if not files:
        raise InputError(f"{folder}: no images in it; files must end in {', '.join(SUFFIXES)}")
    return files
