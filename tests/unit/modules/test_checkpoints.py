"""Modules of checkpoints: what check mode predicts is what the real run does."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import Client, ClientError
from ansible_collections.kcms.cluster.plugins.modules import job_checkpoint, job_restart

from tests.unit.cli.test_saves import FAILED, IMAGE, MADE, WAITING, saved
from tests.unit.modules.test_nodes import both, run


class Fake(Client):
    """One job, which is saved as it is told; every call that would change it is written down."""

    the_job: dict[str, Any]
    then: dict[str, Any]  # what it is once a checkpoint was asked for
    refusal: str
    calls: list[tuple[str, Any]]

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, **query: object
    ) -> tuple[int, dict[str, Any]]:
        if method == "GET":
            return 200, Fake.the_job
        Fake.calls.append((path, body))
        if Fake.refusal:
            raise ClientError("conflict", Fake.refusal, 409)
        if path.endswith("/restart"):
            return 202, saved({**MADE, "restart_by": "alice"})
        if not (body or {}).get("check"):
            Fake.the_job = Fake.then
        own = Fake.then["spec"]["checkpoint_signal"]
        return 202, Fake.then if own else saved(WAITING)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    Fake.the_job, Fake.then, Fake.refusal, Fake.calls = saved({}), saved(MADE), "", []
    utils = "ansible_collections.kcms.cluster.plugins.module_utils.kcms_module.Client"
    monkeypatch.setattr(utils, Fake)


def test_a_job_is_saved(capsys: pytest.CaptureFixture[str]) -> None:
    done = both(job_checkpoint, capsys, id=12)
    assert (done["changed"], done["checkpoints"]) == (True, [{"task": 0, **IMAGE}])
    assert done["msg"] == "checkpoint 3 of job 12 was made: 52 MB, it stood still for 0.38 s"
    assert done["job"]["checkpoint"]["under_way"] == []
    assert [body for _, body in Fake.calls] == [{"check": True}, {}]


def test_a_check_saves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    done = run(job_checkpoint, capsys, True, id=12, task=0)
    assert (done["changed"], done["msg"]) == (True, "job 12 would be saved")
    assert Fake.the_job == done["job"] == saved({})
    assert Fake.calls == [("/v1/jobs/12/checkpoint", {"task": 0, "check": True})]


def test_what_the_node_finds_is_the_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.then = saved(FAILED)
    done = run(job_checkpoint, capsys, id=12)
    assert (done["failed"], done["changed"], done["code"]) == (True, False, "conflict")
    assert done["msg"] == "no checkpoint of job 12 was made: alpha2: it has a TCP socket"


def test_one_that_is_not_over_in_time_fails(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.then = saved(WAITING)
    done = run(job_checkpoint, capsys, id=12, wait_timeout=0)
    assert (done["failed"], done["code"], done["changed"]) == (True, "timeout", True)
    assert done["msg"] == "the checkpoint of job 12 is still under way after 0 s"


def test_one_that_saves_itself_gets_its_signal(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.then = saved({"signalled": 1490.0}, signalled=1490.0)
    Fake.then["spec"]["checkpoint_signal"] = "USR1"
    done = both(job_checkpoint, capsys, id=12)
    assert (done["changed"], done["checkpoints"]) == (True, [])
    assert done["msg"] == "job 12 was sent SIGUSR1, to save itself"


@pytest.mark.parametrize("module", [job_checkpoint, job_restart])
def test_what_the_manager_refuses_at_once(module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Fake.refusal = "no checkpoint of job 12 can be made: it is PENDING"
    done = both(module, capsys, id=12)
    assert (done["msg"], done["changed"], done["status"]) == (Fake.refusal, False, 409)


def test_a_job_goes_back(capsys: pytest.CaptureFixture[str]) -> None:
    done = both(job_restart, capsys, id=12, task=0)
    assert (done["changed"], done["msg"]) == (
        *(True, "job 12 is being begun anew, from checkpoint 3"),
    )
    assert done["job"]["tasks"][0]["checkpoint"]["restart_by"] == "alice"
    assert [body for _, body in Fake.calls] == [{"task": 0, "check": True}, {"task": 0}]


def test_a_check_leaves_it_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(job_restart, capsys, True, id=12)["job"] == saved({})
