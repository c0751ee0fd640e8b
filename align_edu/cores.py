"""The number of CPU cores that this process may use."""

import os
from contextlib import suppress
from pathlib import Path


def usable_cores() -> int:
    """Return the number of cores that this process's affinity and its container allow.

    >>> 1 <= usable_cores() <= os.cpu_count()
    True
    """
    affinity = hasattr(os, "sched_getaffinity")  # not on macOS
    cores = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, int(_container_quota() or cores)))


def _container_quota(group: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the cores' worth of time that the control group grants; None: no limit."""
    with suppress(OSError, ValueError):  # version 2
        quota, period = (group / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):  # version 1
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota, period = ((group / "cpu" / name).read_text() for name in names)
        return int(quota) / int(period) if int(quota) > 0 else None
    return None
