"""Finds submitted notebooks in a folder, whose they are, and reads their code cells."""

import json
import re
import zlib
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from align_edu.io import InputError
from align_edu.lab.course import COURSE
from align_edu.lab.exercises import EXERCISES, added_exercises

MOST_BYTES = 64 * 2**20  # of a file; a notebook of the course with its pictures has 0.2 million
MOST_CODE = 10**6  # characters
_PACKED = {".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz"}
_BROKEN = (OSError, RuntimeError, ValueError, EOFError, BadZipFile, zlib.error)


@dataclass(frozen=True)
class Submission:
    """One submitted notebook: a file, or the member of a zip."""

    student: str  # a folder, or a file's name without the notebook's
    notebook: str  # the path below the folder
    number: str  # in the course, or the name of the lecturer's, if the file's name contains it
    file: Path
    member: str = ""


def find_submissions(folder: Path, skip: Path | None = None) -> tuple[list[Submission], list[str]]:
    """Return the notebooks below a folder, sorted by student, and what the lecturer must know.

    A student is a folder, or a zip: of the first level, or below folders of sections, in which
    the same notebook lies more than once. Hidden files, links, and ``skip`` are left out.
    Raises InputError where no notebook is found.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the one that holds the submissions")
    found, folders, notes = _notebooks_below(folder, skip)
    if not found:
        raise InputError(f"{folder}: no notebook (*.ipynb) in it; collect the submissions there")
    owners = _owners(list(found))
    holding = {parent for path in found for parent in path.parents}
    students = set(owners.values()) - {PurePosixPath()}
    for place in folders:
        if place not in holding and place.parent in holding and not students & set(place.parents):
            notes.append(f"{place}: no notebook in it")
    submissions = []
    for path, (file, member) in found.items():
        number, rest = _split(path.stem)
        student = str(owners[path]).removesuffix(".zip") if owners[path].parts else rest
        if not student.strip("_- ()0123456789"):
            student = path.stem
            notes.append(f"{path}: its name has no student's; it is marked as {student}")
        texts = (printable(student), printable(str(path)))
        submissions.append(Submission(*texts, number, file, member))
    submissions.sort(key=lambda each: (each.student, each.notebook))
    for (student, number), same in groupby(submissions, lambda each: (each.student, each.number)):
        names = [each.notebook for each in same]
        if number and len(names) > 1:
            notes.append(f"{student}: notebook {number} more than once: {', '.join(names)}")
    for student, same in groupby(submissions, lambda each: each.student):
        places = sorted({str(PurePosixPath(each.notebook).parent) for each in same})
        if len(places) > 1 and student not in places:
            notes.append(f"{student}: the folders {', '.join(places)} count as one student's")
    return submissions, [printable(note) for note in notes]


def _notebooks_below(
    folder: Path, skip: Path | None
) -> tuple[dict[PurePosixPath, tuple[Path, str]], list[PurePosixPath], list[str]]:
    """The notebooks with the file, or zip and member, that holds each; all folders; and notes."""
    found: dict[PurePosixPath, tuple[Path, str]] = {}
    folders, notes = [], []
    for file in sorted(folder.rglob("*")):
        inside, kind = PurePosixPath(file.relative_to(folder).as_posix()), file.suffix.lower()
        if _is_hidden(inside) or file.is_symlink() or skip in (file, *file.parents):
            continue
        if kind == ".ipynb":
            found[inside] = (file, "")
        elif file.is_dir():
            folders.append(inside)
        elif kind == ".zip":
            try:
                found |= {inside / name: (file, name) for name in _notebooks_in_zip(file)}
                folders.append(inside)
            except InputError as error:
                notes.append(f"{inside}: {error}")
        elif kind in _PACKED:
            notes.append(f"{inside}: not opened; unpack it, or ask for a zip")
    return found, folders, notes


def read_cells(submission: Submission) -> list[str]:
    """Return the text of each code cell of a notebook; raise InputError."""
    file = submission.file
    try:
        with ZipFile(file).open(submission.member) if submission.member else file.open("rb") as one:
            data = one.read(MOST_BYTES + 1)
    except _BROKEN as error:
        raise InputError(f"it cannot be taken out ({error})") from None
    if len(data) > MOST_BYTES:
        raise InputError(f"it is larger than {MOST_BYTES // 2**20} MB")
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise InputError("it is not JSON") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise InputError("it has no cells")
    code = []
    for cell in cells:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source")
            lines = source if isinstance(source, list) else [source]
            code.append("".join(line for line in lines if isinstance(line, str)))
    if sum(map(len, code)) > MOST_CODE:
        raise InputError(f"it has more than {MOST_CODE:,} letters of code")
    return code


def _notebooks_in_zip(file: Path) -> list[str]:
    """The names of a zip's notebooks; nothing is unpacked. Raises InputError."""
    try:
        with ZipFile(file) as archive:
            rows = [each for each in archive.infolist() if each.filename.lower().endswith(".ipynb")]
    except _BROKEN as error:
        raise InputError(f"no zip that can be read ({error}); ask for it again") from None
    if sum(each.file_size for each in rows) > 8 * MOST_BYTES:
        raise InputError(f"not opened: its notebooks hold over {8 * MOST_BYTES // 2**20} MB")
    names = [each.filename for each in rows if not _is_hidden(PurePosixPath(each.filename))]
    if any(".." in PurePosixPath(name).parts or name.startswith("/") for name in names):
        raise InputError("not opened: it names files outside itself")
    return names


def _owners(paths: list[PurePosixPath]) -> dict[PurePosixPath, PurePosixPath]:
    """The student's folder of each notebook, the empty path for one that lies in no folder."""
    holders = {path.parent for path in paths}
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        owners = {}
        for path in paths:
            prefixes = [PurePosixPath(*path.parts[:n]) for n in range(1, len(path.parts))]
            shallow = [each for each in prefixes[:depth] if each in holders]
            owners[path] = (shallow or prefixes[:depth][-1:] or [PurePosixPath()])[0]
        below = {
            (owners[path], _split(path.stem)[0] or path.stem, path.parent)
            for path in paths
            if owners[path] not in holders
        }
        if len(below) == len({each[:2] for each in below}):
            break
    return owners


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in path.parts)


def printable(text: str) -> str:
    """Return the text with characters that UTF-8 cannot hold written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _split(stem: str) -> tuple[str, str]:
    """The number of the notebook that a file's name contains, and the rest of the name."""
    for lesson in COURSE:
        if lesson.file in stem:
            return lesson.number, stem.replace(lesson.file, "", 1).strip("_- ")
    for name in {EXERCISES[exercise].notebook for exercise in added_exercises()}:
        if found := re.fullmatch(rf"{re.escape(name)}(?:[_\- ]+(.*))?", stem):
            return name, found[1] or ""
    found = re.match(r"(\d\d)(?=\D|$)", stem)
    return (found[1] if found else ""), stem
