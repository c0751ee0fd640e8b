"""What an index is built from: a folder or list of images, shards, or a file of embeddings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from align_edu.evaluation.embed import PICTURES, EmbeddedImages, Encoder, embed_images
from align_edu.io import InputError
from align_edu.pairs.images import SUFFIXES, BrokenImage, decode_image, find_images
from align_edu.pairs.shards import PairSource, open_pairs


def embed_source(
    run: Encoder, images: str | Path | Sequence[str | Path], *, progress: bool = False
) -> EmbeddedImages:
    """Return the embeddings of images, wherever they lie; broken ones are skipped and named.

    Parameters
    ----------
    run : a trained run, see `load_run`.
    images : a folder of images or a list of files; a folder of webdataset shards or one .tar,
        whose images are named SHARD.tar/KEY.jpg; or embeddings that were made before by the
        same model: NAME.npy, float32 or float16 (N, D), beside NAME.txt, one name a line.
    progress : show a bar on standard error.

    Raises
    ------
    InputError when there is nothing to read, or the embeddings do not fit the names or the run.
    """
    if isinstance(images, str | Path):
        path = Path(images)
        if path.suffix == ".npy":
            return read_embeddings(path, run.encode_texts(["a"]).shape[1])
        if path.suffix == ".tar" or (path.is_dir() and any(path.glob("*.tar"))):
            return _embed_shards(run, open_pairs([path]), progress)
    return embed_images(run, image_files(images), progress=progress)


def read_embeddings(path: Path, width: int | None = None) -> EmbeddedImages:
    """Read NAME.npy (N, D), float32 or float16, and the N names in NAME.txt beside it.

    width: the D that is expected. The rows come back as float32 unit vectors. A name is the
    path of an image, seen from the folder of the file.
    Raises InputError when a file is missing or damaged, or rows, names and width do not fit.
    """
    beside = path.with_suffix(".txt")
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
        names = beside.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename}: no such file; embeddings need {path.name} and, beside it,"
            f" {beside.name} with one name a line"
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
    if width is not None and rows.shape[1] != width:
        raise InputError(
            f"{path}: embeddings of width {rows.shape[1]}, the run makes {width};"
            " give the run that made them"
        )
    vectors = np.array(rows, np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    wrong = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(wrong):
        raise InputError(f"{path}: row {wrong[0]} is zero or not finite; make it again")
    vectors /= lengths
    return EmbeddedImages(torch.from_numpy(vectors), [path.parent / name for name in names])


def _embed_shards(run: Encoder, source: PairSource, progress: bool) -> EmbeddedImages:
    from tqdm import tqdm

    parts: list[Tensor] = []
    kept: list[Path] = []
    skipped: dict[Path, str] = {}
    starts = range(0, len(source), PICTURES)
    for start in tqdm(starts, "images", disable=not progress):
        pictures: list[Image.Image] = []
        for i in range(start, min(start + PICTURES, len(source))):
            name = source.place(i)[0] / source.names[i]
            try:
                pictures.append(decode_image(source.image_bytes(i)))
                kept.append(name)
            except BrokenImage as error:
                skipped[name] = error.reason
        if pictures:
            parts.append(run.encode_images(pictures).detach().float().cpu())
    return EmbeddedImages(torch.cat(parts) if parts else torch.zeros(0, 0), kept, skipped)


def image_files(images: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the image files of a folder and its folders, sorted, or the files of a list.

    Raises InputError when there is none, or when a listed file is missing.
    """
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
