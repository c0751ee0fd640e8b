"""An index on disk: images.json, which commits it, beside the files of vectors and the graph."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from align_edu.io import InputError, cannot_write, fingerprint, read_json, write_json

IMAGES = "images.json"
FORMAT = 2
PARTS = ("vectors", "graph", "halves")
_BLOCK = 1 << 20  # bytes read at each checked position of a large file
_POSITIONS = 64  # a file of fewer blocks is checked whole
_REBUILD = "build the index again with `align-edu index RUN IMAGES OUT`"


def place_of(file: str | Path) -> Path:
    """Return the absolute path with its folders resolved; the file itself may be a link."""
    path = Path(file).absolute()
    return path.parent.resolve() / path.name


def relative_to(file: Path, home: Path) -> str:
    """Return the path of a file relative to a folder, with forward slashes."""
    try:
        return Path(os.path.relpath(file, home)).as_posix()
    except ValueError:  # another drive on Windows
        return file.as_posix()


def write_parts(folder: Path, described: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Write FAISS indexes into a folder, then the file that names them: whole or not at all.

    described: the rest of ``images.json``. parts: by name; those that are None are left out.
    The parts get new names, ``images.json`` replaces the older one in one step, and only then
    are the older parts removed: a process killed at any time leaves the old index, the new one,
    or none.
    Raises InputError when the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = {
            name: _write_part(folder, name, part)
            for name, part in parts.items()
            if part is not None
        }
        write_json(folder / IMAGES, {"format": FORMAT, **described, "parts": written})
        kept = {part["file"] for part in written.values()}
        unfinished = (".*.faiss.part", f".{IMAGES}.*.part")  # left by a killed process
        for pattern in (*(f"{name}-*.faiss" for name in PARTS), *unfinished):
            for old in folder.glob(pattern):
                if old.name not in kept:
                    old.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _write_part(folder: Path, name: str, part: Any) -> dict[str, Any]:
    import faiss

    beside = folder / f".{name}.{os.getpid()}.faiss.part"
    # The graph is written without the vectors, which both kinds keep in a file of their own.
    flags = faiss.IO_FLAG_SKIP_STORAGE if name == "graph" else 0
    try:
        faiss.write_index(part, str(beside), flags)  # type: ignore[call-overload]
        whole, size = fingerprint(beside), beside.stat().st_size
        file = f"{name}-{whole[:12]}.faiss"
        entry = {"file": file, "bytes": size, "sha256": whole, "places": _sampled_hash(beside)}
        beside.replace(folder / file)
    except RuntimeError as error:  # FAISS's report of a full disk
        raise cannot_write(folder, OSError(0, str(error).splitlines()[-1])) from error
    finally:
        beside.unlink(missing_ok=True)
    return entry


def read_described(folder: Path) -> dict[str, Any]:
    """Return the content of ``images.json``; raise InputError if it is missing or incomplete."""
    path = folder / IMAGES
    if not path.is_file():
        raise InputError(f"{folder}: no index in it, {IMAGES} is missing; {_REBUILD}")
    described = read_json(path)
    kinds = {"width": int, "images": list, "parts": dict, "kind": str}
    if not isinstance(described, dict) or any(
        not isinstance(described.get(key), kind) for key, kind in kinds.items()
    ):
        raise InputError(f"{path}: needs {', '.join(kinds)}; {_REBUILD}")
    if described.get("format") != FORMAT:
        raise InputError(f"{path}: of a format that this version cannot read; {_REBUILD}")
    if described["kind"] == "approximate" and "graph" not in described["parts"]:
        raise InputError(f"{path}: names no graph; {_REBUILD}")
    return described


def read_part(folder: Path, described: Mapping[str, Any], name: str, *, whole: bool) -> Any:
    """Open one part as a FAISS index; the vectors stay on disk until they are searched.

    whole: check all bytes; otherwise the size, and 64 MiB of a larger file.
    Raises InputError when the part is missing or damaged.
    """
    import faiss

    entry = described["parts"].get(name)
    if not isinstance(entry, dict) or not {"file", "bytes", "sha256", "places"} <= entry.keys():
        raise InputError(f"{folder / IMAGES}: the entry of its {name} is incomplete; {_REBUILD}")
    path = folder / Path(str(entry["file"])).name
    try:
        damaged = path.stat().st_size != entry["bytes"] or _sampled_hash(path) != entry["places"]
        damaged = damaged or (whole and fingerprint(path) != entry["sha256"])
    except FileNotFoundError:
        raise InputError(f"{path}: missing from the index; {_REBUILD}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {_REBUILD}") from error
    if damaged:
        raise InputError(f"{path}: damaged or not the one of {IMAGES}; {_REBUILD}")
    try:
        # The graph is small beside the vectors, and FAISS can add only to a graph in memory.
        return faiss.read_index(str(path), 0 if name == "graph" else faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise InputError(f"{path}: not a FAISS index; {_REBUILD}") from error


def _sampled_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of 64 evenly spaced MiB of a larger one."""
    size = path.stat().st_size
    if size <= _BLOCK * _POSITIONS:
        return fingerprint(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for position in range(_POSITIONS):
            file.seek(position * (size - _BLOCK) // (_POSITIONS - 1))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()
