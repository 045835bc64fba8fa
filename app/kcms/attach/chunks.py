"""Bytes between two gateways, and between a gateway and a job: chunks, and a mark at the end.

A connection that ends after the mark was ended by whoever opened the stream (or the kernel, as it
died); one that ends without was cut.  A chunk is its length in 4 bytes, most significant first, and
that many bytes; the mark is a chunk of none.

Pure, and loaded by the process that serves a job's terminal, hence no imports.
"""

from __future__ import annotations

SIZE_LIMIT = 1 << 18
"""Bytes of one chunk, at the most."""

END = bytes(4)


class ChunkError(ValueError):
    """The other end does not speak in chunks."""


def chunk(content: bytes) -> bytes:
    """``content`` as a chunk; nothing of nothing, as that would be the end."""
    if not content:
        return b""
    if len(content) > SIZE_LIMIT:
        raise ChunkError(f"a chunk has at most {SIZE_LIMIT} bytes, not {len(content)}")
    return len(content).to_bytes(4, "big") + content


class Chunks:
    """Takes a stream apart.  ``ended``: the mark was there."""

    def __init__(self) -> None:
        self.ended = False
        self._head = b""
        self._left = 0  # bytes of the present chunk

    def feed(self, data: bytes) -> bytes:
        """What of the stream's content came with ``data``.

        :raises ChunkError: a chunk is too long, or something follows the mark
        """
        found = []
        at = 0
        while at < len(data):
            if self.ended:
                raise ChunkError("something follows the end of a stream")
            if self._left:
                part = data[at : at + self._left]
                found.append(part)
                self._left -= len(part)
                at += len(part)
                continue
            part = data[at : at + 4 - len(self._head)]
            self._head += part
            at += len(part)
            if len(self._head) == 4:
                self._begin()
        return b"".join(found)

    def _begin(self) -> None:
        self._left, self._head = int.from_bytes(self._head, "big"), b""
        self.ended = self._left == 0
        if self._left > SIZE_LIMIT:
            raise ChunkError(f"a chunk has at most {SIZE_LIMIT} bytes, not {self._left}")
