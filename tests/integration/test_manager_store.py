"""The job store on a real disk: what was acknowledged stays, whatever happens."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kcms.errors import ConfigError, Unavailable
from kcms.jobs.migration import Migration
from kcms.jobs.model import Exit, Job, Task
from kcms.jobs.spec import check_spec
from kcms.jobs.states import State
from kcms.manager import schema
from kcms.manager import store as store_module
from kcms.manager.audit import audit
from kcms.manager.rows import Drain, Event
from kcms.manager.store import Query, Store

APP = Path(__file__).resolve().parents[2] / "app"

WRITER = """
import sys
from tests.integration.test_manager_store import Store, event, job, task
store = Store(sys.argv[1], "alpha")
for number in range(1, 100000, 3):
    batch = [job(n, tasks=(task(),)) for n in range(number, number + 3)]
    store.commit(batch, [event(n) for n in range(number, number + 3)])
    print(number + 2, flush=True)
"""


MIGRATION = Migration(
    *(3, "alpha1", "alpha2", 4, "dumping", "alice", 7.0),
    told={"check": {"files": ["/lib/ä"]}, "admit": {}},
)


def job(number: int, **changes: Any) -> Job:
    spec = check_spec({"executable": "/shared/x", "environment": {"A": "ä"}})
    values: dict[str, Any] = {"submit_time": 1000.0 + number, **changes}
    return Job(number, "alpha", values.pop("user", "alice"), 2001, 2001, spec, "a1", **values)


def task(**changes: Any) -> Task:
    return replace(Task(0, 1, "alpha1", State.RUNNING), **changes)


def event(number: int) -> Event:
    return Event(1.0, number, "submit", {"state": "PENDING"})


def fill(store: Store) -> None:
    for number in range(1, 1000):
        store.commit([job(number, reason="x" * 500)], [event(number)])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(str(tmp_path), "alpha")
    yield made
    made.close()


def test_jobs_come_back_as_they_went(tmp_path: Path) -> None:
    record = Exit(None, 9, 12.5, 3, 0, {"cpu_seconds": 1.5})
    jobs = [
        job(1, key="k", reason="waits"),
        job(2, state=State.RUNNING, start_time=11.0, killed_by="root", tasks=(task(),)),
        job(3, state=State.FAILED, end_time=12.0, tasks=(task(state=State.FAILED, exit=record),)),
    ]
    store = Store(str(tmp_path), "alpha")
    assert store.commit(jobs, [event(each.id) for each in jobs]) == 3
    store.close()
    store = Store(str(tmp_path), "alpha")
    assert [store.job(number) for number in (1, 2, 3, 4)] == [*jobs, None]
    assert store.active() == jobs[:2]
    assert (store.last_job(), store.sequence()) == (3, 3)
    store.close()


def test_a_change_replaces_what_may_change(store: Store) -> None:
    store.commit([job(1)], [event(1)])
    placed = job(1, state=State.RUNNING, tasks=(task(),))
    store.commit([placed], [event(1)])
    again = replace(placed, tasks=(task(epoch=2, node="alpha2"),))
    assert store.commit([again], [event(1)]) == 3
    assert store.job(1) == again


def test_listings(store: Store) -> None:
    store.commit(
        [
            job(
                n, user="bob" if n % 2 else "alice", state=State.RUNNING if n > 4 else State.PENDING
            )
            for n in range(1, 9)
        ],
        [],
    )

    def listed(**query: Any) -> list[int]:
        return [each.id for each in store.listing(Query(**query))]

    assert listed() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert listed(limit=3) == [6, 7, 8]
    assert listed(limit=0) == []
    assert listed(before=5) == [1, 2, 3, 4]
    assert listed(before=5, user="bob", limit=1) == [3]
    assert listed(user="bob") == [1, 3, 5, 7]
    assert listed(user="bob", states=("PENDING",)) == [1, 3]
    assert listed(states=("PENDING", "RUNNING"), limit=2) == [7, 8]
    assert listed(user="carol") == []


def test_a_listing_has_so_many_bytes_and_goes_on_where_it_ended(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "LISTING_BYTES", 12_000)
    jobs = [job(n, reason="x" * 3000, tasks=(task(),)) for n in range(1, 8)]
    store.commit([*jobs, job(8, reason="x" * 20_000)], [])

    def listed(before: int | None) -> list[int]:
        return [each.id for each in store.listing(Query(before=before))]

    assert [listed(before) for before in (None, 8, 6, 4, 2, 1)] == [
        [8],
        *([5, 6, 7], [3, 4, 5], [1, 2, 3], [1], []),
    ]
    assert [each.id for each in store.active()] == list(range(1, 9))


def test_all_or_nothing(store: Store) -> None:
    store.commit([job(1, key="k")], [event(1)])
    with pytest.raises(Unavailable):
        store.commit([job(2), job(3, key="k")], [event(2), event(3)])
    assert (store.last_job(), store.sequence()) == (1, 1)
    assert store.commit([job(2)], [event(2)]) == 2


def test_a_number_is_never_given_to_another_job(store: Store) -> None:
    store.commit([job(1)], [event(1)])
    with pytest.raises(Unavailable, match="the number 1 is that of another job"):
        store.commit([job(1, user="bob")], [event(1)])
    found = store.job(1)
    assert found is not None
    assert found.user == "alice"


def test_a_full_disk_refuses_in_one_line_and_is_over_when_there_is_room(store: Store) -> None:
    database = store._database
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(Unavailable, match="database or disk is full") as caught:
        fill(store)
    kept = len(store.active())
    assert 0 < kept < 999
    assert "\n" not in caught.value.message
    assert (store.last_job(), store.sequence()) == (kept, kept)
    database.execute("PRAGMA max_page_count = 100000")
    assert store.commit([job(kept + 1)], [event(kept + 1)]) == kept + 1


def test_a_reader_sees_nothing_that_is_not_committed(store: Store) -> None:
    store._database.execute("BEGIN IMMEDIATE")
    store._write(job(1), ())
    assert store.job(1) is None
    store._database.execute("COMMIT")
    assert store.job(1) == job(1)


def test_a_writer_that_is_killed_loses_nothing_it_said(tmp_path: Path) -> None:
    for _ in range(3):
        place = tmp_path / str(_)
        place.mkdir()
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(place)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=APP.parent,
            env={"PYTHONPATH": f"{APP}:{APP.parent}"},
        )
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        said += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
        writer.wait()
        writer.stdout.close()
        store = Store(str(place), "alpha")
        assert store.last_job() >= said[-1]
        assert store.last_job() % 3 == 0, "half a commit"
        jobs = store.active()
        assert [each.id for each in jobs] == list(range(1, store.last_job() + 1))
        assert all(each.tasks == (task(),) for each in jobs)
        assert store.sequence() == store.last_job()
        store.close()


def of_release(directory: Path, version: int) -> sqlite3.Connection:
    """A store with the tables of an older release, and rows that it wrote."""
    script = (Path(__file__).parent / "data" / f"jobs-{version}.sql").read_text(encoding="utf-8")
    database = sqlite3.connect(directory / "jobs.sqlite")
    database.executescript(script)
    return database


def files(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in directory.glob("jobs.sqlite*")}


NEWER = f"schema 97, newer than this release's {schema.VERSION}: use the newer release"


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("cluster", ["alpha", "beta"])
def test_a_store_that_is_refused_stays_as_it_is_to_the_byte(
    tmp_path: Path, cluster: str, mode: str
) -> None:
    Store(str(tmp_path), "alpha").close()
    database = sqlite3.connect(tmp_path / "jobs.sqlite")
    database.execute(f"PRAGMA journal_mode = {mode}")
    if cluster == "alpha":
        database.execute("PRAGMA user_version = 97")
    database.close()
    before = files(tmp_path)
    for _ in range(2):
        with pytest.raises(ConfigError, match=NEWER if cluster == "alpha" else "that of cluster"):
            Store(str(tmp_path), cluster)
    after = files(tmp_path)
    assert after["jobs.sqlite"] == before["jobs.sqlite"]
    assert after.get("jobs.sqlite-wal", b"") == b""


WROTE_AND_DIED = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("INSERT INTO meta VALUES ('x', 1)")
database.execute("PRAGMA user_version = 97")
os._exit(0)
"""


