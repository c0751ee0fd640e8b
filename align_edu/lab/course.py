"""The notebooks of the course: their list, and what each opens with: its title, numbers, model."""

import hashlib
import os
import platform
import shutil
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from align_edu.io import InputError, usable_cores, written_whole

if TYPE_CHECKING:
    from align_edu.training import Run

_WHEEL = Path(__file__).parents[1] / "course"  # where a wheel keeps notebooks and data samples
_SOURCE = _WHEEL if _WHEEL.exists() else _WHEEL.parents[1]  # else a checkout
RUNS = "ALIGN_EDU_RUNS"  # names the folder with the student's runs; empty: the bundled model


@dataclass(frozen=True)
class Lesson:
    """One notebook."""

    file: str  # its name in `notebooks/`, without the suffix
    title: str
    question: str
    paper: str  # the part of the paper that it teaches
    minutes: float | None = None  # all cells on two CPU cores, measured; None: only planned

    @property
    def number(self) -> str:
        """The two digits at the start of its name."""
        return self.file[:2]


_FILE = resources.files("align_edu.lab") / "course.toml"
COURSE = tuple(Lesson(*row) for row in tomllib.loads(_FILE.read_text("utf-8"))["lessons"])
_open_notebook = {"number": ""}  # a kernel runs one notebook


def find_lesson(number: str) -> Lesson:
    """Return the lesson with that number; raise InputError for one that no notebook has."""
    for lesson in COURSE:
        if lesson.number == number:
            return lesson
    raise InputError(f"notebook {number!r} does not exist; choose one of 00 to {COURSE[-1].number}")


def start(number: str) -> None:
    """Open a notebook: print its title, its minutes, and the versions it runs on.

    Where the package came as a wheel and the notebook alone, data_samples/ is laid beside its
    folder. Torch gets one thread: the toy's operations are too small to share.

    >>> start("00")
    Start here: What is ALIGN, and what will I build? ...
    """
    lesson = find_lesson(number)
    _open_notebook["number"] = number
    torch.set_num_threads(1)
    if _WHEEL.exists() and not Path("../data_samples").exists():  # as in Colab
        print(f"data samples: {copy_course(Path('..'), ['data_samples']) / 'data_samples'}")
    cost = f"{lesson.minutes:g} min on two CPU cores" if lesson.minutes else "not measured yet"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    print(f"{lesson.title}: {lesson.question} (paper: {lesson.paper})")
    print(f"Takes {cost}, no network. Here: {versions}, {usable_cores()} cores.")


def copy_course(folder: Path, parts: Sequence[str] = ("notebooks", "data_samples")) -> Path:
    """Copy the notebooks and their data samples into a folder, and return it.

    Files that are there already stay, so notebooks that a student has begun are kept.
    Raises InputError when the folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder for the course")
    for part in parts:
        for file in sorted((_SOURCE / part).rglob("*")):
            copy = folder / file.relative_to(_SOURCE)
            if file.is_file() and not copy.exists() and "checkpoints" not in str(file):
                copy.parent.mkdir(parents=True, exist_ok=True)
                with written_whole(copy) as beside:
                    shutil.copyfile(file, beside)
    return folder


def open_course(folder: Path, only_copy: bool) -> tuple[dict[str, str], str]:
    """Copy the course, and replace this process by JupyterLab in it unless ``only_copy``.

    Returns a JSON object and a sentence. Raises InputError as `copy_course`, and where JupyterLab
    is missing.
    """
    from align_edu.lab.__main__ import start_command

    copy_course(folder)
    if not only_copy:
        if find_spec("jupyterlab") is None:
            raise InputError("jupyterlab is missing; pip install 'align-edu[notebooks]'")
        command, environment = start_command([], os.environ)
        os.chdir(folder)
        os.execve(command[0], command, environment)
    return {"notebooks": str(folder / "notebooks")}, f"the course: {folder / 'notebooks'}"


def rng(name: str) -> torch.Generator:
    """Return a new random generator: the same for a name in a notebook, whatever ran before.

    >>> a, b, other = rng("crops"), rng("crops"), rng("negatives")
    >>> torch.rand(1, generator=a) == torch.rand(1, generator=b)
    tensor([True])
    """
    text = f"{_open_notebook['number']}/{name}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return torch.Generator().manual_seed(seed >> 1)


def model() -> "Run":
    """Return the newest finished run below `runs/`, else the bundled model, and say which.

    `runs/` lies beside the notebooks' folder or in the working folder; the environment variable
    `ALIGN_EDU_RUNS` names another folder, or none if it is empty. Under pytest it is always the
    bundled model. Raises InputError where neither exists.
    """
    from align_edu.training import load_run

    own = [] if "PYTEST_VERSION" in os.environ and RUNS not in os.environ else _own_runs()
    if own:
        print(f"model: your run {own[-1]}")
        return load_run(own[-1])
    for root in (Path(".."), Path(), _SOURCE):
        bundled = root / "data_samples" / "toy_model"
        if bundled.is_dir():
            print(f"model: the bundled one, {'/'.join(bundled.parts[-2:])}")
            return load_run(bundled)
    raise InputError("data_samples/toy_model: not found; open the notebook in its folder")


def _own_runs() -> list[Path]:
    """Return the student's finished runs on the toy world's pictures, the newest last."""
    from align_edu.training import load_preset

    named, finished = os.environ.get(RUNS), []
    roots = [Path("../runs"), Path("runs")] if named is None else [Path(named)] if named else []
    for file in {file for root in roots for file in root.glob("**/model.safetensors")}:
        with suppress(InputError):  # a run of another kind
            if (file.parent / "tokenizer.json").exists() and load_preset(file.parent).name == "toy":
                finished.append(file)
    return [file.parent for file in sorted(finished, key=lambda file: file.stat().st_mtime)]
