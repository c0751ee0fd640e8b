"""Files that appear whole or not at all, errors that tell a user what to do, usable cores."""

import fcntl
import gzip
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """Bad input, described in one sentence: what is wrong, where, and what to do."""


class TrainingStopped(RuntimeError):
    """Training cannot continue, for the reason in one sentence; the last checkpoint is kept."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; on success, move that file to ``path``.

    On an error an older file at ``path`` stays, and no half-written file remains.
    Raises InputError when the disk is full or the folder is not writable.

    >>> import tempfile
    >>> with written_whole(Path(tempfile.mkdtemp()) / "note.txt") as beside:
    ...     _ = beside.write_text("whole")
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # the error above matters more
            beside.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """Do the same for a new folder, and remove what an earlier, interrupted call left of it."""
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        yield unfinished
        unfinished.replace(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def holds_already(folder: Path, record: Path, made_with: dict[str, Any]) -> bool:
    """Return True if ``folder`` was made with these settings, False if it is missing or empty.

    record: the JSON file in it that holds ``made_with``. Raises InputError for anything else.
    """
    if folder.is_file():
        raise InputError(f"{folder}: is a file; give a folder to write to")
    if not folder.exists() or not any(folder.iterdir()):
        return False
    old = read_json(record) if record.is_file() else None
    if not isinstance(old, dict) or old.get("made_with") != made_with:
        raise InputError(f"{folder}: holds something else; give another folder or delete this one")
    return True


def write_once(
    out: Path, record: str, made_with: dict[str, Any], fill: Callable[[Path], None]
) -> Path:
    """Fill a new folder, whole or not at all, unless it already has the same content.

    record: the JSON file in the folder whose "made_with" identifies the content.
    Raises InputError if the folder holds something else, cannot be written or the disk is full.
    """
    with only_writer(out):
        if not holds_already(out, out / record, made_with):
            with folder_written_whole(out) as unfinished:
                unfinished.mkdir(parents=True)
                fill(unfinished)
    return out


def cannot_write(path: Path, error: Exception) -> InputError:
    """Return the InputError for a file or folder that the system refused to write."""
    cause = getattr(error, "strerror", None) or error
    remedy = "free some space or choose another folder"
    return InputError(f"{path}: cannot be written ({cause}); {remedy}")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with written_whole(path) as beside:
        # A file name that is not UTF-8 holds lone surrogates, which JSON writes as "\udc80".
        beside.write_bytes(text.encode("utf-8", "backslashreplace"))


def read_json(path: Path) -> Any:
    """Return the JSON value in ``path``; raise InputError when there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the folder's name") from None
    except (OSError, ValueError, RecursionError) as error:  # the last one: nested too deeply
        remedy = lfs_remedy(path) or f"not readable JSON ({error}); make it again"
        raise InputError(f"{path}: {remedy}") from error


def fill_template(
    file: Path, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any
) -> str:
    """Return the text of a Jinja2 template; that of a page (.html.j2) escapes its values.

    Beside ``filters`` it has `fmt`, Python's `format`.
    """
    import jinja2  # slow to import

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(file.parent), autoescape=".html" in file.name,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"fmt": format, **(filters or {})}
    return environment.get_template(file.name).render(values)


def lfs_remedy(file: Path | bytes) -> str | None:
    """Return what to do if a file, or its bytes, is a pointer that Git LFS left in its place."""
    with suppress(OSError), file.open("rb") if isinstance(file, Path) else BytesIO(file) as opened:
        if opened.read(24) == b"version https://git-lfs.":
            return "a Git LFS pointer, not the file itself; run `git lfs pull` in its repository"
    return None


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, or of the names and sizes of a folder's files."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listed = "".join(f"{f.relative_to(path).as_posix()}\0{f.stat().st_size}\n" for f in files)
    return hashlib.sha256(os.fsencode(listed)).hexdigest()  # names need not be UTF-8


def weights_of(folder: str | Path) -> str | None:
    """Return the SHA-256 of a model's weights, or None where the folder holds none.

    Weights in several files, as large AlignModels have them, give the hash of their hashes.
    """
    folder = Path(folder)
    whole = folder / "model.safetensors"
    parts = [whole] if whole.is_file() else sorted(folder.glob("model-*.safetensors"))
    # A file is hashed once per change of it, for every search needs the hash.
    hashes = [_hash(part.resolve(), part.stat().st_mtime_ns) for part in parts]
    if len(hashes) < 2:
        return hashes[0] if hashes else None
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


_hash = lru_cache(maxsize=64)(lambda path, changed: fingerprint(path))


_LOCKS: set[int] = set()  # descriptors of the lock files that this process holds


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Lock ``folder``, by a file beside it, for this process until the block or the process ends.

    Where the system allows no lock file, the folder is not locked.
    Raises InputError while another process holds the lock.
    """
    folder = folder.resolve()
    path, handle = folder.parent / f".{folder.name}.lock", -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT)
        _LOCKS.add(handle)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {platform.node()}".encode())
        if not os.path.samestat(os.fstat(handle), path.stat()):
            raise BlockingIOError  # its last holder has just removed it
    except (BlockingIOError, FileNotFoundError) as error:
        holder = os.pread(handle, 200, 0).decode(errors="replace") if handle in _LOCKS else ""
        _unlock(handle)
        used = f"another process is writing to it ({holder or 'just begun'})"
        raise InputError(f"{folder}: {used}; wait for its end or choose another folder") from error
    except OSError:
        pass
    try:
        yield
    finally:
        if handle in _LOCKS:
            path.unlink(missing_ok=True)
            _unlock(handle)


def _unlock(*handles: int) -> None:
    for handle in _LOCKS.intersection(handles):
        _LOCKS.remove(handle)
        os.close(handle)


# A forked child, such as a worker that reads data, must not keep its parent's lock alive.
os.register_at_fork(after_in_child=lambda: _unlock(*_LOCKS))


def usable_cores() -> int:
    """Return the number of cores that this process's affinity and its container allow.

    >>> 1 <= usable_cores() <= os.cpu_count()
    True
    """
    on_macos = not hasattr(os, "sched_getaffinity")
    cores = (os.cpu_count() or 1) if on_macos else len(os.sched_getaffinity(0))
    return max(1, min(cores, int(_container_quota() or cores)))


def control_groups(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> list[Path]:
    """Return the folders of this process's control group and of all groups around it."""
    with suppress(OSError):
        for line in own.read_text().splitlines():
            group = root / line.removeprefix("0::").lstrip("/")
            if line.startswith("0::") and group.is_dir():  # version 2
                return [group, *(each for each in group.parents if each.is_relative_to(root))]
    return [root]


def _container_quota(groups: list[Path] | None = None) -> float | None:
    """Return the cores' worth of time that the control groups grant; None: no limit."""
    quotas = []
    for group in groups or control_groups():
        # Version 2, which says "max" without a limit; version 1.
        for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
            with suppress(OSError, ValueError):
                text = " ".join((group / name).read_text() for name in names)
                quota, period = map(int, text.split())
                quotas.append(quota / period)
    return min((each for each in quotas if each > 0), default=None)


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text file, which may be gzipped, without empty ones at its end."""
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        return [line.strip() for line in data.decode("utf-8-sig").rstrip().split("\n")]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as text ({error}); get it again") from None
