"""The page as a process of a user that owns nothing, before a real gateway and a real manager."""

from __future__ import annotations

import contextlib
import html
import http.client
import os
import pwd
import re
import ssl
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.integration.test_face_daemons import (
    ALICE,
    BOB,
    PAGE,
    PASSWORD,
    Grid,
    as_user,
    free_port,
    grid,
    logged_in,
    needs_root,
)

__all__ = ["grid"]
pytestmark = needs_root
SESSION = "__Host-kcms-session"


class Browser:
    """Keeps cookies, and follows nothing by itself."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        self._context, self._port = context, port
        self.cookies: dict[str, str] = {}

    def send(self, method: str, path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
        """Status, and the page's text or where it leads."""
        connection = http.client.HTTPSConnection(
            "localhost", self._port, context=self._context, timeout=60
        )
        headers = {"Cookie": "; ".join(f"{key}={value}" for key, value in self.cookies.items())}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        with contextlib.closing(connection):
            body = None if form is None else urlencode(form)
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            for cookie in answer.headers.get_all("Set-Cookie") or []:
                name, _, value = cookie.partition(";")[0].partition("=")
                self.cookies[name] = value
            return answer.status, answer.headers.get("Location") or html.unescape(text)

    def get(self, path: str) -> tuple[int, str]:
        return self.send("GET", path)

    def post(self, path: str, at: str = "", **form: str) -> tuple[int, str]:
        """Send the form that stands ``at`` an address with what is typed into it."""
        page = self.get(at or path)[1]
        hidden = dict(re.findall(r'type="hidden" name="(form|key)" value="([^"]+)"', page))
        return self.send("POST", path, {**hidden, **form})

    def login(self, user: str, password: str = PASSWORD) -> tuple[int, str]:
        return self.post("/login", user=user, password=password, next="/cluster/alpha/results")


@pytest.fixture(scope="module")
def page(grid: Grid) -> tuple[ssl.SSLContext, int]:
    """The page's TLS port, and how a browser that knows the site's CA calls it."""
    certificate, key = grid.site.issue("localhost", ("kcms://none/page",))
    entry = pwd.getpwnam(PAGE)
    os.chown(key, entry.pw_uid, entry.pw_gid)
    port = free_port()
    settings = {
        "bind": "127.0.0.1",
        "port": free_port(),
        "tls_port": port,
        "tls_certificate": certificate,
        "tls_key": key,
        "gateway_socket": str(grid.directory / "alpha1.sock"),
        "aggregator_port": free_port(),
    }
    become = ["setpriv", f"--reuid={PAGE}", f"--regid={PAGE}", "--clear-groups"]
    grid.start("web", "web", settings, *become)
    context = ssl.create_default_context(cafile=grid.site.ca_path)
    context.check_hostname = False
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            assert Browser(context, port).get("/login")[0] == 200
            break
        assert time.monotonic() < end, (grid.directory / "web.log").read_text()
        time.sleep(0.1)
    for user in (ALICE, BOB):
        as_user(grid, user, f"client.set_password({PASSWORD!r})")
    return context, port


@pytest.fixture
def alice(page: tuple[ssl.SSLContext, int]) -> Browser:
    browser = Browser(*page)
    assert browser.login(ALICE) == (303, "/cluster/alpha/results")
    return browser


@pytest.fixture
def bob(page: tuple[ssl.SSLContext, int]) -> Browser:
    browser = Browser(*page)
    assert browser.login(BOB) == (303, "/cluster/alpha/results")
    return browser


def submit(browser: Browser, grid: Grid, **more: str) -> int:
    status, where = browser.post(
        "/cluster/alpha/submit",
        **{
            "spec.executable": f"{grid.directory}/run.sh",
            "spec.base_directory": f"{grid.directory}/{ALICE}",
            "spec.class": "single",
            **more,
        },
    )
    assert status == 303, where
    assert where.startswith("/cluster/alpha/jobs/")
    return int(where.rsplit("/", 1)[1])


