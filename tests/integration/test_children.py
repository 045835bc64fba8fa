"""Children that are users, made by a real server: their ids, their ends, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import json
import os
import pwd
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kcms.errors import InvalidRequest, Unavailable
from kcms.gateway import children as module
from kcms.gateway.checker import Checker
from kcms.gateway.children import APP, TRIES, Children
from kcms.gateway.users import User
from tests.integration.face import ME

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="several users need root")
SECONDS = 15.0
# What a child does in place of looking at files; ``open`` hangs as a dead file server would.
ANSWER = """
import os, sys, signal, time
sys.path.insert(0, {app!r})
from kcms.gateway import become, check, forks
def answer(request):
    if request.get("hang"):
        os.open(request["hang"], os.O_RDONLY)
    if request.get("die"):
        os.kill(os.getpid(), request["die"])
    if request.get("sleep"):
        open(request["sleep"], "w").write(str(os.getpid()))
        time.sleep(600)
    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
    status = {{key: value.strip() for key, value in status.items()}}
    return {{"pid": os.getpid(), "server": os.getppid(), "sid": os.getsid(0), "status": status,
             "files": len(os.listdir("/proc/self/fd")) - 1,
             "groups": sorted(os.getgroups()), "back": back(), "path": request.get("path"),
             "problems": [None] * len(request.get("files", []))}}
def back():
    done = []
    for call in (lambda: os.setuid(0), lambda: os.seteuid({own}), lambda: os.setgid(0),
                 lambda: os.setgroups([0])):
        try: call(); done.append(True)
        except PermissionError: done.append(False)
    return done
