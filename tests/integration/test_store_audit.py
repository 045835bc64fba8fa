"""``kcms admin check``: a sound store has nothing to tell, and each kind of damage is found."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kcms.errors import ConfigError
from kcms.jobs.checkpoint import Image
from kcms.jobs.checkpointing import Kept, Saved
from kcms.jobs.model import Exit, Task, TaskReport
from kcms.jobs.states import State
from kcms.manager import audit as audit_module
from kcms.manager import core, holding, scheduling, schema, signals
from kcms.manager.audit import audit
from kcms.manager.memory import Draft
from kcms.manager.soundness import of_job
from kcms.manager.store import Store
from tests.integration.test_manager_store import event, files, job, of_release
from tests.unit.manager.world import ALICE, World

DATA = Path(__file__).parent / "data"
NEWEST = max(int(each.stem.partition("-")[2]) for each in DATA.glob("jobs-*.sql"))


def command(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The real command: it forks, which no process with threads may."""
    program = [sys.executable, "-m", "kcms", "admin", "check", *words]
    environment = {**os.environ, "PYTHONPATH": "app"}
    return subprocess.run(
        program, env=environment, timeout=120, check=False, capture_output=True, text=True
    )


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A store as a manager left it, with jobs in every state."""
    made = tmp_path / "manager-alpha"
    made.mkdir(mode=0o700)
    of_release(made, NEWEST).close()
    Store(str(made), "alpha").close()
    return made


def told(state: Path) -> list[str]:
    return [
        f"{each['about']}: {each['message']}" for each in audit(str(state), "alpha")["findings"]
    ]


def test_a_sound_store_has_nothing_to_tell(state: Path) -> None:
    before = files(state)
    found = audit(str(state), "alpha")
    assert found["findings"] == []
    assert (found["schema"], found["jobs"], found["open"]) == (schema.VERSION, 10, 7)
    assert (found["last_job"], found["left_out"], found["unsure"]) == (1100, 1090, 1)
    assert files(state)["jobs.sqlite"] == before["jobs.sqlite"]


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
def test_a_store_of_an_older_release_is_looked_at_and_left_as_it_is(
    tmp_path: Path, version: int
) -> None:
    of_release(tmp_path, version).close()
    before = files(tmp_path)["jobs.sqlite"]
    found = audit(str(tmp_path), "alpha")
    assert (found["schema"], found["findings"]) == (version, [])
    assert files(tmp_path)["jobs.sqlite"] == before


def test_checkpoints_and_images_to_be_removed_are_no_damage(state: Path) -> None:
    database = sqlite3.connect(state / "jobs.sqlite")
    database.execute(SAVED.format(checkpoint(), 5))
    database.execute(LITTER.format(7, '["/shared/x"]'))
    database.commit()
    database.close()
    assert told(state) == []


def test_a_path_that_is_taken_no_more_is_no_damage(state: Path) -> None:
    database = sqlite3.connect(state / "jobs.sqlite")
    database.execute(SPEC.format("output", "'/s/' || char(10)"))
    database.commit()
    database.close()
    assert told(state) == []


SPEC = "UPDATE jobs SET spec = json_set(spec, '$.{}', {}) WHERE id = 1"
EXIT = "UPDATE tasks SET exit = json_set(exit, '$.{}', {}) WHERE job = 3"
SAVED = "UPDATE tasks SET saved = '{}' WHERE job = {}"


def checkpoint(path: str = "/shared/x", number: int = 2, last: int = 2) -> str:
    """Of a task's record."""
    kept = Kept(Image(number, path, 10, "ab", 1003.0), 1, "alpha1")
    return json.dumps(Saved((kept,), last=last).record())


