"""An image index on disk: one small file that commits it, beside the vectors and the graph."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from align_edu.io import InputError, cannot_write, read_json, write_json

IMAGES = "images.json"
FORMAT = 2
PARTS = ("vectors", "graph", "halves")
_BLOCK = 1 << 20  # bytes read at each place of a large file that is checked
_PLACES = 64  # a file of fewer blocks is checked as a whole
_REBUILD = "build the index again with `align-edu index RUN IMAGES OUT`"


def write_parts(folder: Path, described: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Write FAISS indexes into a folder, then the file that names them: whole or not at all.

    folder: made when missing. described: what ``images.json`` tells of the images. parts:
    "vectors", "graph" for an approximate index, "halves" for a large exact one.
    The parts get names of their own, ``images.json`` replaces the older one in one step, and
    only then are the older parts removed: a process killed at any time leaves the old index,
    the new one, or none.
    Raises InputError when the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        told = {name: _write_part(folder, name, part) for name, part in parts.items()}
        write_json(folder / IMAGES, {"format": FORMAT, **described, "parts": told})
        kept = {part["file"] for part in told.values()}
        for name in PARTS:
            for old in folder.glob(f"{name}-*.faiss"):
                if old.name not in kept:
                    old.unlink(missing_ok=True)
        for pattern in (".*.faiss.part", f".{IMAGES}.*.part"):
            for left in folder.glob(pattern):  # of a process that was killed
                left.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _write_part(folder: Path, name: str, part: Any) -> dict[str, Any]:
    import faiss

    beside = folder / f".{name}.{os.getpid()}.faiss.part"
    # The graph is written without the vectors, which lie beside it once for both kinds.
    flags = faiss.IO_FLAG_SKIP_STORAGE if name == "graph" else 0
    try:
        faiss.write_index(part, str(beside), flags)  # type: ignore[call-overload]
        with beside.open("rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest()
        told: dict[str, Any] = {
            "file": f"{name}-{whole[:12]}.faiss",
            "bytes": beside.stat().st_size,
            "sha256": whole,
            "places": places_checksum(beside),
        }
        beside.replace(folder / told["file"])
    except RuntimeError as error:  # how FAISS tells of a full disk
        raise cannot_write(folder, OSError(0, str(error).splitlines()[-1])) from error
    finally:
        beside.unlink(missing_ok=True)
    return told


def read_described(folder: Path) -> dict[str, Any]:
    """Return what ``images.json`` tells of an index.

    Raises InputError when there is no index, it is of an older form, or it is incomplete.
    """
    path = folder / IMAGES
    if not path.is_file():
        raise InputError(
            f"{folder}: no index here, it needs {IMAGES} and the files that it names;"
            " make one with `align-edu index RUN IMAGES OUT`"
        )
    described = read_json(path)
    if isinstance(described, dict) and "sha256" in described and "format" not in described:
        raise InputError(f"{folder}: an index of an older form; {_REBUILD}")
    kinds = {"width": int, "images": list, "parts": dict, "kind": str}
    if not isinstance(described, dict) or any(
        not isinstance(described.get(key), kind) for key, kind in kinds.items()
    ):
        raise InputError(f"{path}: needs {', '.join(kinds)}; {_REBUILD}")
    if described.get("format") != FORMAT:
        raise InputError(f"{path}: of a form this version cannot read; {_REBUILD}")
    if described["kind"] == "approximate" and "graph" not in described["parts"]:
        raise InputError(f"{path}: names no graph; {_REBUILD}")
    return described


def read_part(folder: Path, described: Mapping[str, Any], name: str, *, whole: bool) -> Any:
    """Open one part as a FAISS index; the vectors stay on disk until they are searched.

    whole: check all bytes; otherwise the size, and of a file above 64 MiB 64 places of 1 MiB.
    Raises InputError when the part is missing or damaged.
    """
    import faiss

    told = described["parts"].get(name)
    if not isinstance(told, dict) or not {"file", "bytes", "sha256", "places"} <= told.keys():
        raise InputError(f"{folder / IMAGES}: tells too little of its {name}; {_REBUILD}")
    path = folder / Path(str(told["file"])).name
    try:
        damaged = path.stat().st_size != told["bytes"] or places_checksum(path) != told["places"]
        if whole and not damaged:
            with path.open("rb") as file:
                damaged = hashlib.file_digest(file, "sha256").hexdigest() != told["sha256"]
    except FileNotFoundError:
        raise InputError(f"{path}: missing from the index; {_REBUILD}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {_REBUILD}") from error
    if damaged:
        raise InputError(f"{path}: damaged or not the one of {IMAGES}; {_REBUILD}")
    try:
        # The graph is small beside the vectors, and FAISS adds only to one in memory.
        return faiss.read_index(str(path), 0 if name == "graph" else faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise InputError(f"{path}: not a FAISS index; {_REBUILD}") from error


def places_checksum(path: Path) -> str:
    """Return the SHA-256 of a file, or of 64 evenly spaced MiB of a file above 64 MiB.

    Damage between those places is found by a check of the whole file alone.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a"
    >>> _ = path.write_bytes(b"abc")
    >>> places_checksum(path)[:8] == hashlib.sha256(b"abc").hexdigest()[:8]
    True
    """
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if size <= _BLOCK * _PLACES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        for place in range(_PLACES):
            file.seek(place * (size - _BLOCK) // (_PLACES - 1))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()
