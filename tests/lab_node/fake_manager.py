"""A manager as far as one node can tell: run as ``fake_manager.py TLS_DIRECTORY PORT DIRECTORY``.

What it wants is ``DIRECTORY/desired.json``, what it may forget ``DIRECTORY/forget.json``; every
report becomes a line of ``DIRECTORY/reports``.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from pathlib import Path

from aiohttp import web

LOOK = 0.05


def read(path: Path, otherwise: object) -> object:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return otherwise


def application(directory: Path) -> web.Application:
    async def report(request: web.Request) -> web.Response:
        document = await request.json()
        with (directory / "reports").open("a") as file:
            file.write(json.dumps(document) + "\n")
        return web.json_response({"forget": read(directory / "forget.json", [])})

    async def desired(request: web.Request) -> web.Response:
        end = asyncio.get_running_loop().time() + float(request.query["wait"])
        while True:
            document = read(
                directory / "desired.json", {"version": 0, "store": "5e1f0a2b", "tasks": []}
            )
            assert isinstance(document, dict)
            late = asyncio.get_running_loop().time() >= end
            if late or document["version"] != int(request.query["seen"]):
                return web.json_response(document)
            await asyncio.sleep(LOOK)

    made = web.Application()
    made.router.add_post("/v1/nodes/{name}/report", report)
    made.router.add_get("/v1/nodes/{name}/desired", desired)
    return made


def context(directory: Path, name: str = "manager") -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_verify_locations(directory / "ca.pem")
    made.load_cert_chain(directory / f"{name}.pem", directory / f"{name}.key")
    made.verify_mode = ssl.CERT_REQUIRED
    return made


if __name__ == "__main__":
    tls, port, where = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    web.run_app(
        application(where),
        host="127.0.0.1",
        port=port,
        ssl_context=context(tls),
        shutdown_timeout=0.1,
    )