def test_what_a_newer_release_left_in_its_log_is_refused_and_stays(tmp_path: Path) -> None:
    """Its manager was killed: what it wrote last, the version too, is in the log alone."""
    Store(str(tmp_path), "alpha").close()
    store = str(tmp_path / "jobs.sqlite")
    subprocess.run([sys.executable, "-c", WROTE_AND_DIED, store], check=True)
    before = files(tmp_path)
    assert before["jobs.sqlite-wal"]
    with pytest.raises(ConfigError, match=NEWER):
        Store(str(tmp_path), "alpha")
    after = files(tmp_path)
    for name in ("jobs.sqlite", "jobs.sqlite-wal"):
        assert after[name] == before[name]


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_a_store_of_every_older_release_becomes_one_of_this(tmp_path: Path, version: int) -> None:
    """``data/jobs-VERSION.sql`` has rows that the release with these tables wrote."""
    database = of_release(tmp_path, version)
    was = database.execute("SELECT id, user, state, reason, key, spec FROM jobs").fetchall()
    exits = database.execute("SELECT count(*) FROM tasks WHERE exit IS NOT NULL").fetchone()
    database.close()
    Store(str(tmp_path), "alpha").close()
    store = Store(str(tmp_path), "alpha")
    jobs = store.listing(Query())
    assert [(j.id, j.user, j.state.value, j.reason, j.key, json.dumps(j.spec)) for j in jobs] == was
    assert sum(each.exit is not None for job in jobs for each in job.tasks) == exits[0]
    last = store.last_job()
    assert store.commit([job(last + 1)], [event(last + 1)]) == store.sequence()
    store.close()
    found = audit(str(tmp_path), "alpha")
    assert (found["schema"], found["findings"]) == (schema.VERSION, [])