LITTER = "INSERT INTO litter VALUES (5, {}, 0, 1, '{}', 1004.0)"
DAMAGE = [
    (SAVED.format(checkpoint(), 3), "job 3: it is FAILED, and checkpoints of task 0 are on record"),
    (SAVED.format(checkpoint("x"), 5), "task 0 has a checkpoint whose image cannot be"),
    (SAVED.format(checkpoint(last=1), 5), "task 0 has the checkpoints [2], and the last is 1"),
    (SAVED.format('{"kept": [{}]}', 5), "job 5: its record cannot be read"),
    (LITTER.format(1, "[]"), "job 5: images are to be removed that cannot be: []"),
    (LITTER.format(1, '["x"]'), "job 5: images are to be removed that cannot be: ['x']"),
    (LITTER.format(0, '["/x"]'), "job 5: images are to be removed by a move of the number 0"),
    (LITTER.format(1, "{"), "the images that are to be removed cannot be read"),
    ("INSERT INTO meta VALUES ('losses', '{')", "what was seen of losses of nodes is '{'"),
    ("INSERT INTO meta VALUES ('losses', '{\"count\": -1}')", "the manager will not start"),
    ("UPDATE meta SET value = 'beta' WHERE key = 'cluster'", "the store: it is that of cluster"),
    ("UPDATE meta SET value = 'x' WHERE key = 'store'", "the store: its id is 'x'"),
    ("UPDATE meta SET value = 'x' WHERE key = 'last_job'", "that are left out end at 'x'"),
    ("UPDATE meta SET value = '[[99, 0, 1]]' WHERE key = 'unsure'", "there is no job"),
    ("UPDATE meta SET value = '[[1, 0]]' WHERE key = 'unsure'", "is no task"),
    ("UPDATE meta SET value = '{' WHERE key = 'unsure'", "is no task"),
    ("DELETE FROM jobs WHERE id = 6", "job 6: something is told of it, and there is no such job"),
    ("DELETE FROM jobs WHERE id = 3", "a row of tasks (None) is of a row of jobs"),
    ("DELETE FROM events WHERE seq = 2", "of the events 1 to 22 there are 21"),
    ("UPDATE sqlite_sequence SET seq = 3", "event 22 is there, and the last number"),
    ("UPDATE drained SET by = ''", "node alpha3: why it is drained"),
    ("UPDATE jobs SET state = 'LOST' WHERE id = 1", "job 1: its record cannot be read"),
    ("UPDATE jobs SET spec = '{' WHERE id = 1", "job 1: its record cannot be read"),
    (SPEC.format("executable", "7"), "job 1: what it asks for cannot be: executable"),
    (SPEC.format("colour", "'red'"), "job 1: it asks for colour, which this release"),
    (SPEC.format("priority", "9"), "job 1: priority 9 is asked for, and 1 is on record"),
    ("UPDATE jobs SET uid = -1 WHERE id = 1", "job 1: it is of uid -1"),
    ("UPDATE jobs SET end_time = NULL WHERE id = 3", "job 3: it is FAILED and has no end time"),
    ("UPDATE jobs SET end_time = 5 WHERE id = 1", "job 1: it is PENDING and has an end time"),
    ("UPDATE jobs SET state = 'TIMEOUT' WHERE id = 3", "the last that was told of it is FAILED"),
    ("DELETE FROM events WHERE job = 1", "job 1: nothing tells how it came about"),
    (
        "UPDATE tasks SET state = 'RUNNING' WHERE job = 3",
        "job 3: it is FAILED, and task 0 is still",
    ),
    ("UPDATE tasks SET job = 1 WHERE job = 5", "job 1: it waits, and task 0 is placed on alpha1"),
    ("DELETE FROM tasks WHERE job = 5", "job 5: it is RUNNING and has no open task"),
    ("UPDATE tasks SET state = 'GONE' WHERE job = 5", "job 5: its record cannot be read"),
    ("UPDATE tasks SET epoch = 0 WHERE job = 5", "job 5: task 0 has epoch 0"),
    ("UPDATE tasks SET task = 7 WHERE job = 5", "job 5: task 7 is there, and it has 1 tasks"),
    ("UPDATE tasks SET first = 3 WHERE job = 5", "job 5: task 0 is of unit 3"),
    (
        "UPDATE tasks SET restarts = -1 WHERE job = 5",
        "job 5: task 0 is of unit 0 and began anew -1",
    ),
    ('UPDATE jobs SET fate = \'["FAILED", "x"]\' WHERE id = 3', "and to become FAILED later"),
    ('UPDATE jobs SET fate = \'["LOST", "x"]\' WHERE id = 5', "job 5: its record cannot be read"),
    ("UPDATE tasks SET exit = '[]' WHERE job = 3", "job 3: its record cannot be read"),
    (EXIT.format("code", "'x'"), "job 3: its record cannot be read"),
    (EXIT.format("signal", "NULL"), "job 3: task 0 ended with status None and signal None"),
    ("UPDATE jobs SET migration = '{}' WHERE id = 4", "job 4: its record cannot be read"),
    (
        "UPDATE jobs SET migration = json_set(migration, '$.phase', 'x') WHERE id = 4",
        "job 4: its migration is in the unknown phase 'x'",
    ),
    (
        "UPDATE jobs SET migration = json_set(migration, '$.phase', 'dumping') WHERE id = 4",
        "job 4: it is COMPLETED, and its migration is not over",
    ),
    (
        "UPDATE jobs SET migration = json_set(migration, '$.end_time', NULL) WHERE id = 4",
        "job 4: its migration is over and has no end time",
    ),
    (
        "UPDATE jobs SET migration = json_set(migration, '$.epoch', 0) WHERE id = 4",
        "job 4: its migration has epoch 0",
    ),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
def test_each_kind_of_damage_is_found_and_said_what_to_do(
    state: Path, damage: str, said: str
) -> None:
    database = sqlite3.connect(state / "jobs.sqlite")
    database.execute(damage)
    database.commit()
    database.close()
    assert [each for each in told(state) if said in each], told(state)
    assert all(each["todo"] for each in audit(str(state), "alpha")["findings"])


def scribbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for at in range(4096 + 200, len(content), 4096):
        content[at : at + 600] = b"\xa5" * 600
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


def garbage(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 1000)


def index_lost(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("PRAGMA writable_schema = ON")
    database.execute("UPDATE sqlite_master SET rootpage = 2 WHERE name = 'jobs_state'")
    database.commit()
    database.close()


@pytest.mark.parametrize("damage", [scribbled, cut, garbage, index_lost])
def test_a_damaged_file_is_found(state: Path, damage: Callable[[Path], None]) -> None:
    damage(state / "jobs.sqlite")
    assert any("it is damaged: " in each for each in told(state))


def test_little_room_a_long_log_and_an_open_directory_are_found(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Store(str(state), "alpha")
    writer.commit([job(1101)], [event(1101)])
    monkeypatch.setattr(audit_module, "LOW_DISK", 1 << 62)
    monkeypatch.setattr(audit_module, "LONG_WAL", 1)
    state.chmod(0o755)
    said = "\n".join(told(state))
    writer.close()
    assert "MiB are free: changes will be refused" in said
    assert "the write-ahead log has 0 MiB" in said
    assert f"{state} is open to others" in said


def test_a_newer_store_cannot_be_checked_and_stays_as_it_is(state: Path) -> None:
    database = sqlite3.connect(state / "jobs.sqlite")
    database.execute("PRAGMA user_version = 97")
    database.close()
    before = files(state)["jobs.sqlite"]
    with pytest.raises(ConfigError, match="schema 97, newer than this release's"):
        audit(str(state), "alpha")
    assert files(state)["jobs.sqlite"] == before


def test_what_is_no_file_cannot_be_checked(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").mkdir()
    with pytest.raises(ConfigError, match="cannot be read: "):
        audit(str(tmp_path), "alpha")


def test_a_store_is_checked_while_its_manager_writes(state: Path) -> None:
    """Every commit changes a job and tells so; half of one would be a finding."""
    store, stop = Store(str(state), "alpha"), threading.Event()

    def write() -> None:
        number = 1101
        while not stop.is_set():
            store.commit([job(number)], [event(number)])
            over = job(number, state=State.CANCELLED, end_time=5.0)
            ended = event(number)
            ended.document["state"] = "CANCELLED"
            store.commit([over], [ended])
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [audit(str(state), "alpha")]
        end = time.monotonic() + 60
        while len(seen) < 10 or seen[-1]["jobs"] < seen[0]["jobs"] + 5:
            assert time.monotonic() < end
            seen.append(audit(str(state), "alpha"))
    finally:
        stop.set()
        writer.join()
        store.close()
    assert [each["findings"] for each in seen if each["findings"]] == []


# the command -------------------------------------------------------------------------------------


def test_the_command_says_so_by_its_status(state: Path, tmp_path: Path) -> None:
    of_alpha = ("--cluster", "alpha", "--from", str(state))
    done = command(*of_alpha)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        f"alpha: all is well: schema {schema.VERSION}, 10 jobs, 7 of them"
    )
    database = sqlite3.connect(state / "jobs.sqlite")
    database.execute("UPDATE jobs SET end_time = NULL WHERE id = 3")
    database.commit()
    done = command(*of_alpha)
    first, last = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (1, "")
    assert first.startswith("alpha: job 3: it is FAILED and has no end time")
    assert "; look into the journal" in first
    assert last.startswith("alpha: 1 findings")
    done = command(*of_alpha, "--json")
    (found,) = json.loads(done.stdout)["stores"]
    assert (done.returncode, found["findings"][0]["about"]) == (1, "job 3")
    database.execute("PRAGMA user_version = 97")
    database.close()
    for words, said in (
        (of_alpha, "newer than this release's"),
        (("--cluster", "alpha", "--from", str(tmp_path / "none")), "there is no job store in"),
        (("--from", str(state)), "--from takes --cluster"),
    ):
        done = command(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_many_findings_are_cut_short_in_print_alone(state: Path) -> None:
    database = sqlite3.connect(state / "jobs.sqlite")
    row = "SELECT {}, user, uid, gid, 'LOST', reason, priority, submit_host, submit_time, NULL,"
    database.executescript(
        "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 299) "
        "INSERT INTO jobs (id, user, uid, gid, state, reason, priority, submit_host, submit_time,"
        f" start_time, end_time, key, killed_by, spec) {row.format('i')} NULL, NULL, NULL, spec"
        " FROM jobs, n WHERE id = 6;"
    )
    database.close()
    words = ("--cluster", "alpha", "--from", str(state))
    lines = command(*words).stdout.splitlines()
    assert len(lines) == 102
    assert lines[-2] == "alpha: 100 findings more; --json has them all"
    (found,) = json.loads(command(*words, "--json").stdout)["stores"]
    assert len(found["findings"]) == 200


def lived(made: Path) -> tuple[World, Store]:
    """A cluster of one slot, whatever is decided of which is in a store."""
    made.mkdir(mode=0o700)
    world, store = World("a", slots=1), Store(str(made), "alpha")

    def do(decide: Callable[[Draft], Any]) -> Any:
        draft = Draft(world.memory)
        found = decide(draft)
        scheduling.settle(draft, world.now)
        signals.tidy(draft)
        tasks = {each.id: draft.changed_tasks(each) for each in draft.changed.values()}
        store.commit(draft.changed.values(), draft.events, draft.drains, tasks, draft.signals)
        draft.merge()
        return found

    world.do = do  # type: ignore[method-assign]
    return world, store


def begun(job: int, epoch: int = 1, phase: str = "running", **more: Any) -> TaskReport:
    return TaskReport(job, 0, epoch, phase, start_time=1001.0, **more)


def test_what_a_cluster_comes_to_by_itself_is_sound(tmp_path: Path) -> None:
    world, store = lived(tmp_path / "state")
    batch = world.submit(**{"class": "batch", "total_tasks": 3})
    world.do(lambda draft: core.kill_task(draft, ALICE, draft.job(batch), 2, world.now))
    world.submit(interactive="pipes")
    again = world.submit(requeue=True, priority=5)
    world.report("a", begun(batch))
    world.report("a", begun(batch, phase="ended", exit=Exit(0, None, 1002.0)))
    epoch = world.job(again).tasks[0].epoch
    world.report("a", begun(again, epoch))
    world.act(holding.requeue, again)
    world.set_state("a", "drain")
    world.report("a", begun(again, epoch, phase="ended", exit=Exit(None, 15, 1003.0)))
    assert [(each.state, each.node) for each in world.job(again).tasks] == [(State.PENDING, "")]
    store.close()
    assert told(tmp_path / "state") == []


def test_a_job_that_was_signalled_last_is_sound(tmp_path: Path) -> None:
    world, store = lived(tmp_path / "state")
    number = world.submit()
    world.report("a", begun(number))
    asked = signals.Asked("USR1", "k")
    world.do(lambda draft: signals.ask(draft, world.job(number), asked, "alice", world.now))
    store.close()
    assert told(tmp_path / "state") == []
    database = sqlite3.connect(tmp_path / "state" / "jobs.sqlite")
    newest = "seq = (SELECT max(seq) FROM events)"
    (document,) = database.execute(f"SELECT document FROM events WHERE {newest}").fetchone()
    assert json.loads(document)["state"] == "RUNNING"
    database.execute(
        f"UPDATE events SET document = json_remove(document, '$.state') WHERE {newest}"
    )
    database.commit()
    database.close()
    assert told(tmp_path / "state") == []


@pytest.mark.parametrize("state", [State.CANCELLED, State.NODE_FAIL])
def test_a_task_that_never_was_on_a_node_is_sound(state: State) -> None:
    """As one that was killed while it waited, or that a restore gave up, is."""
    task = Task(0, 0, "", state, message="x")
    over = replace(job(1), state=state, end_time=1.0, tasks=(task,))
    assert not list(of_job(over, over.priority, state.value))
    odd = replace(over, tasks=(replace(task, state=State.COMPLETED),))
    assert [each.message for each in of_job(odd, over.priority, state.value)] == [
        "task 0 has epoch 0 on ''"
    ]
