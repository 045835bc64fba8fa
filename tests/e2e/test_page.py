"""The page and the XML of a live grid, as this machine sees them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from tests.e2e.grid import Grid


@pytest.fixture(scope="module")
def page(grid: Grid) -> str:
    return f"http://{grid.address('head')}:8080"


def get(url: str) -> tuple[int, str, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


def test_every_host_is_up_in_the_grid(grid: Grid, page: str) -> None:
    def up() -> bool:
        tree = json.loads(get(f"{page}/api/v1/grid")[2])
        hosts = {
            host["name"]: host["state"] for cluster in tree["clusters"] for host in cluster["hosts"]
        }
        return hosts == dict.fromkeys(("alpha1", "alpha2", "alpha3", "beta1", "beta2"), "up")

    grid.wait(up, "every host to be up on the page")
    status, _, body = get(page)
    text = body.decode()
    assert status == 200
    assert all(name in text for name in ("alpha1", "alpha2", "beta1"))


def test_pages_and_graphs_answer(grid: Grid, page: str) -> None:
    for path in ("/", "/cluster/alpha", "/cluster/alpha/host/alpha1", "/legend"):
        assert get(page + path)[0] == 200, path
    for path in ("/cluster/gamma", "/cluster/alpha/host/none", "/cluster/..%2f..", "/nothing"):
        assert get(page + path)[0] == 404, path


def test_round_robin_files_hold_data(grid: Grid) -> None:
    last = "rrdtool lastupdate /var/lib/kcms/rrd/alpha/alpha1/load_one.rrd | tail -1"
    grid.wait(
        lambda: (
            "U" not in grid.shell("head", last, check=False).stdout.split(":")[-1]
            and ":" in grid.shell("head", last, check=False).stdout
        ),
        "a value of load_one",
    )


def test_any_node_answers_for_its_cluster(grid: Grid) -> None:
    read = (
        "python3 -c \"import socket; s = socket.create_connection(('127.0.0.1', 8649))\n"
        "while (d := s.recv(65536)): print(d.decode('latin-1'), end='')\""
    )
    for host in ("alpha1", "alpha2"):
        text = grid.shell(host, read).stdout
        assert '<CLUSTER NAME="alpha"' in text
        assert 'HOST NAME="alpha1"' in text
        assert 'HOST NAME="alpha2"' in text
        assert "beta1" not in text
