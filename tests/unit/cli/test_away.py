"""``kcms --via HEAD``: words in, what is asked of the head and sent to it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kcms.cli import away, fetch, leading, main, options
from kcms.client import ClientError
from kcms.errors import InvalidRequest, NotFound
from kcms.jobs import staged
from kcms.via.staging import Local, Place
from tests.unit.cli.test_tables import job

PLACES = {"user": "alice", "home": "/shared/home/alice", "shared": ["/shared"]}


class Channel:
    """One call of the gateway: its answer is chosen by the first line."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._answer = b""

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        method, target = head.split()[:2]
        call = f"{method.decode()} {target.decode().partition('?')[0]}"
        self._head.asked.append((call, json.loads(body) if body else None))
        status, document = self._head.answers[call]
        self._answer = f"HTTP/1.1 {status} X\r\n\r\n".encode() + json.dumps(document).encode()

    def recv(self, size: int) -> bytes:
        part, self._answer = self._answer[:size], self._answer[size:]
        return part


class Head:
    """A login at a head, without the head."""

    name = "head"
    asked: list[tuple[str, Any]]
    answers: dict[str, tuple[int, Any]]
    opened: list[tuple[Any, str | None]]

    def __init__(self) -> None:
        self.asked, self.answers, self.opened = [], {}, []
        self.files = SimpleNamespace(normalize=lambda path: path)

    def gateway(self, path: str) -> Callable[[float], Channel]:
        return lambda timeout: Channel(self)

    def close(self) -> None:
        pass

    @contextlib.contextmanager
    def explained(self, doing: str) -> Iterator[None]:
        yield


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Head:
    from kcms.via.session import Session

    made = Head()
    made.answers = {
        "GET /v1/places": (200, PLACES),
        "POST /v1/jobs": (201, job(state="PENDING")),
        "GET /v1/jobs": (200, {"jobs": [], "more": False}),
    }

    def login(target: Any, known_hosts: str | None) -> Head:
        made.opened.append((target, known_hosts))
        return made

    monkeypatch.setattr(Session, "open", login)
    return made


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Local, Place]]:
    found: list[tuple[Local, Place]] = []
    monkeypatch.setattr(away, "put", lambda head, local, place: found.append((local, place)))
    monkeypatch.setattr(away, "clear", lambda head, stage: None)
    return found


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "prog.sh"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("words", "before", "after"),
    [
        ("--via h jobs --all", "--via h", "jobs --all"),
        ("--via=h --known-hosts k jobs", "--via=h --known-hosts k", "jobs"),
        ("jobs --via h", "", "jobs --via h"),
        ("--all jobs", "", "--all jobs"),
    ],
)
def test_what_stands_before_the_command(words: str, before: str, after: str) -> None:
    assert leading(words.split()) == (before.split(), after.split())


