"""How many threads a CPU's arithmetic gets: no more than the cores that are ours, and no more than
help.

In: what the system grants this process; a measurement of a tenth of a second. Out: a number.
More threads than cores wait for one another by spinning, which is slower than one thread alone. The
number may change the last bits of a sum: a run keeps the one that it began with.
"""

import math
import os
import time
from pathlib import Path

import torch

WORTH = 1.25  # fewer threads are taken only where they are faster by this: else noise would decide
MEASURE_SECONDS = 0.05  # for each number of threads

_CGROUPS = Path("/sys/fs/cgroup")
_CPUS = Path("/sys/devices/system/cpu")


def choose_threads(rows: int, width: int, inner_width: int) -> int:
    """Threads for products of (rows, width) by (width, inner_width), the model's most frequent.

    ``OMP_NUM_THREADS`` is somebody's choice, and kept. Else half the cores' number is compared with
    it, and so on down to one, and fewer are taken where they are clearly faster: tiny matrices.
    """
    if os.environ.get("OMP_NUM_THREADS"):
        return torch.get_num_threads()
    before, best = torch.get_num_threads(), own_cores()
    try:
        best_rate = products_per_second(best, rows, width, inner_width)
        fewer = best // 2
        while fewer:
            rate = products_per_second(fewer, rows, width, inner_width)
            if rate > WORTH * best_rate:
                best, best_rate = fewer, rate
            fewer //= 2
    finally:
        torch.set_num_threads(before)
    return best


def own_cores(
    cgroups: Path = _CGROUPS, cpus: Path = _CPUS, allowed: frozenset[int] | None = None
) -> int:
    """Physical cores that this process may use: those its affinity names, or its cgroup's share.

    Two hardware threads of one core share its multipliers, and count once.
    """
    if allowed is None:
        has_affinity = hasattr(os, "sched_getaffinity")
        allowed = frozenset(os.sched_getaffinity(0) if has_affinity else range(os.cpu_count() or 1))
    cores = {_siblings(cpus, cpu) for cpu in allowed}
    return max(1, math.ceil(min(len(cores), _cgroup_cpus(cgroups))))


def products_per_second(threads: int, rows: int, width: int, inner_width: int) -> float:
    """How often a second ``threads`` threads multiply matrices of that shape; the best of a few."""
    torch.set_num_threads(threads)
    a, b = torch.ones(rows, width), torch.ones(width, inner_width)
    torch.mm(a, b)  # threads start, memory is mapped
    best, until = math.inf, time.perf_counter() + MEASURE_SECONDS
    while (start := time.perf_counter()) < until:
        torch.mm(a, b)
        best = min(best, time.perf_counter() - start)
    return 1 / best


def _siblings(cpus: Path, cpu: int) -> str:
    """What names the physical core: the list of its hardware threads."""
    path = cpus / f"cpu{cpu}" / "topology" / "thread_siblings_list"
    try:
        return path.read_text().strip()
    except OSError:
        return str(cpu)


def _cgroup_cpus(root: Path) -> float:
    """CPUs' worth of time that the cgroup grants (version 2, else 1); infinite where unlimited."""
    try:
        quota, period = (root / "cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return math.inf
    if quota in ("max", "-1") or not float(period):
        return math.inf
    return float(quota) / float(period)
