"""What a removal finds on a host, what forbids it, and what it takes away."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.kcms.cluster.plugins.module_utils import host_removal, packages_host
from ansible_collections.kcms.cluster.plugins.module_utils.host_removal import (
    ACCOUNTS,
    Found,
    Removal,
    Wish,
    remove,
)
from ansible_collections.kcms.cluster.plugins.module_utils.host_store import open_jobs, schemas
from ansible_collections.kcms.cluster.plugins.module_utils.host_tasks import Tasks
from ansible_collections.kcms.cluster.plugins.module_utils.host_units import UnitState

ROLES = Path(__file__).resolve().parents[3] / "roles"
TASK = "kcms-task-12.0.1-0a1b2c3d.service"
OURS = (
    "etc/systemd/system/kcms-node.service",
    "etc/systemd/system/.kcms-node.service.x1",
    "etc/systemd/system/multi-user.target.wants/kcms-node.service",
    "etc/kcms/tls/node.key",
    "opt/kcms/releases/1/kcms/a.py",
    "usr/local/bin/kcms",
    "run/kcms-rollout/stale/kcms-node.service",
    "var/cache/kcms-web/fonts",
)
OTHERS = ("etc/systemd/system/ssh.service", "usr/local/bin/kcmsx", "opt/other/x")
DATA = ("var/lib/kcms/node/lock", "var/lib/kcms/rrd/alpha/load.rrd")


class FakeSystemd:
    """Units by name to their SubState; ``log`` tells what was done, in order."""

    def __init__(self, units: dict[str, str]) -> None:
        self.units = units
        self.log: list[str] = []

    def loaded(self, pattern: str) -> list[str]:
        shape = re.compile(pattern.replace("*", ".*"))
        return [name for name in self.units if shape.fullmatch(name)]

    def states(self, names: Any) -> dict[str, UnitState]:
        return {name: UnitState(name, "loaded", "active", self.units[name]) for name in names}

    def stop(self, names: Any) -> None:
        self.log += [f"stop {name}" for name in names]
        self.units = {name: sub for name, sub in self.units.items() if name not in names}

    def forget(self, pattern: str) -> None:
        self.log.append(f"forget {pattern}")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with ours, others' and data in it, and one account of ours."""
    for name in (*OURS, *OTHERS, *DATA):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "opt/kcms/current").symlink_to("releases/1")
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nkcms-web:x:999:999::/:\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nkcms-web:x:999:\n")
    monkeypatch.setattr(packages_host, "POLICY", tmp_path / "no-policy")
    monkeypatch.setattr(host_removal, "_remove_account", lambda name: None)
    return tmp_path


def removal(host: Path, wish: Wish, units: dict[str, str] | None = None) -> Removal:
    made = Removal(wish, str(host), FakeSystemd(units or {}))  # type: ignore[arg-type]
    made.tasks.cgroups = host / "cgroups"
    return made


def names(host: Path) -> set[str]:
    everything = (path for path in host.rglob("*") if path.is_file() or path.is_symlink())
    return {str(path.relative_to(host)) for path in everything}


def test_all_of_ours_goes_and_data_stays(host: Path) -> None:
    wanted = removal(host, Wish(), {"kcms-node.service": "running", "kcms-web.service": "running"})
    found = wanted.examine()
    assert found.data == ["/var/lib/kcms"]
    assert found.accounts == ["kcms-web"]
    wanted.carry_out(found)
    assert names(host) == {*OTHERS, *DATA, "etc/passwd", "etc/group"}
    assert wanted.systemd.log == [  # type: ignore[attr-defined]
        "stop kcms-node.service",
        "stop kcms-web.service",
        "forget kcms-*",
    ]
    (host / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (host / "etc/group").write_text("root:x:0:\n")
    assert wanted.examine().steps(Wish()) == []


def test_data_goes_when_asked_wherever_it_is(host: Path) -> None:
    (host / "srv/rrd/alpha").mkdir(parents=True)
    wish = Wish(data=True, rrd_directory="/srv/rrd")
    wanted = removal(host, wish)
    wanted.carry_out(wanted.examine())
    assert names(host) == {*OTHERS, "etc/passwd", "etc/group"}
    assert not (host / "srv/rrd").exists()
    assert not (host / "var/lib/kcms").exists()
    assert wanted.examine().data == []


def test_a_directory_of_others_is_refused_before_anything_goes(host: Path) -> None:
    (host / "srv/home").mkdir(parents=True)
    wish = Wish(data=True, running=True, rrd_directory="/srv")
    refusal = removal(host, wish).examine().refusal(wish)
    assert refusal.startswith("kcms_rrd_directory is '/srv': it must be a directory of")


@pytest.mark.parametrize("data", [True, False])
def test_files_of_others_beside_ours_stop_a_removal_of_data(host: Path, data: bool) -> None:
    for name in ("srv/rrd/alpha/load.rrd", "srv/rrd/.before-X/o", "srv/rrd/alpha/thesis.tex"):
        (host / name).parent.mkdir(parents=True, exist_ok=True)
        (host / name).write_text("x")
    wish = Wish(data=data, rrd_directory="/srv/rrd")
    said = "/srv/rrd/alpha/thesis.tex is no round-robin file: move it elsewhere, or keep the data"
    assert removal(host, wish).examine().refusal(wish) == (said if data else "")
    (host / "srv/rrd/alpha/thesis.tex").unlink()
    assert removal(host, wish).examine().refusal(wish) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a directory away")
@pytest.mark.parametrize(("uid", "ours"), [(0, True), (991, True), (33, False)])
def test_round_robin_files_of_other_software_are_left_alone(
    host: Path, uid: int, ours: bool
) -> None:
    with (host / "etc/passwd").open("a") as passwd:
        passwd.write("kcms-aggregator:x:991:991::/:\n")
    (host / "srv/rrd").mkdir(parents=True)
    os.chown(host / "srv/rrd", uid, uid)
    found = removal(host, Wish(rrd_directory="/srv/rrd")).examine()
    assert ("/srv/rrd" in found.data) is ours
    assert ("/srv/rrd" in found.strangers) is (uid == 991)


def test_links_are_taken_away_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("x")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "to-directory").symlink_to(tmp_path / "kept")
    (tree / "dangling").symlink_to("nowhere")
    remove(str(tree))
    remove(str(tree))
    assert not tree.exists()
    assert (tmp_path / "kept/file").read_text() == "x"


