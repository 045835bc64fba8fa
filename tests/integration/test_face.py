"""Client and gateway over a real socket and real TLS, before a manager that is scripted."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web

from kcms.client import Client, ClientError
from tests.certificates import Site, make_site
from tests.integration.face import ME, StubManager, gateway, gateway_config, manager_tls, stub

T = TypeVar("T")
APP = Path(__file__).resolve().parents[2] / "app"
AS_ME = {"Kcms-User": ME.pw_name, "Kcms-Uid": str(ME.pw_uid), "Kcms-Gid": str(ME.pw_gid)}
JOB = {"id": 12, "state": "PENDING"}


@dataclass
class Face:
    """A gateway with its socket and the manager behind it."""

    directory: Path
    manager: StubManager

    @property
    def socket(self) -> str:
        return str(self.directory / "api.sock")

    @property
    def program(self) -> str:
        path = self.directory / "run.sh"
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return str(path)

    def spec(self, **more: Any) -> dict[str, Any]:
        return {"executable": self.program, "base_directory": str(self.directory), **more}

    async def call(self, what: Callable[[Client], T], **options: Any) -> T:
        """Run a client's call beside the loop that serves it."""
        return await asyncio.to_thread(what, Client(self.socket, as_user=ME.pw_name, **options))

    async def refused(self, what: Callable[[Client], T], **options: Any) -> ClientError:
        with pytest.raises(ClientError) as caught:
            await self.call(what, **options)
        assert "\n" not in caught.value.message
        return caught.value

    async def raw(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        def exchange() -> tuple[int, dict[str, Any]]:
            connection = http.client.HTTPConnection("gateway")
            with socket.socket(socket.AF_UNIX) as channel:
                channel.connect(self.socket)
                connection.sock = channel
                connection.request(method, path, body, {"Kcms-As": ME.pw_name, **(headers or {})})
                answer = connection.getresponse()
                return answer.status, json.loads(answer.read())

        return await asyncio.to_thread(exchange)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("site"))


@contextlib.asynccontextmanager
async def before(
    site: Site, directory: Path, tls: Site | None = None, cluster: str = "alpha"
) -> AsyncIterator[Face]:
    """A gateway for cluster alpha before a manager with a certificate of ``tls``."""
    async with stub(manager_tls(tls or site, cluster)) as manager:
        config = gateway_config(site, directory, {"alpha": manager.port, "beta": 1})
        async with gateway(config):
            yield Face(directory, manager)


@pytest.fixture
async def face(site: Site, tmp_path: Path) -> AsyncIterator[Face]:
    async with before(site, tmp_path) as made:
        yield made


def answer(status: int, document: object) -> web.Response:
    return web.json_response(document, status=status)


async def test_a_submission_arrives_in_the_users_name_without_what_is_as_by_default(
    face: Face,
) -> None:
    face.manager.answers = [answer(201, JOB)]
    sent = face.spec(arguments=["a"])
    assert await face.call(lambda client: client.submit(sent, "k1")) == (JOB, True)
    ((method, path, headers, body),) = face.manager.asked
    assert (method, path, headers) == ("POST", "/v1/jobs", AS_ME)
    output = f"{face.directory}/kcms-%j.out"
    assert body == {
        "key": "k1",
        "spec": {
            **sent,
            "name": "run.sh",
            "output": output,
            "error": output,
        },
    }


async def test_a_submission_whose_answer_is_lost_is_repeated_and_is_one_job(face: Face) -> None:
    face.manager.answers = [None, answer(200, JOB)]
    body = {"spec": face.spec()}
    assert await face.call(lambda client: client.call("POST", "/v1/jobs", body)) == (201, JOB)
    first, second = (body["key"] for _, _, _, body in face.manager.asked)
    assert first == second
    assert first.startswith("gateway-")


async def test_the_same_key_again_is_said_to_be_there(face: Face) -> None:
    face.manager.answers = [answer(200, JOB)]
    assert await face.call(lambda client: client.submit(face.spec(), "k")) == (JOB, False)


async def test_a_check_refuses_the_key_that_a_submission_would(face: Face) -> None:
    for call in (Client.check, Client.submit):
        error = await face.refused(lambda client, call=call: call(client, face.spec(), "k" * 129))
        assert error.message.startswith("key must be 1 to 128 printable characters")
    assert face.manager.asked == []


