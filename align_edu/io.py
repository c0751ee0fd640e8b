"""Files that appear whole or not at all, and the error that tells a user what to do."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """Bad input, told in one sentence: what is wrong, where, and what to do.

    The command line prints the sentence and exits with status 2; it never shows a
    traceback for it.

    >>> raise InputError("pairs.tsv, row 3: one column; separate caption and url by a tab")
    Traceback (most recent call last):
    align_edu.io.InputError: pairs.tsv, row 3: one column; separate caption and url by a tab
    """


class TrainingStopped(RuntimeError):
    """Training cannot go on, told in one sentence; the last checkpoint is kept."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a name beside ``path`` to write to, and move it to ``path`` when all went well.

    Whatever goes wrong, an older file at ``path`` stays and nothing half-written is left.
    Raises InputError when the disk is full or the folder cannot be written.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with written_whole(target) as beside:
    ...     _ = beside.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # the reason was told above
            beside.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """Give a folder beside ``folder`` to fill, and move it to ``folder`` when all went well.

    What an earlier call left unfinished is removed, and nothing unfinished is left.
    Raises InputError when the disk is full or the folder cannot be written.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "notes"
    >>> with folder_written_whole(target) as beside:
    ...     beside.mkdir()
    ...     _ = (beside / "one.txt").write_text("whole")
    >>> (target / "one.txt").read_text()
    'whole'
    """
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
    """Whether ``folder`` is finished and was made with these numbers.

    record: the JSON file in it, written last, whose ``made_with`` tells. False where the folder
    is missing or empty. Raises InputError when the folder is a file or holds something else.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> holds_already(folder, folder / "task.json", {"seed": 1})
    False
    >>> write_json(folder / "task.json", {"made_with": {"seed": 1}})
    >>> holds_already(folder, folder / "task.json", {"seed": 1})
    True
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder to write to")
    if not any(folder.iterdir()):
        return False
    if not record.is_file() or read_json(record).get("made_with") != made_with:
        raise InputError(f"{folder}: holds something else; give another folder or delete this one")
    return True


def cannot_write(path: Path, error: OSError) -> InputError:
    """Return the one sentence for a file or folder that the system refused to write.

    >>> print(cannot_write(Path("a.txt"), OSError(28, "No space left on device")))
    a.txt: cannot be written (No space left on device); free some space or choose another folder
    """
    reason = error.strerror or str(error)
    return InputError(
        f"{path}: cannot be written ({reason}); free some space or choose another folder"
    )


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON, whole or not at all.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "one.json"
    >>> write_json(target, {"one": 1})
    >>> read_json(target)
    {'one': 1}
    """
    with written_whole(path) as beside:
        beside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return the JSON value in ``path``.

    Raises InputError when the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the folder's name") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not readable JSON ({error}); make it again") from error


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, or of the names and sizes of a folder's files.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> empty = fingerprint(folder)
    >>> _ = (folder / "a").write_bytes(b"1")
    >>> fingerprint(folder) == empty
    False
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listed = "".join(f"{f.relative_to(path).as_posix()}\0{f.stat().st_size}\n" for f in files)
    return hashlib.sha256(listed.encode()).hexdigest()


_LOCKS: set[int] = set()  # descriptors of the lock files that this process holds


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Lock ``folder``, so that no other process writes to it during the block.

    The lock is a file beside the folder. It ends with the block, or with the process however
    that ends. Where the system allows no lock file, the folder is not locked.
    Raises InputError while another process holds the lock.

    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp()) / "run"
    >>> with only_writer(out):
    ...     print([file.name for file in out.parent.iterdir()])
    ['.run.lock']
    """
    folder = folder.resolve()
    path, handle = folder.parent / f".{folder.name}.lock", -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT)
        _LOCKS.add(handle)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(handle), path.stat()):
            raise BlockingIOError  # its last holder has just removed it
    except (BlockingIOError, FileNotFoundError) as error:
        _unlock(handle)
        raise InputError(
            f"{folder}: another process is writing to it; wait for its end or choose another folder"
        ) from error
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
