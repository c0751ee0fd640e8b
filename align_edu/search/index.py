"""An index of image embeddings, exact or approximate, kept in a folder with its images' names."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from align_edu.io import InputError, weights_of
from align_edu.pairs.images import SUFFIXES, decode_image, find_images
from align_edu.pairs.shards import open_pairs, read_part

if TYPE_CHECKING:
    from align_edu.evaluation.embed import EmbeddedImages, Encoder

EXACT_UP_TO = 1_000_000  # images; an exact search of more is too slow


@dataclass(frozen=True)
class Hit:
    """One image found by a search."""

    path: Path
    score: float  # inner product with the query, the cosine for unit vectors
    rank: int  # 1 for the best


class ImageIndex:
    """Image embeddings that FAISS searches by inner product.

    Exact up to a million images; above, or on request, approximate: a graph (HNSW), whose links
    depend on the images alone. Lists around centroids (IVF) lose more text queries, because
    texts lie apart from images and are led to lists that hold none of their answers.

    embeddings: (N, D), N > 0, unit vectors. files: the N image files. run: folder of the model
    that made the embeddings, so that a search can load it. skipped: files that could not be
    read, and why; `left_out` counts a folder's other files by ending and reason. kind: "exact" or
    "approximate"; by the number of images when None.

    Raises InputError when there is nothing to index or the embeddings are not finite.

    Paper: Section 7.

    >>> index = ImageIndex(torch.eye(3), ["cat.jpg", "dog.jpg", "cow.jpg"])
    >>> [hit.path.name for hit in index.search(torch.tensor([0.0, 0.9, 0.4]), k=2)]
    ['dog.jpg', 'cow.jpg']
    """

    def __init__(
        self,
        embeddings: Tensor,
        files: Sequence[str | Path],
        run: str | Path | None = None,
        skipped: dict[Path, str] | None = None,
        *,
        kind: str | None = None,
    ) -> None:
        from align_edu.search.vectors import Vectors

        if embeddings.ndim != 2 or not len(embeddings) or len(embeddings) != len(files):
            shape = tuple(embeddings.shape)
            raise InputError(
                f"embeddings {shape} for {len(files)} files: give (N, D), one per file"
            )
        self.kind = _kind(kind, len(files))
        self.run = None if run is None else _place_of(run)
        self.model = None if self.run is None else weights_of(self.run)
        self.skipped = {_place_of(file): why for file, why in (skipped or {}).items()}
        self.left_out = Counter[str]()
        self._home = Path(os.sep)  # names are relative to it
        self._names = [self._name(file) for file in files]
        self._vectors = Vectors.empty(embeddings.shape[1], self.kind)
        self._vectors.add(self._checked("embeddings", embeddings))

    def __len__(self) -> int:
        return len(self._names)

    @property
    def width(self) -> int:
        """D, the width of the embeddings."""
        return int(self._vectors.vectors.d)

    @property
    def files(self) -> list[Path]:
        """The image files, in the order of the embeddings."""
        return [self._file(row) for row in range(len(self))]

    @classmethod
    def build(
        cls,
        run: Encoder,
        images: str | Path | Sequence[str | Path],
        *,
        kind: str | None = None,
        progress: bool = False,
        resume: Path | None = None,
    ) -> ImageIndex:
        """Embed images with a model and index them; broken files are skipped and named.

        run: a trained model, see `load_run`. images: a folder, a list of files, shards, or
        embeddings, see `embed_source`. kind: as above. progress: show a bar. resume: a folder for
        finished embeddings, with which the same call continues after an interruption.
        Raises InputError when no image is found, a listed file is missing, or none can be read.
        """
        _kind(kind, 1)
        found = embed_source(run, images, progress=progress, resume=resume)
        if not found.files:
            place = images if isinstance(images, str | Path) else "the list of images"
            raise InputError(f"{place}: no image can be read ({found.reasons() or 'none given'})")
        folder = getattr(run, "folder", None)
        index = cls(found.embeddings, found.files, folder, found.skipped, kind=kind)
        index.left_out = found.left_out
        return index

    def run_folder(self) -> Path:
        """Return the folder of the model that built the index; InputError if it names none."""
        if self.run is None:
            raise InputError("the index names no run; give the run that built it")
        return self.run

    def search(self, query: Tensor, k: int, exclude: Sequence[str | Path] = ()) -> list[Hit]:
        """Return the k images most similar to a query, the best first.

        query: (D,), a unit vector. k: at least 1. exclude: files that must not be found, such
        as the image of the query. Equal scores: the image that was indexed first comes first.
        Raises InputError for a query of another width, one that is not finite, and k < 1.
        """
        return self.search_many(torch.as_tensor(query)[None], k, exclude)[0]

    def search_many(
        self, queries: Tensor, k: int, exclude: Sequence[str | Path] = ()
    ) -> list[list[Hit]]:
        """Return the k most similar images of each query (B, D), as :meth:`search` does."""
        rows = self._checked("queries", torch.as_tensor(queries))
        if k < 1:
            raise InputError(f"k is {k}: ask for at least one image")
        left_out = {self._name(file) for file in exclude}
        names = enumerate(self._names) if left_out else ()
        skip = {row for row, name in names if name in left_out}
        scores, found = self._vectors.search(rows, min(k + len(skip), len(self)))
        hits = []
        for pairs in map(zip, (-scores).tolist(), found.tolist()):
            # A graph that finds too few fills up with -1. Equal scores: the earlier image first.
            best = sorted((minus, i) for minus, i in pairs if i >= 0 and i not in skip)[:k]
            hits.append([Hit(self._file(i), -minus, n) for n, (minus, i) in enumerate(best, 1)])
        return hits

    def add(self, embeddings: Tensor, files: Sequence[str | Path]) -> None:
        """Add images to the index in memory; :meth:`save` writes them.

        embeddings: (M, D) unit vectors. files: their M files. Raises InputError when widths or
        numbers do not fit, or a file is already indexed.
        """
        rows = self._checked("embeddings", embeddings)
        if len(rows) != len(files):
            raise InputError(f"{len(rows)} embeddings for {len(files)} files: one per file")
        names = dict.fromkeys(self._names)
        for name in map(self._name, files):
            if name in names:
                raise InputError(f"{name}: already in the index; add each image once")
            names[name] = None
        self._vectors.add(rows)
        self._names += list(names)[len(self._names) :]

    def save(self, folder: str | Path) -> Path:
        """Write the index into a folder, with paths relative to it; return the folder.

        A process killed meanwhile leaves the older index, the new one, or none.
        Raises InputError when the folder cannot be written.
        """
        folder = Path(folder)
        home = folder.resolve()
        described = {
            "kind": self.kind,
            "run": None if self.run is None else os.path.relpath(self.run, home),
            "model": self.model,
            "width": self.width,
            "left_out": self.left_out,
            "images": [os.path.relpath(file, home) for file in self.files],
            "skipped": {os.path.relpath(file, home): why for file, why in self.skipped.items()},
        }
        self._vectors.write(folder, described)
        return folder

    @classmethod
    def load(cls, folder: str | Path, *, check_all: bool = False) -> ImageIndex:
        """Open an index that :meth:`save` wrote; its vectors stay on disk until searched.

        check_all: read every byte to look for damage, not only 64 MiB of each larger file.
        Raises InputError when the folder is missing, or a file of it is missing or damaged.
        """
        from align_edu.search.vectors import Vectors

        index = cls.__new__(cls)
        index._vectors, described = Vectors.read(Path(folder), whole=check_all)
        index._home, index._names = Path(folder).resolve(), described["images"]
        index.kind, index.model = described["kind"], described.get("model")
        run, skipped = described.get("run"), described.get("skipped", {})
        index.run = None if run is None else _place_of(index._home / run)
        index.left_out = Counter(described.get("left_out", {}))
        index.skipped = {_place_of(index._home / name): why for name, why in skipped.items()}
        return index

    def _checked(self, name: str, vectors: Tensor) -> np.ndarray:
        """Return vectors as float32 rows; raise InputError for another width or NaN."""
        if vectors.ndim != 2 or vectors.shape[1] != self.width:
            raise InputError(
                f"{name} {tuple(vectors.shape)}: this index holds vectors of width"
                f" {self.width}; use the run that built it"
            )
        rows = vectors.detach().to("cpu", torch.float32).contiguous().numpy()
        if not np.isfinite(rows).all():
            raise InputError(f"{name}: not finite; the model or its input is broken")
        return rows

    def _name(self, file: str | Path) -> str:
        return os.path.relpath(_place_of(file), self._home)

    def _file(self, row: int) -> Path:
        return _place_of(self._home / self._names[row])


def _kind(kind: str | None, images: int) -> str:
    if kind not in (None, "exact", "approximate"):
        raise InputError(f"kind {kind!r}: an index is exact or approximate")
    return kind or ("exact" if images <= EXACT_UP_TO else "approximate")


def _place_of(file: str | Path) -> Path:
    """Return the absolute path with its folders resolved; the file itself may be a link."""
    path = Path(file).absolute()
    return path.parent.resolve() / path.name


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
    Raises InputError when no image is found, or the embeddings do not fit the names or the run.
    """
    from align_edu.evaluation.embed import embed_pictures

    left_out = Counter[str]()
    if not isinstance(images, str | Path):
        files = [Path(file) for file in images]
        if missing := [file for file in files if not file.is_file()]:
            raise InputError(f"{missing[0]}: no such image file; check the list")
        places = [(file, 0, file.stat().st_size) for file in files]
    elif Path(images).suffix == ".npy":
        return _read_embeddings(Path(images), run.encode_texts(["a"]).shape[1])
    else:
        files, places = _found_in(Path(images), left_out)
    if left_out and progress:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
        tqdm.write(f"left out: {reasons}", file=sys.stderr)
    found = embed_pictures(
        run, files, lambda i: decode_image(read_part(*places[i])), progress=progress, resume=resume
    )
    return replace(found, left_out=left_out)


def _found_in(path: Path, left_out: Counter[str]) -> tuple[list[Path], list[tuple[Path, int, int]]]:
    """Return the images of a folder or shard: names, and the place of each one's bytes."""
    if path.suffix != ".tar" and not path.is_dir():
        raise InputError(f"{path}: no such folder; give a folder of images")
    files = find_images(path, left_out)
    places = [(file, 0, file.stat().st_size) for file in files]
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
    from align_edu.evaluation.embed import EmbeddedImages

    beside = path.with_suffix(".txt")
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
        listed = beside.read_text(encoding="utf-8-sig", errors="surrogateescape")
        names = listed.removesuffix("\n").split("\n")  # a name may hold U+2028
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path}: not readable embeddings ({error}); they are NAME.npy and NAME.txt"
        ) from None
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