@pytest.mark.parametrize(
    ("found", "wish", "words"),
    [
        (Found(), Wish(data=True), ""),
        (Found(jobs=["12"]), Wish(), "job 12 runs there: .*kcms_remove_running=true"),
        (Found(jobs=["1", "2"]), Wish(data=True), "jobs 1, 2 run there"),
        (Found(jobs=list("1234567")), Wish(), "jobs 1, 2, 3, 4, 5 and 2 more run"),
        (Found(jobs=["12"]), Wish(running=True), ""),
        (Found(open_jobs={"alpha": 3}), Wish(), ""),
        (Found(open_jobs={"alpha": 3}), Wish(data=True), "manager of alpha there has 3 jobs"),
        (Found(open_jobs={"alpha": None}), Wish(data=True), "cannot be counted"),
        (Found(open_jobs={"alpha": 0}), Wish(data=True), ""),
        (Found(open_jobs={"alpha": 3}), Wish(data=True, running=True), ""),
    ],
)
def test_what_forbids_it(found: Found, wish: Wish, words: str) -> None:
    refusal = found.refusal(wish)
    assert re.search(words, refusal)
    assert bool(refusal) == bool(words)
    assert "\n" not in refusal


def test_a_task_counts_while_a_process_of_it_is_there(tmp_path: Path) -> None:
    ended, frozen = "kcms-task-7.0.1-0a1b2c3d.service", "kcms-task-8.0.1-0a1b2c3d.service"
    tree = tmp_path / "kcms.slice/kcms-tasks.slice" / frozen
    tree.mkdir(parents=True)
    (tree / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    units = FakeSystemd({TASK: "running", ended: "exited", frozen: "exited"})
    assert Tasks(units, str(tmp_path)).running() == ["8", "12"]  # type: ignore[arg-type]


def test_ending_tasks_thaws_stops_and_kills(tmp_path: Path) -> None:
    tree = tmp_path / "kcms.slice/kcms-tasks.slice" / TASK / "task"
    tree.mkdir(parents=True)
    (tree / "cgroup.freeze").write_text("1")
    units = FakeSystemd({TASK: "running", "kcms-tasks.slice": "active", "kcms.slice": "active"})
    Tasks(units, str(tmp_path)).end()  # type: ignore[arg-type]
    assert (tree / "cgroup.freeze").read_text() == "0"
    assert (tree.parent / "cgroup.kill").read_text() == "1"
    assert units.log == [f"stop {TASK}", "stop kcms-tasks.slice", "stop kcms.slice"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes the owner of a store")
def test_open_jobs_are_counted_in_the_store(tmp_path: Path) -> None:
    for cluster in ("alpha", "beta"):
        (tmp_path / f"manager-{cluster}").mkdir()
    base = sqlite3.connect(tmp_path / "manager-alpha/jobs.sqlite")
    base.execute("CREATE TABLE jobs (id INTEGER, state TEXT)")
    states = ("PENDING", "RUNNING", "SUSPENDED", "COMPLETED", "FAILED", "NODE_FAIL")
    base.executemany("INSERT INTO jobs VALUES (1, ?)", [(each,) for each in states])
    base.commit()
    base.close()
    (tmp_path / "manager-beta/jobs.sqlite").write_text("this is no store at all, for sure " * 9)
    assert open_jobs(str(tmp_path)) == {"alpha": 3, "beta": None}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes the owner of a store")
def test_the_version_of_a_store_is_known_while_it_is_only_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "manager-alpha").mkdir()
    base = sqlite3.connect(tmp_path / "manager-alpha/jobs.sqlite")
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("CREATE TABLE jobs (id INTEGER)")
    base.execute("PRAGMA user_version = 7")
    base.commit()
    assert schemas(str(tmp_path)) == {"alpha": 7}
    base.close()


def test_every_account_that_a_role_makes_is_removed() -> None:
    made = {
        user["name"]
        for path in ROLES.glob("*/tasks/*.yml")
        for task in yaml.safe_load(path.read_text())
        for user in task.get("kcms.cluster.component", {}).get("users", ())
    }
    assert made == set(ACCOUNTS)
