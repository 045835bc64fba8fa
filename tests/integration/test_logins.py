"""Passwords and tokens at the manager's API, over real TLS: bob stays away from alice's work."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kcms.manager import logins
from kcms.manager.passwords import Cost
from tests.integration.managed import Answer, Grid, Peer

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that cost nothing; what the real ones cost is tested where they are made."""
    monkeypatch.setattr(logins, "Cost", lambda: Cost(n=4, r=1, p=1))


@pytest.fixture
async def grid(tmp_path: Path) -> AsyncIterator[Grid]:
    made = Grid(tmp_path)
    async with made.running():
        yield made


async def set_password(grid: Grid, user: str, password: str | None, host: str = "alpha1") -> Answer:
    async with grid.peer(host, user) as peer:
        return await peer.call("POST", "/v1/password", {"password": password})


async def login(page: Peer, user: str, password: str = PASSWORD) -> Answer:
    return await page.call("POST", "/v1/login", {"user": user, "password": password})


async def token_of(grid: Grid, page: Peer, user: str, host: str = "alpha1") -> dict[str, str]:
    """The header of a new login of ``user``."""
    assert (await set_password(grid, user, PASSWORD, host))[0] == 200
    status, answer = await login(page, user)
    assert (status, answer["user"]) == (200, user)
    return {"Kcms-Token": answer["token"]}


def error(answer: Answer) -> tuple[int, str, str]:
    return answer[0], answer[1]["error"]["code"], answer[1]["error"]["message"]


async def test_from_a_password_to_logging_out(grid: Grid) -> None:
    async with grid.peer("head") as page:
        token = await token_of(grid, page, "alice")
        status, session = await page.call("GET", "/v1/session", headers=token)
        assert status == 200
        expires = session.pop("expires")
        assert session == {"user": "alice", "uid": 2001, "gid": 2001, "root": False}
        status, job = await page.call(
            "POST", "/v1/jobs", {"spec": {"executable": "/shared/x"}}, headers=token
        )
        assert (status, job["user"], job["uid"], job["gid"]) == (201, "alice", 2001, 2001)
        assert job["submit_host"] == "head"
        _, again = await page.call("GET", "/v1/session", headers=token)
        assert expires <= again["expires"] <= expires + 60
        assert await page.call("POST", "/v1/logout", {}, headers=token) == (200, {})
        for path in ("/v1/session", "/v1/jobs", f"/v1/jobs/{job['id']}"):
            over = await page.call("GET", path, headers=token)
            assert error(over) == (401, "unauthorized", "this login is over: log in again")


async def test_with_a_token_bob_does_not_reach_alices_work(grid: Grid) -> None:
    async with grid.peer("alpha1", "alice") as alice, grid.peer("head") as page:
        _, job = await alice.submit()
        number = job["id"]
        bob = await token_of(grid, page, "bob")
        for method, path in (("GET", ""), ("POST", "/kill")):
            answer = await page.call(method, f"/v1/jobs/{number}{path}", headers=bob)
            assert error(answer)[:2] == (404, "not_found")
        assert await page.call("GET", "/v1/jobs", headers=bob) == (200, {"jobs": [], "more": False})
        answer = await page.call("GET", "/v1/jobs?user=alice", headers=bob)
        assert error(answer)[:2] == (403, "forbidden")
        move = {"node": "alpha2", "check": False}
        answer = await page.call("POST", f"/v1/jobs/{number}/migrate", move, headers=bob)
        assert error(answer)[:2] == (404, "not_found")
        for path in ("/v1/processes?user=alice", "/v1/jobs?user=alice"):
            assert error(await page.call("GET", path, headers=bob))[:2] == (403, "forbidden")
        drain = {"state": "drain", "reason": "mine"}
        answer = await page.call("POST", "/v1/nodes/alpha1/state", drain, headers=bob)
        assert error(answer)[:2] == (403, "forbidden")
        job = await alice.job(number)
        assert (job["killed_by"], job["migration"]) == (None, None)
        mine = await token_of(grid, page, "alice")
        status, killed = await page.call("POST", f"/v1/jobs/{number}/kill", headers=mine)
        assert (status, killed["killed_by"]) == (202, "alice")


async def test_a_page_without_a_token_is_nobody(grid: Grid) -> None:
    async with grid.peer("head") as page:
        answer = await page.call("GET", "/v1/session")
        assert error(answer) == (401, "unauthorized", "nobody is logged in")
        for headers in ({}, {"Kcms-Token": "x"}, {"Kcms-Token": "x" * 5000}):
            status, _ = await page.call("GET", "/v1/jobs", headers=headers)
            assert status == (401 if headers else 400)


async def test_a_token_and_a_user_are_not_both_taken(grid: Grid) -> None:
    async with grid.peer("head") as page:
        token = await token_of(grid, page, "alice")
        for name, value in (("Kcms-User", "root"), ("Kcms-Uid", "0"), ("Kcms-Gid", "0")):
            answer = await page.call("GET", "/v1/jobs", headers={**token, name: value})
            assert error(answer)[:2] == (400, "invalid_request")


async def test_a_token_opens_nothing_to_a_host_that_may_not_speak_for_users(grid: Grid) -> None:
    async with grid.peer("head") as page, grid.peer("pc") as pc:
        token = await token_of(grid, page, "alice")
        for method, path in (("GET", "/v1/session"), ("GET", "/v1/jobs"), ("POST", "/v1/logout")):
            answer = await pc.call(method, path, headers=token)
            assert error(answer)[:2] == (403, "forbidden")
        assert error(await login(pc, "alice"))[:2] == (403, "forbidden")
        assert (await page.call("GET", "/v1/session", headers=token))[0] == 200


