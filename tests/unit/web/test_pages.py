"""Every page and answer, through the application with fakes for the outside world."""

from __future__ import annotations

import gzip
import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from kcms.config import WebConfig
from kcms.errors import Unavailable
from kcms.web.app import create_app
from kcms.web.files import RrdFiles
from kcms.web.gateway import Gateway
from kcms.web.graphs import Graphs
from kcms.web.nodestates import NodeStates
from kcms.web.services import Services
from kcms.web.tree import TreeSource
from kcms.wire.ganglia_xml import Grid
from tests.unit.web import trees

EVIL = "\"><script>alert('x')</script>"
NOW = 1_700_000_000.0
PAGES = ["/", "/cluster/alpha", "/cluster/alpha/host/alpha1", "/legend"]


class World:
    """The fakes, and what they were asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree: Grid = trees.two_clusters()
        self.error: Exception | None = None
        self.now = NOW
        self.drawn: list[list[str]] = []
        self.rows: dict[str, list[dict[str, Any]]] = {}

    def fetch(self) -> Grid:
        if self.error is not None:
            raise self.error
        return self.tree

    def draw(self, arguments: list[str]) -> bytes:
        self.drawn.append(arguments)
        return b"<svg/>"

    def store(self, *names: str) -> None:
        for name in names:
            path = self.root / f"{name}.rrd"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")

    def app(self, **settings: object) -> Flask:
        config = WebConfig(gridname="Laboratory", **settings)  # type: ignore[arg-type]
        graphs = Graphs(RrdFiles(self.root), self.draw, 1, lambda: self.now)
        tree = TreeSource(self.fetch, lambda: self.now)
        gateway = Gateway("/nowhere")
        nodes = NodeStates(self.nodes, lambda: self.now)
        return create_app(config, Services(tree, graphs, gateway, nodes, now=lambda: self.now))

    def nodes(self, cluster: str) -> list[dict[str, Any]]:
        if cluster not in self.rows:
            raise Unavailable(f"the manager of {cluster} cannot be reached")
        return self.rows[cluster]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def client(world: World) -> FlaskClient:
    return world.app().test_client()


def plain(page: str) -> str:
    """What a page says, without its marks."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_the_grid_shows_every_node_with_its_state(client: FlaskClient) -> None:
    page = client.get("/").text
    icons = re.findall(r'<a class="node (\w+) band-(\w+)" href="([^"]+)"', page)
    assert [(state, band, url.rsplit("/", 1)[1]) for state, band, url in icons] == [
        ("up", "0", "alpha1?range=hour"),
        ("up", "3", "alpha2?range=hour"),
        ("up", "4", "alpha3?range=hour"),
        ("up", "none", "alpha4?range=hour"),
        ("up", "0", "beta1?range=hour"),
        ("late", "3", "beta2?range=hour"),
        ("down", "4", "beta10?range=hour"),
    ]
    assert page.count('href="#pc-down"') == 1
    assert page.count('href="#badge-late"') == 1
    assert "beta10 is down, last heard 3 minutes ago" in plain(page)


def test_the_grid_leads_everywhere(client: FlaskClient) -> None:
    page = client.get("/?range=week").text
    for name in ("hour", "day", "week", "month", "year"):
        assert f'href="/?range={name}"' in page
    assert '<a href="/?range=week" aria-current="true">week</a>' in page
    assert re.findall(r"<option[^>]*>([^<]*)</option>", page) == ["All clusters", "alpha", "beta"]
    assert 'href="/legend"' in page
    assert 'id="refresh" href="/?range=week"' in page


def test_graphs_only_of_what_is_stored(world: World, client: FlaskClient) -> None:
    world.store("__SummaryInfo__/load_one")
    page = client.get("/?range=day").text
    assert page.count("<img ") == 1
    assert plain(page).count("Nothing stored yet.") == 1
    assert 'alt="Nodes up and load of all nodes over the last day; now 6 of 7 nodes up' in page
    end = int(NOW) // 60 * 60
    assert f"/graph/grid/load.svg?range=day&amp;theme=dark&amp;size=small&amp;at={end}" in page


def test_the_cluster_has_average_cpu_use(world: World, client: FlaskClient) -> None:
    names = ("load_one", "cpu_user", "bytes_in")
    world.store(*(f"alpha/__SummaryInfo__/{name}" for name in names))
    page = client.get("/cluster/alpha").text
    shown = re.findall(r'<img src="/graph/cluster/alpha/(\w+)\.svg', page)
    assert shown == ["load", "cpu", "network"]
    assert "Average CPU use" in page
    assert "beta1" not in page


