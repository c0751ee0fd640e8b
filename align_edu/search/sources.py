"""What an index is built from: folders of images, shards, lists of files, stored embeddings."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from align_edu.evaluation.embed import EmbeddedImages, Encoder, embed_images
from align_edu.io import InputError
from align_edu.pairs.images import SUFFIXES, decode_image, find_images
from align_edu.pairs.shards import PairSource, open_pairs


def embed_source(
    run: Encoder,
    images: str | Path | Sequence[str | Path],
    progress: bool = False,
    resume: Path | None = None,
) -> EmbeddedImages:
    """Return the embeddings of images of any source; broken ones are skipped and named.

    images: a folder of images, with the folders in it, or a list of files; a folder of
    webdataset shards or one .tar, whose images are named SHARD.tar/KEY.jpg (a folder may hold
    both); or embeddings that the same model made: NAME.npy, float32 or float16 (N, D), beside
    NAME.txt, a name per line. resume: a folder for finished embeddings, with which the same call
    continues after an interruption. Raises InputError when no image is found or can be read, and
    when the embeddings do not fit the names or the run.
    """
    left_out, shards = Counter[str](), None
    if not isinstance(images, str | Path):
        files = [Path(file) for file in images]
    elif Path(images).suffix == ".npy":
        return _read_embeddings(Path(images), run.encode_texts(["a"]).shape[1])
    else:
        files, shards = _found_in(Path(images), left_out)
    single = len(files)
    members = [shards.place(i)[0] / name for i, name in enumerate(shards.names)] if shards else []

    def read(i: int) -> Image.Image:
        if shards is None or i < single:
            return decode_image(files[i].read_bytes())
        return decode_image(shards.image_bytes(i - single))

    found = embed_images(run, files + members, read, progress=progress, resume=resume)
    if not found.files:
        place = images if isinstance(images, str | Path) else "the list of images"
        raise InputError(f"{place}: no image can be read ({found.reasons() or 'none given'})")
    return replace(found, left_out=left_out)


def _found_in(path: Path, left_out: Counter[str]) -> tuple[list[Path], PairSource | None]:
    """Return the single images of a folder, and the images of the shards in it, or of one."""
    if path.suffix != ".tar" and not path.is_dir():
        raise InputError(f"{path}: no such folder; give a folder of images")
    files, shards = find_images(path, left_out), None
    if path.suffix == ".tar" or any(path.glob("*.tar")):
        try:
            shards = open_pairs([path], texts=False)
        except InputError:  # its tars hold no pictures
            if not files:
                raise
        else:
            for suffix in (".tar", ".parquet", ".json"):
                left_out.pop(f"{suffix} (no picture)", None)
            left_out.update(shards.skipped)
    if not files and shards is None:
        raise InputError(f"{path}: no images in it; files must end in {', '.join(SUFFIXES)}")
    return files, shards


def _read_embeddings(path: Path, width: int) -> EmbeddedImages:
    """Read NAME.npy as unit vectors of this width, and the names in NAME.txt beside it."""
    beside = path.with_suffix(".txt")
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
        listed = beside.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path}: not readable embeddings ({error}); they are NAME.npy and NAME.txt"
        ) from None
    names = listed.removesuffix("\n").split("\n")  # a name may hold U+2028
    if rows.dtype not in (np.float32, np.float16) or rows.shape[1:] != (width,) or not len(rows):
        raise InputError(
            f"{path}: {rows.dtype} {rows.shape}; this run's embeddings are float32 or float16"
            f" (N, {width}), N > 0"
        )
    if len(names) != len(rows) or "" in names:
        count = len(names) - names.count("")
        raise InputError(f"{beside}: {count} names for {len(rows)} embeddings; write one per line")
    vectors = np.array(rows, np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if broken := np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0))).tolist():
        raise InputError(f"{path}: row {broken[0]} is zero or not finite; make it again")
    vectors /= lengths
    return EmbeddedImages(torch.from_numpy(vectors), [path.parent / name for name in names])