async def test_a_host_that_left_the_inventory_is_told_so(grid: Grid) -> None:
    async with grid.peer("alpha2", "alice") as gone:
        assert (await gone.call("GET", "/v1/jobs"))[0] == 200
        grid.set_hosts({"alpha1": ["node", "submit"], "head": ["admin"]})
        assert error(await gone.call("GET", "/v1/jobs")) == (
            403,
            "forbidden",
            "this host, alpha2, is not among the hosts of cluster alpha: "
            "it was taken out of the inventory",
        )


async def test_failures_look_the_same(grid: Grid) -> None:
    async with grid.peer("head") as page:
        await set_password(grid, "alice", PASSWORD)
        found = {
            error(await login(page, user, password))
            for user, password in (("alice", "wrong"), ("bob", PASSWORD), ("nobody", ""), ("", ""))
        }
        ((status, code, message),) = found
        assert (status, code) == (401, "unauthorized")
        assert "wrong user or password" in message
        for _ in range(4):
            assert (await login(page, "alice", "wrong"))[0] == 401
        status, code, message = error(await login(page, "alice"))
        assert (status, code) == (429, "too_many")
        assert message == "too many failed logins as alice: wait for 1 s"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/login", {}),
        ("/v1/login", {"user": "alice"}),
        ("/v1/login", {"user": "alice", "password": None}),
        ("/v1/login", {"user": ["alice"], "password": "x"}),
        ("/v1/login", {"user": "alice", "password": "x", "root": True}),
        ("/v1/login", {"user": "alice", "password": "x" * 1025}),
        ("/v1/password", {}),
        ("/v1/password", {"password": "short"}),
        ("/v1/password", {"password": 12345678}),
        ("/v1/password", {"password": PASSWORD, "user": "bob"}),
    ],
)
async def test_malformed_requests_are_one_line(grid: Grid, path: str, body: dict[str, Any]) -> None:
    async with grid.peer("alpha1", "alice") as alice:
        status, code, message = error(await alice.call("POST", path, body))
        assert (status, code) == (400, "invalid_request")
        assert "\n" not in message
        assert "12345678" not in message


async def test_a_token_cannot_change_the_password(grid: Grid) -> None:
    async with grid.peer("head") as page:
        token = await token_of(grid, page, "alice")
        answer = await page.call("POST", "/v1/password", {"password": "another 1"}, headers=token)
        assert error(answer)[:2] == (403, "forbidden")
        assert "kcms web-password" in error(answer)[2]
        assert (await login(page, "alice"))[0] == 200


async def test_a_new_password_or_none_ends_the_logins(grid: Grid) -> None:
    async with grid.peer("head") as page:
        for password in ("another one", None):
            token = await token_of(grid, page, "alice")
            bob = await token_of(grid, page, "bob")
            assert await set_password(grid, "alice", password) == (200, {})
            assert (await page.call("GET", "/v1/session", headers=token))[0] == 401
            assert (await page.call("GET", "/v1/session", headers=bob))[0] == 200
            assert (await login(page, "alice"))[0] == 401


async def test_web_root_is_off_until_it_is_switched_on(grid: Grid) -> None:
    status, code, message = error(await set_password(grid, "root", PASSWORD, "head"))
    assert (status, code) == (403, "forbidden")
    assert "web_root is off" in message
    assert error(await set_password(grid, "root", PASSWORD, "alpha1"))[0] == 403


async def test_web_root_sees_and_ends_everybodys_work(tmp_path: Path) -> None:
    grid = Grid(tmp_path, {"web_root": True})
    async with grid.running(), grid.peer("head") as page, grid.peer("alpha1", "alice") as alice:
        _, job = await alice.submit()
        assert error(await set_password(grid, "root", PASSWORD, "alpha1"))[0] == 403
        root = await token_of(grid, page, "root", "head")
        _, session = await page.call("GET", "/v1/session", headers=root)
        assert (session["root"], session["uid"]) == (True, 0)
        _, listed = await page.call("GET", "/v1/jobs", headers=root)
        assert [each["id"] for each in listed["jobs"]] == [job["id"]]
        _, killed = await page.call("POST", f"/v1/jobs/{job['id']}/kill", headers=root)
        assert killed["killed_by"] == "root"


async def test_a_restart_ends_logins_and_keeps_passwords(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.running(), grid.peer("head") as page:
        token = await token_of(grid, page, "alice")
    rows = json.loads((grid.state / "passwords.json").read_text())["users"]
    assert list(rows) == ["alice"]
    async with grid.running(), grid.peer("head") as page:
        assert (await page.call("GET", "/v1/session", headers=token))[0] == 401
        assert (await login(page, "alice"))[0] == 200


async def test_a_damaged_file_of_passwords_stops_no_job(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    (grid.state / "passwords.json").write_text("{")
    async with grid.running(), grid.peer("alpha1", "alice") as alice:
        assert (await alice.submit())[0] == 201
        answer = await alice.call("POST", "/v1/password", {"password": PASSWORD})
        assert error(answer)[:2] == (503, "unavailable")
        assert error(await login(alice, "alice"))[:2] == (503, "unavailable")


async def test_no_secret_is_in_the_log(grid: Grid, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with grid.peer("head") as page:
        token = await token_of(grid, page, "alice")
        await page.call("GET", "/v1/jobs", headers=token)
        await login(page, "alice", "a wrong one")
        await page.call("POST", "/v1/logout", {}, headers=token)
    written = "\n".join(f"{each.getMessage()} {each.args}" for each in caplog.records)
    assert "alice logs in by" in written
    for secret in (token["Kcms-Token"], PASSWORD, "a wrong one"):
        assert secret not in written