def test_the_target_comes_from_words_or_the_environment(
    head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KCMS_VIA", "bob@other:7")
    assert main(["--via", "alice@head", "--known-hosts", "k", "jobs"]) == 0
    assert main(["jobs"]) == 0
    found = [(each.user, each.host, each.port, known) for each, known in head.opened]
    assert found == [("alice", "head", None, "k"), ("bob", "other", 7, None)]


def test_an_environment_that_is_wrong_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KCMS_VIA", "head:x")
    with pytest.raises(SystemExit):
        main(["jobs"])
    assert capsys.readouterr().err.startswith("kcms: argument --via: must have a port")
    assert main(["version"]) == 0


def test_without_stage_all_paths_are_the_heads(head: Head) -> None:
    words = ["--base-directory", "run", "--output", "/o", "--input", ":in", "./p.sh", "./arg"]
    assert main(["--via", "head", "submit", *words]) == 0
    assert head.asked[-1][1]["spec"] == {
        "base_directory": "/shared/home/alice/run",
        "output": "/o",
        "input": "/shared/home/alice/in",
        "executable": "/shared/home/alice/p.sh",
        "arguments": ["./arg"],
    }


def test_absolute_paths_ask_for_no_places(head: Head) -> None:
    assert main(["--via", "head", "submit", "/shared/p.sh"]) == 0
    assert [call for call, _ in head.asked] == ["POST /v1/jobs"]


def test_executable_and_input_are_staged(
    head: Head, sent: list[tuple[Local, Place]], program: Path
) -> None:
    (program.parent / "in").write_text("data")
    words = ["--stage", "--input", "in", "--output", "o.%j", "prog.sh", "x"]
    assert main(["--via", "head", "submit", *words]) == 0
    assert [(each.field, each.size) for each, _ in sent] == [("executable", 10), ("input", 4)]
    spec = head.asked[-1][1]["spec"]
    assert spec["executable"] == sent[0][1].path
    assert spec["executable"].startswith("/shared/home/alice/.kcms/stage/")
    assert spec["executable"].endswith("/prog.sh")
    assert spec["input"] == sent[1][1].path
    assert spec["output"] == "/shared/home/alice/o.%j"


@pytest.mark.parametrize(
    ("brings", "limit", "problem"),
    [
        (True, 10, None),
        (False, 10, "and the release there brings no files to nodes: name a directory"),
        (True, 9, "has 0.0 GiB, and nodes bring up to"),
    ],
)
def test_nothing_is_sent_that_nodes_would_not_bring(
    head: Head,
    sent: list[tuple[Local, Place]],
    program: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    brings: bool,
    limit: int,
    problem: str | None,
) -> None:
    places = {"user": "alice", "home": "/home/alice", "shared": ["/shared"]}
    head.answers["GET /v1/places"] = (200, {**places, **({"brings": True} if brings else {})})
    monkeypatch.setattr(staged, "SIZE_LIMIT", limit)
    assert main(["--via", "head", "submit", "--stage", str(program)]) == (problem is not None)
    assert len(sent) == (problem is None)
    if problem:
        assert problem in capsys.readouterr().err
    else:
        assert list(head.asked[-1][1]["spec"]["staged"]) == ["executable"]


def test_what_is_there_already_is_not_staged(
    head: Head, sent: list[tuple[Local, Place]], program: Path
) -> None:
    words = ["--stage", "--stage-to", "/shared/mine", "--input", ":/shared/in", "prog.sh"]
    assert main(["--via", "head", "submit", *words]) == 0
    assert [each.path for _, each in sent] == ["/shared/mine/prog.sh"]
    assert head.asked[-1][1]["spec"]["input"] == "/shared/in"
    assert [call for call, _ in head.asked] == ["POST /v1/jobs"]


def test_a_head_of_before_says_what_to_do(
    head: Head, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head.answers["GET /v1/places"] = (404, {"error": {"code": "not_found", "message": "no"}})
    assert main(["--via", "head", "submit", "--stage", "prog.sh"]) == 1
    assert "for --stage a --stage-to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "code", "status"),
    [("COMPLETED", 0, 0), ("FAILED", 3, 3), ("CANCELLED", None, 1), ("TIMEOUT", 0, 1)],
)
def test_waiting_ends_as_the_program_did(
    head: Head, state: str, code: int | None, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    over = job(state=state)
    over["tasks"][0]["exit"] = {"code": code, "signal": None}
    head.answers["GET /v1/jobs/12"] = (200, over)
    assert main(["--via", "head", "submit", "--wait", "/shared/p.sh"]) == status
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "job 12"
    assert said[1].startswith(f"job 12 is {state}")


def test_output_and_error_are_fetched(
    head: Head,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = {**job()["spec"], "output": "/shared/o.%j", "error": "/shared/o.%j"}
    tasks = [{**job()["tasks"][0], "start_time": 1.0}]
    head.answers["GET /v1/jobs/12"] = (200, job(state="RUNNING", spec=spec, tasks=tasks))
    fetched: list[str] = []
    forced: list[bool] = []

    def get(_: Any, path: str, directory: Path, force: bool) -> tuple[Path, bool]:
        fetched.append(path)
        forced.append(force)
        return directory / Path(path).name, True

    monkeypatch.setattr(fetch, "get", get)
    assert main(["--via", "head", "fetch", "12", "--to", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path}/o.12\n"
    assert said.err == "kcms: job 12 is RUNNING: that is what it had written until now\n"
    base = job()["spec"]["base_directory"]
    assert (
        main(["--via", "head", "fetch", "12", "a/b", "/x", "--json", "--to", "/tmp", "--force"])
        == 0
    )
    assert forced == [False, True, True]
    assert fetched == ["/shared/o.12", f"{base}/a/b", "/x"]
    assert json.loads(capsys.readouterr().out)["files"][1]["local"] == "/tmp/x"


@pytest.mark.parametrize("seen", [True, False])
def test_what_a_link_has_on_a_shared_directory_is_the_heads(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    def normalize(path: str) -> str:
        if not seen:
            raise FileNotFoundError(2, "none", path)
        return path.replace("/home", "/shared", 1)

    spec = {**job()["spec"], "output": "/home/alice/o.%j", "error": "/home/alice/o.%j"}
    tasks = [{**job()["tasks"][0], "start_time": 1.0}]
    head.answers["GET /v1/jobs/12"] = (200, job(state="COMPLETED", spec=spec, tasks=tasks))
    head.answers["GET /v1/places"] = (200, {**PLACES, "brings": True})
    head.files.normalize = normalize
    asked: list[Any] = []

    def get(host: Any, path: str, directory: Path, force: bool) -> tuple[Path, bool]:
        asked.append(host)
        return directory / Path(path).name, True

    monkeypatch.setattr(fetch, "get", get)
    assert main(["--via", "head", "fetch", "12", "--to", str(tmp_path)]) == 0
    assert [each is head for each in asked] == [seen]


def test_nodes_that_share_nothing_have_each_a_file_of_one_name() -> None:
    made = several(0, 2)
    made["tasks"][2]["node"] = "alpha7"
    assert len(fetch.wanted(made, None, [])) == 3
    made["spec"]["staged"] = {"executable": "0:0"}
    assert len(fetch.apart(fetch.wanted(made, None, [], ["/s"]))) == 3
    found = fetch.wanted(made, None, [])
    assert [each.task for each in found if each.path == "/s/alice.err"] == [0, 2]
    with pytest.raises(InvalidRequest, match="tasks 0 and 2 have each a /s/alice"):
        fetch.apart(found)
    assert len(fetch.apart(fetch.wanted(made, 2, []))) == 2


def test_an_interactive_job_has_no_files_to_fetch() -> None:
    made = several(0)
    made["spec"] |= {"output": None, "error": None}
    assert fetch.wanted(made, None, []) == []


def several(*begun: int) -> dict[str, Any]:
    """A batch job of four tasks, of which some began."""
    spec = {**job()["spec"], "output": "/s/o.%j.%t", "error": "/s/%u.err", "total_tasks": 4}
    (one,) = job()["tasks"]
    tasks = [{**one, "index": at, "start_time": 1.0 if at in begun else None} for at in range(4)]
    return job(spec=spec, tasks=tasks)


@pytest.mark.parametrize(
    ("task", "found"),
    [
        (None, ["/s/o.12.0", "/s/alice.err", "/s/o.12.2"]),
        (2, ["/s/o.12.2", "/s/alice.err"]),
    ],
)
def test_what_tasks_have_written_is_fetched(task: int | None, found: list[str]) -> None:
    files = fetch.wanted(several(0, 2), task, [])
    assert [each.path for each in files] == found
    assert {each.node for each in files} == {"alpha2"}
    first = 0 if task is None else task
    assert [(each.task, each.which) for each in files[:2]] == [(first, "output"), (first, "error")]


def test_what_goes_nowhere_is_not_fetched_and_two_of_one_name_neither() -> None:
    found = several(1)
    found["spec"] |= {"output": "/dev/null", "error": "/e/%j"}
    assert fetch.wanted(found, None, []) == [fetch.Wanted("/e/12", 1, "error", "alpha2")]
    one, two, three = (
        fetch.Wanted(each, 0, "output", "alpha2") for each in ("/e/12", "/e/13", "/o/12")
    )
    assert fetch.apart([one, two]) == [one, two]
    with pytest.raises(InvalidRequest, match=r"/o/12 and /e/12 have one name"):
        fetch.apart([three, one])


@pytest.mark.parametrize("name", [".profile", ".", "a\nb", "\x1b[2J", "\u202ex"])
def test_a_name_that_somebody_else_chose_is_not_taken_unasked(name: str) -> None:
    found = several(1)
    found["spec"] |= {"output": f"/s/{name}", "error": "/e"}
    with pytest.raises(InvalidRequest, match="not fetched unasked: name it as a FILE"):
        fetch.wanted(found, None, [])
    named = fetch.Wanted(f"/s/{name}", 1, "file", "alpha2")
    assert fetch.wanted(found, None, [f"/s/{name}"]) == [named]


def test_files_are_fetched_as_who_logs_in_alone(
    head: Head, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--via", "head", "fetch", "12", "--user", "bob"]) == 1
    assert head.asked == []
    assert "use --via bob@HEAD" in capsys.readouterr().err
    head.answers["GET /v1/jobs/12"] = (200, {**job(state="COMPLETED"), "user": "bob"})
    assert main(["--via", "head", "fetch", "12", "x"]) == 1
    said = (
        "job 12 is bob's, and fetch reads files as who calls, alice: be bob, or use --via bob@HEAD"
    )
    assert capsys.readouterr().err == f"kcms: {said}\n"
    head.answers["GET /v1/places"] = (404, {"error": {"code": "not_found", "message": "no"}})
    assert main(["--via", "head", "fetch", "12"]) == 1
    assert "does not say who you are there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "said"), [(None, "job 12 never began"), (3, "task 3 of job 12 never began")]
)
def test_what_never_began_has_written_nothing(task: int | None, said: str) -> None:
    with pytest.raises(NotFound, match=said):
        fetch.wanted(several(*([] if task is None else [0])), task, [])


def test_a_task_that_the_job_has_not_is_not_said_to_wait() -> None:
    with pytest.raises(NotFound, match="has the tasks 0 to 3, and no task 4"):
        fetch.wanted(several(0), 4, [])


def test_a_directory_that_may_not_be_written_is_said_before_anything_is_asked(
    head: Head,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert main(["--via", "head", "fetch", "12", "--to", str(tmp_path)]) == 1
    assert head.asked == []
    assert capsys.readouterr().err == (
        f"kcms: you may not write to {tmp_path}: name another with --to\n"
    )


def test_one_login_serves_a_whole_command(head: Head) -> None:
    head.answers["GET /v1/jobs/12"] = (200, job(state="COMPLETED"))
    given = options.Parser("x", "x")
    options.client_options(given, None)
    parsed = given.parse_args(["--via", "head"])
    caller = options.client(parsed)
    assert head.opened == []  # not before it is needed
    caller.job(12)
    caller.job(12)
    options.session(parsed)
    assert len(head.opened) == 1


def test_a_login_that_breaks_is_not_waited_for(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(timeout: float) -> Any:
        raise ClientError("disconnected", "the SSH connection to head broke")

    monkeypatch.setattr(head, "gateway", lambda path: broken)
    assert main(["--via", "head", "output", "-f", "12"]) == 1
