"""What the modules decide: changed or not, predicted or done."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import Client, ClientError
from ansible_collections.kcms.cluster.plugins.modules import (
    job_hold,
    job_info,
    job_kill,
    job_signal,
    job_submit,
)

SPEC = {"executable": "/s/x", "arguments": [], "class": "single", "priority": 0, "environment": {}}


def job(number: int = 12, state: str = "RUNNING", **more: Any) -> dict[str, Any]:
    filled = {**SPEC, "name": "x", "output": "/h/kcms-%j.out"}
    base = {"id": number, "state": state, "spec": filled, "key": None, "killed_by": None}
    return {**base, "held_by": None, "tasks": [], **more}


class Fake(Client):
    """A cluster with the given jobs; what is asked of it is written down."""

    known: list[dict[str, Any]]
    calls: list[tuple[Any, ...]]
    acted: dict[str, Any]
    bodies: list[Any]
    page = 1000

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, **query: object
    ) -> tuple[int, dict[str, Any]]:
        given = {key: value for key, value in query.items() if value is not None}
        Fake.calls.append((method, path, self.as_user, self.cluster, given))
        if path == "/v1/jobs" and method == "GET":
            before = given.get("before", 1 << 62)
            return 200, {
                "jobs": [each for each in Fake.known if each["id"] < before][-Fake.page :],
                "more": len(Fake.known) > Fake.page,
            }
        if path == "/v1/jobs":
            assert body is not None
            return self._submit(body, "check" in query)
        found = [each for each in Fake.known if str(each["id"]) == path.split("/")[3]]
        if not found:
            raise ClientError("not_found", f"there is no job {path.split('/')[3]}", 404)
        if path.endswith("/kill"):
            return 202, {**found[0], "killed_by": "alice"}
        if path.endswith("/signal"):
            Fake.bodies.append(body)
            return 202, found[0]
        if path.endswith(("/hold", "/release", "/suspend", "/resume")):
            Fake.bodies.append(body)
            return 200, Fake.acted
        return 200, found[0]

    def _submit(self, body: dict[str, Any], checking: bool) -> tuple[int, dict[str, Any]]:
        if checking:
            return 200, {"checked": True, "spec": {**job()["spec"], **body["spec"]}}
        for each in Fake.known:
            if body["key"] is not None and each["key"] == body["key"]:
                return 200, each
        return 201, job(13, "PENDING", key=body["key"])


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    Fake.known, Fake.calls, Fake.bodies = [], [], []
    utils = "ansible_collections.kcms.cluster.plugins.module_utils.kcms_module.Client"
    monkeypatch.setattr(utils, Fake)
    return Fake


def run(
    module: Any, capsys: pytest.CaptureFixture[str], check: bool = False, **args: Any
) -> dict[str, Any]:
    """Run a module as Ansible does; what it prints."""
    with (
        patch_module_args({**args, "_ansible_check_mode": check, "_ansible_diff": True}),
        pytest.raises(SystemExit),
    ):
        module.main()
    return dict(json.loads(capsys.readouterr().out))


def methods() -> list[str]:
    return [f"{method} {path}" for method, path, *_ in Fake.calls]


def test_a_submission_changes(capsys: pytest.CaptureFixture[str]) -> None:
    got = run(job_submit, capsys, executable="/s/x", user="alice", cluster="beta")
    assert (got["changed"], got["job"]["id"]) == (True, 13)
    assert got["diff"] == {"before": {}, "after": got["job"]["spec"]}
    assert Fake.calls == [("POST", "/v1/jobs", "alice", "beta", {})]


def test_a_key_is_found_over_pages_that_are_short(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fake, "page", 1)
    Fake.known = [job(12, key="k"), job(13), job(14)]
    there = run(job_submit, capsys, True, executable="/s/x", key="k")
    assert (there["changed"], there["job"]["id"]) == (False, 12)
    assert run(job_submit, capsys, True, executable="/s/x", key="new")["changed"] is True
    assert [each[4].get("before") for each in Fake.calls if each[:2] == ("GET", "/v1/jobs")] == [
        *(None, 14, 13),
        *(None, 14, 13, 12),
    ]


def test_an_interval_of_the_sites_is_no_other_field(capsys: pytest.CaptureFixture[str]) -> None:
    there = job(12, key="k")
    Fake.known = [{**there, "spec": {**there["spec"], "checkpoint_interval": "auto"}}]
    there = run(job_submit, capsys, True, executable="/s/x", key="k")
    assert (there["changed"], there["spec"]["checkpoint_interval"]) == (False, "auto")
    other = run(job_submit, capsys, True, executable="/s/x", key="k", checkpoint_interval="10m")
    assert (other["failed"], other["code"]) == (True, "conflict")


def test_the_same_key_again_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.known = [job(key="k")]
    got = run(job_submit, capsys, executable="/s/x", key="k")
    assert (got["changed"], got["job"]["id"]) == (False, 12)
    assert got["diff"]["before"] == got["diff"]["after"]


def test_check_mode_predicts_and_submits_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.known = [job(key="k")]
    new = run(job_submit, capsys, True, executable="/s/x", wait=True)
    assert new["changed"] is True
    assert "job" not in new
    assert new["spec"]["output"] == "/h/kcms-%j.out"
    other = run(job_submit, capsys, True, executable="/s/x", key="other")
    assert other["changed"] is True
    other = run(job_submit, capsys, True, executable="/s/y", key="k")
    assert (other["failed"], other["code"]) == (True, "conflict")
    there = run(job_submit, capsys, True, executable="/s/x", key="k")
    assert (there["changed"], there["job"]["id"]) == (False, 12)
    posts = [call for call in Fake.calls if call[0] == "POST"]
    assert all(call[4] == {"check": "1"} for call in posts)


def test_a_bad_specification_is_not_even_sent(capsys: pytest.CaptureFixture[str]) -> None:
    got = run(job_submit, capsys, executable="x")
    assert got["failed"] is True
    assert got["msg"] == "executable must be an absolute path, not 'x'"
    assert Fake.calls == []


def test_numbers_in_an_environment_become_texts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = {}

    def submit(self: Fake, spec: dict[str, Any], key: str | None) -> tuple[dict[str, Any], bool]:
        sent.update(spec)
        return job(), True

    monkeypatch.setattr(Fake, "submit", submit)
    run(job_submit, capsys, executable="/s/x", arguments=[1, "b"], environment={"N": 4, "M": "x"})
    assert sent["environment"] == {"N": "4", "M": "x"}
    assert sent["arguments"] == ["1", "b"]


def test_waiting_returns_the_end_and_fails_with_a_bad_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = {"code": 3, "signal": None}
    task = {"index": 0, "node": "alpha2", "exit": record, "message": ""}
    Fake.known = [job(13, "COMPLETED")]
    assert run(job_submit, capsys, executable="/s/x", wait=True)["job"]["state"] == "COMPLETED"
    Fake.known = [job(13, "FAILED", tasks=[task])]
    got = run(job_submit, capsys, executable="/s/x", wait=True)
    assert got["failed"] is True
    assert got["msg"] == "job 13 ended as FAILED (exit 3)"
    assert (got["changed"], got["job"]["id"]) == (True, 13)


def test_waiting_has_a_limit(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.known = [job(13, "RUNNING")]
    got = run(job_submit, capsys, executable="/s/x", wait=True, wait_timeout=0)
    assert got["msg"] == "job 13 is RUNNING after 0 s"
    assert (got["failed"], got["changed"], got["code"]) == (True, True, "timeout")


def test_killing(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.known = [job()]
    got = run(job_kill, capsys, id=12)
    assert (got["changed"], got["job"]["killed_by"]) == (True, "alice")
    assert got["diff"] == {"before": "RUNNING\n", "after": "CANCELLED\n"}
    assert methods() == ["GET /v1/jobs/12", "POST /v1/jobs/12/kill"]


@pytest.mark.parametrize("known", [job(state="FAILED"), job(killed_by="bob")])
def test_killing_what_is_over_or_being_killed_changes_nothing(
    capsys: pytest.CaptureFixture[str], known: dict[str, Any]
) -> None:
    Fake.known = [known]
    got = run(job_kill, capsys, id=12)
    assert got["changed"] is False
    assert got["diff"]["before"] == got["diff"]["after"]
    assert methods() == ["GET /v1/jobs/12"]


def test_killing_what_ends_meanwhile_changes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Fake.known = [job()]

    def kill(self: Fake, number: int) -> dict[str, Any]:
        Fake.known = [job(state="COMPLETED")]
        raise ClientError("conflict", "job 12 is COMPLETED", 409)

    monkeypatch.setattr(Fake, "kill", kill)
    got = run(job_kill, capsys, id=12)
    assert (got["changed"], got["job"]["state"]) == (False, "COMPLETED")


def test_check_mode_of_a_kill_predicts(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.known = [job(12), job(13, "COMPLETED")]
    assert run(job_kill, capsys, True, id=12)["changed"] is True
    assert run(job_kill, capsys, True, id=13)["changed"] is False
    assert methods() == ["GET /v1/jobs/12", "GET /v1/jobs/13"]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("known", "state", "after", "changed"),
    [
        (job(state="PENDING"), "held", {"held_by": "alice"}, True),
        (job(state="PENDING", held_by="alice"), "held", {}, False),
        (job(state="PENDING", held_by="alice"), "held", {"held_by": "root"}, True),
        (job(state="PENDING", held_by="alice"), "released", {"held_by": None}, True),
        (job(), "suspended", {"state": "SUSPENDED", "held_by": "alice"}, True),
        (job(state="SUSPENDED", held_by="alice"), "resumed", {"state": "RUNNING"}, True),
        (job(), "resumed", {}, False),
    ],
)
def test_holding(
    capsys: pytest.CaptureFixture[str],
    known: dict[str, Any],
    state: str,
    after: dict[str, Any],
    changed: bool,
    check: bool,
) -> None:
    Fake.known, Fake.acted = [known], {**known, **after}
    got = run(job_hold, capsys, check, id=12, state=state)
    assert got["changed"] is changed
    assert (got["diff"]["before"] != got["diff"]["after"]) is changed
    assert got["job"] == (known if check else Fake.acted)
    word = {"held": "hold", "released": "release", "suspended": "suspend", "resumed": "resume"}
    assert methods() == ["GET /v1/jobs/12", f"POST /v1/jobs/12/{word[state]}"]
    assert Fake.bodies[-1] == ({"check": True} if check else {})


def test_a_job_that_is_not_there_fails_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    for module in (job_kill, job_info):
        got = run(module, capsys, id=99)
        assert got["failed"] is True
        assert (got["msg"], got["code"], got["status"]) == ("there is no job 99", "not_found", 404)


def test_looking(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.known = [job(12), job(13)]
    one = run(job_info, capsys, id=13, user="bob")
    assert (one["changed"], one["job"]["id"], len(one["jobs"])) == (False, 13, 1)
    listed = run(job_info, capsys, states=["RUNNING", "FAILED"], limit=5, user="bob")
    assert [each["id"] for each in listed["jobs"]] == [12, 13]
    assert Fake.calls == [
        ("GET", "/v1/jobs/13", "bob", None, {}),
        ("GET", "/v1/jobs", None, None, {"state": "RUNNING,FAILED", "user": "bob", "limit": 5}),
    ]


def test_a_single_job_takes_no_filters(capsys: pytest.CaptureFixture[str]) -> None:
    assert "mutually exclusive" in run(job_info, capsys, id=1, states=["RUNNING"])["msg"]


def test_a_listing_says_whether_there_are_older_jobs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Fake.known = [job(12), job(13)]
    assert run(job_info, capsys)["more"] is False
    monkeypatch.setattr(Fake, "page", 1)
    got = run(job_info, capsys)
    assert ([each["id"] for each in got["jobs"]], got["more"]) == ([13], True)


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ({"id": 12}, {}),
        ({"id": 12, "task": 3}, {"task": 3}),
        (
            {"process": "12.0.47@alpha2"},
            {"task": 0, "process": {"node": "alpha2", "pid": 47}},
        ),
        (
            {"process": "12.0.47@alpha2", "kill": True},
            {"task": 0, "process": {"node": "alpha2", "pid": 47}, "kill": True},
        ),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_a_signal_is_sent_or_only_asked_about(
    target: dict[str, Any],
    body: dict[str, Any],
    check: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Fake.known = [job(12)]
    got = run(job_signal, capsys, check, signal="USR1", user="alice", **target)
    assert (got["changed"], got["job"]["id"]) == (True, 12)
    (sent,) = Fake.bodies
    assert sent.pop("key").startswith("client-")
    assert sent == {"signal": "USR1", **body, **({"check": True} if check else {})}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"process": "12.x"}, "'12.x' is no job as 12, no task as 12.3"),
        ({"process": "12.1"}, "process must be one as 12.0.4711@alpha2, not task 1 of job 12"),
        ({"id": 12, "kill": True}, "kill goes with a process; job_kill ends a whole job"),
        ({"id": 12, "process": "12.0.7@a"}, "parameters are mutually exclusive: id|process"),
        ({"process": "12.0.7@a", "task": 1}, "parameters are mutually exclusive: task|process"),
        ({}, "one of the following is required: id, process"),
    ],
)
def test_a_signal_to_nothing_is_no_traceback(
    given: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    got = run(job_signal, capsys, signal="USR1", **given)
    assert got["failed"] is True
    assert got["msg"].startswith(said)
    assert methods() == []
