"""Opens a notebook, and makes random numbers that do not depend on the order of cells."""

import hashlib
import platform

import torch

from align_edu.cores import usable_cores
from align_edu.lab.course import find_lesson

_open_notebook = {"number": ""}  # a kernel runs one notebook


def start(number: str) -> None:
    """Open a notebook: print its title, its minutes, and the versions it runs on.

    It sets no seed and no figure style; `rng` and `align_edu.show` need none. Torch gets one
    thread: the toy's operations are too small to share, and waiting threads slow each other down
    as soon as another program runs.

    Raises InputError for a number that no notebook has.

    >>> start("00")
    Start here: What is ALIGN, and what will I build? ...
    """
    lesson = find_lesson(number)
    _open_notebook["number"] = number
    torch.set_num_threads(1)
    cost = f"{lesson.minutes:g} min on two CPU cores" if lesson.minutes else "not measured yet"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    print(f"{lesson.title}: {lesson.question} (paper: {lesson.paper})")
    print(f"Takes {cost}, no network. Here: {versions}, {usable_cores()} cores.")


def rng(name: str) -> torch.Generator:
    """Return a new random generator for a name in the open notebook.

    The same name gives the same numbers each time, in whatever order the cells run; another
    name, or another notebook, gives others.

    >>> a, b, other = rng("crops"), rng("crops"), rng("negatives")
    >>> torch.rand(1, generator=a) == torch.rand(1, generator=b)
    tensor([True])
    """
    text = f"{_open_notebook['number']}/{name}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return torch.Generator().manual_seed(seed >> 1)
