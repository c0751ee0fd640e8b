"""Where the passes of a filter run: in this process, or on a cluster of other machines."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from tqdm import tqdm

from align_edu.filters.job import Job, done_once
from align_edu.io import InputError

T = TypeVar("T")


class Engine(Protocol):
    """Does one task for each number and returns the results in the numbers' order."""

    def each(
        self, task: Callable[[Job, int], T], job: Job, numbers: Sequence[int], label: str
    ) -> list[T]:
        """Call `task(job, number)` for each number; `label` names the progress bar."""
        ...


class Local:
    """One task after the other; Polars uses all cores for each."""

    def __init__(self, progress: bool) -> None:
        self.progress = progress

    def each(
        self, task: Callable[[Job, int], T], job: Job, numbers: Sequence[int], label: str
    ) -> list[T]:
        """Call the task for each number, in order."""
        return [done_once(task, job, number) for number in self._bar(numbers, label)]

    def _bar(self, numbers: Sequence[int], label: str) -> tqdm:
        hidden = not self.progress or len(numbers) < 2
        return tqdm(numbers, desc=label, disable=hidden, leave=False)


class Cluster:
    """Tasks spread over the workers of a Dask cluster, which must all see the same files."""

    def __init__(self, progress: bool, client: Any) -> None:
        self.progress, self.client = progress, client

    def each(
        self, task: Callable[[Job, int], T], job: Job, numbers: Sequence[int], label: str
    ) -> list[T]:
        """Send the tasks to the workers and wait; the first error stops the pass."""
        from dask.distributed import as_completed

        futures = self.client.map(partial(done_once, task, job), numbers, pure=False)
        done = as_completed(futures)
        for _ in tqdm(done, total=len(futures), desc=label, disable=not self.progress, leave=False):
            pass
        return self.client.gather(futures)


@contextmanager
def open_engine(name: Literal["local", "cluster"], progress: bool) -> Iterator[Engine]:
    """Give the engine called `name`, and close it afterwards.

    "cluster" uses the Dask scheduler whose address is in DASK_SCHEDULER_ADDRESS, or starts
    one on this machine with a worker a core. Raises InputError for another name, and where
    Dask is not installed or its scheduler does not answer.

    >>> with open_engine("local", progress=False) as engine:
    ...     type(engine).__name__
    'Local'
    """
    if name == "local":
        yield Local(progress)
        return
    if name != "cluster":
        raise InputError(f"engine {name!r}: choose local or cluster")
    try:
        import dask
        from dask.distributed import Client
    except ImportError:
        raise InputError(
            "engine cluster needs Dask; install it with: pip install 'align-edu[scale]'"
        ) from None
    here = {"threads_per_worker": 1, "dashboard_address": None}
    with _environment_kept():
        try:
            # Without an address in the environment Dask starts a cluster on this machine.
            known = dask.config.get("scheduler-address", None)
            client = Client(**({"timeout": "10s"} if known else here))
        except (OSError, TimeoutError) as error:
            raise InputError(f"DASK_SCHEDULER_ADDRESS: no scheduler answers ({error})") from None
        with client:
            yield Cluster(progress, client)


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Undo changes of the environment: for its workers Dask sets OMP_NUM_THREADS=1 in ours too."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