async def test_checking_asks_nobody(face: Face) -> None:
    spec = await face.call(lambda client: client.check(face.spec()))
    assert spec["output"] == f"{face.directory}/kcms-%j.out"
    assert face.manager.asked == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"executable": "/bin/true"}, "executable /bin/true"),
        ({"executable": "/nonexistent"}, "executable /nonexistent is not on a shared"),
        ({"base_directory": "/tmp"}, "base_directory /tmp is not on a shared directory"),
        ({"input": "/nonexistent"}, "input /nonexistent is not on a shared directory"),
        ({"output": "/tmp/o.%j"}, "output /tmp/o.%j is not on a shared directory, and it would be"),
        ({"priority": 1001}, "priority must be a whole number"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
async def test_what_cannot_run_is_refused_here(
    face: Face, fields: dict[str, Any], said: str
) -> None:
    for call in (Client.check, Client.submit):
        error = await face.refused(lambda client, call=call: call(client, face.spec(**fields)))
        assert (error.status, error.code) == (400, "invalid_request")
        assert error.message.startswith(said)
    assert face.manager.asked == []


async def test_every_other_call_is_handed_on(face: Face) -> None:
    face.manager.answers = [
        answer(200, {"jobs": [JOB]}),
        answer(200, JOB),
        answer(202, JOB),
        answer(200, {"nodes": []}),
        answer(200, {"cluster": "alpha"}),
        answer(404, {"error": {"code": "not_found", "message": "there is no job 7"}}),
    ]
    jobs = await face.call(
        lambda client: client.jobs(("PENDING", "RUNNING"), ME.pw_name, 5), cluster="alpha"
    )
    assert jobs == [JOB]
    assert await face.call(lambda client: client.job(12)) == JOB
    assert await face.call(lambda client: client.kill(12)) == JOB
    assert await face.call(Client.nodes) == []
    assert await face.call(Client.ping) == {"cluster": "alpha"}
    error = await face.refused(lambda client: client.job(7))
    assert (error.code, error.message, error.status) == ("not_found", "there is no job 7", 404)
    assert [(method, path) for method, path, _, _ in face.manager.asked] == [
        ("GET", f"/v1/jobs?state=PENDING,RUNNING&user={ME.pw_name}&limit=5"),
        ("GET", "/v1/jobs/12"),
        ("POST", "/v1/jobs/12/kill"),
        ("GET", "/v1/nodes"),
        ("GET", "/v1/ping"),
        ("GET", "/v1/jobs/7"),
    ]
    assert all(headers == AS_ME for _, _, headers, _ in face.manager.asked)


async def test_nobody_can_say_who_they_are(face: Face) -> None:
    face.manager.answers = [answer(200, JOB)]
    forged = {"Kcms-User": "alice", "Kcms-Uid": "2001", "Kcms-Gid": "2001"}
    assert await face.raw("GET", "/v1/jobs/12", headers=forged) == (200, JOB)
    assert face.manager.asked[0][2] == AS_ME


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/jobs", b"{", 400, "invalid_request"),
        ("POST", "/v1/jobs", b"[" * 100_000, 400, "invalid_request"),
        ("POST", "/v1/jobs", b"[]", 400, "invalid_request"),
        ("POST", "/v1/jobs", b" " * 300_000, 413, "too_large"),
        ("GET", "/v1/jobs/twelve", b"", 400, "invalid_request"),
        ("GET", "/v1/jobs/12345678901234567890", b"", 400, "invalid_request"),
        ("GET", "/v1/jobs?cluster=gamma", b"", 404, "not_found"),
        ("GET", "/v2/jobs", b"", 404, "not_found"),
        ("DELETE", "/v1/jobs", b"", 405, "method_not_allowed"),
        ("GET", "/v1/nodes/alpha1/desired", b"", 404, "not_found"),
        ("POST", "/v1/nodes/alpha1/report", b"{}", 404, "not_found"),
    ],
)
async def test_malformed_requests_have_one_error_shape(
    face: Face, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    got, document = await face.raw(method, path, body)
    assert (got, document["error"]["code"]) == (status, code)
    assert set(document) == {"error"}
    assert set(document["error"]) == {"code", "message"}
    assert face.manager.asked == []


async def test_an_unknown_cluster_names_the_known(face: Face) -> None:
    error = await face.refused(Client.nodes, cluster="gamma")
    assert error.message == "there is no cluster 'gamma' here; known are alpha, beta"


async def test_a_manager_that_does_not_listen_is_503(face: Face) -> None:
    error = await face.refused(Client.nodes, cluster="beta")
    assert (error.status, error.code) == (503, "unavailable")
    assert error.message == (
        "the manager of beta at 127.0.0.1 port 1 cannot be reached: nothing listens there; "
        "systemctl status kcms-manager@beta on that host says more"
    )


async def test_a_manager_that_keeps_breaking_off_is_503(face: Face) -> None:
    face.manager.answers = [None] * 4
    error = await face.refused(Client.nodes)
    assert error.status == 503
    assert 2 <= len(face.manager.asked) <= 4  # newer aiohttp repeats a GET by itself, too


async def test_an_answer_that_is_no_json_is_502(face: Face) -> None:
    face.manager.answers = [web.Response(text="<html>")]
    error = await face.refused(Client.nodes)
    assert (error.status, error.code) == (502, "protocol_error")


async def test_clusters_say_which_can_be_reached(face: Face) -> None:
    face.manager.answers = [answer(200, {"cluster": "alpha", "release": "1.2", "time": 0})]
    alpha, beta = await face.call(Client.clusters)
    assert (alpha["name"], alpha["state"], alpha["default"], alpha["release"]) == (
        "alpha",
        "UP",
        True,
        "1.2",
    )
    assert (beta["state"], beta["default"], beta["port"]) == ("DOWN", False, 1)
    assert "cannot be reached" in beta["message"]


async def test_output_behind_a_link_to_a_shared_directory_is_read_here(
    face: Face, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (Path(face.directory) / "said").write_text("seen everywhere")
    link = tmp_path_factory.mktemp("elsewhere") / "home"
    link.symlink_to(face.directory)
    path = f"{link}/said"
    job = {
        "id": 7,
        "user": ME.pw_name,
        "uid": ME.pw_uid,
        "state": "COMPLETED",
        "spec": {"class": "single", "output": path, "error": path},
        "tasks": [{"index": 0, "node": "alpha2", "start_time": 1.0}],
        "start_time": 1.0,
    }
    face.manager.answers = [answer(200, job)]
    told = await asyncio.to_thread(Client(face.socket).output, 7)
    assert told["text"] == "seen everywhere"
    assert len(face.manager.asked) == 1  # not where it is
    face.manager.answers = [
        answer(200, {**job, "spec": {**job["spec"], "output": "/nowhere/x"}}),
        answer(404, {"error": {"code": "not_found", "message": "asked for it"}}),
    ]
    with pytest.raises(ClientError, match="asked for it"):
        await asyncio.to_thread(Client(face.socket).output, 7)


async def test_a_caller_learns_where_files_may_lie(face: Face) -> None:
    told = await face.call(Client.places)
    where = {"user": ME.pw_name, "home": ME.pw_dir, "shared": [str(face.directory)]}
    assert told == {**where, "brings": True}
    with pytest.raises(ClientError, match="a login on the page has no files on this host"):
        await asyncio.to_thread(Client(face.socket, token="t").places)
    assert face.manager.asked == []


async def test_a_relay_hands_a_call_on_as_its_own_user(face: Face) -> None:
    def answered() -> bytes:
        head = f"GET /v1/places HTTP/1.0\r\nHost: g\r\nKcms-As: {ME.pw_name}\r\n\r\n"
        done = subprocess.run(
            [sys.executable, "-m", "kcms", "relay", "--socket", face.socket],
            env={"PYTHONPATH": str(APP)},
            input=head.encode(),
            capture_output=True,
            check=True,
        )
        return done.stdout

    head, _, body = (await asyncio.to_thread(answered)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 ")
    assert json.loads(body)["user"] == ME.pw_name


async def test_another_clusters_manager_hears_nothing(site: Site, tmp_path: Path) -> None:
    async with before(site, tmp_path, cluster="beta") as face:
        error = await face.refused(lambda client: client.submit(face.spec()))
        assert error.status == 503
        assert "is not that of manager alpha" in error.message
        assert face.manager.asked == []


async def test_a_foreign_authority_hears_nothing(site: Site, tmp_path: Path) -> None:
    foreign = make_site(tmp_path / "foreign")
    async with before(site, tmp_path, tls=foreign) as face:
        error = await face.refused(Client.nodes)
        assert error.status == 503
        assert face.manager.asked == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root may leave out whose job it is")
async def test_root_must_say_whose_job_it_is(face: Face) -> None:
    call = Client(face.socket)
    with pytest.raises(ClientError, match="root must say whose job this is") as caught:
        await asyncio.to_thread(call.submit, face.spec())
    assert (caught.value.status, caught.value.code) == (403, "forbidden")
    with pytest.raises(ClientError, match="no user 'nobody-here' on this host"):
        await asyncio.to_thread(Client(face.socket, as_user="nobody-here").submit, face.spec())
