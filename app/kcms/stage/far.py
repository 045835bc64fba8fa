"""A file of a job that another host has, read through this host's gateway.

Standard library only, as a task loads it before its program begins.
"""

from __future__ import annotations

import json

from kcms.client import Client, ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROTOCOL = "kcms-file"
LINE_LIMIT = 65536
LOOK_SECONDS = 900.0
"""For the SHA-256 of a large file, which takes its time where the file is."""


class FarFile:
    """One file of a task, as ``which`` names it; ``path`` is that of which ``file``."""

    def __init__(
        self, client: Client, job: int, task: int, which: str, path: str | None = None
    ) -> None:
        self._client = client
        self._path = f"/v1/jobs/{job}/file"
        self._query: dict[str, object] = {"which": which, "task": task, "file": path}

    def look(self, size: int | None = None) -> dict[str, Any]:
        """``size``, ``mode``, ``own`` and the ``digest`` of the first ``size`` bytes.

        :raises ClientError: it cannot be had  :raises OSError: the connection broke
        """
        stream = self._stream(LOOK_SECONDS, act="look", size=size)
        with stream.channel:
            return stream.about

    def read(self, begin: int, size: int | None = None) -> Stream:
        """What it has from ``begin`` on, up to ``size``.  Raises as :meth:`look`."""
        return self._stream(self._client.timeout, act="read", begin=begin, size=size)

    def _stream(self, seconds: float, **query: object) -> Stream:
        channel = self._client.open(self._path, PROTOCOL, **{**self._query, **query})
        channel.settimeout(seconds)
        return Stream(channel)


class Stream:
    """``about`` is what was said of the file, ``channel`` what its bytes come by."""

    def __init__(self, channel: Any) -> None:
        """:raises ClientError: it cannot be had  :raises OSError: the connection broke"""
        self.channel = channel
        try:
            line, self._first = _line(channel)
            self.about: dict[str, Any] = json.loads(line)
            problem = self.about.get("problem")
            if "failed" in self.about:  # of the process that was to read it
                raise ValueError(self.about["failed"])
        except (ValueError, AttributeError, RecursionError) as error:
            self.close()
            raise ClientError("unavailable", "whoever has the file broke off") from error
        except BaseException:
            self.close()
            raise
        if problem is not None:
            self.close()
            raise ClientError(str(self.about.get("code")), str(problem))

    def recv(self, size: int) -> bytes:
        """Nothing at the end, or where the connection broke.  :raises OSError:"""
        if self._first:
            part, self._first = self._first[:size], self._first[size:]
            return part
        return bytes(self.channel.recv(size))

    def close(self) -> None:
        self.channel.close()


def _line(channel: Any) -> tuple[bytes, bytes]:
    """The first line, and what came behind it.  :raises ValueError: there is none"""
    got = b""
    while b"\n" not in got:
        part = channel.recv(65536)
        if not part or len(got) > LINE_LIMIT:
            raise ValueError("no line")
        got += part
    line, _, rest = got.partition(b"\n")
    return line, rest
