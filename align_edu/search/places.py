"""Where the images of an index lie, and which weights made it."""

import os
from functools import lru_cache
from pathlib import Path

from align_edu.io import fingerprint


def place_of(file: str | Path) -> Path:
    """Return the file's one true place: folders resolved, a link's own name kept.

    >>> place_of("/a/../b.jpg").name
    'b.jpg'
    """
    path = Path(file).absolute()
    return path.parent.resolve() / path.name


def relative_to(file: Path, home: Path) -> str:
    """Return the file as it is seen from a folder, with forward slashes.

    >>> relative_to(Path("/a/b.jpg"), Path("/a/index"))
    '../b.jpg'
    """
    try:
        return Path(os.path.relpath(file, home)).as_posix()
    except ValueError:  # another drive on Windows
        return file.as_posix()


@lru_cache(maxsize=8)
def _weights(path: Path, changed: int, size: int) -> str:
    return fingerprint(path)


def weights_of(run: str | Path) -> str | None:
    """Return the SHA-256 of a run's weights, or None where there are none.

    >>> weights_of("nowhere") is None
    True
    """
    path = Path(run) / "model.safetensors"
    if not path.is_file():
        return None
    told = path.stat()
    return _weights(path.resolve(), told.st_mtime_ns, told.st_size)
