"""An exact index of image embeddings, kept in a folder that can be moved with its images."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from align_edu.errors import InputError
from align_edu.evaluation.embed import Encoder, embed_images
from align_edu.files import read_json, write_json, written_whole

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
INDEX, IMAGES = "index.faiss", "images.json"


class StoredRun(Encoder, Protocol):
    """A run that knows the folder it was loaded from."""

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        ...


@dataclass(frozen=True)
class Hit:
    """One image that a search found.

    Attributes
    ----------
    path : the image file.
    score : inner product with the query, the cosine for unit vectors.
    rank : 1 for the best.
    """

    path: Path
    score: float
    rank: int


class ImageIndex:
    """Image embeddings that are searched exactly, by inner product, with FAISS.

    Exact search is fast enough up to a million images, and the approximate kinds, when
    trained on image vectors, lose text queries.

    Parameters
    ----------
    embeddings : (N, D), N > 0, unit vectors.
    files : the N image files.
    run : folder of the run that made the embeddings, so that a search can load it.
    skipped : files that could not be read, and why.

    Raises
    ------
    InputError when there is nothing to index or the embeddings are not finite.

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
    ) -> None:
        import faiss

        if embeddings.ndim != 2 or not len(embeddings) or len(embeddings) != len(files):
            raise InputError(
                f"embeddings {tuple(embeddings.shape)} for {len(files)} files:"
                " an index needs (N, D) with one row a file, N > 0"
            )
        self.width = embeddings.shape[1]
        self.files = [_place(file) for file in files]
        self.run = None if run is None else _place(run)
        self.skipped = {_place(file): why for file, why in (skipped or {}).items()}
        self._faiss = faiss.IndexFlatIP(self.width)
        self._faiss.add(_rows("embeddings", embeddings))

    def __len__(self) -> int:
        return len(self.files)

    @classmethod
    def build(
        cls,
        run: StoredRun,
        images: str | Path | Sequence[str | Path],
        *,
        progress: bool = False,
    ) -> "ImageIndex":
        """Embed images with a run and index them; broken files are skipped and named.

        Parameters
        ----------
        run : a trained run, see `load_run`.
        images : a folder (searched with the folders in it; a benchmark's folder will do), or
            a list of files.
        progress : show a bar on standard error.

        Raises
        ------
        InputError when no image is found, a listed file is missing, or none can be read.
        """
        files = image_files(images)
        found = embed_images(run, files, progress=progress)
        if not found.files:
            raise InputError(f"{files[0].parent}: no image can be read ({found.reasons()})")
        return cls(found.embeddings, found.files, run.folder, found.skipped)

    def search(self, query: Tensor, k: int, exclude: Sequence[str | Path] = ()) -> list[Hit]:
        """Return the k images most similar to a query, the best first.

        Parameters
        ----------
        query : (D,), a unit vector.
        k : how many, at least 1; a k above the size of the index gives all images.
        exclude : files that must not be found, such as the image of the query.

        Raises
        ------
        InputError for a query of another width, one that is not finite, and k < 1.
        """
        query = torch.as_tensor(query)
        if query.ndim != 1:
            raise InputError(f"query {tuple(query.shape)}: one query is (D,), see search_many")
        return self.search_many(query[None], k, exclude)[0]

    def search_many(
        self, queries: Tensor, k: int, exclude: Sequence[str | Path] = ()
    ) -> list[list[Hit]]:
        """Return the k most similar images of each query (B, D), as :meth:`search` does."""
        queries = torch.as_tensor(queries)
        if queries.ndim != 2 or queries.shape[1] != self.width:
            raise InputError(
                f"queries {tuple(queries.shape)}: this index holds vectors of width {self.width};"
                " use the run that built it"
            )
        if k < 1:
            raise InputError(f"k is {k}: ask for at least one image")
        left_out = {_place(file) for file in exclude}
        rows = {row for row, file in enumerate(self.files) if file in left_out}
        wanted = min(k + len(rows), len(self))
        scores, found = self._faiss.search(_rows("queries", queries), wanted)
        return [
            self._hits(ids, values, rows, k)
            for ids, values in zip(found.tolist(), scores.tolist(), strict=True)
        ]

    def _hits(self, ids: list[int], scores: list[float], skip: set[int], k: int) -> list[Hit]:
        kept = [(i, score) for i, score in zip(ids, scores, strict=True) if i not in skip][:k]
        return [Hit(self.files[i], score, rank) for rank, (i, score) in enumerate(kept, start=1)]

    def save(self, folder: str | Path) -> Path:
        """Write ``index.faiss`` and ``images.json`` into a folder; return the folder.

        Paths are written relative to it. ``images.json`` holds the checksum of
        ``index.faiss``, so that two halves of different indexes are never taken for one.
        Raises InputError when the folder cannot be written.
        """
        import faiss

        folder = Path(folder)
        data = faiss.serialize_index(self._faiss).tobytes()
        with written_whole(folder / INDEX) as beside:
            beside.write_bytes(data)
        home = folder.resolve()
        described = {
            "run": None if self.run is None else _relative(self.run, home),
            "width": self.width,
            "sha256": hashlib.sha256(data).hexdigest(),
            "images": [_relative(file, home) for file in self.files],
            "skipped": {_relative(file, home): why for file, why in self.skipped.items()},
        }
        write_json(folder / IMAGES, described)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> "ImageIndex":
        """Read an index that :meth:`save` wrote.

        Raises InputError when the folder is missing, or a file of it is missing or damaged.
        """
        import faiss

        folder = Path(folder)
        if not (folder / IMAGES).is_file() or not (folder / INDEX).is_file():
            raise InputError(
                f"{folder}: no index here, it needs {INDEX} and {IMAGES};"
                " make one with `align-edu index RUN IMAGES OUT`"
            )
        described = _described(folder / IMAGES)
        data = (folder / INDEX).read_bytes()
        if hashlib.sha256(data).hexdigest() != described["sha256"]:
            raise InputError(
                f"{folder / INDEX}: damaged or not the one of {IMAGES}; build the index again"
            )
        stored = faiss.deserialize_index(np.frombuffer(data, np.uint8))
        if (stored.ntotal, stored.d) != (len(described["images"]), described["width"]):
            raise InputError(f"{folder}: {INDEX} and {IMAGES} do not fit; build the index again")
        home = folder.resolve()
        run = described.get("run")
        return cls(
            torch.from_numpy(stored.reconstruct_n(0, stored.ntotal)),
            [home / name for name in described["images"]],
            None if run is None else home / run,
            {home / name: why for name, why in described.get("skipped", {}).items()},
        )


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
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )
    if not files:
        raise InputError(f"{folder}: no images in it; files must end in {', '.join(SUFFIXES)}")
    return files


def _place(file: str | Path) -> Path:
    """The file's one true place: folders resolved, a link's own name kept."""
    path = Path(file).absolute()
    return path.parent.resolve() / path.name


def _relative(file: Path, home: Path) -> str:
    try:
        return Path(os.path.relpath(file, home)).as_posix()
    except ValueError:  # another drive on Windows
        return file.as_posix()


def _rows(name: str, vectors: Tensor) -> np.ndarray:
    rows = vectors.detach().to("cpu", torch.float32).contiguous().numpy()
    if not np.isfinite(rows).all():
        raise InputError(f"{name}: not finite; the model or its input is broken")
    return rows


def _described(path: Path) -> dict[str, Any]:
    described = read_json(path)
    kinds = {"width": int, "sha256": str, "images": list}
    if not isinstance(described, dict) or any(
        not isinstance(described.get(key), kind) for key, kind in kinds.items()
    ):
        raise InputError(f"{path}: needs {', '.join(kinds)}; build the index again")
    return described
