"""Many submissions in one call: through the gateway, at the manager, and by the command line."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kcms import client as client_module
from kcms.cli import main
from kcms.client import Client, ClientError
from kcms.errors import InvalidRequest, KcmsError
from kcms.gateway import desk, users
from kcms.gateway.checker import Checker
from kcms.http import BULK_JOBS
from tests.certificates import Site, make_site
from tests.integration.face import ME
from tests.integration.managed import FakeNode, Peer, code
from tests.integration.test_face import AS_ME, Face, answer, before

# the manager -------------------------------------------------------------------------------------


def asked(*names: str, **fields: Any) -> dict[str, Any]:
    return {
        "jobs": [
            {"spec": {"executable": "/shared/x", "name": n, **fields}, "key": n} for n in names
        ]
    }


async def test_each_stands_for_itself_and_has_its_answer(alice: Peer, bob: Peer) -> None:
    body = asked("a", "b", "a")
    body["jobs"] += [{"spec": {"executable": "x"}}, {"spec": {"executable": "/x"}, "more": 1}]
    body["jobs"] += [{"spec": {"executable": "/other"}, "key": "a"}]
    status, document = await alice.call("POST", "/v1/jobs/bulk", body)
    assert status == 200
    rows = document["jobs"]
    assert [row["status"] for row in rows] == [201, 201, 200, 400, 400, 409]
    assert [row["job"]["id"] for row in rows[:3]] == [1, 2, 1]
    assert "executable must be an absolute path" in rows[3]["error"]["message"]
    assert "unknown member 'more'" in rows[4]["error"]["message"]
    assert rows[5]["error"]["code"] == "conflict"
    again = (await alice.call("POST", "/v1/jobs/bulk", asked("b", "c")))[1]["jobs"]
    assert [(row["status"], row["job"]["id"]) for row in again] == [(200, 2), (201, 3)]
    assert (await bob.call("POST", "/v1/jobs/bulk", asked("a")))[1]["jobs"][0]["job"]["id"] == 4


async def test_they_are_one_commit_and_are_placed(alice: Peer, node: FakeNode) -> None:
    await node.report()
    await alice.call("POST", "/v1/jobs/bulk", asked(*"abcde"))
    jobs = (await alice.call("GET", "/v1/jobs"))[1]["jobs"]
    assert [job["state"] for job in jobs] == ["RUNNING"] * 2 + ["PENDING"] * 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "jobs must be a list"),
        ({"jobs": []}, f"jobs must be 1 to {BULK_JOBS}, not 0"),
        ({"jobs": [{}] * (BULK_JOBS + 1)}, f"not {BULK_JOBS + 1}"),
        ({"jobs": [1]}, "jobs must be a list of objects"),
        ({"jobs": [{}], "spec": {}}, "unknown member 'spec'"),
    ],
)
async def test_nonsense_is_refused_whole(alice: Peer, body: dict[str, Any], said: str) -> None:
    status, document = await alice.call("POST", "/v1/jobs/bulk", body)
    assert (status, document["error"]["code"]) == (400, "invalid_request")
    assert said in document["error"]["message"]
    assert (await alice.call("GET", "/v1/jobs"))[1]["jobs"] == []


async def test_so_many_bytes_and_no_more(alice: Peer) -> None:
    fields = {"arguments": ["x" * 4000] * 14}
    many = asked(*map(str, range(17)), **fields)
    assert (await alice.call("POST", "/v1/jobs/bulk", many))[0] == 200
    more = io.BytesIO(json.dumps(asked(*map(str, range(20)), **fields)).encode())
    assert code(await alice.call("POST", "/v1/jobs/bulk", data=more)) == (413, "too_large")
    alone = {"spec": {"executable": "/x"}, "key": None, "x": "y" * 300_000}
    assert code(await alice.call("POST", "/v1/jobs", alone)) == (413, "too_large")


# the gateway -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
async def face(site: Site) -> AsyncIterator[Face]:
    with tempfile.TemporaryDirectory(prefix="kcms-bulk-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        async with before(site, directory) as standing:
            yield standing


def made(*numbers: int) -> Any:
    return answer(200, {"jobs": [{"status": 201, "job": {"id": each}} for each in numbers]})


async def test_what_is_wrong_here_never_leaves_here(face: Face) -> None:
    good, missing = face.spec(), face.spec(executable=f"{face.directory}/none")
    face.manager.answers = [made(1, 2)]
    rows = await face.call(
        lambda client: client.submit_all(
            [(good, None), (missing, None), (face.spec(priority="x"), None), (good, "mine")]
        )
    )
    assert [row["status"] for row in rows] == [201, 400, 400, 201]
    assert rows[1]["error"]["message"].endswith("/none does not exist")
    assert "priority must be a whole number" in rows[2]["error"]["message"]
    ((method, path, headers, body),) = face.manager.asked
    assert (method, path, headers) == ("POST", "/v1/jobs/bulk", AS_ME)
    keys = [each["key"] for each in body["jobs"]]
    assert keys[0].startswith("client-")
    assert keys[1] == "mine"


async def test_a_lost_answer_is_asked_for_again_and_makes_no_second_job(face: Face) -> None:
    again = {"jobs": [{"status": 200, "job": {"id": each}} for each in (1, 2)]}
    face.manager.answers = [None, answer(200, again)]
    jobs = [(face.spec(), None), (face.spec(), "mine")]
    rows = await face.call(lambda client: client.submit_all(jobs))
    assert [(row["status"], row["job"]["id"]) for row in rows] == [(201, 1), (200, 2)]
    first, second = (body for _, _, _, body in face.manager.asked)
    assert first == second


async def test_a_manager_of_an_older_release_gets_one_after_another(face: Face) -> None:
    face.manager.answers = [
        answer(405, {"error": {"code": "method_not_allowed", "message": "Method Not Allowed"}}),
        answer(201, {"id": 1}),
        answer(409, {"error": {"code": "conflict", "message": "too many"}}),
    ]
    rows = await face.call(lambda client: client.submit_all([(face.spec(), None)] * 2))
    assert sorted(row["status"] for row in rows) == [201, 409]
    paths = [path for _, path, _, _ in face.manager.asked]
    assert paths == ["/v1/jobs/bulk", "/v1/jobs", "/v1/jobs"]


@pytest.mark.parametrize(
    "document", [{}, {"jobs": []}, {"jobs": [1, 2]}, {"jobs": [{"status": 201}] * 2}]
)
async def test_an_answer_that_is_none_is_a_row_each(face: Face, document: Any) -> None:
    face.manager.answers = [answer(200, document)]
    rows = await face.call(lambda client: client.submit_all([(face.spec(), None)] * 2))
    assert [row["error"]["code"] for row in rows] == ["protocol_error"] * 2


async def test_a_manager_that_is_away_is_a_row_each(face: Face) -> None:
    face.manager.answers = [None, None]
    rows = await face.call(lambda client: client.submit_all([(face.spec(), None)] * 2))
    assert {row["error"]["code"] for row in rows} == {"unavailable"}


async def test_single_submissions_at_once_go_on_together(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first goes at once; what comes meanwhile is one look and one call."""
    monkeypatch.setattr(users, "RECENT_SECONDS", 60.0)
    face.manager.answers = [answer(201, {"id": 1}), made(*range(2, 21))]
    body = json.dumps({"spec": face.spec()}).encode()
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nKcms-As: {ME.pw_name}\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    reader, writer = await asyncio.open_unix_connection(face.socket)
    writer.write(request)
    while not face.manager.asked:
        await asyncio.sleep(0.001)
    writer.write(request * 19)
    found = []
    for _ in range(20):
        said = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = int(said.partition("Content-Length: ")[2].split()[0])
        found.append((said.split()[1], json.loads(await reader.readexactly(size))["id"]))
    assert found == [("201", number) for number in range(1, 21)]
    assert [path for _, path, _, _ in face.manager.asked] == ["/v1/jobs", "/v1/jobs/bulk"]
    assert len({each["key"] for each in face.manager.asked[1][3]["jobs"]}) == 19
    writer.close()


