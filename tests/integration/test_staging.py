"""Jobs of a site without a shared directory: files go from host to host, as their users."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pwd
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from kcms.errors import Forbidden
from kcms.gateway import files, pourer
from kcms.gateway.managers import Refused
from kcms.jobs.staged import entry
from kcms.manager.tickets import Ticket, Tickets
from kcms.stage.part import part_name
from tests.integration.attached import ALICE, BOB, standing
from tests.integration.managed import Answer, Peer
from tests.integration.staged import Apart, digest_of

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="several users need root")

WHO = b'#!/bin/sh\nid -un; cat; echo "$1"; echo wrong >&2; exit 3\n'
TRUE = b"#!/bin/sh\ntrue\n"
PAD = b"#!/bin/sh\necho padded; exit\n" + b"#" * (1 << 20)


@pytest.fixture
async def site() -> AsyncIterator[Apart]:
    with tempfile.TemporaryDirectory(prefix="kcms-staging-") as name:
        Path(name).chmod(0o755)
        async with standing(Path(name), Apart) as made:
            assert isinstance(made, Apart)
            yield made


@pytest.fixture
async def both(site: Apart) -> AsyncIterator[Apart]:
    async with site.gateway("alpha1"), site.gateway("alpha2"):
        yield site


@pytest.fixture
def sent(caplog: pytest.LogCaptureFixture) -> Any:
    """How many streams were opened for files."""
    caplog.set_level(logging.INFO, "kcms.gateway")
    return lambda: sum("opens a stream to file" in each for each in caplog.messages)


async def test_a_staged_job_runs_and_its_files_are_fetched(both: Apart, sent: Any) -> None:
    both.file(WHO, "who.sh")
    both.file("the input\n", "in.txt")
    error = both.home("alpha2", ALICE) + "/e.%j"
    words = ("--stage", "--input", "in.txt", "--error", error, "who.sh", "an argument")
    job = await both.submit(*words)
    assert (job["state"], job["reason"]) == ("FAILED", "exit status 3"), job
    there = both.staged(WHO, "who.sh", "alpha2")
    assert there.read_bytes() == WHO
    assert there.stat().st_mode & 0o777 == 0o755
    number = job["id"]
    said = f"{ALICE}\nthe input\nan argument\n"
    assert sent() == 2
    assert await both.kcms("output", str(number)) == (0, said, "")
    assert await both.kcms("output", "--error", str(number)) == (0, "wrong\n", "")
    assert sent() == 4  # from where it is, not from here
    status, output, problem = await both.kcms("fetch", str(number))
    assert (status, output.split(), problem) == (0, [f"kcms-{number}.out", f"e.{number}"], "")
    assert (Path(both.home("alpha1", ALICE)) / f"kcms-{number}.out").read_text() == said
    assert "there already" in (await both.kcms("fetch", str(number)))[1]


async def test_any_file_of_its_user_is_fetched_from_the_node_that_ran_it(both: Apart) -> None:
    both.file(b"#!/bin/sh\nhead -c 3000000 /dev/zero > result; chmod 640 result\n", "make.sh")
    job = await both.submit("--stage", "make.sh")
    assert job["state"] == "COMPLETED", job
    assert (await both.kcms("fetch", str(job["id"]), "result"))[0] == 0
    got = Path(both.home("alpha1", ALICE)) / "result"
    assert got.read_bytes() == bytes(3_000_000)
    status, _, problem = await both.kcms("fetch", str(job["id"]), "none", "--to", "/tmp")
    assert (status, problem) == (1, f"kcms: there is no file {job['spec']['base_directory']}"
                                    "/none on alpha2\n")  # fmt: skip


async def test_what_is_there_is_not_sent_and_tasks_of_one_node_bring_it_once(
    both: Apart, sent: Any
) -> None:
    both.file(PAD, "pad.sh")
    job = await both.submit("--stage", "--class", "batch", "--total-tasks", "4", "pad.sh")
    assert job["state"] == "COMPLETED", job
    assert sent() == 1
    await both.submit("--stage", "pad.sh")
    assert sent() == 1
    for host in ("alpha1", "alpha2"):
        stage = both.staged(PAD, "pad.sh", host).parent.parent
        assert [each.name for each in stage.iterdir()] == [digest_of(PAD)[:32]]


@pytest.mark.parametrize(
    ("half", "begins"),
    [
        (PAD[: 1 << 19], [1 << 19]),
        (b"x" * (1 << 19), [1 << 19, 0]),
        (b"x" * (1 << 21), [0]),
    ],
)
async def test_a_broken_transfer_goes_on_and_what_is_wrong_begins_anew(
    both: Apart, monkeypatch: pytest.MonkeyPatch, half: bytes, begins: list[int]
) -> None:
    asked, wish_of = [], files._wish_of

    def seen(request: web.Request) -> dict[str, Any]:
        asked.append(wish_of(request))
        return asked[-1]

    monkeypatch.setattr(files, "_wish_of", seen)
    both.file(PAD, "pad.sh")
    stage = both.staged(PAD, "pad.sh", "alpha2").parent.parent
    both.own_directories(stage)
    part = both.file(half, part_name(digest_of(PAD)), "alpha2").rename(
        stage / part_name(digest_of(PAD))
    )
    job = await both.submit("--stage", "pad.sh")
    assert job["state"] == "COMPLETED", job
    assert both.staged(PAD, "pad.sh", "alpha2").read_bytes() == PAD
    assert [each["begin"] for each in asked] == begins
    assert not part.exists()


async def _spoiled(both: Apart, how: str) -> dict[str, Any]:
    """A job whose file is spoiled where it was staged, before it begins."""
    both.file(TRUE, "true.sh")
    base = both.home("alpha2", ALICE)
    words = ("submit", "--json", "--hold", "--base-directory", base, "--stage", "true.sh")
    number = json.loads((await both.kcms(*words))[1])["id"]
    there = both.staged(TRUE, "true.sh", "alpha1")
    if how == "changed":
        there.write_bytes(b"#!/bin/sh\nrest\n")
    elif how == "short":
        there.write_bytes(b"#!/bin/sh\n")
    else:
        there.unlink()
    if how == "link":
        there.symlink_to("/etc/shadow")
    elif how == "directory's link":
        there.parent.rmdir()
        there.parent.symlink_to("/etc")
    elif how == "another's":
        there.write_bytes(TRUE)
    await both.kcms("release", str(number))
    return await both.over(number)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("changed", "it is not the file any more that was submitted"),
        ("short", "it is not the file any more that was submitted"),
        ("gone", "does not exist"),
        ("link", "is, or lies behind, a symbolic link"),
        ("directory's link", "is, or lies behind, a symbolic link"),
        ("another's", "is no regular file of its user"),
    ],
)
async def test_a_file_that_is_another_now_ends_the_job_with_a_reason(
    both: Apart, how: str, said: str
) -> None:
    job = await _spoiled(both, how)
    assert job["state"] == "FAILED"
    assert job["reason"].startswith("alpha2: cannot bring executable true.sh here: ")
    assert said in job["reason"]
    left = both.staged(TRUE, "true.sh", "alpha2").parent.parent
    assert [each.name for each in left.iterdir() if each.suffix == ".part"] == []


async def test_a_host_that_cannot_be_reached_is_tried_for_a_time_and_then_named(
    site: Apart,
) -> None:
    async with site.gateway("alpha2"):
        async with site.gateway("alpha1"):
            site.file(TRUE, "true.sh")
            base = site.home("alpha2", ALICE)
            words = ("submit", "--json", "--hold", "--base-directory", base, "--stage", "true.sh")
            number = json.loads((await site.kcms(*words))[1])["id"]
        await site.kcms("release", str(number), host="alpha2")
        job = await site.over(number, "alpha2")
    assert job["state"] == "FAILED"
    assert "the gateway of alpha1 at 127.0.0.1" in job["reason"]
    assert "(tried for 1 s)" in job["reason"]


async def test_a_ticket_that_a_manager_forgot_is_asked_for_again(
    both: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    redeem, forgot = Tickets.redeem, []

    def once(self: Tickets, *given: str) -> Ticket:
        if not forgot:
            forgot.append(given)
            raise Forbidden("this ticket is not good (any more)")
        return redeem(self, *given)

    monkeypatch.setattr(Tickets, "redeem", once)
    both.file(TRUE, "true.sh")
    assert (await both.submit("--stage", "true.sh"))["state"] == "COMPLETED"
    assert forgot


async def test_who_has_to_wait_for_a_turn_waits_longer_than_for_a_host_that_is_gone(
    both: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pourer, "AT_ONCE", 0)
    monkeypatch.setattr(pourer, "TURN_SECONDS", 0.1)
    both.file(TRUE, "true.sh")
    waiting = asyncio.create_task(both.submit("--stage", "true.sh"))
    await asyncio.sleep(3)  # a host that is gone is given up after one second here
    assert not waiting.done()
    monkeypatch.setattr(pourer, "AT_ONCE", 1)
    assert (await waiting)["state"] == "COMPLETED"


async def test_a_disk_that_is_full_is_named_and_a_job_that_may_begins_anew(both: Apart) -> None:
    both.file(PAD, "pad.sh")
    home, owner = both.home("alpha2", ALICE), pwd.getpwnam(ALICE)
    options = f"size=200k,uid={owner.pw_uid},gid={owner.pw_gid},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", home], check=True)
    try:
        job = await both.submit("--stage", "pad.sh")
        assert (job["state"], job["tasks"][0]["restarts"]) == ("FAILED", 0)
        assert "No space left on device" in job["reason"]
        assert job["tasks"][0]["node"] == "alpha2"
        again = await both.submit("--stage", "--requeue", "pad.sh")
        assert (again["state"], again["tasks"][0]["restarts"]) == ("FAILED", 10), str(
            again["tasks"]
        )[-600:]
    finally:
        subprocess.run(["umount", home], check=True)


async def test_a_reader_that_goes_leaves_no_child(
    both: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await _left_behind(both)
    monkeypatch.setattr(pourer, "STALL", 1.0)
    before = _children_of(ALICE)
    socket = both.directory / "alpha1.sock"
    reader, writer = await asyncio.open_unix_connection(str(socket))
    big = f"{job['spec']['base_directory']}/big"
    writer.write(
        f"GET /v1/jobs/{job['id']}/file?which=file&act=read&file={big} HTTP/1.1\r\n".encode()
        + f"Host: x\r\nKcms-As: {ALICE}\r\n".encode()
        + b"Connection: Upgrade\r\nUpgrade: kcms-file\r\n\r\n"
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 101 ")
    await _until(lambda: _children_of(ALICE) > before)
    await _until(lambda: _children_of(ALICE) == before)  # as nothing more is read
    writer.close()


async def _until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not reached():
            await asyncio.sleep(0.02)


async def _left_behind(both: Apart) -> dict[str, Any]:
    both.file(b"#!/bin/sh\ntruncate -s 1G big\n", "make.sh")
    job = await both.submit("--stage", "make.sh")
    assert job["state"] == "COMPLETED", job
    return job


def _children_of(user: str) -> int:
    uid, found = str(pwd.getpwnam(user).pw_uid), 0
    for each in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            found += f"\nUid:\t{uid}\t" in each.read_text()
    return found


# who may ---------------------------------------------------------------------------------------


def _as(user: str) -> dict[str, str]:
    found = pwd.getpwnam(user)
    return {"Kcms-User": user, "Kcms-Uid": str(found.pw_uid), "Kcms-Gid": str(found.pw_gid)}


async def _ask(site: Apart, host: str, user: str, path: str, body: dict[str, Any]) -> Answer:
    async with site.grid.peer(host) as peer:
        caller = Peer(host, peer.session, peer.base)
        caller.session.headers.update(_as(user))
        return await caller.call("POST", path, body)


async def test_only_the_owner_hears_of_a_file_and_a_ticket_opens_one_once(site: Apart) -> None:
    async with site.gateway("alpha1") as ours, site.gateway("alpha2"):
        site.file(TRUE, "true.sh")
        number = (await site.submit("--stage", "true.sh"))["id"]
        path, wish = f"/v1/jobs/{number}/file", {"which": "output", "act": "read"}
        status, said = await _ask(site, "alpha1", BOB, path, wish)
        assert (status, said["error"]["code"]) == (404, "not_found")
        status, told = await _ask(site, "alpha1", ALICE, path, wish)
        assert (status, told["node"], told["user"]) == (200, "alpha2", ALICE)
        where = "alpha2", "127.0.0.1", told["port"]
        with pytest.raises(Refused, match="not for streams of kind 'attach'"):
            await ours.open(*where, "attach", told["ticket"])
        for each in (told["ticket"], "guessed"):
            with pytest.raises(Refused, match="not good"):
                await ours.open(*where, "file", each)


async def test_a_host_without_a_task_of_the_job_gets_none_of_its_files(both: Apart) -> None:
    both.file(b"#!/bin/sh\nsleep 30\n", "sleep.sh")
    base = both.home("alpha2", ALICE)
    words = ("submit", "--json", "--base-directory", base, "--stage", "sleep.sh")
    number = json.loads((await both.kcms(*words))[1])["id"]
    path, wish = f"/v1/jobs/{number}/file", {"which": "executable", "act": "read"}
    while (await _ask(both, "alpha2", ALICE, path, wish))[0] != 200:
        await asyncio.sleep(0.05)
    status, said = await _ask(both, "head", ALICE, path, wish)
    assert (status, said["error"]["message"]) == (
        403,
        f"head has no task of job {number}, so it needs none of its files",
    )
    await both.kcms("kill", str(number))


async def test_a_certificate_of_a_node_alone_gets_nothing(site: Apart) -> None:
    node = site.grid.site.issue("alpha2", uris=("kcms://node/alpha2",), ips=("127.0.0.1",))
    async with site.gateway("alpha1"), site.gateway("alpha2"):
        site.file(TRUE, "true.sh")
        number = (await site.submit("--stage", "true.sh"))["id"]
        site.grid.certificates["alpha2"] = node
        path, wish = f"/v1/jobs/{number}/file", {"which": "output", "act": "read"}
        status, said = await _ask(site, "alpha2", ALICE, path, wish)
        assert (status, said["error"]["message"]) == (
            403,
            "this certificate may not speak for users",
        )
        async with site.grid.peer("alpha1") as peer:
            peer.session.headers.update(_as(ALICE))
            told = (await peer.call("POST", path, wish))[1]
    async with site.gateway("alpha1"):  # as a node that was broken into would open one
        from kcms.config import GatewayConfig
        from kcms.gateway.managers import Clusters, Managers
        from kcms.gateway.peers import Peers

        config: GatewayConfig = site.config("alpha2")
        async with Managers.open(config) as managers:
            stranger = Peers(config, managers, Clusters(config), {})
            with pytest.raises(Refused, match="this certificate may not speak for users"):
                await stranger.open(
                    "alpha1", "127.0.0.1", site.ports["alpha1"], "file", told["ticket"]
                )


@pytest.mark.parametrize(
    "path",
    ["{home}/.kcms/stage/{content}/../../../secret", "{other}/.kcms/stage/{content}/true.sh"],
)
async def test_a_staged_path_is_in_ones_own_stage(both: Apart, path: str) -> None:
    content = digest_of(TRUE)[:32]
    home, other = both.home("alpha1", ALICE), both.home("alpha1", BOB)
    program = path.format(home=home, other=other, content=content)
    spec = {"executable": program, "staged": {"executable": entry(digest_of(TRUE), len(TRUE))}}
    status, said = await both.post("/v1/jobs", {"spec": spec})
    assert status == 400
    assert "staged" in said["error"]["message"]


async def test_output_that_is_a_link_is_not_read(both: Apart) -> None:
    both.file(b"#!/bin/sh\nln -sf /etc/passwd link\n", "link.sh")
    output = both.home("alpha2", ALICE) + "/link"
    job = await both.submit("--stage", "--output", output, "link.sh")
    status, _, problem = await both.kcms("fetch", str(job["id"]), "--to", "/tmp")
    assert status == 1
    assert "symbolic link" in problem
    status, _, problem = await both.kcms("output", str(job["id"]))
    assert status == 1
    assert "symbolic link" in problem


async def test_a_program_is_submitted_staged_where_nothing_is_shared(both: Apart) -> None:
    both.file(TRUE, "true.sh")
    status, _, problem = await both.kcms("submit", "true.sh")
    assert status == 1
    assert "is on no shared directory, as there is none: submit the job with --stage" in problem


async def test_a_gateway_starts_where_nothing_is_shared(site: Apart) -> None:
    gateway = await site.process("head")
    status, output, _ = await site.kcms("clusters", host="head")
    assert (status, "UP" in output) == (0, True)
    gateway.terminate()
    assert await gateway.wait() == 0