def test_the_node_has_one_graph_a_metric(world: World, client: FlaskClient) -> None:
    names = ("load_one", "cpu_num")
    world.store(*(f"beta/beta1/{name}" for name in names))
    page = client.get("/cluster/beta/host/beta1").text
    shown = re.findall(r'<img src="/graph/host/beta/beta1/([\w/]+)\.svg', page)
    assert shown == ["load", "metric/load_one", "metric/cpu_num"]
    assert "Last heard 3 seconds ago" in plain(page)


def test_pictures(world: World, client: FlaskClient) -> None:
    world.store("beta/beta1/load_one")
    url = "/graph/host/beta/beta1/metric/load_one.svg?range=year&theme=dark&size=small"
    answer = client.get(url, headers={"Accept-Encoding": "gzip"})
    assert (answer.status_code, answer.mimetype) == (200, "image/svg+xml")
    assert gzip.decompress(answer.data) == b"<svg/>"
    assert answer.headers["Cache-Control"] == "max-age=60"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    plain_answer = client.get(url, headers={"Accept-Encoding": "identity"})
    assert plain_answer.data == b"<svg/>"
    assert "Content-Encoding" not in plain_answer.headers
    assert len(world.drawn) == 1


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/cluster/gamma", 404),
        ("/cluster/alpha/host/beta1", 404),
        ("/cluster/gamma/host/alpha1", 404),
        ("/cluster?cluster=gamma", 404),
        ("/nothing", 404),
        ("/?range=2hr", 400),
        ("/?range=", 400),
        ("/cluster/alpha?range=<b>", 400),
        ("/graph/grid/load.svg", 404),
        ("/graph/grid/load.gif", 404),
        ("/graph/grid/passwd.svg", 404),
        ("/graph/grid/load.svg?range=x", 400),
        ("/graph/grid/load.svg?theme=x", 400),
        ("/graph/grid/load.svg?size=9999", 400),
        ("/graph/cluster/__SummaryInfo__/load.svg", 404),
        ("/graph/cluster/../load.svg", 404),
        ("/graph/cluster/%2e%2e/load.svg", 404),
        ("/graph/cluster/..%2f..%2fetc/load.svg", 404),
        ("/graph/host/beta/beta1/metric/load_one.svg", 404),
        ("/graph/host/beta/beta1/metric/..%2fload_one.svg", 404),
        ("/graph/host/beta/%00/metric/load_one.svg", 404),
    ],
)
def test_what_there_is_not(client: FlaskClient, world: World, url: str, status: int) -> None:
    answer = client.get(url)
    assert answer.status_code == status
    assert "Back to Monitor" in answer.text
    assert "Traceback" not in answer.text
    assert world.drawn == []


