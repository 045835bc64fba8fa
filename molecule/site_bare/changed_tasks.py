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
plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
if done.returncode or not re.search(r"^\S+\s+: ok=", plain, re.MULTILINE):
    sys.exit(f"{plain}{done.stderr}failed, or no host was in the play")
print("\n".join(changed_tasks(plain)))
