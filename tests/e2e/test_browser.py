"""The page in a real browser on a live grid: users steer their own work, and nobody else's."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.browser import Browser, chromium
from tests.e2e.grid import Grid

LONG = "#!/bin/sh\nsleep 600 | cat\n"


@pytest.fixture
def alice(quiet: Grid, url: str, passwords: dict[str, str]) -> Iterator[Browser]:
    """A browser in which alice is logged in."""
    with chromium() as browser:
        browser.login(url, "alice", passwords["alice"])
        browser.wait_text("alice")
        yield browser


def running(grid: Grid, user: str = "alice") -> int:
    """A job of a user's that runs a shell with children."""
    program = grid.program(user, f"of-{user}.sh", LONG)
    number = int(grid.submit(user, program)["id"])
    grid.wait_job(number, "RUNNING")
    grid.wait(lambda: grid.job(number)["start_time"], "the job to start")
    return number


def node_of(grid: Grid, number: int) -> str:
    return str(grid.job(number)["tasks"][0]["node"])


def test_looking_needs_no_login_and_shows_no_orders(grid: Grid, url: str) -> None:
    with chromium() as browser:
        for base in (url, url.replace("https", "http").replace("8443", "8080")):
            browser.go(f"{base}/cluster/alpha")
            browser.wait_text("alpha1", again=True)
            assert browser.has_link("Login")
            for word in ("Job Submit", "Job Results", "Process Monitor"):
                assert not browser.has_link(word)
            browser.go(f"{base}/cluster/alpha/processes")
            assert browser.has_button("Login")
            assert "PID" not in browser.text
        assert browser.url.startswith("https:")


def test_a_wrong_password_is_refused_in_one_sentence(
    grid: Grid, url: str, passwords: dict[str, str]
) -> None:
    said = set()
    with chromium() as browser:
        for user, password in (("alice", "wrong-" + passwords["alice"]), ("nobody-here", "x" * 12)):
            browser.login(url, user, password)
            said.add(browser.text.replace(user, "USER"))
            assert browser.has_button("Login")
            assert not browser.has_button("Logout")
    assert len(said) == 1, "a stranger learns from the sentence whether the user exists"


def test_submit_by_the_form_and_read_the_results(quiet: Grid, url: str, alice: Browser) -> None:
    echo = '#!/bin/sh\necho "$#:$2"\ncat\necho wrong >&2\n'
    program = quiet.program("alice", "echo.sh", echo)
    quiet.shell("alpha1", "echo from input > /shared/home/alice/in.txt", user="alice")
    alice.go(f"{url}/cluster/alpha")
    alice.follow("Job Submit")
    for label, text in {
        "Job Name": "by the form",
        "Executing File": program,
        "No. of Arguments": "2",
        "Arguments": "one\ntwo words",
        "Input File": "/shared/home/alice/in.txt",
        "Output File": "/shared/home/alice/form.%j.out",
        "Error Log File": "/shared/home/alice/form.%j.err",
        "Base Directory": "/shared/home/alice",
        "Priority": "7",
    }.items():
        alice.fill(label, text)
    alice.press("Submit")
    alice.wait_text("COMPLETED", again=True)
    assert "2:two words" in alice.text
    assert "from input" in alice.text
    assert "wrong" in alice.text
    alice.follow("Job Results")
    last = alice.rows()[-1]
    assert "by the form" in last
    assert "COMPLETED" in last


def test_a_wrong_field_is_told_beside_it_and_nothing_is_lost(
    quiet: Grid, url: str, alice: Browser
) -> None:
    before = len(quiet.jobs("alpha"))
    alice.go(f"{url}/cluster/alpha/submit")
    alice.fill("Job Name", "kept")
    alice.fill("Executing File", "not/absolute")
    alice.fill("Priority", "many")
    alice.press("Submit")
    assert "absolute path" in alice.text
    assert alice.field("Job Name").get_attribute("value") == "kept"
    assert alice.field("Priority").get_attribute("value") == "many"
    assert len(quiet.jobs("alpha")) == before


def test_kill_from_the_process_monitor(quiet: Grid, url: str, alice: Browser) -> None:
    number = running(quiet)
    alice.go(f"{url}/cluster/alpha/processes")
    alice.wait_text("sleep", again=True)
    alice.choose_process(number)
    alice.press("Kill")
    quiet.wait_job(number, "CANCELLED")
    alice.go(f"{url}/cluster/alpha/processes")
    alice.wait_text("ended", again=True)


def test_migrate_from_the_process_monitor(movers: Grid, url: str, alice: Browser) -> None:
    number = running(movers)
    source = node_of(movers, number)
    target = {"alpha1": "alpha2", "alpha2": "alpha1"}[source]
    alice.go(f"{url}/cluster/alpha/processes")
    alice.wait_text("sleep", again=True)
    alice.choose_process(number)
    alice.choose("Target node", target)
    alice.press("Migration")
    movers.wait(lambda: node_of(movers, number) == target, "the job to move")
    alice.go(f"{url}/cluster/alpha/jobs/{number}")
    alice.wait_text(target, again=True)
    assert movers.job(number)["state"] == "RUNNING"


