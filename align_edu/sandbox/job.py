"""What is run in a sandboxed process, and how much it may use."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """What is run.

    Parameters
    ----------
    name : the function to call.
    exercise : whose cases it is called with.
    cells : the text of the cells that are needed, by their number.
    steps : the statements to run first, in order: number of the cell, place in the cell.
    flags : of the compiler, for `from __future__` imports.
    """

    name: str
    exercise: str
    cells: dict[int, str]
    steps: list[tuple[int, int]]
    flags: int = 0


@dataclass(frozen=True)
class Limits:
    """What one function may use for all its cases.

    Parameters
    ----------
    seconds : of computing, imports apart; four times as many may pass on the clock.
    megabytes : of memory, beyond what Python and torch take.
    """

    seconds: float = 10.0
    megabytes: int = 1024

    @property
    def wall_seconds(self) -> float:
        """Seconds that may pass on the clock."""
        return 4 * self.seconds

    @property
    def import_seconds(self) -> float:
        """Seconds that the import statements alone may take on the clock."""
        return 120.0
