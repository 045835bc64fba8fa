"""The modules on a live grid: what check mode predicts is what the real run then does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.grid import Grid


def predicted(grid: Grid, module: str, **arguments: Any) -> dict[str, Any]:
    """Run a module in check mode, twice, and then really; the real result.

    Both must say the same of change and difference, and the check must change nothing.
    """
    host = arguments.pop("host", "head")
    first, second = (
        grid.adhoc(host, module, "--check", "--diff", **arguments).result for _ in range(2)
    )
    real = grid.adhoc(host, module, "--diff", **arguments).result
    assert first["changed"] == second["changed"] == real["changed"]
    assert first.get("diff") == second.get("diff") == real.get("diff")
    again = grid.adhoc(host, module, "--check", **arguments).result
    assert again["changed"] is False, "a second run would change something again"
    return real


def test_submit_migrate_and_kill_do_what_was_predicted(movers: Grid) -> None:
    program = movers.program("alice", "long.sh", "#!/bin/sh\nsleep 600\n")
    key = f"predicted-{len(movers.jobs('alpha'))}"
    asked = {"executable": program, "user": "alice", "key": key}
    made = predicted(movers, "job_submit", host="alpha1", **asked)
    assert made["changed"] is True
    number = made["job"]["id"]
    again = movers.adhoc("alpha2", "job_submit", **asked).result
    assert (again["changed"], again["job"]["id"]) == (False, number)
    job = movers.wait_job(number, "RUNNING")
    movers.wait(lambda: movers.job(number)["start_time"], "the job to start")
    target = {"alpha1": "alpha2", "alpha2": "alpha1"}[job["tasks"][0]["node"]]
    assert predicted(movers, "job_migrate", id=number, node=target)["changed"] is True
    assert predicted(movers, "job_kill", id=number)["changed"] is True
    assert movers.wait_job(number, "CANCELLED")["killed_by"] == "root"


def test_a_drained_node_gets_nothing_until_it_is_resumed(quiet: Grid) -> None:
    drain = {"node": "alpha1", "state": "drained", "reason": "new disk", "cluster": "alpha"}
    assert predicted(quiet, "node_state", **drain)["changed"] is True
    try:
        (node,) = quiet.adhoc("head", "node_info", node="alpha1").result["nodes"]
        assert (node["availability"], node["drain_reason"]) == ("drained", "new disk")
        program = quiet.program("alice", "long.sh", "#!/bin/sh\nsleep 600\n")
        job = quiet.submit("alice", program)
        assert quiet.wait_job(job["id"], "RUNNING")["tasks"][0]["node"] == "alpha2"
        quiet.wait(lambda: quiet.job(job["id"])["start_time"], "the job to start")
        listed = quiet.adhoc("head", "process_info", job=job["id"], cluster="alpha").result
        assert {each["node"] for each in listed["processes"]} == {"alpha2"}
        assert "sleep" in {each["name"] for each in listed["processes"]}
        refused = quiet.adhoc("alpha2", "node_state", check=False, **drain | {"node": "alpha2"})
        assert refused.status != 0, "root of a node drained another"
    finally:
        resumed = predicted(quiet, "node_state", node="alpha1", state="resumed", cluster="alpha")
    assert resumed["changed"] is True


def test_the_inventory_follows_the_grid(quiet: Grid, tmp_path: Path) -> None:
    source = tmp_path / "live.kcms.yml"
    source.write_text(
        f"plugin: kcms.cluster.grid\nurl: http://{quiet.address('head')}:8080\n", encoding="utf-8"
    )

    def groups() -> dict[str, Any]:
        done = quiet.run("ansible-inventory", "-i", str(source), "--list")
        return dict(json.loads(done.stdout))

    before = groups()
    assert set(before["alpha"]["hosts"]) == {"alpha1", "alpha2", "alpha3"}
    quiet.adhoc("head", "node_state", node="alpha2", state="drained", reason="x", cluster="alpha")
    try:
        quiet.wait(
            lambda: "alpha2" in groups().get("drained", {}).get("hosts", []),
            "the drained node to stand in its group",
        )
        assert "alpha2" not in groups()["idle"]["hosts"]
    finally:
        quiet.adhoc("head", "node_state", node="alpha2", state="resumed", cluster="alpha")