def test_the_api_has_one_error_shape(client: FlaskClient) -> None:
    missing = client.get("/api/v1/nothing")
    assert (missing.status_code, missing.json) == (
        404,
        {"error": {"code": "not_found", "message": "There is no such page here."}},
    )
    wrong = client.post("/api/v1/grid")
    assert wrong.status_code == 405
    assert wrong.json is not None
    assert wrong.json["error"]["code"] == "method_not_allowed"
    assert set(wrong.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_the_tree_as_json(client: FlaskClient) -> None:
    document = client.get("/api/v1/grid").json
    assert document is not None
    assert document["nodes"] == {"up": 5, "late": 1, "down": 1}
    assert [each["name"] for each in document["clusters"]] == ["alpha", "beta"]
    late = document["clusters"][1]["hosts"][1]
    assert (late["name"], late["state"], late["silence"]) == ("beta2", "late", 30)
    assert late["metrics"]["load_one"] == {"value": 2.0, "units": ""}


def test_silent_aggregator_with_what_was_known(world: World, client: FlaskClient) -> None:
    assert client.get("/").status_code == 200
    world.error = ConnectionRefusedError(111, "Connection refused")
    world.now += 65
    for url in PAGES[:3]:
        answer = client.get(url)
        assert answer.status_code == 503
        assert "This is what was known 1 minute ago." in plain(answer.text)
    before = client.get("/").text.count('class="node down')
    world.now += 20
    assert client.get("/").text.count('class="node down') > before
    answer = client.get("/api/v1/grid")
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["error"]["code"] == "unavailable"
    health = client.get("/health").json
    assert health is not None
    assert (health["status"], health["aggregator"]["answers"]) == ("ok", False)


def test_silent_aggregator_and_nothing_known(world: World, client: FlaskClient) -> None:
    world.error = TimeoutError("no answer in 10 s")
    answer = client.get("/")
    assert answer.status_code == 503
    assert "The aggregator does not answer: no answer in 10 s" in plain(answer.text)
    assert client.get("/legend").status_code == 200


def test_a_fault_of_ours_is_one_sentence(world: World, client: FlaskClient) -> None:
    world.error = RuntimeError("secret detail")
    answer = client.get("/")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text


@pytest.mark.parametrize("url", [*PAGES, "/nothing", "/api/v1/grid", "/static/style.css"])
def test_headers_on_every_answer(client: FlaskClient, url: str) -> None:
    with client.get(url) as answer:
        headers = answer.headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("url", PAGES)
def test_nothing_inline_and_nothing_from_elsewhere(client: FlaskClient, url: str) -> None:
    page = client.get(url).text
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    assert not re.search(r"""(?:src|href|srcset|action)=["'](?:https?:|//|data:)""", page)


def test_whatever_a_packet_says_is_escaped(world: World, client: FlaskClient) -> None:
    node = trees.host(EVIL, trees.metric(EVIL, EVIL, EVIL), trees.metric("x", 1.0, EVIL))
    world.tree = trees.grid(trees.cluster(EVIL, node), name=EVIL)
    name = "%22%3E%3Cscript%3Ealert('x')%3C%2Fscript%3E"
    for url in ("/", f"/cluster?cluster={name}", "/api/v1/grid"):
        assert client.get(url).status_code in (200, 303)
    assert "<script>" not in client.get("/").text
    assert client.get("/api/v1/grid").mimetype == "application/json"


def test_error_pages_escape_the_address(client: FlaskClient) -> None:
    for url in ("/cluster/<script>", "/cluster?cluster=<script>", "/cluster/alpha/host/<script>"):
        answer = client.get(url)
        assert answer.status_code == 404
        assert "<script>" not in answer.text


def test_the_menu_leads_to_the_cluster_and_back(client: FlaskClient) -> None:
    answer = client.get("/cluster?cluster=beta&range=day")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/cluster/beta?range=day")
    answer = client.get("/cluster?cluster=&range=day")
    assert answer.headers["Location"] == "/?range=day"
    assert client.get("/cluster?cluster=//evil.example/").status_code == 404


def test_behind_a_path_prefix_every_address_has_it(world: World) -> None:
    world.store("alpha/alpha1/load_one", "__SummaryInfo__/load_one")
    client = world.app().test_client()
    for url in PAGES:
        page = client.get(url, environ_overrides={"SCRIPT_NAME": "/kcms"}).text
        found = re.findall(r'(?:src|href|srcset|action)="([^"#][^"]*)"', page)
        assert found
        assert [each for each in found if not each.startswith("/kcms/")] == []


@pytest.mark.parametrize(("seconds", "told"), [(0, False), (45, True)])
def test_refresh_without_scripts(world: World, seconds: int, told: bool) -> None:
    page = world.app(refresh=seconds).test_client().get("/").text
    assert (f'<noscript><meta http-equiv="refresh" content="{seconds}"></noscript>' in page) is told
    assert ("data-refresh" in page) is told


@pytest.mark.parametrize(("count", "classes"), [(48, ""), (49, " many"), (241, " many crowd")])
def test_many_nodes_make_a_compact_grid(world: World, count: int, classes: str) -> None:
    hosts = [trees.host(f"n{at}") for at in range(count)]
    world.tree = trees.grid(trees.cluster("big", *hosts))
    page = world.app().test_client().get("/").text
    assert f'<ul class="nodes{classes}"' in page
    assert page.count('href="#pc-none"') == count


@pytest.fixture
def get(client: FlaskClient) -> Callable[[str], int]:
    return lambda url: client.get(url).status_code


def test_reading_needs_no_more_than_get(client: FlaskClient, get: Callable[[str], int]) -> None:
    assert [get(url) for url in PAGES] == [200, 200, 200, 200]
    assert client.post("/").status_code == 405
    assert client.head("/").status_code == 200
