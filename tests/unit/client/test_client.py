"""The client: bytes out, bytes in, and the one line of every failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kcms.client import FINAL_STATES, Client, ClientError
from kcms.jobs.states import State


class Scripted(Client):
    """A client whose exchanges are written down and answered from a list."""

    def __init__(self, *answers: bytes | OSError, **more: Any) -> None:
        super().__init__("/run/x.sock", **more)
        self.answers = list(answers)
        self.sent: list[bytes] = []

    def _exchange(self, request: bytes) -> bytes:
        self.sent.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer


def answer(status: int, document: object) -> bytes:
    return f"HTTP/1.1 {status} X\r\nA: b\r\n\r\n".encode() + json.dumps(document).encode()


def job(state: str, number: int = 12) -> dict[str, Any]:
    return {"id": number, "state": state}


def test_a_submission_is_exactly_these_bytes() -> None:
    client = Scripted(answer(201, job("PENDING")), cluster="alpha", as_user="jürg")
    assert client.submit({"executable": "/s/x"}, "k") == (job("PENDING"), True)
    body = b'{"spec": {"executable": "/s/x"}, "key": "k"}'
    assert client.sent == [
        b"POST /v1/jobs?cluster=alpha HTTP/1.0\r\nHost: gateway\r\n"
        b"Content-Type: application/json\r\nContent-Length: 44\r\n"
        b"Kcms-As: j%C3%BCrg\r\n\r\n" + body
    ]


def test_the_same_key_again_is_no_new_job() -> None:
    assert Scripted(answer(200, job("RUNNING"))).submit({}, "k")[1] is False


def test_a_submission_without_key_has_one_of_its_own() -> None:
    client = Scripted(answer(201, job("PENDING")), answer(201, job("PENDING")))
    assert client.submit({})[1]
    assert client.submit({})[1]
    keys = [json.loads(sent.partition(b"\r\n\r\n")[2])["key"] for sent in client.sent]
    assert all(key.startswith("client-") and len(key) > 32 for key in keys)
    assert keys[0] != keys[1]


@pytest.mark.parametrize("lost", [b"", b"HTTP/1.1 201 X\r\n\r\n{", TimeoutError("timed out")])
@pytest.mark.parametrize(("key", "new"), [(None, True), ("k", False)])
def test_a_submission_whose_answer_is_lost_is_repeated_and_is_one_job(
    lost: bytes | OSError, key: str | None, new: bool
) -> None:
    client = Scripted(lost, answer(200, job("PENDING")))
    assert client.submit({}, key) == (job("PENDING"), new)
    assert client.sent[0] == client.sent[1]


def test_a_submission_that_is_refused_is_not_repeated() -> None:
    refusal = answer(403, {"error": {"code": "forbidden", "message": "no"}})
    client = Scripted(refusal, answer(201, job("PENDING")))
    with pytest.raises(ClientError, match="no"):
        client.submit({})
    assert len(client.sent) == 1


def test_a_query_has_only_what_was_given_and_is_quoted() -> None:
    client = Scripted(answer(200, {"jobs": []}))
    assert client.jobs(("PENDING", "RUNNING"), user="a b&c") == []
    assert client.sent[0].startswith(
        b"GET /v1/jobs?state=PENDING%2CRUNNING&user=a%20b%26c HTTP/1.0\r\n"
    )


def test_a_name_cannot_add_a_header() -> None:
    client = Scripted(answer(200, {}), as_user="alice\r\nKcms-User: root")
    client.ping()
    assert b"Kcms-As: alice%0D%0AKcms-User%3A%20root\r\n" in client.sent[0]


def test_a_refusal_keeps_code_message_and_status() -> None:
    refusal = {"error": {"code": "not_found", "message": "there is no job 7"}}
    with pytest.raises(ClientError) as caught:
        Scripted(answer(404, refusal)).job(7)
    error = caught.value
    assert (error.code, error.message, error.status) == ("not_found", "there is no job 7", 404)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "broke off"),
        (b"SSH-2.0-x\r\n\r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\n\r\n{", "JSON"),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", "no object"),
        (b"HTTP/1.1 500 X\r\n\r\n{}", "500 without a reason"),
    ],
)
def test_an_answer_that_is_none_is_one_line(raw: bytes, said: str) -> None:
    with pytest.raises(ClientError, match=said) as caught:
        Scripted(raw).ping()
    assert caught.value.code == "protocol_error"
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "x"), "no gateway on this host"),
        (ConnectionRefusedError(111, "x"), "no gateway on this host"),
        (TimeoutError("timed out"), "did not answer within 60 s"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
    ],
)
def test_a_gateway_that_is_not_there_is_one_line(error: OSError, said: str) -> None:
    with pytest.raises(ClientError, match=said) as caught:
        Scripted(error).ping()
    assert (caught.value.code, caught.value.status) == ("unavailable", 0)


def test_a_missing_socket_really_says_so(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=f"no gateway on this host.*{tmp_path}/none.sock"):
        Client(str(tmp_path / "none.sock")).ping()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Manager(Client):
    """Lists jobs as a manager does that gives two a page, or as one that knows no ``before``."""

    def __init__(self, count: int, knows_before: bool) -> None:
        super().__init__("/run/x.sock")
        self.numbers = range(1, count + 1)
        self.knows_before = knows_before
        self.calls = 0

    def call(
        self, method: str, path: str, body: Any = None, **query: Any
    ) -> tuple[int, dict[str, Any]]:
        self.calls += 1
        assert self.calls < 10, "it never ends"
        before = query["before"] if self.knows_before else None
        found = [job("RUNNING", each) for each in self.numbers if before is None or each < before]
        return 200, {"jobs": found[-2:]}


def test_every_job_is_listed_page_by_page() -> None:
    manager = Manager(5, knows_before=True)
    assert [each["id"] for each in manager.every_job()] == [5, 4, 3, 2, 1]


def test_a_manager_of_before_that_lists_the_same_again_is_an_end() -> None:
    manager = Manager(5, knows_before=False)
    assert [each["id"] for each in manager.every_job()] == [5, 4]
    assert manager.calls == 2


def test_waiting_ends_with_the_job_and_outlasts_an_outage() -> None:
    clock = Clock()
    outage = answer(503, {"error": {"code": "unavailable", "message": "no"}})
    whole = {**job("FAILED"), "tasks": [{"index": 0}, {"index": 1}]}
    few = answer(200, {**job("FAILED"), "tasks": []})
    client = Scripted(answer(200, job("RUNNING")), outage, few, outage, few, answer(200, whole))
    assert client.wait(12, None, clock, clock.sleep) == whole
    assert clock.now == pytest.approx(100.475)
    queries = [sent.split(b" ")[1].partition(b"?")[2] for sent in client.sent]
    assert queries == [b"tasks=0", b"tasks=0", b"tasks=0", b"", b"tasks=0", b""]


def test_a_manager_of_before_that_tells_of_all_tasks_is_asked_no_more() -> None:
    whole = {**job("FAILED"), "tasks": [{"index": 0}, {"index": 1}]}
    assert Scripted(answer(200, whole)).wait(12) == whole


@pytest.mark.parametrize("others", [[], [0, 1, 3]])
def test_only_the_task_whose_output_is_followed_is_asked_for(others: list[int]) -> None:
    rows = [{"index": i, "state": "RUNNING", "start_time": 1.0} for i in others]
    runs = [*rows, {"index": 2, "state": "RUNNING", "start_time": 1.0}]
    over = [*rows, {"index": 2, "state": "FAILED", "start_time": 1.0}]
    part = answer(200, {"text": "x", "size": 1, "offset": 0, "end": 1})
    client = Scripted(
        answer(200, {**job("RUNNING"), "tasks": rows}),
        answer(200, {**job("RUNNING"), "tasks": runs}),
        part,
        answer(200, {**job("RUNNING"), "tasks": over}),
        part,
    )
    assert len(list(client.follow(12, task=2, sleep=lambda seconds: None))) == 2
    asked = [sent.split(b" ")[1] for sent in client.sent]
    assert [each for each in asked if b"output" not in each] == [b"/v1/jobs/12?task=2"] * 3


def test_waiting_ends_at_its_limit() -> None:
    clock = Clock()
    client = Scripted(*[answer(200, job("RUNNING"))] * 20)
    with pytest.raises(ClientError, match="job 12 is RUNNING after 5 s") as caught:
        client.wait(12, 5, clock, clock.sleep)
    assert caught.value.code == "timeout"
    assert clock.now == pytest.approx(105.0)


def test_waiting_for_a_job_that_is_not_there_ends_at_once() -> None:
    clock = Clock()
    missing = answer(404, {"error": {"code": "not_found", "message": "there is no job 12"}})
    with pytest.raises(ClientError, match="there is no job 12"):
        Scripted(missing).wait(12, 5, clock, clock.sleep)
    assert clock.now == 100.0


def test_the_final_states_are_those_of_the_table() -> None:
    assert {state.value for state in State if state.final} == FINAL_STATES
