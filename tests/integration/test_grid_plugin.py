"""``ansible-inventory`` over the plugin, before a page on loopback."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
GRID = {
    "name": "lab",
    "clusters": [
        {
            "name": "alpha",
            "hosts": [
                {"name": "alpha1", "address": "10.0.0.11", "state": "up", "load": 0.1, "cpus": 2},
                {"name": "alpha2", "address": "10.0.0.12", "state": "up", "load": 1.9, "cpus": 2},
            ],
        },
        {
            "name": "be-ta",
            "hosts": [
                {
                    "name": "beta1",
                    "address": "10.0.0.21",
                    "state": "up",
                    "load": 0.0,
                    "cpus": 2,
                    "jobs": {
                        "availability": "drained",
                        "drained": True,
                        "drain_reason": "{{ lookup('ansible.builtin.pipe', 'touch %s') }}",
                        "slots": 2,
                        "used": 0,
                    },
                },
            ],
        },
    ],
}


class Page:
    """A page that answers as it is told, and counts how often it was asked."""

    def __init__(self) -> None:
        self.status, self.body, self.asked = 200, json.dumps(GRID).encode(), 0
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.asked += 1
                self.send_response(page.status if self.path == "/api/v1/grid" else 404)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.send_header("Content-Length", str(len(page.body)))
                self.end_headers()
                self.wfile.write(page.body)

            def log_message(self, *words: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def page() -> Iterator[Page]:
    served = Page()
    yield served
    served.close()


def inventory(
    directory: Path, name: str = "grid.kcms.yml", **options: Any
) -> subprocess.CompletedProcess[str]:
    path = directory / name
    path.write_text(json.dumps({"plugin": "kcms.cluster.grid", **options}))
    settings = directory / "ansible.cfg"
    settings.write_text("[inventory]\nany_unparsed_is_failed = true\n")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_NOCOLOR": "1",
        "COLUMNS": "1000",
    }
    program = Path(sys.executable).with_name("ansible-inventory")
    return subprocess.run(
        [program, "-i", str(path), "--list"],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_inventory_of_a_page(page: Page, tmp_path: Path) -> None:
    done = inventory(
        tmp_path,
        url=page.url,
        least_loaded_count=1,
        compose={"share": "kcms_load / kcms_cpus"},
        groups={"hot": "kcms_load > 1"},
        keyed_groups=[{"key": "kcms_availability", "prefix": "is"}],
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    members = {name: each.get("hosts") for name, each in found.items() if name != "_meta"}
    assert members["alpha"] == ["alpha1", "alpha2"]
    assert members["be_ta"] == members["drained"] == members["is_drained"] == ["beta1"]
    assert members["idle"] == members["least_loaded"] == ["alpha1"]
    assert members["busy"] == members["hot"] == ["alpha2"]
    variables = found["_meta"]["hostvars"]
    assert variables["alpha1"]["ansible_host"] == "10.0.0.11"
    assert variables["alpha2"]["share"] == 0.95


def test_a_reason_is_text_and_no_template(page: Page, tmp_path: Path) -> None:
    made = tmp_path / "made"
    page.body = page.body.replace(b"%s", str(made).encode())
    done = inventory(tmp_path, url=page.url, compose={"why": "kcms_drain_reason | default('')"})
    assert done.returncode == 0, done.stderr
    assert f"touch {made}" in done.stdout
    assert not made.exists()


def test_an_answer_is_kept_when_asked_to(page: Page, tmp_path: Path) -> None:
    kept = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_timeout": 60}
    for _ in range(2):
        done = inventory(tmp_path, url=page.url, cache_connection=str(tmp_path / "kept"), **kept)
        assert json.loads(done.stdout)["alpha"]["hosts"] == ["alpha1", "alpha2"]
    assert page.asked == 1


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>", "did not answer in JSON"),
        (200, b"{}", "not that of a KCMS page"),
        (302, b"", "answered 302"),
        (404, b"no", "answered 404"),
        (503, b'{"error": {"message": "The aggregator\\n is silent"}}', "503: The aggregator is s"),
    ],
)
def test_an_answer_that_is_none_is_one_line(
    page: Page, tmp_path: Path, status: int, body: bytes, said: str
) -> None:
    page.status, page.body = status, body
    done = inventory(tmp_path, url=page.url)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert page.asked == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1", "cannot read http://127.0.0.1:1/api/v1/grid: "),
        ("file:///etc/passwd", "url must be as https://head:8443, not 'file:///etc/passwd'"),
        ("head", "url must be as https://head:8443, not 'head'"),
    ],
)
def test_a_page_that_is_not_there_is_one_line(tmp_path: Path, url: str, said: str) -> None:
    done = inventory(tmp_path, url=url)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_of_another_name_is_not_ours(page: Page, tmp_path: Path) -> None:
    assert inventory(tmp_path, "grid.yml", url=page.url).returncode != 0
    assert page.asked == 0
