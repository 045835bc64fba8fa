"""The node's load, as the manager's placement reads it; names and units are the monitor's."""

from __future__ import annotations

import os

import psutil


def read_load() -> dict[str, float]:
    """load_one, cpu_num, mem_total and mem_free (KB)."""
    memory = psutil.virtual_memory()
    return {
        "load_one": os.getloadavg()[0],
        "cpu_num": cpu_count(),
        "mem_total": memory.total // 1024,
        "mem_free": memory.free // 1024,
    }


def cpu_count() -> int:
    return psutil.cpu_count() or 1
