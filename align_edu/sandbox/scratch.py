"""The scratch folder of a sandboxed process: whether it is full, and how it is removed.

A student's code may have filled it with anything, such as folders 100,000 deep.
"""

import os
import uuid
from pathlib import Path

MOST_FILES, MOST_BYTES = 1_000, 64 * 2**20


def is_full(folder: Path) -> bool:
    """Whether there is more below the folder than a function may leave.

    >>> import tempfile
    >>> is_full(Path(tempfile.mkdtemp()))
    False
    """
    files, size, folders = 0, 0, [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        size += entry.stat(follow_symlinks=False).st_size
                    if files > MOST_FILES or size > MOST_BYTES:
                        return True
        except FileNotFoundError:
            continue  # removed meanwhile
        except OSError:  # a name that is too long: too deep
            return True
    return False


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, however deep; what resists stays.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp())
    >>> (place / "a" / "b").mkdir(parents=True)
    >>> remove_tree(place)
    >>> place.exists()
    False
    """
    try:
        while folders := _empty_of_files(folder):
            for each in folders:  # bring what is inside one level up, so that no path grows long
                for inner in _empty_of_files(each):
                    inner.rename(folder / uuid.uuid4().hex)
                each.rmdir()
        folder.rmdir()
    except OSError:
        pass


def _empty_of_files(folder: Path) -> list[Path]:
    """Remove the files of a folder; return its folders."""
    folder.chmod(0o700)
    folders = []
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            folders.append(Path(entry.path))
        else:
            Path(entry.path).unlink()
    return folders
