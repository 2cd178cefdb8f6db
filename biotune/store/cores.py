"""The number of processor cores that this process may use, as the system says it."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Number of processor cores that this process may use: its CPU affinity, or fewer under a quota of CPU time.

    Args:
        cgroup: The mount point of control groups, version 2 or 1.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not available on every system
        cores = os.cpu_count() or 1
    quota = _quota(cgroup)
    return cores if quota is None else min(cores, max(1, math.floor(quota)))


def _quota(cgroup: Path) -> float | None:
    """CPU time that a control group may use, in cores; None if unlimited."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroup / name).read_text(encoding="ascii") for name in names).split()
            return int(quota) / int(period) if quota not in ("max", "-1") else None
        except (OSError, ValueError, ZeroDivisionError):  # no such file, or no readable quota
            continue
    return None
