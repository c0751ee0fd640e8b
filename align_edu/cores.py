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


def control_groups(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> list[Path]:
    """Return the folders of this process's control group and of all groups around it."""
    with suppress(OSError):
        for line in own.read_text().splitlines():
            group = root / line.removeprefix("0::").lstrip("/")
            if line.startswith("0::") and group.is_dir():  # version 2
                return [group, *(each for each in group.parents if each.is_relative_to(root))]
    return [root]


def _container_quota(groups: list[Path] | None = None) -> float | None:
    """Return the cores' worth of time that the control groups grant; None: no limit."""
    quotas = []
    for group in groups or control_groups():
        with suppress(OSError, ValueError):  # version 2; without a limit it says "max"
            quota, period = map(int, (group / "cpu.max").read_text().split())
            quotas.append(quota / period)
        with suppress(OSError, ValueError):  # version 1
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = (int((group / "cpu" / name).read_text()) for name in names)
            quotas.append(quota / period)
    return min((each for each in quotas if each > 0), default=None)
