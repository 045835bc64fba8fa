"""Logging in and out on the page, and what a form must have."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest

from kcms.errors import Unavailable
from kcms.manager import passwords
from kcms.web import sessions
from tests.integration.fake_gateway import PASSWORDS, FakeGateway, Refusal, World, job
from tests.integration.page.face import (
    HTTP,
    HTTPS,
    SESSION,
    Page,
    Site,
    calls,
    running,
    said,
    until,
)
from tests.unit.web import trees


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

    def test_who_is_logged_in_to_several_clusters_stays_so(
        self, alice: Page, site: Site, world: World
    ) -> None:
        for _ in range(3):
            world.calls.clear()
            site.now += 600
            alice.get("/cluster/alpha/results")
            until(lambda: len(calls(world, "GET /v1/session")) == 2)
        world.calls.clear()
        site.now += 600
        alice.get("/cluster/alpha/results", headers={"Kcms-Refresh": "1"})
        alice.get("/")
        alice.get("/")
        until(lambda: len(calls(world, "GET /v1/session")) == 2)

    def test_a_login_that_makes_room_ends_at_the_managers(
        self, site: Site, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sessions, "MOST_OF_A_USER", 1)
        for _ in range(3):
            assert Page(site.app()).login().status_code == 303
        assert len(world.tokens) == 2

    def test_without_scripts_a_page_of_a_login_does_not_load_itself(
        self, alice: Page, world: World
    ) -> None:
        world.jobs[1] = job(1)
        world.processes = [running(4711, 1)]
        for path in ("/", "/cluster/alpha/processes", "/cluster/alpha/jobs/1"):
            answer = alice.get(path)
            assert "<noscript>" not in answer.text
            assert "data-refresh" in answer.text
            assert 'id="refresh"' in answer.text

    def test_a_silent_aggregator_keeps_nobody_from_their_jobs(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def silent() -> None:
            raise Unavailable("connection refused")

        monkeypatch.setattr(trees, "two_clusters", silent)
        page = Page(site.app())
        assert page.login().status_code == 303
        assert "<option>beta</option>" in page.get("/").text
        answer = page.get("/cluster", query_string={"cluster": "beta"})
        assert answer.headers["Location"] == "/cluster/beta?range=hour"
        there = page.get("/cluster/beta")
        assert there.status_code == 503
        assert 'href="/cluster/beta/processes"' in there.text
        assert page.get("/cluster/beta/processes").status_code == 200

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
        answer = alice.get("/logout")
        assert answer.status_code == 405
        assert "This address is called with OPTIONS and POST only." in said(answer)


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
        # The browser speaks TLS with the proxy, so it keeps and sends secure cookies.
        browser = site.app(tls_port=0, plain_login=True).test_client(use_cookies=False)
        form = browser.get("/login", base_url=HTTP)
        asked = {"user": "alice", "password": "correct horse", "next": "/"}
        asked["form"] = re.findall(r'name="form" value="([^"]+)"', form.text)[-1]
        headers = {"Cookie": form.headers["Set-Cookie"].split(";")[0]}
        answer = browser.post("/login", base_url=HTTP, data=asked, headers=headers)
        assert answer.status_code == 303
        (cookie,) = [c for c in answer.headers.getlist("Set-Cookie") if c.startswith(SESSION)]
        assert "Secure" in {each.strip() for each in cookie.split(";")}
        headers = {"Cookie": cookie.split(";")[0]}
        url = "/cluster/alpha/results"
        assert browser.get(url, base_url=HTTP, headers=headers).status_code == 200

    @pytest.mark.parametrize(
        "host",
        ["a@b", "", "host:80:90", "[fe80::1%eth0]:8080", "\u00fc.example", "a b", "x/y", "host:"],
    )
    @pytest.mark.parametrize("path", ["/", "/api/grid", "/cluster/alpha/results", "/nothing"])
    def test_a_host_that_is_none_is_one_sentence(self, site: Site, host: str, path: str) -> None:
        client = site.app().test_client()
        raw = host.encode().decode("latin-1")
        answer = client.get(path, base_url=HTTP, environ_overrides={"HTTP_HOST": raw})
        assert answer.status_code == 400
        assert "Call this page by a host name or an address" in said(answer)
        assert "https://" not in answer.text