def test_a_store_of_the_first_release_becomes_one_of_this(tmp_path: Path) -> None:
    of_release(tmp_path, 1)
    for _ in range(2):
        store = Store(str(tmp_path), "alpha")
        first, second, third = (store.job(number) for number in (1, 2, 3))
        assert first is not None
        assert second is not None
        assert third is not None
        assert (store.id, store.last_job(), store.sequence()) == ("1532b1a5", 3, 5)
        assert (first.key, first.reason, first.state) == ("k", "every slot is taken", State.PENDING)
        assert (second.killed_by, second.tasks) == (
            "root",
            (Task(0, 1, "alpha1", State.RUNNING, 1003.5),),
        )
        record = Exit(None, 9, 1012.5, 3, 0, {"cpu_seconds": 1.5})
        assert (third.state, third.tasks[0].exit) == (State.FAILED, record)
        assert [each.id for each in store.active()] == [1, 2]
        assert (store.drained(), first.migration) == ({}, None)
        store.close()
    store = Store(str(tmp_path), "alpha")
    moving = replace(second, migration=MIGRATION)
    assert store.commit([moving, job(4)], [event(4)], {"a": Drain("x", "root", 1.0)}) == 6
    assert (store.job(2), store.drained()) == (moving, {"a": Drain("x", "root", 1.0)})
    store.close()


def test_an_upgrade_that_is_broken_off_changes_nothing(tmp_path: Path) -> None:
    script = (Path(__file__).parent / "data" / "jobs-1.sql").read_text(encoding="utf-8")
    database = sqlite3.connect(tmp_path / "jobs.sqlite")
    database.executescript(script)
    database.execute("CREATE TABLE drained (other TEXT)")  # makes the second statement fail
    with pytest.raises(Unavailable, match="table drained already exists"):
        Store(str(tmp_path), "alpha")
    assert database.execute("PRAGMA user_version").fetchone() == (1,)
    columns = [row[1] for row in database.execute("PRAGMA table_info(jobs)")]
    assert "migration" not in columns
    database.close()


def test_a_migration_comes_back_as_it_went(store: Store) -> None:
    moving = job(1, state=State.RUNNING, tasks=(task(),), migration=MIGRATION)
    store.commit([moving], [event(1)])
    assert store.job(1) == moving
    over = replace(moving, migration=MIGRATION.ended("failed", "why", 5.0))
    store.commit([over], [event(1)])
    assert store.job(1) == over


def test_drained_nodes_are_kept_with_the_commit_or_not_at_all(store: Store) -> None:
    drain = Drain("new disk", "root", 5.0)
    empty = replace(drain, migrate=True)
    store.commit([], [], {"a": drain, "b": drain, "c": empty})
    assert store.drained() == {"a": drain, "b": drain, "c": empty}
    store.commit([], [], {"b": None, "c": None})
    assert store.drained() == {"a": drain}
    store.commit([job(1, key="k")], [])
    with pytest.raises(Unavailable):
        store.commit([job(2, key="k")], [], {"a": None})
    assert store.drained() == {"a": drain}


def test_a_store_of_another_cluster_is_refused(tmp_path: Path) -> None:
    Store(str(tmp_path), "alpha").close()
    with pytest.raises(ConfigError, match="that of cluster 'alpha', not 'beta'"):
        Store(str(tmp_path), "beta")


def test_a_second_manager_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another manager uses"):
        Store(str(tmp_path), "alpha")
    assert store.commit([job(1)], [event(1)]) == 1


def test_a_directory_that_is_missing_and_a_file_that_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        Store(str(tmp_path / "missing"), "alpha")
    (tmp_path / "jobs.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(Unavailable, match="file is not a database"):
        Store(str(tmp_path), "alpha")


def test_a_store_has_an_id_of_its_own_that_stays(tmp_path: Path) -> None:
    ids = []
    for name in ("one", "one", "two"):
        (tmp_path / name).mkdir(exist_ok=True)
        store = Store(str(tmp_path / name), "alpha")
        ids.append(store.id)
        store.close()
    assert re.fullmatch("[0-9a-f]{8}", ids[0])
    assert ids[0] == ids[1] != ids[2]


def test_a_store_without_an_id_gets_one(tmp_path: Path) -> None:
    Store(str(tmp_path), "alpha").close()
    database = sqlite3.connect(tmp_path / "jobs.sqlite")
    database.execute("DELETE FROM meta WHERE key = 'store'")
    database.commit()
    database.close()
    store = Store(str(tmp_path), "alpha")
    assert re.fullmatch("[0-9a-f]{8}", store.id)
    store.close()


def test_numbers_that_no_job_has(store: Store) -> None:
    store.commit([job(1), job(3)], [])
    assert store.missing([0, 1, 2, 3, 4]) == {0, 2, 4}
