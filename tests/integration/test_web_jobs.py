"""The job plane of the page before a gateway: logging in, watching, submitting, moving, killing."""

from __future__ import annotations

import html
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from kcms.config import WebConfig
from kcms.manager import passwords
from kcms.web import gateway as gateway_module
from kcms.web.app import create_app
from kcms.web.files import RrdFiles
from kcms.web.gateway import Gateway
from kcms.web.graphs import Graphs
from kcms.web.nodestates import NodeStates
from kcms.web.services import Services
from kcms.web.sessions import Sessions
from kcms.web.tree import TreeSource
from tests.integration.fake_gateway import PASSWORDS, FakeGateway, Refusal, World, ended, job
from tests.unit.web import trees

HTTPS = "https://grid.example:8443"
HTTP = "http://grid.example:8080"
SESSION = "__Host-kcms-session"
EVIL = "<script>alert(1)</script>"


class Page:
    """A browser at the page: it keeps cookies and sends the forms it was given."""

    def __init__(self, app: Flask, base: str = HTTPS) -> None:
        self.app = app
        self.client: FlaskClient = app.test_client()
        self.base = base
        self.last: TestResponse | None = None

    def get(self, path: str, **more: Any) -> TestResponse:
        self.last = self.client.get(path, base_url=self.base, **more)
        return self.last

    def post(self, path: str, headers: dict[str, str] | None = None, **form: str) -> TestResponse:
        self.last = self.client.post(path, base_url=self.base, data=form, headers=headers)
        return self.last

    def seal(self, path: str = "/login") -> str:
        return re.findall(r'name="form" value="([^"]+)"', self.get(path).text)[-1]

    def login(
        self, user: str = "alice", password: str = "correct horse", to: str = "/"
    ) -> TestResponse:
        return self.post("/login", form=self.seal(), user=user, password=password, next=to)

    def cookie(self, name: str = SESSION) -> str | None:
        found = (
            self.client.get_cookie(name, domain="grid.example")
            if hasattr(self.client, "get_cookie")
            else next((c for c in self.client.cookie_jar if c.name == name), None)
        )
        return None if found is None else str(found.value)


def said(answer: TestResponse) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


class Site:
    def __init__(self, folder: Path, path: str) -> None:
        self.folder, self.path = folder, path
        self.now = time.monotonic()
        self.sessions = Sessions(lambda: self.now)
        self.gateway = Gateway(path)
        self.nodes = NodeStates(self.gateway.nodes, time.monotonic)

    def app(self, **settings: Any) -> Flask:
        given: dict[str, Any] = {"tls_port": 8443, "results_directory": "/shared/results/%u"}
        config = WebConfig(**{**given, **settings})
        tree = TreeSource(trees.two_clusters, time.monotonic)
        graphs = Graphs(RrdFiles(self.folder), lambda _: b"", 1, time.time)
        return create_app(
            config, Services(tree, graphs, self.gateway, self.nodes, sessions=self.sessions)
        )

    def close(self) -> None:
        self.nodes.close()
        self.gateway.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[FakeGateway]:
    running = FakeGateway(tmp_path / "api.sock")
    yield running
    running.close()


@pytest.fixture
def world(gateway: FakeGateway) -> World:
    return gateway.world


@pytest.fixture
def site(gateway: FakeGateway, tmp_path: Path) -> Iterator[Site]:
    built = Site(tmp_path, gateway.path)
    yield built
    built.close()


@pytest.fixture
def page(site: Site) -> Page:
    return Page(site.app())


@pytest.fixture
def alice(page: Page) -> Page:
    assert page.login().status_code == 303
    page.get("/")  # takes the words of welcome
    return page


def calls(world: World, what: str) -> list[Any]:
    return [body for method, path, body in world.calls if f"{method} {path}" == what]


