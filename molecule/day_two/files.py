"""The files of lab hosts: files.py TARGET HOST… writes their lists to TARGET, as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# Owners and modes count too.  What every running host writes by itself does not.
FIND = (
    "find / -xdev ( -path /proc -o -path /sys -o -path /dev -o -path /shared -o -path /var/log"
    " -o -path /var/lib/systemd -o -path /var/lib/private -o -path /var/tmp -o -path /tmp ) -prune"
    " -o -printf %y|%m|%U|%G|%p\\n"
)


def listing(host: str) -> set[str]:
    """TYPE|MODE|UID|GID|PATH of every file of a host."""
    command = [sys.executable, "-m", "lab", "exec", host, *FIND.split(" ")]
    return set(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    )


if __name__ == "__main__":
    lists = {host: sorted(listing(host)) for host in sys.argv[2:]}
    Path(sys.argv[1]).write_text(json.dumps(lists))