def test_a_refused_migration_says_why(movers: Grid, url: str, alice: Browser) -> None:
    listen = "import socket, time\ns = socket.create_server(('', 0))\ntime.sleep(600)"
    program = movers.program("alice", "listen.py", f"#!/usr/bin/python3\n{listen}")
    number = int(movers.submit("alice", program)["id"])
    movers.wait_job(number, "RUNNING")
    movers.wait(lambda: movers.job(number)["start_time"], "the job to start")
    source = node_of(movers, number)
    alice.go(f"{url}/cluster/alpha/jobs/{number}")
    alice.choose("Target node", {"alpha1": "alpha2", "alpha2": "alpha1"}[source])
    alice.press("Migration")
    alice.wait_text("TCP", again=True)
    assert node_of(movers, number) == source
    assert movers.job(number)["state"] == "RUNNING"


def test_the_orders_work_without_scripts(quiet: Grid, url: str, passwords: dict[str, str]) -> None:
    number = running(quiet)
    with chromium(script=False) as browser:
        browser.login(url, "alice", passwords["alice"])
        browser.go(f"{url}/cluster/alpha/jobs/{number}")
        browser.press("Kill")
        quiet.wait_job(number, "CANCELLED")


def test_logout_ends_the_login_everywhere(quiet: Grid, url: str, alice: Browser) -> None:
    number = running(quiet)
    cookies = alice.driver.get_cookies()
    assert all(each["httpOnly"] and each["secure"] for each in cookies), cookies
    alice.press("Logout")
    assert alice.has_link("Login")
    for each in cookies:
        alice.driver.add_cookie(each)
    alice.go(f"{url}/cluster/alpha/jobs/{number}")
    assert alice.has_button("Login"), "the old session still opens the page"


def test_bob_cannot_touch_alices_work_on_the_page(
    quiet: Grid, url: str, passwords: dict[str, str]
) -> None:
    number = running(quiet)
    with chromium() as browser:
        browser.login(url, "bob", passwords["bob"])
        for path in ("processes", "results", f"jobs/{number}"):
            browser.go(f"{url}/cluster/alpha/{path}")
            assert "of-alice" not in browser.text, path
        own = running(quiet, "bob")
        browser.go(f"{url}/cluster/alpha/jobs/{own}")
        script = "document.querySelector('form.orders').action = arguments[0]"
        browser.driver.execute_script(script, f"/cluster/alpha/jobs/{number}")
        browser.press("Kill")
        assert f"no job {number}" in browser.text
    assert quiet.job(number)["state"] == "RUNNING"
    assert quiet.job(number)["killed_by"] is None


def test_the_web_service_can_do_nothing_without_a_live_token(quiet: Grid) -> None:
    """The page's own user, with all that it may open, is nobody to the managers."""
    number = running(quiet)
    program = "/shared/home/alice/of-alice.sh"
    files = "--base-directory /shared --output /dev/null"
    known = len(quiet.jobs("alpha"))
    for words in (
        f"kill {number}",
        f"migrate {number} alpha2",
        "drain alpha1 --reason mine",
        f"submit {files} /bin/true",
        f"submit {files} {program}",
        "web-password --remove",
    ):
        done = quiet.shell("head", web(f"kcms {words} --cluster alpha"), check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert "kcms-web is a service of KCMS: it changes nothing but for a user's login" in (
            done.stderr
        ), done.stderr
    done = quiet.shell("head", web(f"kcms job {number} --cluster alpha"), check=False)
    assert done.returncode != 0
    assert len(quiet.jobs("alpha")) == known
    forged = """python3 -c "
import sys; sys.path.insert(0, '/opt/kcms/current')
from kcms.client import Client
Client(token='0' * 64, cluster='alpha').kill(%d)" """
    done = quiet.shell("head", web(forged.strip() % number), check=False)
    assert done.returncode != 0
    assert "unauthorized" in done.stderr or "log in" in done.stderr.lower()
    assert quiet.job(number)["state"] == "RUNNING"


def web(command: str) -> str:
    return f"setpriv --reuid kcms-web --regid kcms-web --init-groups {command}"


def test_the_pages_certificate_is_of_the_sites_ca(grid: Grid) -> None:
    ca = Path(grid.inventory).parent.parent / "pki" / "ca.pem"
    context = ssl.create_default_context(cafile=str(ca))
    address = grid.address("head")
    with (
        socket.create_connection((address, 8443), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=address) as channel,
    ):
        assert channel.version() in ("TLSv1.2", "TLSv1.3")


def test_the_page_tells_programs_which_nodes_take_jobs(grid: Grid, url: str) -> None:
    plain = ssl.create_default_context()
    plain.check_hostname, plain.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(f"{url}/api/v1/grid", context=plain, timeout=30) as answer:
        document = json.load(answer)
    hosts = {host["name"]: host for each in document["clusters"] for host in each["hosts"]}
    assert hosts["alpha1"]["jobs"]["availability"] in ("idle", "mixed", "allocated")
