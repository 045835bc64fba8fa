"""The page's daemon as a process: ready, serving, and clean at the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Daemon:
    """A running page whose aggregator is nowhere; ``ready`` is systemd's end of its messages."""

    def __init__(self, folder: Path, bind: str) -> None:
        self.port = free_port()
        self.ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ready.settimeout(30)
        self.ready.bind(str(folder / "notify"))
        settings = folder / "web.toml"
        settings.write_text(
            f'bind = "{bind}"\nport = {self.port}\naggregator_port = {free_port()}\n'
            f'rrd_directory = "{folder}/rrd"\n'
        )
        environment = {**os.environ, "PYTHONPATH": str(APP), "NOTIFY_SOCKET": f"{folder}/notify"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(settings)],
            env=environment,
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

    def end(self) -> tuple[int, str]:
        """Exit status and log after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, log


@pytest.fixture(params=["127.0.0.1", ""])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    running = Daemon(tmp_path, request.param)
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.communicate(timeout=30)
    running.ready.close()


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
    from kcms.web.daemon import listen

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
