"""The page's daemon as a process: ready, serving, and clean at the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

APP = Path(__file__).resolve().parents[2] / "app"
START = (
    "import sys; from kcms.config import WebConfig, load; from kcms.web.daemon import main;"
    "sys.exit(main(load(WebConfig, sys.argv[1])))"
)


XML = """<?xml version="1.0" encoding="ISO-8859-1" standalone="yes"?>
<GANGLIA_XML VERSION="3.7.2" SOURCE="gmetad">
<GRID NAME="Lab" AUTHORITY="" LOCALTIME="1700000000">
<CLUSTER NAME="alpha" LOCALTIME="1700000000" OWNER="" LATLONG="" URL="">
<HOST NAME="alpha1" IP="10.0.0.1" REPORTED="1700000000" TN="3" TMAX="20" DMAX="0" LOCATION=""
 GMOND_STARTED="1690000000" TAGS="">
<METRIC NAME="load_one" VAL="1.50" TYPE="float" UNITS=" " TN="3" TMAX="70" DMAX="0" SLOPE="both"
 SOURCE="gmond"></METRIC>
<METRIC NAME="cpu_num" VAL="2" TYPE="uint16" UNITS="CPUs" TN="3" TMAX="1200" DMAX="0" SLOPE="zero"
 SOURCE="gmond"></METRIC>
</HOST>
</CLUSTER>
</GRID>
</GANGLIA_XML>
"""


class Aggregator:
    """Tells the same tree to whoever connects, and counts them."""

    def __init__(self) -> None:
        self.readers = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if self.readers < 0:
                    return
                self.readers += 1
                connection.sendall(XML.encode())

    def close(self) -> None:
        """Refuse from now on."""
        if self._thread.is_alive():
            self.readers = -1
            socket.create_connection(("127.0.0.1", self.port)).close()
            self._thread.join(20)
        self._listener.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Daemon:
    """A running page whose aggregator is nowhere; ``ready`` is systemd's end of its messages."""

    def __init__(
        self,
        folder: Path,
        bind: str,
        aggregator: int = 0,
        more: str = "",
        environment: dict[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ready.settimeout(30)
        self.ready.bind(str(folder / "notify"))
        settings = folder / "web.toml"
        settings.write_text(
            f'bind = "{bind}"\nport = {self.port}\naggregator_port = {aggregator or free_port()}\n'
            f'rrd_directory = "{folder}/rrd"\n{more}'
        )
        ours = {"PYTHONPATH": str(APP), "NOTIFY_SOCKET": f"{folder}/notify"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(settings)],
            env={**os.environ, **ours, **(environment or {})},
            stderr=subprocess.PIPE,
            text=True,
        )

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; the daemon's word is taken for errors, too."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as got:
                return got.status, got.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def close(self) -> None:
        """Leave nothing running."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate(timeout=30)
        self.ready.close()

    def end(self) -> tuple[int, str]:
        """Exit status and log after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, log


@pytest.fixture(params=["127.0.0.1", ""])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    running = Daemon(tmp_path, request.param)
    yield running
    running.close()


def test_ready_serving_and_clean_at_the_end(daemon: Daemon) -> None:
    assert daemon.ready.recv(100) == b"READY=1"
    status, text = daemon.get("/health")
    assert status == 200
    assert json.loads(text)["aggregator"]["answers"] is False
    status, text = daemon.get("/")
    assert status == 503
    assert "The aggregator does not answer" in text
    assert daemon.get("/static/style.css")[0] == 200
    status, log = daemon.end()
    assert status == 0
    assert daemon.ready.recv(100) == b"STOPPING=1"
    assert "Traceback" not in log


def test_a_taken_port_is_one_line(daemon: Daemon) -> None:
    assert daemon.ready.recv(100) == b"READY=1"
    from kcms.errors import ConfigError
    from kcms.web.servers import listen

    with pytest.raises(
        ConfigError, match=f"cannot serve the page on 127.0.0.1, port {daemon.port}"
    ):
        listen("127.0.0.1", daemon.port)


def test_an_unknown_default_range_is_refused(tmp_path: Path) -> None:
    from kcms.config import WebConfig
    from kcms.errors import ConfigError
    from kcms.web.daemon import main

    with pytest.raises(ConfigError, match="default_range is 'decade'; it must be one of hour, day"):
        main(WebConfig(default_range="decade"))


def test_the_tree_of_an_aggregator_read_once_for_many(tmp_path: Path) -> None:
    aggregator = Aggregator()
    daemon = Daemon(tmp_path, "127.0.0.1", aggregator.port)
    try:
        assert daemon.ready.recv(100) == b"READY=1"
        document = json.loads(daemon.get("/api/v1/grid")[1])
        (alpha1,) = document["clusters"][0]["hosts"]
        assert (document["name"], alpha1["name"], alpha1["state"]) == ("Lab", "alpha1", "up")
        assert (alpha1["load"], alpha1["cpus"], alpha1["band"]) == (1.5, 2, "75-100 %")
        pages = [daemon.get("/cluster/alpha/host/alpha1") for _ in range(3)]
        assert [status for status, _ in pages] == [200, 200, 200]
        assert "1.5 on 2 CPUs" in pages[0][1]
        assert aggregator.readers < 4  # of four requests
        assert daemon.end()[0] == 0
    finally:
        daemon.close()
        aggregator.close()
