"""Logging in: who may, that all failures look the same, and that hashing is bounded."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kcms.errors import Forbidden, TooMany, Unauthorized, Unavailable
from kcms.manager import logins as module
from kcms.manager.core import Caller
from kcms.manager.logins import PLACES, WRONG, Asker, Line, Logins
from kcms.manager.passwords import Cost, Entry, Passwords
from kcms.manager.sessions import Account, Sessions, Throttle

ALICE = Caller("alice", 2001, 2001, "alpha1")
BOB = Caller("bob", 2002, 2002, "alpha1")
ROOT = Caller("root", 0, 0, "head", grid_root=True)
CHEAP = Cost(n=4, r=1, p=1)
PASSWORD = "correct horse"
WEB = Asker("kcms-web", "head")


class Site:
    """Logins over a directory, with a clock that the test turns."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = 0.0
        self.open: list[Logins] = []

    def logins(self, web_root: bool = False, cost: Cost = CHEAP) -> Logins:
        sessions = Sessions(100, 1000, lambda: self.now)
        throttle = Throttle(lambda: self.now)
        made = Logins(Passwords(str(self.directory)), sessions, throttle, web_root, cost)
        self.open.append(made)
        return made


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for each in made.open:
        each.close()


async def fails(logins: Logins, user: str, password: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        await logins.login(WEB, user, password)
    assert caught.value.message == WRONG


async def test_who_logs_in_acts_as_themselves(site: Site) -> None:
    logins = site.logins()
    await logins.set_password(ALICE, PASSWORD)
    token, account, left = await logins.login(WEB, "alice", PASSWORD)
    assert (account, left) == (Account("alice", 2001, 2001), 100)
    assert logins.caller(token, "head") == Caller("alice", 2001, 2001, "head", grid_root=False)
    logins.logout(token)
    for call in (lambda: logins.caller(token, "head"), lambda: logins.logout(token)):
        with pytest.raises(Unauthorized, match="this login is over"):
            call()


async def test_every_failure_has_one_sentence_and_one_cost(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins = site.logins(web_root=False)
    await logins.set_password(ALICE, PASSWORD)
    Passwords(str(site.directory)).put("root", Entry.make(Account("root", 0, 0), PASSWORD, CHEAP))
    logins = site.logins()
    costs = []
    real = Cost.hash

    def counted(self: Cost, password: str, salt: bytes) -> bytes:
        costs.append((self, len(salt)))
        return real(self, password, salt)

    monkeypatch.setattr(Cost, "hash", counted)
    for user, password in (("alice", "wrong"), ("nobody", PASSWORD), ("root", PASSWORD), ("", "")):
        await fails(logins, user, password)
    assert costs == [(CHEAP, 16)] * 4


async def test_a_password_that_was_taken_away_or_changed_opens_nothing(site: Site) -> None:
    logins = site.logins()
    await logins.set_password(ALICE, PASSWORD)
    await logins.set_password(BOB, PASSWORD)
    tokens = [(await logins.login(WEB, "alice", PASSWORD))[0] for _ in range(2)]
    bob = (await logins.login(WEB, "bob", PASSWORD))[0]
    await logins.set_password(ALICE, "another one")
    for token in tokens:
        with pytest.raises(Unauthorized):
            logins.session(token)
    assert logins.session(bob)[0].user == "bob"
    await fails(logins, "alice", PASSWORD)
    token = (await logins.login(WEB, "alice", "another one"))[0]
    await logins.set_password(ALICE, None)
    with pytest.raises(Unauthorized):
        logins.session(token)
    await fails(logins, "alice", "another one")


async def test_a_change_while_a_login_is_looked_at_wins(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins = site.logins()
    await logins.set_password(ALICE, PASSWORD)
    looking, go_on = threading.Event(), threading.Event()
    real = Entry.fits

    def slow(self: Entry, password: str) -> bool:
        looking.set()
        assert go_on.wait(30)
        return real(self, password)

    monkeypatch.setattr(Entry, "fits", slow)
    login = asyncio.create_task(logins.login(WEB, "alice", PASSWORD))
    await asyncio.to_thread(looking.wait, 30)
    await logins.set_password(ALICE, "another one")
    go_on.set()
    with pytest.raises(Unauthorized):
        await login


async def test_root_only_where_it_is_switched_on(site: Site) -> None:
    off = site.logins(web_root=False)
    with pytest.raises(Forbidden, match="web_root is off"):
        await off.set_password(ROOT, PASSWORD)
    await off.set_password(ROOT, None)
    on = site.logins(web_root=True)
    toor = Caller("toor", 0, 0, "alpha1")
    with pytest.raises(Forbidden):
        await on.set_password(toor, PASSWORD)
    await on.set_password(ROOT, PASSWORD)
    token, account, _ = await on.login(WEB, "root", PASSWORD)
    assert account.root
    assert on.caller(token, "head").grid_root
    await fails(site.logins(web_root=False), "root", PASSWORD)


async def test_guesses_are_bounded_also_when_made_at_once(site: Site) -> None:
    logins = site.logins()
    await logins.set_password(ALICE, PASSWORD)
    tried = [logins.login(WEB, "alice", f"guess {number}") for number in range(PLACES)]
    outcomes = await asyncio.gather(*tried, return_exceptions=True)
    assert [type(each) for each in outcomes] == [Unauthorized] * 5 + [TooMany] * 3
    with pytest.raises(TooMany, match="as alice: wait for 1 s"):
        await logins.login(WEB, "alice", PASSWORD)
    site.now += 1
    await logins.login(WEB, "alice", PASSWORD)
    await fails(logins, "alice", "wrong")


async def test_a_hash_with_old_parameters_is_made_anew(site: Site) -> None:
    before = site.logins(cost=CHEAP)
    await before.set_password(ALICE, PASSWORD)
    dearer = Cost(n=8, r=1, p=2)
    logins = site.logins(cost=dearer)
    await fails(logins, "alice", "wrong")
    token = (await logins.login(WEB, "alice", PASSWORD))[0]
    assert logins.session(token)[0] == Account("alice", 2001, 2001)
    entry = Passwords(str(site.directory)).get("alice")
    assert entry is not None
    assert (entry.cost, entry.fits(PASSWORD)) == (dearer, True)


async def test_a_manager_that_starts_anew_has_passwords_but_no_logins(site: Site) -> None:
    before = site.logins()
    await before.set_password(ALICE, PASSWORD)
    token = (await before.login(WEB, "alice", PASSWORD))[0]
    after = site.logins()
    with pytest.raises(Unauthorized):
        after.session(token)
    await after.login(WEB, "alice", PASSWORD)


async def test_nothing_secret_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    logins = site.logins()
    await logins.set_password(ALICE, PASSWORD)
    token = (await logins.login(WEB, "alice", PASSWORD))[0]
    await fails(logins, "my password by mistake", PASSWORD)
    await fails(logins, "alice", "another secret")
    logins.logout(token)
    said = "\n".join(f"{each.getMessage()} {each.args}" for each in caplog.records)
    assert "alice logs in by kcms-web of head" in said
    for secret in (token, PASSWORD, "by mistake", "another secret"):
        assert secret not in said


async def test_one_asker_has_few_places_and_others_still_have_theirs() -> None:
    go_on, line = threading.Event(), Line()
    try:
        held = [
            asyncio.ensure_future(line.run("bob", lambda: go_on.wait(30))) for _ in range(PLACES)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="many log in at this moment"):
            await line.run("bob", lambda: True)
        held[0].cancel()  # the caller has gone, but its thread is still busy
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await line.run("bob", lambda: True)
        other = asyncio.ensure_future(line.run("alice", lambda: True))
        await asyncio.sleep(0)
        go_on.set()
        assert await other
        await asyncio.gather(*held[1:])
        while line._places:
            await asyncio.sleep(0.001)
    finally:
        go_on.set()
        line.close()


async def test_a_user_of_several_hosts_has_the_places_of_one(site: Site) -> None:
    logins = site.logins()
    tried = [
        logins.login(Asker("mallory", f"alpha{number}"), f"name{number}", "guess")
        for number in range(PLACES + 1)
    ]
    outcomes = await asyncio.gather(*tried, return_exceptions=True)
    assert [type(each) for each in outcomes] == [Unauthorized] * PLACES + [Unavailable]


async def test_hashing_gives_way_to_the_managers_work() -> None:
    line = Line()
    try:

        def priority() -> int:
            return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

        assert await line.run("alice", priority) == module.NICE
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < module.NICE
    finally:
        line.close()


async def test_all_places_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALL_PLACES", 3)
    go_on, line = threading.Event(), Line()
    try:
        held = [
            asyncio.ensure_future(line.run(f"user {number}", lambda: go_on.wait(30)))
            for number in range(3)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await line.run("another", lambda: True)
        go_on.set()
        await asyncio.gather(*held)
    finally:
        go_on.set()
        line.close()
