"""The calls of a page before a scripted manager: tokens, passwords, output, moves, node states."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from kcms import door
from kcms.client import Client, ClientError
from tests.certificates import Site, make_site
from tests.integration.face import ME
from tests.integration.test_face import AS_ME, Face, answer, before

TOKEN = "t" * 43
WITH_TOKEN = {"Kcms-Token": TOKEN}
OTHER = pwd.getpwnam("games")
MINE = {"user": OTHER.pw_name, "uid": OTHER.pw_uid, "gid": OTHER.pw_gid, "root": False}
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
async def face(site: Site) -> AsyncIterator[Face]:
    with tempfile.TemporaryDirectory(prefix="kcms-face-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        async with before(site, directory) as made:
            yield made


async def by_token(face: Face, what: Any) -> Any:
    return await asyncio.to_thread(what, Client(face.socket, token=TOKEN))


async def refused(face: Face, what: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        await by_token(face, what)
    assert "\n" not in caught.value.message
    return caught.value


async def test_a_signal_without_a_key_is_given_one(face: Face) -> None:
    """A gateway makes a call again when a connection breaks."""
    face.manager.answers = [answer(202, {"id": 12}), answer(202, {"id": 12})]
    for key in (None, "mine"):
        body = {"signal": "HUP", "key": key}
        await face.call(lambda client, body=body: client.call("POST", "/v1/jobs/12/signal", body))
    made, own = (body["key"] for _, _, _, body in face.manager.asked)
    assert made.startswith("gateway-")
    assert own == "mine"


async def test_what_is_too_old_for_signals_is_named(face: Face) -> None:
    face.manager.answers = [web_not_found(), answer(404, NO_JOB)]
    for said in ("is of an older release, which cannot do this", "there is no job 12"):
        with pytest.raises(ClientError, match=said):
            await face.call(lambda client: client.signal(12, "HUP"))


NO_JOB = {"error": {"code": "not_found", "message": "there is no job 12 that alice may see"}}


def web_not_found() -> Any:
    """What a release answers that does not know a path."""
    return answer(404, {"error": {"code": "not_found", "message": "Not Found"}})


async def test_every_new_call_is_handed_on(face: Face) -> None:
    job = {"id": 12, "state": "RUNNING"}
    login = {"token": TOKEN, "user": "alice", "root": False, "expires": 1.0}
    face.manager.answers = [
        answer(202, job),
        answer(200, {"name": "alpha1"}),
        answer(200, {"processes": []}),
        answer(202, job),
        answer(200, {"rows": []}),
        answer(200, {}),
        answer(200, login),
    ]
    assert await face.call(lambda client: client.migrate(12, "alpha2", check=True)) == job
    said = await face.call(lambda client: client.set_node_state("alpha1", "drain", "fan"))
    assert said == {"name": "alpha1"}
    assert await face.call(lambda client: client.processes(node="alpha1")) == []
    process = ("alpha1", 47)
    assert await face.call(lambda client: client.signal(12, "HUP", 0, process, kill=True)) == job
    assert await face.call(lambda client: client.accounting(5.0)) == {"rows": []}
    await face.call(lambda client: client.set_password("correct horse"))
    assert await face.call(lambda client: client.login("alice", "secret")) == login
    signal = face.manager.asked[3][3]
    assert signal.pop("key").startswith("client-")
    process_named = {"node": "alpha1", "pid": 47}
    assert [(method, path, body) for method, path, _, body in face.manager.asked] == [
        ("POST", "/v1/jobs/12/migrate", {"node": "alpha2", "check": True}),
        ("POST", "/v1/nodes/alpha1/state", {"state": "drain", "reason": "fan"}),
        ("GET", "/v1/processes?node=alpha1", None),
        (
            *("POST", "/v1/jobs/12/signal"),
            {"signal": "HUP", "task": 0, "process": process_named, "kill": True},
        ),
        ("GET", "/v1/accounting?since=5.0", None),
        ("POST", "/v1/password", {"password": "correct horse"}),
        ("POST", "/v1/login", {"user": "alice", "password": "secret"}),
    ]
    assert all(headers == AS_ME for _, _, headers, _ in face.manager.asked)


async def test_a_token_is_all_the_manager_hears_of_its_bearer(face: Face) -> None:
    face.manager.answers = [
        answer(200, MINE),
        answer(200, {"jobs": []}),
        answer(202, {"id": 1}),
        answer(401, {"error": {"code": "unauthorized", "message": "this login is over"}}),
    ]
    assert await by_token(face, Client.session) == MINE
    assert await by_token(face, lambda client: client.jobs(user="root")) == []
    assert await by_token(face, lambda client: client.kill(1)) == {"id": 1}
    error = await refused(face, Client.logout)
    assert (error.status, error.code, error.message) == (401, "unauthorized", "this login is over")
    assert [headers for _, _, headers, _ in face.manager.asked] == [WITH_TOKEN] * 4


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Kcms-Token": TOKEN}, 400),  # beside the Kcms-As of every raw call
        ({"Kcms-Token": ""}, 400),
    ],
)
async def test_a_token_and_a_name_are_not_both_taken(
    face: Face, headers: dict[str, str], status: int
) -> None:
    got, document = await face.raw("GET", "/v1/jobs", headers=headers)
    assert got == status
    assert document["error"]["message"] == "a call has Kcms-Token or Kcms-As, not both"
    assert face.manager.asked == []


@pytest.mark.parametrize("token", ["", "a b", "x" * 129, "tök", "a\r\nKcms-User: root"])
async def test_what_can_be_no_token_is_not_sent(face: Face, token: str) -> None:
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(Client(face.socket, token=token).jobs)
    assert (caught.value.status, caught.value.code) == (401, "unauthorized")
    assert face.manager.asked == []


@needs_root
async def test_a_submission_by_token_is_checked_as_its_user(face: Face) -> None:
    """The page's process is another user's; the files are looked at as the one logged in."""
    home = face.directory / "home"
    home.mkdir(mode=0o700)
    os.chown(home, OTHER.pw_uid, OTHER.pw_gid)
    spec = face.spec(base_directory=str(home))
    face.manager.answers = [answer(200, MINE), answer(201, {"id": 3})]
    job, new = await by_token(face, lambda client: client.submit(spec))
    assert (job, new) == ({"id": 3}, True)
    assert [(method, path) for method, path, _, _ in face.manager.asked] == [
        ("GET", "/v1/session"),
        ("POST", "/v1/jobs"),
    ]
    assert all(headers == WITH_TOKEN for _, _, headers, _ in face.manager.asked)
    closed = face.directory / "closed"
    closed.mkdir(mode=0o700)
    face.manager.answers = [answer(200, MINE)]
    error = await refused(face, lambda client: client.submit(face.spec(base_directory=str(closed))))
    assert error.message == f"base_directory {closed} may not be entered by this user"
    assert len(face.manager.asked) == 3


@pytest.mark.parametrize(
    ("session", "said"),
    [
        ({**MINE, "user": "no-such-user"}, "no-such-user has no account on this host"),
        ({**MINE, "uid": 4711}, f"games has uid {OTHER.pw_uid} on this host, and 4711 where"),
        ({**MINE, "gid": 4711}, f"games has group {OTHER.pw_gid} on this host, and 4711 where"),
        ({**MINE, "user": "root", "uid": 0}, "root submits no jobs by a login"),
        ({**MINE, "uid": 0}, "root submits no jobs by a login"),
    ],
)
async def test_who_is_not_the_same_here_submits_nothing(
    face: Face, session: dict[str, Any], said: str
) -> None:
    face.manager.answers = [answer(200, session)]
    error = await refused(face, lambda client: client.submit(face.spec()))
    assert error.status == 403
    assert error.message.startswith(said)
    assert len(face.manager.asked) == 1


async def test_a_login_that_is_over_submits_nothing(face: Face) -> None:
    over = {"error": {"code": "unauthorized", "message": "this login is over: log in again"}}
    face.manager.answers = [answer(401, over)]
    error = await refused(face, lambda client: client.submit(face.spec()))
    assert (error.status, error.message) == (401, "this login is over: log in again")
    assert len(face.manager.asked) == 1


def job_of(entry: pwd.struct_passwd, output: Path | str, state: str = "RUNNING") -> web.Response:
    ids = {"user": entry.pw_name, "uid": entry.pw_uid, "gid": entry.pw_gid}
    spec = {"output": str(output), "error": str(output)}
    tasks = [] if state == "PENDING" else [{"index": 0, "start_time": 1000.0, "state": "RUNNING"}]
    return answer(200, {"id": 5, "state": state, "spec": spec, "tasks": tasks, **ids})


async def test_the_end_of_the_output_of_a_job(face: Face) -> None:
    (face.directory / "o.5").write_text("one\ntwo\nthree\n")
    face.manager.answers = [job_of(ME, face.directory / "o.%j")]
    path = f"{face.directory}/o.5"
    found = await face.call(lambda client: client.output(5, "error", limit=6))
    assert found == {"path": path, "size": 14, "offset": 8, "end": 14, "text": "three\n"}
    assert face.manager.asked == [("GET", "/v1/jobs/5?tasks=0&task=0", AS_ME, None)]


class Writing:
    """A job that writes a text whenever it is waited for, and then is over."""

    def __init__(self, face: Face, *texts: bytes) -> None:
        self.file = face.directory / "o.5"
        self.texts = list(texts)
        self.face = face
        self.slept: list[float] = []

    def answers(self, waits: int) -> list[web.Response]:
        """So many looks at a job that waits, then some for each text, and its end."""
        states = ["PENDING"] * waits + ["RUNNING"] * 4 * (len(self.texts) + 1) + ["FAILED"] * 8
        return [job_of(ME, self.face.directory / "o.%j", each) for each in states]

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.texts:
            with self.file.open("ab") as stream:
                stream.write(self.texts.pop(0))


async def test_the_output_of_a_job_as_it_comes(face: Face) -> None:
    writing = Writing(face, b"two\n", b"three \xc3", b"\xa9\n", b"\xe2\x82")
    writing.file.write_bytes(b"one\n")
    face.manager.answers = writing.answers(0)
    parts = await face.call(lambda client: list(client.follow(5, limit=1, sleep=writing.sleep)))
    said = "".join(each["text"] for each in parts)
    assert said == "one\ntwo\nthree \u00e9\n\ufffd"
    assert parts[-1]["end"] == parts[-1]["size"]


async def test_what_was_there_before_the_job_began_is_not_its_output(face: Face) -> None:
    writing = Writing(face)
    writing.file.write_bytes(b"of an earlier job\n" * 9)

    def sleep(seconds: float) -> None:
        writing.file.write_bytes(b"mine, and longer\n" * 20)

    face.manager.answers = writing.answers(1)
    parts = await face.call(lambda client: list(client.follow(5, sleep=sleep)))
    assert "".join(each["text"] for each in parts) == "mine, and longer\n" * 20


async def test_what_is_there_already_is_not_slept_over(face: Face) -> None:
    writing = Writing(face)
    writing.file.write_bytes(b"x" * 1000)
    face.manager.answers = [
        *writing.answers(1)[:1],
        *(job_of(ME, face.directory / "o.%j", "FAILED") for _ in range(60)),
    ]
    parts = await face.call(lambda client: list(client.follow(5, limit=100, sleep=writing.sleep)))
    assert "".join(each["text"] for each in parts) == "x" * 1000
    assert writing.slept == [1.0]  # while it waited


async def test_nobody_there_is_said_at_once(face: Face) -> None:
    error = await face.refused(lambda client: list(Client("/nowhere").follow(5)))
    assert "no gateway on this host" in error.message


async def test_another_users_job_has_no_output_for_the_caller(face: Face) -> None:
    none = {"error": {"code": "not_found", "message": "there is no job 5 that games may see"}}
    face.manager.answers = [answer(404, none)]
    error = await refused(face, lambda client: client.output(5))
    assert (error.status, error.message) == (404, "there is no job 5 that games may see")


@needs_root
async def test_the_output_is_read_as_the_owner_of_the_job(face: Face) -> None:
    """Root of the grid, who asks, could read this file; the owner of the job may not."""
    secret = face.directory / "secret"
    secret.write_text("root's alone")
    secret.chmod(0o600)
    face.manager.answers = [job_of(OTHER, secret)]
    error = await face.refused(lambda client: client.output(5))
    assert (error.status, error.message) == (
        403,
        f"output {secret} may not be read by this user",
    )
    os.chown(secret, OTHER.pw_uid, OTHER.pw_gid)
    face.manager.answers = [job_of(OTHER, secret)]
    assert (await by_token(face, lambda client: client.output(5)))["text"] == "root's alone"


async def test_output_that_is_not_there(face: Face) -> None:
    missing = face.directory / "none"
    face.manager.answers = [job_of(ME, missing)]
    error = await face.refused(lambda client: client.output(5))
    assert (error.status, error.message) == (404, f"output {missing} does not exist")
    stranger = answer(200, {"id": 5, "state": "RUNNING", "spec": {"output": "/x"}})
    face.manager.answers = [stranger]
    assert (await face.refused(lambda client: client.output(5))).status == 502
    for query in ("which=input", "bytes=0", "bytes=1048577"):
        status, document = await face.raw("GET", f"/v1/jobs/5/output?{query}")
        assert (status, document["error"]["code"]) == (400, "invalid_request")


@needs_root
async def test_a_name_that_nobody_knows_is_an_error(face: Face) -> None:
    as_root = Client(face.socket)
    for what, listed in ((as_root.jobs, "jobs"), (as_root.processes, "processes")):
        face.manager.answers = [answer(200, {listed: []}), answer(200, {listed: [{"id": 1}]})]
        with pytest.raises(ClientError, match="there is no user 'nosuch' on this host") as caught:
            await asyncio.to_thread(what, user="nosuch")
        assert caught.value.status == 404
        assert await asyncio.to_thread(what, user="nosuch") == [{"id": 1}]
    face.manager.answers = [answer(200, {"rows": [], "since": 1.0, "until": 2.0, "more": False})]
    with pytest.raises(ClientError, match="there is no user 'nosuch' on this host"):
        await asyncio.to_thread(as_root.accounting, user="nosuch")
    refusal = {"error": {"code": "forbidden", "message": "not the grid's root"}}
    face.manager.answers = [answer(403, refusal)]
    with pytest.raises(ClientError, match="there is no user 'nosuch' on this host"):
        await asyncio.to_thread(as_root.jobs, user="nosuch")


@pytest.mark.parametrize("name", ["..", "a b", "%2e%2e", "-x", "a%2Fb", "x" * 256])
async def test_what_can_be_no_node_is_not_sent(face: Face, name: str) -> None:
    path = f"/v1/nodes/{name.replace(' ', '%20')}/state"
    status, document = await face.raw("POST", path, b"{}")
    assert status in (400, 404)
    assert set(document) == {"error"}
    assert face.manager.asked == []


async def test_a_body_that_never_comes_is_given_up(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "BODY_SECONDS", 0.2)

    def half() -> bytes:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(30)
            channel.connect(face.socket)
            channel.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            got = b""
            while b"}}" not in got and (part := channel.recv(4096)):
                got += part
            return got

    got = await asyncio.to_thread(half)
    assert got.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive whole within 0.2 s" in got
    assert face.manager.asked == []


async def test_no_token_is_in_the_log(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    face.manager.answers = [answer(202, {"id": 1}), answer(200, {}), None, None]
    await by_token(face, lambda client: client.kill(1))
    await by_token(face, lambda client: client.set_password("a secret word"))
    await refused(face, Client.logout)
    written = "\n".join(f"{each.getMessage()} {each.args}" for each in caplog.records)
    assert "a login asks to kill job 1: 202" in written
    assert TOKEN not in written
    assert "a secret word" not in written
