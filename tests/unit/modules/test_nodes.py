"""Modules of migration, nodes and processes: what check mode predicts is what the real run does."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import (
    Client,
    ClientError,
    figures_of_move,
)
from ansible_collections.kcms.cluster.plugins.modules import (
    accounting_info,
    job_migrate,
    node_info,
    node_state,
    process_info,
)


def job(node: str = "alpha1", state: str = "RUNNING", **more: Any) -> dict[str, Any]:
    tasks = [{"index": 0, "node": node, "state": state}]
    return {"id": 12, "state": state, "tasks": tasks, "migration": None, **more}


def node(
    name: str, drained: bool = False, reason: str = "", migrate: bool = False
) -> dict[str, Any]:
    availability = "drained" if drained else "idle"
    shown = {"name": name, "state": "UP", "availability": availability, "slots": 2, "used": 0}
    return {**shown, "drained": drained, "drain_reason": reason, "leaving": migrate}


class Fake(Client):
    """A small cluster that changes as it is told; every call is written down."""

    the_job: dict[str, Any]
    kept: ClassVar[dict[str, Any]] = {}
    nodes_there: dict[str, dict[str, Any]]
    trouble: str  # what both nodes find when they look
    refusal: str  # what the manager knows at once
    root: bool
    calls: list[str]

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, **query: object
    ) -> tuple[int, dict[str, Any]]:
        Fake.calls.append(f"{method} {path}")
        if path == "/v1/nodes":
            return 200, {"nodes": list(Fake.nodes_there.values())}
        if path == "/v1/processes":
            rows = [process("alpha1", 7, "R"), process("alpha2", 8, "T", 13)]
            return 200, {
                "processes": [each for each in rows if query["node"] in (None, each["node"])],
                "left_out": 3,
            }
        if path == "/v1/accounting":
            return self._only_root({"rows": [], "more": False, **query})
        if path == "/v1/jobs":
            return self._only_root({"jobs": []})
        if path.endswith("/leaving"):
            return 200, {"node": "alpha2", "leaving": True, "tasks": [{"job": 12}]}
        if path.endswith("/state"):
            assert body is not None
            return self._node_state(path.split("/")[3], body)
        if path.endswith("/migrate"):
            assert body is not None
            return self._migrate(body)
        return 200, Fake.the_job

    def _only_root(self, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if not Fake.root:
            raise ClientError("forbidden", "only root may", 403)
        return 200, document

    def _node_state(self, name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self._only_root({})
        migrate = body.get("migrate", False)
        Fake.nodes_there[name] = node(name, body["state"] == "drain", body["reason"], migrate)
        return 200, Fake.nodes_there[name]

    def _migrate(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if Fake.refusal:
            raise ClientError("conflict", Fake.refusal, 409)
        check, source = body["check"], Fake.the_job["tasks"][0]["node"]
        phase = "refused" if Fake.trouble else "possible" if check else "done"
        moving = {
            "number": 1,
            "source": source,
            "target": body["node"],
            "phase": phase,
            "message": Fake.trouble,
            "check_only": check,
            "end_time": 5.0,
        }
        there = body["node"] if phase == "done" else source
        Fake.the_job = job(there, migration=moving, **Fake.kept)
        return 202, {**Fake.the_job, "migration": {**moving, "phase": "checking", "end_time": None}}


def process(name: str, pid: int, state: str, number: int = 12) -> dict[str, Any]:
    return {"node": name, "pid": pid, "state": state, "job": number}


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    Fake.the_job, Fake.kept, Fake.calls = job(), {}, []
    Fake.nodes_there = {name: node(name) for name in ("alpha1", "alpha2")}
    Fake.trouble, Fake.refusal, Fake.root = "", "", True
    utils = "ansible_collections.kcms.cluster.plugins.module_utils.kcms_module.Client"
    monkeypatch.setattr(utils, Fake)


def run(
    module: Any, capsys: pytest.CaptureFixture[str], check: bool = False, **args: Any
) -> dict[str, Any]:
    given = {**args, "_ansible_check_mode": check, "_ansible_diff": True}
    with patch_module_args(given), pytest.raises(SystemExit):
        module.main()
    return dict(json.loads(capsys.readouterr().out))


def both(module: Any, capsys: pytest.CaptureFixture[str], **args: Any) -> dict[str, Any]:
    """Predict, then do; that both agree is checked, and the second is returned."""
    predicted = run(module, capsys, True, **args)
    done = run(module, capsys, False, **args)
    for name in ("changed", "failed", "diff", "code"):
        assert predicted.get(name) == done.get(name), (predicted, done)
    return done


def posts() -> list[str]:
    return [each for each in Fake.calls if each.startswith("POST")]


def test_a_move(capsys: pytest.CaptureFixture[str]) -> None:
    done = both(job_migrate, capsys, id=12, node="alpha2")
    assert (done["changed"], done["migration"]["phase"]) == (True, "done")
    assert done["diff"] == {"before": "node: alpha1\n", "after": "node: alpha2\n"}
    assert done["job"]["tasks"][0]["node"] == "alpha2"


def test_a_check_says_in_words_what_a_move_would_take() -> None:
    checked = {"phase": "possible", "predicted_bytes": 52_428_800, "predicted_seconds": 0.412}
    assert figures_of_move(checked) == "about 52 MB, standing still for about 0.41 s"
    assert figures_of_move({"phase": "possible"}) == ""


def test_a_check_moves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(job_migrate, capsys, True, id=12, node="alpha2")["changed"] is True
    assert Fake.the_job["tasks"][0]["node"] == "alpha1"


def test_a_job_that_is_there_already_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    done = both(job_migrate, capsys, id=12, node="alpha1")
    assert (done["changed"], done["diff"]["before"]) == (False, "node: alpha1\n")
    assert posts() == []


@pytest.mark.parametrize("end", [None, 5.0])
def test_one_that_is_moving_away_is_not_there(
    capsys: pytest.CaptureFixture[str], end: float | None
) -> None:
    Fake.the_job = job(migration={"number": 1, "end_time": end, "check_only": False})
    Fake.refusal = "job 12 is being moved already"
    done = both(job_migrate, capsys, id=12, node="alpha1")
    assert done.get("failed", False) is (end is None)


SEVERAL = {"spec": {"total_tasks": 2}}


def test_a_task_that_is_there_is_left_alone_while_another_moves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    moving = {"number": 1, "task": 1, "end_time": None, "check_only": False}
    Fake.the_job = job(migration=moving, **SEVERAL)
    assert both(job_migrate, capsys, id=12, task=0, node="alpha1")["changed"] is False
    assert posts() == []
    Fake.the_job = job(migration={**moving, "task": 0}, **SEVERAL)
    run(job_migrate, capsys, id=12, task=0, node="alpha1")
    assert posts() != []


def test_a_task_that_moved_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.the_job = job(**SEVERAL)
    Fake.kept = SEVERAL
    assert run(job_migrate, capsys, id=12, task=0, node="alpha2")["msg"].startswith(
        "task 0 of job 12 has moved to alpha2"
    )


def test_what_the_nodes_find_is_the_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.trouble = "alpha1: it has a TCP socket"
    done = both(job_migrate, capsys, id=12, node="alpha2")
    assert done["msg"] == "job 12 was not moved to alpha2: alpha1: it has a TCP socket"
    assert (done["failed"], done["changed"], done["code"]) == (True, False, "conflict")


def test_what_the_manager_refuses_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.refusal = "job 12 cannot be moved: alpha2 is drained (new disk)"
    done = both(job_migrate, capsys, id=12, node="alpha2")
    assert (done["msg"], done["changed"], done["status"]) == (Fake.refusal, False, 409)


def test_draining_and_resuming(capsys: pytest.CaptureFixture[str]) -> None:
    drain = {"node": "alpha2", "state": "drained", "reason": "new disk"}
    done = both(node_state, capsys, **drain)
    assert (done["changed"], done["node"]["drain_reason"]) == (True, "new disk")
    assert done["diff"] == {
        "before": "state: resumed\n",
        "after": "state: drained\nreason: new disk\n",
    }
    assert both(node_state, capsys, **drain)["changed"] is False
    assert both(node_state, capsys, **{**drain, "reason": "old disk"})["changed"] is True
    assert both(node_state, capsys, node="alpha2", state="resumed")["changed"] is True
    assert both(node_state, capsys, node="alpha2", state="resumed")["changed"] is False
    assert posts() == ["POST /v1/nodes/alpha2/state"] * 3


def test_emptying_a_node(capsys: pytest.CaptureFixture[str]) -> None:
    drain = {"node": "alpha2", "state": "drained", "reason": "fan"}
    checked = run(node_state, capsys, True, **drain, migrate=True)
    assert (checked["changed"], checked["leaving"], posts()) == (True, [], [])
    done = run(node_state, capsys, **drain, migrate=True)
    assert (done["changed"], done["leaving"]) == (True, [{"job": 12}])
    assert done["diff"]["after"] == "state: drained\nreason: fan\nmigrate: true\n"
    assert both(node_state, capsys, **drain, migrate=True)["changed"] is False
    assert both(node_state, capsys, **drain)["changed"] is True
    assert Fake.nodes_there["alpha2"]["leaving"] is False
    wrong = both(node_state, capsys, node="alpha2", state="resumed", migrate=True)
    assert (wrong["failed"], wrong["msg"]) == (True, "migrate goes with state: drained")


def test_a_manager_too_old_to_empty_a_node_says_so_in_check_mode_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    del Fake.nodes_there["alpha2"]["leaving"]
    drain = {"node": "alpha2", "state": "drained", "reason": "fan"}
    done = both(node_state, capsys, **drain, migrate=True)
    assert (done["msg"], posts()) == ("the manager's release cannot empty a node", [])
    assert both(node_state, capsys, **drain)["changed"] is True


def test_who_may_not_is_told_so_before(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.root = False
    done = both(node_state, capsys, node="alpha2", state="drained", reason="mine")
    assert (done["failed"], done["code"], done["status"]) == (True, "forbidden", 403)


def test_a_node_or_reason_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    gone = both(node_state, capsys, node="alpha9", state="resumed")
    assert (gone["code"], gone["msg"]) == ("not_found", "there is no node 'alpha9' in this cluster")
    for reason in ("x" * 201, "two\nlines"):
        done = both(node_state, capsys, node="alpha2", state="drained", reason=reason)
        assert done["msg"] == "reason must be one line of up to 200 characters"
    missing = run(node_state, capsys, node="alpha2", state="drained")
    assert "reason" in missing["msg"]
    assert posts() == []


def test_looking_at_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.nodes_there["alpha2"] = node("alpha2", True)
    assert [each["name"] for each in run(node_info, capsys)["nodes"]] == ["alpha1", "alpha2"]
    idle = run(node_info, capsys, availability=["idle", "mixed"])
    assert [each["name"] for each in idle["nodes"]] == ["alpha1"]
    one = run(node_info, capsys, node="alpha2")
    assert (one["node"]["name"], len(one["nodes"]), one["changed"]) == ("alpha2", 1, False)
    assert run(node_info, capsys, node="alpha9")["code"] == "not_found"


def test_looking_at_processes(capsys: pytest.CaptureFixture[str]) -> None:
    def pids(**args: Any) -> list[int]:
        return [each["pid"] for each in run(process_info, capsys, **args)["processes"]]

    assert pids() == [7, 8]
    assert pids(node="alpha1") == [7]
    assert pids(job=13) == [8]
    assert pids(alive=True) == [7]
    assert run(process_info, capsys)["left_out"] == 3


def test_looking_at_what_jobs_took(capsys: pytest.CaptureFixture[str]) -> None:
    told = run(accounting_info, capsys, since=5, user="alice")
    assert (told["changed"], told["rows"], told["since"], told["user"]) == (False, [], 5.0, "alice")


def test_a_manager_too_old_to_drain_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    Fake.nodes_there = {"alpha1": {"name": "alpha1", "state": "UP", "slots": 2, "used": 0}}
    assert run(node_info, capsys, availability=["idle"])["nodes"] == []
    assert run(node_state, capsys, node="alpha1", state="resumed")["changed"] is False
