"""``kcms run`` through two gateways, over real TLS, to a real init: streams, ends and strangers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import pwd
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kcms.errors import Unavailable
from kcms.gateway.managers import Refused
from tests.integration.attached import ALICE, BOB, ROLES, Site, standing
from tests.integration.managed import Answer, Peer, headers_of

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="several users need root")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    with tempfile.TemporaryDirectory(prefix="kcms-attach-") as name:
        Path(name).chmod(0o755)
        async with standing(Path(name)) as made:
            yield made


@pytest.fixture
async def both(site: Site) -> AsyncIterator[Site]:
    async with site.gateway("alpha1"), site.gateway("alpha2"):
        yield site


def sh(script: str) -> tuple[str, ...]:
    return ("--", "/bin/sh", "-c", script)


async def test_it_runs_as_the_user_with_streams_of_its_own(both: Site) -> None:
    status, output, error = await both.run(*sh("id -un; pwd; echo oops >&2; exit 7"))
    assert (status, error) == (7, b"oops\n")
    assert output.decode().split() == [ALICE, str(both.directory / ALICE)]


@pytest.mark.parametrize("option", ["-t", "-T"])
async def test_the_streams_are_the_users_own_and_can_be_opened_by_name(
    both: Site, option: str
) -> None:
    script = "echo one > /dev/stdout; echo two > /proc/self/fd/2; stat -Lc '%U %a' /dev/stdout"
    status, output, error = await both.run(option, *sh(script))
    assert status == 0
    assert (output + error).split() == (
        [b"one", b"two", ALICE.encode(), b"600"]
        if option == "-t"
        else [b"one", ALICE.encode(), b"600", b"two"]
    )


async def test_input_goes_there_and_back_whole_and_ends(both: Site) -> None:
    given = os.urandom(20 << 20)
    status, output, error = await both.run("--", "cat", given=given)
    assert (status, error) == (0, b"")
    assert hashlib.sha256(output).digest() == hashlib.sha256(given).digest()


async def test_a_flood_that_nobody_reads_waits_and_ends_by_its_pipe(both: Site) -> None:
    process = await both.start(*sh("yes; echo $? >&2"))
    assert process.stdout is not None
    assert process.stderr is not None
    assert await process.stdout.readexactly(2) == b"y\n"
    await asyncio.sleep(1)  # whoever buffers without bound takes hundreds of MB in that time
    rss = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
    assert int(rss) * 4 < 40_000
    process.stdout._transport.close()  # type: ignore[attr-defined]
    assert b"141" in await asyncio.wait_for(process.stderr.read(), 30)
    assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_a_program_that_takes_no_input_does_not_keep_the_writer(both: Site) -> None:
    process = await both.start(*sh("exec 0<&-; sleep 2; exit 3"))

    async def write() -> None:
        assert process.stdin is not None
        while True:
            process.stdin.write(bytes(1 << 16))
            await process.stdin.drain()

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        await asyncio.wait_for(write(), 30)
    assert await asyncio.wait_for(process.wait(), 30) == 3


async def test_the_signal_of_an_interrupt_is_the_programs(both: Site) -> None:
    script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done"
    process = await both.start(*sh(script))
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.stdout.read(), 30) == b"caught\n"
    assert await asyncio.wait_for(process.wait(), 30) == 9


async def test_what_ended_by_a_signal_is_128_and_its_number(both: Site) -> None:
    assert (await both.run(*sh("kill -TERM $$")))[0] == 128 + 15


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--", "/none"), "cannot run /none: No such file or directory"),
        (("--", "no-such-program"), "there is no program 'no-such-program' in PATH here"),
        (("--base-directory", "/tmp", "true"), "base_directory /tmp is not on a shared directory"),
    ],
)
async def test_what_cannot_run_is_125_and_a_sentence(
    both: Site, words: tuple[str, ...], said: str
) -> None:
    status, output, error = await both.run(*words)
    assert (status, output) == (125, b"")
    assert said in error.decode()
    assert error.count(b"\n") == 1


async def test_streams_that_are_closed_here_are_empty_there(both: Site) -> None:
    closed = ("sh", "-c", 'exec "$@" <&- 2>&-', "sh")
    status, output, error = await both.run(*sh("cat; echo $?; echo oops >&2"), before=closed)
    assert (status, output, error) == (0, b"0\n", b"")


async def test_no_other_user_connects_even_where_the_directory_lets_everybody_in(
    both: Site,
) -> None:
    process = await both.start(*sh("echo ready; cat"))
    assert process.stdout is not None
    await process.stdout.readline()
    both.sessions.chmod(0o755)
    (path,) = both.sessions.glob("*.sock")
    path.chmod(0o666)
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
        "s.settimeout(10); print(s.recv(1))"
    )
    for user in (ALICE, BOB):
        said = await asyncio.create_subprocess_exec(
            *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"),
            *(sys.executable, "-c", script, str(path)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert (await asyncio.wait_for(said.communicate(), 20))[0] == b"b''\n"
    output, _ = await asyncio.wait_for(process.communicate(b"still mine"), 30)
    assert output == b"still mine"


async def test_a_terminal_has_a_size_and_echoes(both: Site) -> None:
    status, output, _ = await both.run("-t", *sh("stty size; read line; tty"), given=b"hello\n")
    assert status == 0
    lines = output.decode().split("\r\n")
    assert "24 80" in lines
    assert "hello" in lines
    assert any(each.startswith("/dev/pts/") for each in lines)


async def test_the_end_of_input_is_that_of_the_terminal(both: Site) -> None:
    status, output, _ = await both.run("-t", *sh("cat; echo over"), given=b"a\n")
    assert status == 0
    assert output.decode().endswith("over\r\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("killed", [("alpha1",), ("alpha2",), ("alpha1", "alpha2")])
async def test_gateways_that_are_ended_and_come_back_end_no_session(
    site: Site, killed: tuple[str, ...], number: signal.Signals
) -> None:
    """Output, input and end arrive whole."""
    script = "n=0; while [ $n -lt 40 ]; do n=$((n+1)); echo line $n; sleep 0.1; done; cat; exit 5"
    gateways = {each: await site.process(each) for each in ("alpha1", "alpha2")}
    try:
        process = await site.start(*sh(script))
        assert process.stdout is not None
        assert process.stdin is not None
        first = await process.stdout.readline()
        for each in killed:
            gateways[each].send_signal(number)
            await asyncio.wait_for(gateways[each].wait(), 10)
        await asyncio.sleep(1)
        gateways |= {each: await site.process(each) for each in killed}
        process.stdin.write(b"the end\n")
        process.stdin.write_eof()
        rest = await asyncio.wait_for(process.stdout.read(), 60)
        status = await asyncio.wait_for(process.wait(), 30)
    finally:
        for gateway in gateways.values():
            gateway.kill()
            await gateway.wait()
    lines = (first + rest).decode().splitlines()
    assert lines == [*(f"line {n}" for n in range(1, 41)), "the end"]
    assert status == 5


@pytest.mark.parametrize("output", ["", "head -c 2000000 /dev/zero;"])
async def test_the_end_of_the_client_is_that_of_the_job(both: Site, output: str) -> None:
    """Within moments, even if output that it did not take makes its end a reset."""
    process = await both.start(*sh(f"echo $$; {output} exec sleep 1000"))
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    await asyncio.sleep(0.5)
    process.kill()
    await process.communicate()  # asyncio sees no end of what has output left
    await asyncio.sleep(0.5)
    async with both.grid.peer("head") as peer:
        headers = headers_of("root")
        for _ in range(300):
            answer = (await peer.call("GET", "/v1/jobs", headers=headers))[1]
            if answer["jobs"][-1]["state"] == "CANCELLED":
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)  # in what stands for a cgroup nobody else does
            await asyncio.sleep(0.1)
    assert answer["jobs"][-1]["reason"] == "the kcms run that was attached to it ended"


async def test_nobody_is_attached_to_anothers_job(both: Site) -> None:
    process = await both.start(*sh("cat"))
    async with both.grid.peer("alpha1") as peer:
        while True:
            alice = await _ticket(peer, ALICE, 1)
            if alice[0] == 200 and alice[1]["ticket"]:
                break
        assert await _ticket(peer, BOB, 1) == (
            404,
            {"error": {"code": "not_found", "message": f"there is no job 1 that {BOB} may see"}},
        )
    async with both.grid.peer("head") as head:
        status, answer = await head.call("POST", "/v1/jobs/1/ticket", headers=headers_of("root"))
        assert (status, answer["error"]["code"]) == (403, "forbidden")
    output, _ = await asyncio.wait_for(process.communicate(b"still mine"), 30)
    assert output == b"still mine"


async def test_a_ticket_is_good_once_and_between_its_hosts_alone(site: Site) -> None:
    async with site.gateway("alpha1") as peers, site.gateway("alpha2"):
        process = await site.start(*sh("echo ready; cat"))
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"  # so who is attached is the first
        port = site.ports["alpha2"]

        async def refused(ticket: str) -> str:
            with pytest.raises(Refused) as error:
                await peers.open("alpha2", "127.0.0.1", port, "attach", ticket)
            return error.value.code

        async with site.grid.peer("alpha1") as peer, site.grid.peer("head") as head:
            assert await refused("x" * 43) == "forbidden"
            while not (await _ticket(peer, ALICE, 1))[1].get("ticket"):
                await asyncio.sleep(0.05)
            theirs = (await _ticket(head, ALICE, 1))[1]["ticket"]
            assert await refused(theirs) == "forbidden"
            ours = (await _ticket(peer, ALICE, 1))[1]["ticket"]
            (await peers.open("alpha2", "127.0.0.1", port, "attach", ours)).abort()
            assert await refused(ours) == "forbidden"
            fresh = (await _ticket(peer, ALICE, 1))[1]["ticket"]
            with pytest.raises(Refused, match="no streams of kind 'files'"):
                await peers.open("alpha2", "127.0.0.1", port, "files", fresh)
            with pytest.raises(Unavailable, match="not the gateway of alpha3"):
                await peers.open("alpha3", "127.0.0.1", port, "attach", fresh)
            stolen = await peers.open("alpha2", "127.0.0.1", port, "attach", fresh)
            hello = {"key": "0" * 32, "state": bytes(16).hex(), "rows": 1, "columns": 1}
            body = json.dumps(hello).encode()
            frame = b"\x20" + len(body).to_bytes(3, "big") + body
            await stolen.write(len(frame).to_bytes(4, "big") + frame)
            assert b"somebody else is attached" in await stolen.reader.read(1000)
            stolen.abort()
        output, _ = await asyncio.wait_for(process.communicate(b"still mine"), 30)
        assert output == b"still mine"


async def _answer(both: Site, request: str) -> str:
    """All that comes until the gateway closes."""
    reader, writer = await asyncio.open_unix_connection(str(both.directory / "alpha1.sock"))
    try:
        writer.write(request.encode())
        return (await asyncio.wait_for(reader.read(), 5)).decode()
    finally:
        writer.close()


async def test_a_refusal_ends_the_connection_that_was_to_be_taken_over(both: Site) -> None:
    assert (await both.run("--", "true"))[0] == 0
    ask = f"GET /v1/jobs/1/attach HTTP/1.1\r\nHost: x\r\nKcms-As: {ALICE}\r\n"
    for said, error in (
        ("Upgrade: kcms-attach\r\nConnection: keep-alive", "say Connection: Upgrade"),
        ("Upgrade: kcms-attach\r\nConnection: Upgrade", "job 1 is over"),
    ):
        answer = ""
        for _ in range(50):  # the manager hears of the end a moment after the client
            answer = await _answer(both, f"{ask}{said}\r\n\r\n")
            if '"starting"' not in answer:
                break
            await asyncio.sleep(0.1)
        assert error in answer


async def test_a_host_that_was_removed_gets_no_ticket(both: Site) -> None:
    process = await both.start(*sh("cat"))
    async with both.grid.peer("alpha1") as peer:
        while not (await _ticket(peer, ALICE, 1))[1].get("ticket"):
            await asyncio.sleep(0.05)
        both.set_hosts({each: ROLES[each] for each in ROLES if each != "alpha1"})
        assert (await _ticket(peer, ALICE, 1))[0] == 403
    both.set_hosts(ROLES)
    await asyncio.wait_for(process.communicate(b""), 30)


async def _ticket(peer: Peer, user: str, job: int) -> Answer:
    entry = pwd.getpwnam(user)
    headers = {"Kcms-User": user, "Kcms-Uid": str(entry.pw_uid), "Kcms-Gid": str(entry.pw_gid)}
    return await peer.call("POST", f"/v1/jobs/{job}/ticket", headers=headers)


async def test_what_finds_no_place_in_time_is_cancelled_and_told_why(both: Site) -> None:
    async with both.grid.peer("head") as head:
        body = {"state": "drain", "reason": "cleaning"}
        await head.call("POST", "/v1/nodes/alpha2/state", body, headers=headers_of("root"))
        status, output, error = await both.run("--wait", "1", "--", "true")
        jobs = (await head.call("GET", "/v1/jobs", headers=headers_of("root")))[1]["jobs"]
    assert (status, output) == (125, b"")
    last = error.decode().splitlines()[-1]
    assert last.startswith("kcms: job 1 did not begin within 1 s, and is cancelled: ")
    assert "drained" in last
    assert jobs[-1]["state"] == "CANCELLED"
