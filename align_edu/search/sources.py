"""What an index is built from: folders of images, shards, lists of files, stored embeddings."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from align_edu.evaluation.embed import EmbeddedImages, Encoder, embed_images
from align_edu.io import InputError
from align_edu.pairs.images import SUFFIXES, decode_image, find_images
from align_edu.pairs.shards import Place, open_pairs, read_part


def embed_source(
    run: Encoder,
    images: str | Path | Sequence[str | Path],
    *,
    progress: bool = False,
    resume: Path | None = None,
) -> EmbeddedImages:
    """Return the embeddings of images of any source; broken ones are skipped and named.

    images: a folder of images, with the folders in it, or a list of files; a folder of
    webdataset shards or one .tar, whose images are named SHARD.tar/KEY.jpg (a folder may hold
    both; with `progress`, what was left out is counted on standard error); or embeddings that
    the same model made: NAME.npy, float32 or float16 (N, D), beside NAME.txt, a name per line.
    Raises InputError when no image is found or can be read, and when the embeddings do not fit
    the names or the run.
    """
    left_out = Counter[str]()
    if not isinstance(images, str | Path):
        files = [Path(file) for file in images]
        if missing := [file for file in files if not file.is_file()]:
            raise InputError(f"{missing[0]}: no such image file; check the list")
        places = [_whole(file) for file in files]
    elif Path(images).suffix == ".npy":
        return _read_embeddings(Path(images), run.encode_texts(["a"]).shape[1])
    else:
        files, places = _found_in(Path(images), left_out)
    if left_out and progress:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
        tqdm.write(f"left out: {reasons}", file=sys.stderr)
    found = embed_images(
        run, files, lambda i: decode_image(read_part(*places[i])), progress=progress, resume=resume
    )
    if not found.files:
        place = images if isinstance(images, str | Path) else "the list of images"
        raise InputError(f"{place}: no image can be read ({found.reasons() or 'none given'})")
    return replace(found, left_out=left_out)


def _whole(file: Path) -> Place:
    return file, 0, file.stat().st_size


def _found_in(path: Path, left_out: Counter[str]) -> tuple[list[Path], list[Place]]:
    """Return the images of a folder or shard: names, and the place of each one's bytes."""
    if path.suffix != ".tar" and not path.is_dir():
        raise InputError(f"{path}: no such folder; give a folder of images")
    files = find_images(path, left_out)
    places = [_whole(file) for file in files]
    if path.suffix == ".tar" or any(path.glob("*.tar")):
        try:
            source = open_pairs([path], texts=False)
        except InputError:  # its tars hold no pictures
            if not files:
                raise
        else:
            files += [source.place(i)[0] / name for i, name in enumerate(source.names)]
            places += map(source.place, range(len(source)))
            for suffix in (".tar", ".parquet", ".json"):
                left_out.pop(f"{suffix} (no picture)", None)
            left_out.update(source.skipped)
    if not files:
        raise InputError(f"{path}: no images in it; files must end in {', '.join(SUFFIXES)}")
    return files, places


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
