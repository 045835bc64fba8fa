"""Run a playbook and print, one a line, the tasks that changed a host: HOST, then the task."""

from __future__ import annotations

import re
import subprocess
import sys


def changed_tasks(output: str) -> list[str]:
    """From the default output of ansible-playbook, in order."""
    task, found = "", []
    for line in output.splitlines():
        started = re.match(r"(?:TASK|RUNNING HANDLER) \[(.*)\]", line)
        changed = re.match(r"changed: \[([^]\s]+)", line)
        if started:
            task = started[1]
        elif changed:
            found.append(f"{changed[1]} {task}")
    return found


done = subprocess.run(sys.argv[1:], capture_output=True, text=True, check=False)
if done.returncode:
    sys.exit(done.stdout + done.stderr)
print("\n".join(changed_tasks(done.stdout)))