check.answer = answer
sys.exit(forks.main())
"""


def user(name: str) -> User:
    entry = pwd.getpwnam(name)
    return User(name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


ALICE, BOB, MYSELF = user("games"), user("news"), user(ME.pw_name)


@contextlib.asynccontextmanager
async def scripted(*prefix: str) -> AsyncIterator[Children]:
    own = pwd.getpwnam("daemon").pw_uid
    code = ANSWER.format(app=str(APP), own=own)
    children = Children([*prefix, sys.executable, "-I", "-c", code])
    try:
        yield children
    finally:
        await children.close()


async def asked(children: Children, who: User, seconds: float = SECONDS, **more: Any) -> Any:
    async with asyncio.timeout(2 * SECONDS):
        answer = await children.ask(who, json.dumps(more).encode(), seconds)
    return json.loads(answer) if answer else None


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kcms-children-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


AS_GATEWAY = (
    "setpriv",
    "--reuid=daemon",
    "--regid=daemon",
    "--clear-groups",
    "--bounding-set=-all,+setuid,+setgid",
    "--inh-caps=-all,+setuid,+setgid",
    "--ambient-caps=-all,+setuid,+setgid",
    "--no-new-privs",
)


@needs_root
async def test_a_child_is_its_user_with_no_capability_and_no_way_back() -> None:
    async with scripted(*AS_GATEWAY) as children:
        got = await asked(children, ALICE)
        server = Path(f"/proc/{got['server']}/status").read_text()
    status = got["status"]
    assert status["Uid"].split() == [str(ALICE.uid)] * 4
    assert status["Gid"].split() == [str(ALICE.gid)] * 4
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert got["groups"] == sorted(os.getgrouplist(ALICE.name, ALICE.gid))
    assert got["back"] == [False] * 4
    assert got["files"] == 3  # its stream, standard output and error
    assert "CapPrm:\t00000000000000c0" in server
    assert "CapAmb:\t0000000000000000" in server
    assert "NoNewPrivs:\t1" in server


@needs_root
async def test_a_server_of_root_keeps_no_more(place: Path) -> None:
    async with scripted() as children:
        got = await asked(children, ALICE)
        server = Path(f"/proc/{got['server']}/status").read_text()
        mine = await asked(children, MYSELF)
    assert "CapPrm:\t00000000000000c0" in server
    assert got["back"] == [False] * 4
    assert int(mine["status"]["CapPrm"], 16) == int(mine["status"]["CapEff"], 16) == 0


@needs_root
async def test_a_child_has_its_users_other_groups() -> None:
    members = [(name, group) for group in grp.getgrall() for name in group.gr_mem if name != "root"]
    if not members:
        pytest.skip("no user of this host has a second group")
    name, group = members[0]
    async with scripted() as children:
        assert group.gr_gid in (await asked(children, user(name)))["groups"]


@needs_root
async def test_two_users_at_once_are_two_children_that_see_their_own() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        async with Checker.open([name]) as checker:
            paths = {each: closed_program(Path(name), each) for each in (ALICE, BOB)}
            calls = [
                checker.check(who, files(paths[whose], name))
                for _ in range(5)
                for who in (ALICE, BOB)
                for whose in (ALICE, BOB)
            ]
            found = await asyncio.gather(*calls, return_exceptions=True)
    for at, outcome in enumerate(found):
        if at % 4 in (0, 3):
            assert outcome is None
        else:
            assert isinstance(outcome, InvalidRequest)
            assert "is below a directory closed to this user" in str(outcome)


def closed_program(directory: Path, who: User) -> str:
    home = directory / who.name
    home.mkdir(mode=0o700)
    program = home / "run.sh"
    program.write_text("")
    program.chmod(0o700)
    for each in (home, program):
        os.chown(each, who.uid, who.gid)
    return str(program)


def files(program: str, base: str) -> dict[str, str | None]:
    rest = {"input": None, "output": "/dev/null", "error": "/dev/null"}
    return {"executable": program, "base_directory": base, **rest}


async def test_a_child_answers_what_its_user_asks_next_and_two_questions_at_once_are_two(
    place: Path,
) -> None:
    gate = place / "gate"
    os.mkfifo(gate)
    async with scripted() as children:
        got = [await asked(children, MYSELF, path=f"/{each}") for each in range(3)]
        two = [
            asyncio.create_task(asked(children, MYSELF, path=each, hang=str(gate))) for each in "ab"
        ]
        await asyncio.sleep(0.1)  # neither is answered before the other is asked
        opened = os.open(gate, os.O_RDWR)
        both = await asyncio.gather(*two)
        os.close(opened)
    assert [each["path"] for each in [*got, *both]] == ["/0", "/1", "/2", "a", "b"]
    assert len({each["pid"] for each in got}) == 1
    assert len({each["pid"] for each in both}) == 2
    assert len({each["server"] for each in [*got, *both]}) == 1


async def test_a_server_that_is_replaced_is_ended_and_waited_for(place: Path) -> None:
    """It would be collected as garbage while it still runs, by a gateway that ends."""
    deaf = f"mkdir {place}/first 2>/dev/null || exec cat; exec 0</dev/null; exec sleep 600"
    children = Children(["/bin/sh", "-c", deaf])
    server = await children.ready()
    while not server.gone:
        await asyncio.sleep(0.02)
    assert await children.ready() is not server
    await asyncio.wait_for(children.close(), 30)
    assert server.process.returncode == -signal.SIGKILL


@needs_root
async def test_no_child_answers_for_another_user() -> None:
    bobs_too = replace(ALICE, gid=BOB.gid)
    async with scripted(*AS_GATEWAY) as children:
        got = [await asked(children, each) for each in (ALICE, BOB, bobs_too, ALICE)]
    assert [each["status"]["Uid"].split()[0] for each in got] == ["5", "9", "5", "5"]
    assert len({each["pid"] for each in got[:3]}) == 3
    assert got[3]["pid"] == got[0]["pid"]


async def test_a_child_is_kept_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async def another_after(pause: float) -> bool:
        first = (await asked(children, MYSELF))["pid"]
        await asyncio.sleep(pause)
        again = (await asked(children, MYSELF))["pid"]
        if first != again:
            await ended(first)
        return bool(first != again)

    async with scripted() as children:
        monkeypatch.setattr(module, "IDLE_SECONDS", 0.2)
        assert not await another_after(0.0)
        assert await another_after(0.5)
        monkeypatch.setattr(module, "IDLE_SECONDS", 60.0)
        monkeypatch.setattr(module, "LIFE_SECONDS", 1.0)
        assert await another_after(1.5)
        monkeypatch.setattr(module, "LIFE_SECONDS", -1.0)
        assert await another_after(0.0)


@needs_root
async def test_few_idle_children_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 1)
    async with scripted(*AS_GATEWAY) as children:
        first = (await asked(children, ALICE))["pid"]
        await asked(children, BOB)
        await ended(first)


async def test_a_child_that_ended_meanwhile_is_not_noticed() -> None:
    async with scripted() as children:
        first = (await asked(children, MYSELF))["pid"]
        os.kill(first, signal.SIGKILL)
        assert (await asked(children, MYSELF))["pid"] != first


async def test_whoever_asks_no_more_leaves_no_child(place: Path) -> None:
    async with scripted() as children:
        call = asyncio.create_task(asked(children, MYSELF, sleep=f"{place}/pid"))
        pid = await written(place / "pid")
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        assert (await asked(children, MYSELF))["pid"] != pid
        os.kill(pid, signal.SIGKILL)


async def test_a_hung_child_holds_no_other_and_is_ended(place: Path) -> None:
    fifo = place / "fifo"
    os.mkfifo(fifo, 0o666)
    async with scripted() as children:
        hung = asyncio.create_task(asked(children, MYSELF, 1.0, hang=str(fifo)))
        for _ in range(5):
            assert (await asked(children, MYSELF))["pid"]
        assert not hung.done()
        assert await hung is None


@needs_root
async def test_another_users_child_is_ended_though_nobody_here_may_kill_it(place: Path) -> None:
    """Also one that its user has stopped."""
    async with scripted(*AS_GATEWAY) as children:
        call = asyncio.create_task(asked(children, ALICE, 1.5, sleep=f"{place}/pid"))
        pid = await written(place / "pid")
        os.kill(pid, signal.SIGSTOP)
        assert await call is None
        await ended(pid)
        assert (await asked(children, ALICE))["pid"] != pid


async def written(path: Path) -> int:
    end = time.monotonic() + SECONDS
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    return int(path.read_text())


async def ended(pid: int) -> None:
    end = time.monotonic() + SECONDS
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_a_server_that_is_killed_loses_no_answer(place: Path) -> None:
    """A child goes on without it; an order that it had not begun is given to the next."""
    async with scripted() as children:
        server = (await asked(children, MYSELF))["server"]
        begun = asyncio.create_task(asked(children, MYSELF, sleep=f"{place}/pid"))
        pid = await written(place / "pid")
        os.kill(server, signal.SIGSTOP)
        waiting = [asyncio.create_task(asked(children, MYSELF, path=each)) for each in "abc"]
        await asyncio.sleep(0.2)
        os.kill(server, signal.SIGKILL)
        found = await asyncio.gather(*waiting)
        assert [each["path"] for each in found] == ["a", "b", "c"]
        new = {each["server"] for each in found}
        assert len(new) == 1
        assert server not in new
        assert not begun.done()
        assert Path(f"/proc/{pid}").exists()
        begun.cancel()
        os.kill(pid, signal.SIGKILL)


async def test_a_child_that_is_killed_is_not_repeated_for_ever(place: Path) -> None:
    async with scripted() as children:
        call = asyncio.create_task(asked(children, MYSELF, sleep=f"{place}/pid"))
        for _ in range(TRIES):
            pid = await written(place / "pid")
            (place / "pid").unlink()
            os.kill(pid, signal.SIGKILL)
        assert await call is None


async def test_a_server_that_is_stopped_keeps_no_order_beyond_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LIFE_SECONDS", -1.0)  # so that none is kept
    async with scripted() as children:
        server = (await asked(children, MYSELF))["server"]
        checker = Checker(["/"], children, seconds=0.5)
        os.kill(server, signal.SIGSTOP)
        with pytest.raises(Unavailable, match=r"took over 0\.5 s"):
            await checker.check(MYSELF, {})
        os.kill(server, signal.SIGCONT)
        assert (await asked(children, MYSELF))["server"] == server


@needs_root
async def test_another_users_child_outlives_its_server_for_its_time_only(place: Path) -> None:
    async with scripted(*AS_GATEWAY) as children:
        call = asyncio.create_task(asked(children, ALICE, 2.0, sleep=f"{place}/pid"))
        pid = await written(place / "pid")
        await children.close()
        await ended(pid)
        call.cancel()


async def test_an_idle_server_that_was_killed_is_not_noticed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIFE_SECONDS", -1.0)  # so that no child is kept
    async with scripted() as children:
        server = (await asked(children, MYSELF))["server"]
        os.kill(server, signal.SIGKILL)
        assert (await asked(children, MYSELF))["server"] != server
        assert "ended with status -9" in caplog.text


async def test_what_cannot_start_is_said() -> None:
    async with Checker.open(["/"], command=["/nonexistent/python3"]) as checker:
        with pytest.raises(Unavailable, match="No such file or directory"):
            await checker.check(MYSELF, {})
    async with Checker.open(["/"], command=["/bin/false"]) as checker:
        with pytest.raises(Unavailable, match="the journal of kcms-gateway says why"):
            await checker.check(MYSELF, {})


@needs_root
async def test_a_user_who_cannot_be_taken_is_no_ones_check() -> None:
    """Without the capabilities nothing is looked at as the gateway itself."""
    without = ("setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups")
    async with scripted(*without) as children:
        assert await asked(children, ALICE) == {
            "failed": "PermissionError: [Errno 1] Operation not permitted"
        }


@needs_root
async def test_a_hung_check_of_one_user_lets_others_submit(place: Path) -> None:
    """A directory that never answers is stood for by a stopped child."""
    async with scripted(*AS_GATEWAY) as children:
        checker = Checker([str(place)], children, seconds=1.0, at_once=1)
        hung = asyncio.create_task(asked(children, ALICE, 1.0, sleep=f"{place}/pid"))
        os.kill(await written(place / "pid"), signal.SIGSTOP)
        await checker.check(BOB, {})
        assert await hung is None
