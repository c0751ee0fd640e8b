"""How many cores this process may use."""

import os
from contextlib import suppress
from pathlib import Path


def usable_cores() -> int:
    """Return how many cores this process may use: its affinity and its container's limit count.

    >>> 1 <= usable_cores() <= os.cpu_count()
    True
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _container_quota()
    return max(1, min(cores, int(quota))) if quota else cores


def _container_quota(group: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The cores' worth of time that the control group grants (Linux), or None without a limit."""
    with suppress(OSError, ValueError):  # version 2
        quota, period = (group / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):  # version 1
        quota, period = (
            (group / "cpu" / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period")
        )
        return int(quota) / int(period) if int(quota) > 0 else None
    return None
