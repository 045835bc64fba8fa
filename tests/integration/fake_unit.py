"""A task's init without its unit: run as ``fake_unit.py DIRECTORY CGROUP``, as root.

What would be a cgroup is a directory, in which nobody is killed.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from kcms.node import durable, init, staging

staging.PATIENCE, staging.PAUSES = 1.0, (0.1,)


def main(directory: str, cgroup: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, init._SIGNALS)
    (Path(cgroup) / "cgroup.procs").touch()
    plan = durable.read(directory, "wanted.json")
    assert plan is not None
    reserved = durable.Reserved(directory, init.EXIT_SIZE)
    init._commit(reserved, *init._Task(directory, init.boot_id(), plan, cgroup, None).run())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
