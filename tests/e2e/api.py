"""Raw requests to the gateway of alpha1, as a user sends them who has none of our programs."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.grid import Grid

SOCKET = "/run/kcms-gateway/api.sock"
REQUEST = f"""python3 - <<'END'
import http.client, socket, sys
connection = http.client.HTTPConnection("gateway")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect("{SOCKET}")
connection.request("METHOD", "PATH", body=BODY, headers=HEADERS)
answer = connection.getresponse()
print(answer.status, answer.read().decode())
END"""


def api(
    grid: Grid,
    user: str,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: object = None,
) -> tuple[int, dict[str, Any]]:
    """One request, with ``body`` as its JSON if there is one."""
    sent = None if body is None else json.dumps(body)
    script = REQUEST.replace("METHOD", method).replace("PATH", path)
    script = script.replace("HEADERS", repr(headers or {})).replace("BODY", repr(sent))
    status, _, text = grid.shell("alpha1", script, user=user).stdout.partition(" ")
    return int(status), json.loads(text)