def test_a_job_submitted_seen_and_killed_on_the_page(alice: Browser, grid: Grid) -> None:
    number = submit(alice, grid, **{"spec.name": "from the page", "spec.arguments": "a b\nc"})
    job = grid.json("job", str(number), user=ALICE)
    assert (job["user"], job["name"], job["spec"]["arguments"]) == (
        ALICE, "from the page", ["a b", "c"],
    )  # fmt: skip
    status, text = alice.get(f"/cluster/alpha/jobs/{number}")
    assert status == 200
    assert "PENDING" in text
    assert f"Job {number} was submitted to alpha." in text
    status, text = alice.get("/cluster/alpha/results")
    assert "from the page" in text
    alice.post(f"/cluster/alpha/jobs/{number}", do="kill")
    assert grid.json("job", str(number), user=ALICE)["state"] == "CANCELLED"
    alice.post(f"/cluster/alpha/jobs/{number}", do="kill", at="/cluster/alpha/results")
    assert f"Job {number} was not killed: " in alice.get("/cluster/alpha/results")[1]


def test_the_process_monitor_answers(alice: Browser) -> None:
    status, text = alice.get("/cluster/alpha/processes")
    assert status == 200
    assert ">alpha1</a>" in text


def test_a_job_that_waits_is_not_moved(alice: Browser, grid: Grid) -> None:
    number = submit(alice, grid)
    alice.post(f"/cluster/alpha/jobs/{number}", do="migrate", node="alpha1")
    assert f"Job {number} was not moved: " in alice.get("/cluster/alpha/results")[1]
    assert grid.json("job", str(number), user=ALICE)["state"] == "PENDING"


def test_what_the_gateway_refuses_stands_with_the_form(alice: Browser, grid: Grid) -> None:
    status, text = alice.post("/cluster/alpha/submit", **{"spec.executable": "/bin/true"})
    assert status == 400
    assert "not on a shared directory" in text
    assert 'value="/bin/true"' in text


def test_bob_neither_sees_nor_touches_what_is_alices(
    alice: Browser, bob: Browser, grid: Grid
) -> None:
    number = submit(alice, grid, **{"spec.name": "hers alone"})
    assert bob.get(f"/cluster/alpha/jobs/{number}")[0] == 404
    assert "hers alone" not in bob.get("/cluster/alpha/results")[1]
    for form in ({"do": "kill"}, {"do": "migrate", "node": "alpha1"}):
        bob.post(f"/cluster/alpha/jobs/{number}", at="/cluster/alpha/results", **form)
        assert f"there is no job {number}" in bob.get("/cluster/alpha/results")[1]
    both = {"process": f"{number}/1", "do": "kill"}
    bob.post("/cluster/alpha/processes", at="/cluster/alpha/results", **both)
    assert f"there is no job {number}" in bob.get("/cluster/alpha/results")[1]
    closed = f"{grid.directory}/{ALICE}/own.sh"
    assert bob.post("/cluster/alpha/submit", **{"spec.executable": closed})[0] in (400, 403)
    assert grid.json("job", str(number), user=ALICE)["state"] == "PENDING"


def test_a_wrong_password_is_one_sentence(page: tuple[ssl.SSLContext, int]) -> None:
    status, text = Browser(*page).login(ALICE, "wrong")
    assert status == 401
    assert "Wrong user or password, or no password set" in text


def test_the_page_itself_is_nobody(grid: Grid, alice: Browser) -> None:
    number = submit(alice, grid)
    assert as_user(grid, PAGE, "client.jobs()") == []
    assert as_user(grid, PAGE, f"client.kill({number})")[0] == "not_found"
    assert as_user(grid, PAGE, f"client.kill({number})", as_user=ALICE)[0] == "forbidden"
    assert as_user(grid, PAGE, f"client.kill({number})", token="x" * 43)[0] == "unauthorized"


def test_logout_ends_the_tokens_and_a_new_password_the_login(
    alice: Browser, grid: Grid, page: tuple[ssl.SSLContext, int]
) -> None:
    old = dict(alice.cookies)
    assert alice.post("/logout", at="/cluster/alpha/results") == (303, "/")
    alice.cookies = old
    assert alice.get("/cluster/alpha/results")[0] == 401
    again = Browser(*page)
    assert again.login(ALICE)[0] == 303
    assert logged_in(grid, ALICE)  # which sets the password anew
    status, text = again.get("/cluster/alpha/results")
    assert status == 401
    assert "Your login to alpha is over: log in again." in text


def test_no_secret_is_in_the_log(grid: Grid, alice: Browser) -> None:
    log = (grid.directory / "web.log").read_text()
    assert "logs in: alpha" in log
    assert PASSWORD not in log
    assert alice.cookies[SESSION] not in log
    assert Path(grid.directory / "web.log").read_text().count("Traceback") == 0
