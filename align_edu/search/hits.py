"""What a search finds, and the run that an index is built with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from align_edu.evaluation.embed import Encoder


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