async def test_a_lot_has_its_bounds(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "LOT_JOBS", 2)
    face.manager.answers = [made(1, 2), made(3, 4), answer(201, {"id": 5})]
    rows = await face.call(lambda client: client.submit_all([(face.spec(), None)] * 5))
    assert [row["job"]["id"] for row in rows] == [1, 2, 3, 4, 5]


async def test_many_of_one_user_keep_the_others_waiting_for_a_moment_only(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection may send many calls of a thousand jobs at once, which are seconds of work."""

    async def refused(_: Checker, __: Any, many: Any) -> list[KcmsError]:
        return [InvalidRequest("not this one")] * len(many)

    monkeypatch.setattr(Checker, "check_all", refused)
    monkeypatch.setattr(users, "RECENT_SECONDS", 60.0)
    body = b'{"jobs":[%s]}' % b",".join([b'{"spec":{"executable":"/x"}}'] * 1000)
    head = f"POST /v1/jobs/bulk HTTP/1.1\r\nHost: x\r\nKcms-As: {ME.pw_name}\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    channels = [await asyncio.open_unix_connection(face.socket) for _ in range(24)]
    late = asyncio.create_task(latest())
    for _, writer in channels:
        writer.write(request * 5)
    for reader, writer in channels:
        for _ in range(5):
            said = (await reader.readuntil(b"\r\n\r\n")).decode()
            size = int(said.partition("Content-Length: ")[2].split()[0])
            await reader.readexactly(size)
        writer.close()
    late.cancel()
    assert await late < 1.0


async def latest() -> float:
    """The most seconds that the loop came too late, until it is cancelled."""
    most, clock = 0.0, asyncio.get_running_loop().time
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            before = clock()
            await asyncio.sleep(0.001)
            most = max(most, clock() - before)
    return most


async def test_they_are_not_submitted_by_who_would_have_them_checked(face: Face) -> None:
    body = {"jobs": [{"spec": face.spec()}]}
    with pytest.raises(ClientError, match="check one by one"):
        await face.call(lambda client: client.call("POST", "/v1/jobs/bulk", body, check="1"))
    assert face.manager.asked == []


# the command line --------------------------------------------------------------------------------


def lines(face: Face, *documents: Any) -> str:
    path = face.directory / "jobs.jsonl"
    path.write_text("".join(json.dumps(each) + "\n\n" for each in documents))
    return str(path)


async def submitted(face: Face, path: str, *words: str) -> int:
    me = ("--user", ME.pw_name, "--socket", face.socket)
    return await asyncio.to_thread(main, ["submit", *me, *words, "--file", path])


async def test_the_command_line_submits_a_file(
    face: Face, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(face.directory)
    relative = {**face.spec(), "executable": "run.sh", "name": "r"}
    path = lines(face, {**face.spec(), "key": "k"}, relative, face.spec(executable="/none"))
    there = {"jobs": [{"status": 200, "job": {"id": 7}}, {"status": 201, "job": {"id": 8}}]}
    face.manager.answers = [answer(200, there)]
    assert await submitted(face, path) == 1
    captured = capsys.readouterr()
    assert captured.out == "job 7 (there already)\njob 8\n"
    assert captured.err.startswith("kcms: line 5: executable /none ")
    assert captured.err.count("\n") == 1
    assert face.manager.asked[0][3]["jobs"][1]["spec"]["executable"] == face.program


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no job in "),
        ("{", "line 1: a line must be a JSON object of a job's fields"),
        ("[1]", "line 1: a line must be a JSON object"),
        ('{"executable": "/x"}\n{"executble": "/x"}', "line 2: unknown field 'executble'"),
        ('{"executable": "/x", "key": 5}', "line 1: key must be 1 to 128"),
        ('{"executable": "/x", "key": "k", "begin_time": "+1h"}', "line 1: begin_time +1h is"),
    ],
)
async def test_of_a_file_with_a_mistake_nothing_is_submitted(
    face: Face, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    path = face.directory / "jobs.jsonl"
    path.write_text(text)
    assert await submitted(face, str(path)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"kcms: {said}")
    assert captured.err.count("\n") == 1
    assert face.manager.asked == []


async def test_a_file_leaves_nothing_to_be_said_beside_it(
    face: Face, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--priority", "3"], ["--check"], ["--key", "k"]):
        with pytest.raises(SystemExit):
            await submitted(face, "/x", *words)
        assert "--file names all of its jobs' fields, so " in capsys.readouterr().err


async def test_more_than_a_call_takes_are_several_calls(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    def call(self: Client, method: str, path: str, body: Any = None, **_: Any) -> Any:
        sent.append(len(body["jobs"]))
        return 200, {"jobs": [{"status": 201, "job": {"id": 1}}] * len(body["jobs"])}

    monkeypatch.setattr(Client, "call", call)
    rows = await face.call(lambda client: client.submit_all([({"executable": "/x"}, None)] * 2500))
    assert (len(rows), sent) == (2500, [1000, 1000, 500])
    sent.clear()
    long = {"executable": "/x", "arguments": ["a" * 4000] * 15}
    await face.call(lambda client: client.submit_all([(long, None)] * 40))
    assert sum(sent) == 40
    assert max(sent) <= 16


async def test_what_was_submitted_before_a_call_failed_is_told(
    face: Face, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "BULK_JOBS", 2)
    answers = [{"jobs": [{"status": 201, "job": {"id": each}} for each in (1, 2)]}]

    def call(self: Client, *_: Any, **__: Any) -> Any:
        if not answers:
            raise ClientError("unavailable", "too many wait", 503)
        return 200, answers.pop()

    monkeypatch.setattr(Client, "call", call)
    path = lines(face, *[face.spec()] * 5)
    assert await submitted(face, path) == 1
    captured = capsys.readouterr()
    assert captured.out == "job 1\njob 2\n"
    assert captured.err == "".join(f"kcms: line {at}: too many wait\n" for at in (5, 7, 9))


async def test_when_nothing_was_submitted_that_is_told_once(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(self: Client, *_: Any, **__: Any) -> Any:
        raise ClientError("unavailable", "nobody listens")

    monkeypatch.setattr(Client, "call", call)
    with pytest.raises(ClientError, match="nobody listens"):
        await face.call(lambda client: client.submit_all([({"executable": "/x"}, None)] * 5))
