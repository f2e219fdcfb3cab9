"""The number of cores that this process may use."""

import math
import os

CPUS, CGROUP = "/sys/devices/system/cpu", "/sys/fs/cgroup"


def physical_cores() -> int:
    """The number of physical cores this process may use.

    Hardware threads of a core count once: one BLAS thread keeps the arithmetic units of
    a core busy, and a second one would only compete for its caches. On Linux the
    affinity mask and the quota of the control group (containers) are respected.

    Example:
        >>> from lucid_fn.cpu import runtime
        >>> runtime.physical_cores() >= 1
        True
    """
    if hasattr(os, "sched_getaffinity"):  # Linux
        cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
        return max(1, min(len(cores), _quota()))
    return os.cpu_count() or 1


def _siblings(cpu: int) -> str:
    """The hardware threads on the core of `cpu`, as the kernel lists them."""
    try:
        return _read(f"{CPUS}/cpu{cpu}/topology/thread_siblings_list")
    except OSError:  # no such file in some sandboxes: each counts as a core
        return str(cpu)


def _quota() -> int:
    """The CPU quota of the control group, rounded up; a large number if unlimited."""
    try:
        limit, period = _read(f"{CGROUP}/cpu.max").split()  # version 2
    except (OSError, ValueError):
        try:
            limit = _read(f"{CGROUP}/cpu/cpu.cfs_quota_us")  # version 1
            period = _read(f"{CGROUP}/cpu/cpu.cfs_period_us")
        except OSError:
            return 1 << 16
    try:
        quota = int(limit) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return 1 << 16
    return math.ceil(quota) if quota > 0 else 1 << 16


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()