class TestLogin:
    def test_in_at_every_cluster_and_out_again(self, page: Page, world: World) -> None:
        answer = page.login(to="/cluster/alpha/processes")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/cluster/alpha/processes")
        assert sorted(world.tokens.values()) == ["alice", "alice"]
        first = page.get("/")
        assert "You are logged in to alpha, beta." in said(first)
        assert "You are logged in" not in said(page.get("/"))
        form = re.findall(r'name="form" value="([^"]+)"', first.text)[0]
        out = page.post("/logout", form=form)
        assert (out.status_code, out.headers["Location"]) == (303, "/")
        assert world.tokens == {}
        assert page.cookie() is None
        assert page.get("/cluster/alpha/processes").status_code == 401

    def test_the_cookie_is_kept_from_scripts_other_sites_and_plain_http(self, page: Page) -> None:
        answer = page.login()
        (cookie,) = [c for c in answer.headers.getlist("Set-Cookie") if c.startswith(SESSION)]
        attributes = {each.strip() for each in cookie.split(";")[1:]}
        assert attributes == {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"}
        assert answer.headers["Cache-Control"] == "no-store"
        assert "alpha-alice" not in cookie

    @pytest.mark.parametrize("user", ["alice", "nobody-known"])
    def test_wrong_is_one_sentence_for_everybody(self, page: Page, user: str) -> None:
        answer = page.login(user, "wrong")
        assert answer.status_code == 401
        assert "Wrong user or password, or no password set." in said(answer)
        assert page.cookie() is None
        assert "wrong" not in re.findall(r'<input id="password"[^>]*>', answer.text)[0]

    def test_the_longest_password_of_a_manager_is_taken(
        self, page: Page, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        longest = "\u00e9" * passwords.LONGEST
        monkeypatch.setitem(PASSWORDS, "alice", longest)
        assert (
            "maxlength" not in re.findall(r'<input id="password"[^>]*>', page.get("/login").text)[0]
        )
        assert page.login(password=longest + "x").status_code == 401
        assert page.login(password=longest).status_code == 303

    def test_an_empty_field_asks_nobody(self, page: Page, world: World) -> None:
        assert page.login("", "x").status_code == 401
        assert page.login("alice", "").status_code == 401
        assert calls(world, "POST /v1/login") == []

    def test_too_many_is_passed_on(self, page: Page, world: World) -> None:
        sentence = "too many failed logins as alice: wait for 4 s"
        world.refuse["POST /v1/login"] = Refusal(429, "too_many", sentence)
        answer = page.login()
        assert answer.status_code == 429
        assert "Too many failed logins as alice: wait for 4 s." in said(answer)

    def test_a_cluster_that_is_down_or_does_not_know_the_user_is_named(
        self, page: Page, world: World
    ) -> None:
        world.clusters["beta"] = "DOWN"
        assert page.login().status_code == 303
        first = said(page.get("/"))
        assert "You are logged in to alpha." in first
        assert "Not logged in to beta: the manager of beta cannot be reached." in first
        answer = page.get("/cluster/beta/results")
        assert answer.status_code == 401
        assert "You are not logged in to beta: the manager of beta cannot" in said(answer)
        overview = page.get("/cluster/beta").text
        assert "Job Submit" not in overview
        assert "log in again" in overview

    def test_nobody_answers(self, page: Page, world: World, gateway: FakeGateway) -> None:
        world.clusters.update(alpha="DOWN", beta="DOWN")
        answer = page.login()
        assert answer.status_code == 503
        assert "the manager of alpha cannot be reached" in said(answer)
        gateway.close()
        answer = page.login()
        assert answer.status_code == 503
        assert "No gateway on this host" in said(answer)

    def test_a_new_login_has_a_new_id_and_ends_the_old_tokens(
        self, page: Page, world: World, site: Site
    ) -> None:
        page.login()
        old, tokens = page.cookie(), set(world.tokens)
        page.login("bob", "battery staple")
        assert page.cookie() not in (None, old)
        assert set(world.tokens.values()) == {"bob"}
        assert not tokens & set(world.tokens)
        assert site.sessions.find(old or "") is None

    def test_an_id_of_a_stranger_is_no_login(self, page: Page) -> None:
        page.get("/cluster/alpha/processes", headers={"Cookie": f"{SESSION}=chosen"})
        page.client.set_cookie(
            *(() if hasattr(page.client, "get_cookie") else ("grid.example",)),
            SESSION, "chosen", **({"domain": "grid.example"} if hasattr(page.client, "get_cookie")
                                  else {}), secure=True,
        )  # fmt: skip
        assert page.login().status_code == 303
        assert page.cookie() != "chosen"

    def test_idle_is_over_and_a_page_that_refreshes_itself_is_idle(
        self, alice: Page, site: Site
    ) -> None:
        site.now += 1700
        own = {"Kcms-Refresh": "1"}
        assert alice.get("/cluster/alpha/results", headers=own).status_code == 200
        site.now += 200
        assert alice.get("/cluster/alpha/results").status_code == 401

    @pytest.mark.parametrize(
        "target",
        [
            "https://evil.example/", "//evil.example/", "/\\evil.example/", "evil", "",
            "/x\r\nSet-Cookie: a=b", "javascript:alert(1)", "/" + "x" * 2000, "/\x7f", "/é",
        ],
    )  # fmt: skip
    def test_it_leads_nowhere_else(self, page: Page, target: str) -> None:
        answer = page.login(to=target)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
        shown = page.get("/login", query_string={"next": target})
        assert re.findall(r'name="next" value="([^"]*)"', shown.text) == ["/"]


class TestForms:
    def test_a_form_of_another_site_does_nothing(self, page: Page, world: World) -> None:
        seal = page.seal()
        answer = page.post("/login", form="forged", user="alice", password="correct horse")
        assert answer.status_code == 403
        across = page.post(
            "/login", {"Sec-Fetch-Site": "cross-site"}, form=seal, user="alice",
            password="correct horse",
        )  # fmt: skip
        assert across.status_code == 403
        assert calls(world, "POST /v1/login") == []

    def test_the_form_of_one_browser_is_none_of_another(self, site: Site, world: World) -> None:
        one, other = Page(site.app()), Page(site.app())
        seal = one.seal()
        other.get("/login")
        answer = other.post("/login", form=seal, user="alice", password="correct horse")
        assert answer.status_code == 403
        assert world.tokens == {}

    @pytest.mark.parametrize(
        ("path", "form"),
        [
            ("/cluster/alpha/processes", {"process": "1/4711", "do": "kill"}),
            ("/cluster/alpha/jobs/1", {"do": "kill"}),
            ("/cluster/alpha/submit", {"spec.executable": "/shared/x"}),
            ("/logout", {}),
        ],
    )
    def test_without_the_seal_nothing_is_done(
        self, alice: Page, world: World, path: str, form: dict[str, str]
    ) -> None:
        world.jobs[1] = job(1)
        for seal in ("", "forged"):
            answer = alice.post(path, form=seal, **form)
            assert answer.status_code == 403
            assert "Nothing was done" in said(answer)
        good = alice.seal("/cluster/alpha/results")
        across = alice.post(path, {"Sec-Fetch-Site": "same-site"}, form=good, **form)
        assert across.status_code == 403
        assert world.jobs[1]["killed_by"] is None
        assert len(world.jobs) == 1
        assert "alice" in world.tokens.values()

    def test_another_site_ends_no_login_in_the_browser(self, site: Site, alice: Page) -> None:
        # A SameSite=Strict cookie is not sent from there, but an answer could take it away.
        across = site.app().test_client(use_cookies=False)
        answer = across.post("/logout", base_url=HTTPS, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 303
        assert "Set-Cookie" not in answer.headers
        assert alice.get("/cluster/alpha/processes").status_code == 200

    def test_a_change_is_no_address_to_be_called(self, alice: Page) -> None:
        assert alice.get("/logout").status_code == 405


class TestPlain:
    def test_the_link_leads_to_tls_of_the_same_host(self, site: Site) -> None:
        plain = Page(site.app(), HTTP)
        url = re.findall(r'<a class="button login" href="([^"]+)">', plain.get("/?range=day").text)
        assert [unquote(each) for each in url] == [
            "https://grid.example:8443/login?next=/?range=day"
        ]
        answer = plain.get("/cluster/alpha/jobs/7")
        assert (answer.status_code, answer.headers["Location"]) == (
            303, "https://grid.example:8443/cluster/alpha/jobs/7",
        )  # fmt: skip
        plain.base = "http://[::1]:8080"
        assert 'href="https://[::1]:8443/login' in plain.get("/").text

    def test_a_password_is_refused(self, site: Site, world: World) -> None:
        plain = Page(site.app(), HTTP)
        answer = plain.post("/login", user="alice", password="correct horse")
        assert answer.status_code == 403
        assert "over TLS only, at https://grid.example:8443/" in said(answer)
        assert world.calls == []

    def test_a_stolen_id_is_worth_nothing(self, alice: Page) -> None:
        number = alice.cookie()
        thief = alice.app.test_client(use_cookies=False)
        headers = {"Cookie": f"kcms-session={number}; {SESSION}={number}"}
        url = "/cluster/alpha/results"
        assert thief.get(url, base_url=HTTPS, headers=headers).status_code == 200
        assert thief.get(url, base_url=HTTP, headers=headers).status_code == 303
        assert "Logout" not in thief.get("/", base_url=HTTP, headers=headers).text

    def test_no_login_at_all_and_nothing_dead(self, site: Site) -> None:
        plain = Page(site.app(tls_port=0), HTTP)
        for path in ("/", "/cluster/alpha", "/legend"):
            assert "login" not in plain.get(path).text.lower()
        for path in ("/login", "/cluster/alpha/submit"):
            answer = plain.get(path)
            assert answer.status_code == 404
            assert "set up for looking only" in said(answer)

    def test_behind_a_proxy_that_has_tls(self, site: Site) -> None:
        plain = Page(site.app(tls_port=0, plain_login=True), HTTP)
        assert plain.login().status_code == 303
        assert plain.cookie("kcms-session")
        assert plain.get("/cluster/alpha/results").status_code == 200


def running(pid: int, number: int, **changes: Any) -> dict[str, Any]:
    base = {"node": "alpha1", "pid": pid, "name": "sum.sh", "state": "R", "ended": None}
    return {**base, "job": number, "user": "alice", "root": True, **changes}


class TestProcesses:
    def test_processes_that_the_manager_left_out_are_told(self, alice: Page, world: World) -> None:
        assert "not shown" not in said(alice.get("/cluster/alpha/processes"))
        world.left_out = 7
        assert "7 more processes are not shown" in said(alice.get("/cluster/alpha/processes"))

    def test_nodes_as_columns_and_processes_as_rows(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        world.processes = [
            running(4711, 1),
            running(12, 2, node="alpha2", state="T", ended=time.time() - 65, name=EVIL),
            running(99, 3, user="bob"),
        ]
        shown = alice.get("/cluster/alpha/processes")
        assert shown.status_code == 200
        assert re.findall(r'<h2 id="node-\d+"><a [^>]*>([^<]+)<', shown.text) == [
            "alpha1", "alpha2", "alpha3",
        ]  # fmt: skip
        assert re.findall(r'type="radio"[^>]*value="([^"]+)"', shown.text) == ["1/4711"]
        assert "ended 1 minute ago" in said(shown)
        assert EVIL not in shown.text
        assert " 99 " not in said(shown)
        assert re.findall(r"<option[^>]*>([^<]*)</option>", shown.text)[-3:] == [
            "choose a node", "alpha1", "alpha2",
        ]  # fmt: skip

    def test_root_sees_everybody(self, page: Page, world: World) -> None:
        page.login("root", "grid root")
        world.processes = [running(4711, 1), running(99, 3, user="bob")]
        shown = page.get("/cluster/alpha/processes")
        assert re.findall(r'type="radio"[^>]*value="([^"]+)"', shown.text) == ["1/4711", "3/99"]

    def test_kill(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        seal = alice.seal("/cluster/alpha/processes")
        answer = alice.post("/cluster/alpha/processes", form=seal, process="1/4711", do="kill")
        assert answer.headers["Location"] == "/cluster/alpha/processes"
        assert world.jobs[1]["killed_by"] == "alice"
        assert "Job 1 is being killed." in said(alice.get("/cluster/alpha/processes"))

    def test_a_migration_is_followed_to_its_outcome(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        url = "/cluster/alpha/processes"
        form = {"form": alice.seal(url), "process": "1/4711", "do": "migrate"}
        answer = alice.post(url, node="alpha2", **form)
        assert answer.headers["Location"] == f"{url}?moved=1"
        moving = alice.get(f"{url}?moved=1")
        assert "Job 1 is moving to alpha2: looking whether it can be moved." in said(moving)
        assert 'data-refresh="3"' in moving.text
        world.jobs[1]["migration"].update(
            phase="refused", end_time=time.time(), message="process 4711 has a TCP socket"
        )
        world.jobs[1]["state"] = "COMPLETED"  # and so no more among those that run
        over = alice.get(f"{url}?moved=1")
        assert "Job 1 was not moved to alpha2" in said(over)
        assert "process 4711 has a TCP socket." in said(over)
        assert 'data-refresh="60"' in over.text

    @pytest.mark.parametrize(
        ("form", "sentence"),
        [
            ({"do": "kill"}, "Choose a process first."),
            ({"process": "1/x", "do": "kill"}, "Choose a process first."),
            ({"process": "1/4711", "do": "migrate"}, "not moved: choose the node to move it to."),
            ({"process": "1/4711", "do": "explode"}, "not touched: a job can be moved or killed"),
            ({"process": "2/5", "do": "kill"}, "Job 2 was not killed: there is no job 2"),
            ({"process": "3/5", "do": "kill"}, "Job 3 was not killed: job 3 is already over."),
            (
                {"process": "4/5", "do": "kill"},  # bob's
                "Job 4 was not killed: there is no job 4 in cluster alpha.",
            ),
        ],
    )
    def test_what_cannot_be_is_one_sentence(
        self, alice: Page, world: World, form: dict[str, str], sentence: str
    ) -> None:
        world.jobs = {1: job(1), 3: ended(3, "COMPLETED", "exit status 0", 0)}
        world.jobs[4] = job(4, user="bob")
        url = "/cluster/alpha/processes"
        alice.post(url, form=alice.seal(url), **form)
        assert sentence in said(alice.get(url))
        assert world.jobs[4]["killed_by"] is None

    def test_a_token_that_died_asks_to_log_in_and_leads_back(
        self, alice: Page, world: World
    ) -> None:
        for token in [each for each in world.tokens if each.startswith("alpha")]:
            del world.tokens[token]
        answer = alice.get("/cluster/alpha/processes?moved=1")
        assert answer.status_code == 401
        assert "Your login to alpha is over: log in again." in said(answer)
        assert 'name="next" value="/cluster/alpha/processes?moved=1"' in answer.text
        assert alice.get("/cluster/beta/results").status_code == 200

    def test_a_manager_that_is_down_is_said(self, alice: Page, world: World) -> None:
        world.clusters["alpha"] = "DOWN"
        for what in ("processes", "results", "jobs/1"):
            answer = alice.get(f"/cluster/alpha/{what}")
            assert answer.status_code == 503
            assert "the manager of alpha cannot be reached" in said(answer)
        assert alice.get("/cluster/alpha").status_code == 200

    def test_there_is_no_such_cluster(self, alice: Page) -> None:
        assert alice.get("/cluster/gamma/processes").status_code == 404


class TestSubmit:
    URL = "/cluster/alpha/submit"

    def form(self, alice: Page, **changes: str) -> dict[str, str]:
        shown = alice.get(self.URL).text
        hidden = dict(re.findall(r'type="hidden" name="(form|key)" value="([^"]+)"', shown))
        return {
            **hidden,
            "spec.executable": "/shared/a.sh",
            "spec.class": "single",
            "spec.output": "/shared/o",
            **changes,
        }

    def test_the_form_proposes_the_output(self, alice: Page) -> None:
        shown = alice.get(self.URL).text
        assert 'value="/shared/results/alice/kcms-%j.out"' in shown
        labels = re.findall(r'<label for="f-\w+">([^<]+?) ?<', shown)
        assert labels[:4] == ["Job Name", "No. of Arguments", "Arguments", "Job Classification"]

    def test_a_submission_leads_to_its_job_once(self, alice: Page, world: World) -> None:
        form = self.form(alice, **{"spec.arguments": "a b\r\nc", "spec.name": "sum"})
        first = alice.post(self.URL, **form)
        assert (first.status_code, first.headers["Location"]) == (303, "/cluster/alpha/jobs/1")
        assert world.jobs[1]["spec"]["arguments"] == ["a b", "c"]
        assert world.jobs[1]["user"] == "alice"
        assert "Job 1 was submitted to alpha." in said(alice.get("/cluster/alpha/jobs/1"))
        again = alice.post(self.URL, **form)
        assert again.headers["Location"] == "/cluster/alpha/jobs/1"
        assert "submitted before, as job 1" in said(alice.get("/cluster/alpha/jobs/1"))
        assert len(world.jobs) == 1
        other = alice.post(self.URL, **{**form, "spec.name": "other"})
        assert other.status_code == 409
        assert "submitted before, with other values, and nothing was done" in said(other)
        key = re.findall(r'name="key" value="([^"]+)"', other.text)[0]
        third = alice.post(self.URL, **{**form, "spec.name": "other", "key": key})
        assert third.headers["Location"] == "/cluster/alpha/jobs/2"

    def test_what_is_wrong_is_said_and_what_was_typed_is_kept(
        self, alice: Page, world: World
    ) -> None:
        form = self.form(
            alice, **{"spec.executable": "a.sh", "spec.name": EVIL, "spec.arguments": "\nx",
                      "count": "7"},
        )  # fmt: skip
        answer = alice.post(self.URL, **form)
        assert answer.status_code == 400
        assert "Executing File must be an absolute path" in said(answer)
        assert "No. of Arguments is 7, and there are 2 lines" in said(answer)
        assert EVIL not in answer.text
        assert 'value="a.sh"' in answer.text
        assert html.escape(EVIL).replace("&#x27;", "&#39;") in answer.text
        assert re.findall(r"<textarea[^>]*>([^<]*)<", answer.text)[0] == "\n\nx"
        assert f'name="key" value="{form["key"]}"' in answer.text
        assert world.jobs == {}

    def test_a_refusal_of_the_gateway_stands_with_the_form(self, alice: Page, world: World) -> None:
        refusal = Refusal(400, "invalid_request", "executable /shared/a.sh is no file")
        world.refuse["POST /v1/jobs"] = refusal
        answer = alice.post(self.URL, **self.form(alice))
        assert answer.status_code == 400
        assert "Executing File /shared/a.sh is no file." in said(answer)
        world.refuse["POST /v1/jobs"] = Refusal(503, "unavailable", "the disk is full")
        answer = alice.post(self.URL, **self.form(alice))
        assert answer.status_code == 503
        assert "The disk is full." in said(answer)

    def test_strange_keys_are_replaced(self, alice: Page, world: World) -> None:
        assert alice.post(self.URL, **self.form(alice, key="x" * 500)).status_code == 303
        assert alice.post(self.URL, **self.form(alice, key="\n")).status_code == 303
        assert all(each["key"].isprintable() for each in world.jobs.values())
        assert max(len(each["key"]) for each in world.jobs.values()) <= 128


class TestResults:
    def test_newest_at_the_bottom_and_older_ones_before(self, alice: Page, world: World) -> None:
        world.jobs = {n: ended(n, "COMPLETED", "exit status 0", 0) for n in range(1, 121)}
        url = "/cluster/alpha/results"
        pages = [alice.get(url).text]
        while older := re.findall(r'href="([^"]+before=\d+)"', pages[-1]):
            pages.append(alice.get(html.unescape(older[0])).text)
        numbers = [[int(each) for each in re.findall(r'/jobs/(\d+)">', page)] for page in pages]
        assert numbers == [
            list(range(71, 121)), list(range(21, 71)), list(range(1, 21)),
        ]  # fmt: skip
        assert "12.35 s" in pages[0] or "12.34 s" in pages[0]

    @pytest.mark.parametrize("before", ["x", "-1", "9" * 30, ""])
    def test_before_must_be_a_number(self, alice: Page, before: str) -> None:
        assert alice.get(f"/cluster/alpha/results?before={before}").status_code == 400

    @pytest.mark.parametrize("number", ["x", "-1", "9" * 5000, "999"])
    def test_no_such_job(self, alice: Page, number: str) -> None:
        assert alice.get(f"/cluster/alpha/jobs/{number}").status_code == 404

    def test_a_job_of_somebody_else_is_none(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1, user="bob")
        assert alice.get("/cluster/alpha/jobs/1").status_code == 404
        form = {"form": alice.seal("/cluster/alpha/results"), "do": "kill"}
        alice.post("/cluster/alpha/jobs/1", **form)
        assert world.jobs[1]["killed_by"] is None

    def test_a_job_with_its_output_and_its_buttons(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        world.jobs[1]["spec"]["error"] = "/shared/home/alice/err"
        world.output = f"done\x1b[31m {EVIL}\n\u202e"
        shown = alice.get("/cluster/alpha/jobs/1")
        assert "done␛[31m" in shown.text
        assert EVIL not in shown.text
        assert "\u202e" not in shown.text
        assert said(shown).count("Error Log File /shared/home/alice/err") >= 1
        assert re.findall(r'<button[^>]* value="(\w+)"', shown.text) == ["migrate", "kill"]
        options = re.findall(r"<option>([^<]*)</option>", shown.text)
        assert options[-1] == "alpha2"
        assert "alpha1" not in options

    def test_a_job_that_is_over_has_no_buttons(self, alice: Page, world: World) -> None:
        world.jobs[1] = ended(1, "FAILED", "exit status 3", 3)
        shown = alice.get("/cluster/alpha/jobs/1")
        assert 'name="do"' not in shown.text
        assert "exit status 3" in said(shown)

    def test_an_output_that_cannot_be_read_is_a_sentence(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        world.refuse["GET /v1/jobs/1/output"] = Refusal(404, "not_found", "there is no such file")
        shown = alice.get("/cluster/alpha/jobs/1")
        assert shown.status_code == 200
        assert "there is no such file." in said(shown)

    def test_kill_from_the_page_of_the_job(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        form = {"form": alice.seal("/cluster/alpha/jobs/1"), "do": "kill"}
        answer = alice.post("/cluster/alpha/jobs/1", **form)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/cluster/alpha/jobs/1")
        assert "Job 1 is being killed." in said(alice.get("/cluster/alpha/jobs/1"))


class TestNodes:
    def test_what_the_managers_say_stands_in_the_tree(self, page: Page, world: World) -> None:
        world.drained = "alpha2"
        document = page.get("/api/v1/grid").json
        assert document is not None
        hosts = {each["name"]: each for c in document["clusters"] for each in c["hosts"]}
        assert hosts["alpha2"]["jobs"] == {
            "availability": "drained", "drained": True, "drain_reason": "new fan", "slots": 2,
            "used": 1,
        }  # fmt: skip
        assert "jobs" not in hosts["alpha4"]
        assert hosts["alpha4"]["address"] == "10.0.0.9"
        overview = page.get("/cluster/alpha")
        assert re.findall(r'class="node up drained[^>]*/host/(\w+)', overview.text) == ["alpha2"]
        assert "drained: new fan; 1 of 2 slots used" in said(overview)
        assert "Drained: new fan" in said(page.get("/cluster/alpha/host/alpha2"))

    def test_without_a_gateway_the_tree_is_as_before(
        self, page: Page, gateway: FakeGateway
    ) -> None:
        gateway.close()
        document = page.get("/api/v1/grid").json
        assert document is not None
        assert all("jobs" not in h for c in document["clusters"] for h in c["hosts"])


def start(asking: list[threading.Thread], site: Site, cluster: str) -> None:
    """Start these, and wait until each holds a place at the cluster."""
    wanted = site.gateway._clusters.held(cluster) + len(asking)
    for thread in asking:
        thread.start()
    until(lambda: site.gateway._clusters.held(cluster) == wanted)


def until(true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        time.sleep(0.01)
    pytest.fail("it never came about")


def test_one_address_that_logs_in_all_the_time_leaves_room_for_others(
    site: Site, world: World
) -> None:
    gate = world.gates["alpha"] = threading.Event()
    found: list[int] = []

    def log_in(address: str) -> int:
        page = Page(site.app())
        page.client.environ_base["REMOTE_ADDR"] = address
        return page.login().status_code

    hold = [threading.Thread(target=lambda: found.append(log_in("10.0.0.1"))) for _ in range(2)]
    for thread in hold:
        thread.start()
    until(lambda: site.gateway._addresses.held("10.0.0.1") == 2)
    assert log_in("10.0.0.1") == 503
    hold.append(threading.Thread(target=lambda: found.append(log_in("10.0.0.2"))))
    hold[-1].start()
    until(lambda: site.gateway._logins.held("") == 3)
    gate.set()
    for thread in hold:
        thread.join(60)
    assert found == [303] * 3
    assert site.gateway._addresses.held("10.0.0.1") == 0


def test_a_manager_that_hangs_keeps_no_other_waiting(
    alice: Page, site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "PLACE_SECONDS", 0.05)
    found: list[int] = []

    def ask(page: Page) -> None:
        cookie = {"Cookie": f"{SESSION}={page.cookie()}"}
        client = site.app().test_client(use_cookies=False)
        url = "/cluster/alpha/processes"
        found.append(client.get(url, base_url=HTTPS, headers=cookie).status_code)

    bob, root = Page(site.app()), Page(site.app())
    bob.login("bob", "battery staple")
    root.login("root", "grid root")
    asking = [
        threading.Thread(target=ask, args=(each,)) for each in [alice] * gateway_module.OF_ONE_USER
    ]
    gate = world.gates["alpha"] = threading.Event()
    start(asking, site, "alpha")
    busy = alice.get("/cluster/alpha/results")
    assert busy.status_code == 503
    assert "alpha has not answered earlier calls of yours yet" in said(busy)
    asking.append(threading.Thread(target=ask, args=(bob,)))
    start(asking[-1:], site, "alpha")
    assert site.gateway._clusters.held("alpha") == gateway_module.PLACES
    busy = root.get("/cluster/alpha/results")
    assert busy.status_code == 503
    assert "the manager of alpha has not answered earlier calls yet" in said(busy)
    assert alice.get("/cluster/beta/processes").status_code == 200
    assert found == []
    gate.set()
    for thread in asking:
        thread.join(60)
    assert found == [200] * gateway_module.PLACES


@pytest.mark.parametrize(
    "url", ["/login", "/cluster/alpha/processes", "/cluster/alpha/submit", "/cluster/alpha/results"]
)
def test_nothing_inline_nothing_stored_and_no_frames(alice: Page, url: str) -> None:
    answer = alice.get(url)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", answer.text)
    assert answer.headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "alpha-alice" not in answer.text
