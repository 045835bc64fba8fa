"""The node's load, as the manager's placement reads it; names and units are the monitor's."""

from __future__ import annotations

import os
from pathlib import Path

import psutil


def read_load() -> dict[str, float]:
    """load_one, proc_run, cpu_num, mem_total, mem_free and mem_available (KB)."""
    memory = psutil.virtual_memory()
    return {
        "load_one": os.getloadavg()[0],
        "proc_run": _running(),
        "cpu_num": cpu_count(),
        "mem_total": memory.total // 1024,
        "mem_free": memory.free // 1024,
        "mem_available": memory.available // 1024,
    }


def _running() -> int:
    """Processes that run or wait for a CPU, without the one that asks: proc_loadavg(5)."""
    running = Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0]
    return max(int(running) - 1, 0)


def cpu_count() -> int:
    return psutil.cpu_count() or 1
