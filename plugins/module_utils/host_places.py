"""Which directory may be the round-robin files' own: all in it is given to the aggregator, moved
aside by a restore, and removed with data.  Pure.
"""

from __future__ import annotations

import posixpath
import re

STATE = "/var/lib/kcms"
# What the host is made of, with everything below it ...
SYSTEM = re.compile(
    r"/(bin|boot|dev|etc|lib\d*|proc|root|run|sbin|sys|usr|opt/kcms|var/(cache/kcms-[^/]*|run|lock))"
    r"(/.*)?"
)
# ... and directories that hold those of others.
SHARED = re.compile(r"/(home|home/[^/]+|media|mnt|opt|srv|tmp|var|var/[^/]+)")
TAKEN = re.compile(rf"{STATE}(/(node|manager-[^/]*|before-[^/]*|\.[^/]*)(/.*)?)?")


def wrong_rrd_directory(path: str) -> str:
    """What it must be instead; empty when it may be the directory of round-robin files."""
    plain = posixpath.normpath(path) if path else ""
    if not path.startswith("/") or plain.strip("/") == "" or ".." in path.split("/"):
        return "it must be an absolute path below /"
    plain = f"/{plain.lstrip('/')}"
    if any(each.fullmatch(plain) for each in (SYSTEM, SHARED, TAKEN)):
        return (
            "it must be a directory of the files' own, such as /srv/rrd: all in it is given to "
            "the aggregator, and removed with it"
        )
    return ""
