"""Decisions about saves and fetches, and what their steps refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kcms.jobs.checkpoint import NO_IMAGE, NOT_HERE, Image
from kcms.jobs.migration import WantedMove
from kcms.jobs.model import WantedTask
from kcms.node import (
    cgroup,
    core,
    durable,
    fetches,
    fetching,
    image,
    keeping,
    movable,
    moves,
    opened,
    saving,
)
from kcms.node.about import About
from kcms.node.carry import CarryError
from kcms.node.core import Fetched, Prepare, Record, Start, Started, TaskId, Unit
from kcms.node.move_error import MoveError
from kcms.node.move_plan import Plan
from kcms.node.moves import (
    FETCH,
    Begin,
    Freeze,
    LetGo,
    MoveId,
    MoveRecord,
    Remove,
    Result,
    Run,
    Undo,
)

STORE = "5e1f0a2b"
T = TaskId(7, 0, 1, STORE)
M = MoveId(T, 3)
RUN = WantedTask(7, 0, 1, "run", "alice", 2001, 2001, {}, store=STORE)
FROM_IMAGE = replace(RUN, image=Image(3, "/s/.kcms/i", 5, "ab", 1.0))
RUNNING = Record(wanted=RUN, started=Started("boot", 1.0))
OK = Result(True)


def move(step: str, data: dict[str, Any] | None = None) -> WantedMove:
    return WantedMove(7, 0, 1, STORE, 3, step, "a", "a", "alice", 2001, 2001, {}, data or {})


def tasks(task: WantedTask | None = RUN, known: Record | None = RUNNING, **more: Any) -> Any:
    return core.Snapshot(
        wanted={T: task} if task else {},
        records={T: known} if known else {},
        units={T: Unit(alive=True)} if known else {},
        boot_id="boot",
        boottime=100.0,
        may_start=True,
        store=STORE,
        **more,
    )


def decide(want: str | None, record: MoveRecord, alive: bool = False, **more: Any) -> Any:
    return moves.decide(
        moves.Snapshot(
            wanted={M: move(want)} if want else {},
            records={M: record},
            alive={M} if alive else set(),
            held={T} if more.pop("held", False) else set(),
            tasks=more.pop("tasks", tasks()),
        )
    )


def saving_record(**changes: Any) -> MoveRecord:
    return MoveRecord(wanted=move("save"), begun=frozenset({"save"}), **changes)


def test_a_task_that_is_to_stand_still_is_frozen_when_criu_is_done_with_it() -> None:
    still = tasks(replace(RUN, suspend=True))
    assert decide("save", saving_record(held=True), alive=True, tasks=still) == []
    after = saving_record(held=True, copied=True)
    assert decide("save", after, alive=True, tasks=still) == [Freeze(T)]


@pytest.mark.parametrize(("copied", "begins"), [(False, False), (True, True)])
def test_a_dump_waits_for_a_save_that_is_with_criu(copied: bool, begins: bool) -> None:
    later = MoveId(T, 4)
    dump = replace(move("dump"), number=4, target="b")
    found = moves.decide(
        moves.Snapshot(
            wanted={later: dump},
            records={M: saving_record(held=True, copied=copied, undone=True)},
            alive={M},
            held=set(),
            tasks=tasks(),
        )
    )
    assert (Begin(dump) in found) is begins


def test_a_job_is_let_go_when_its_save_ended_while_it_stood_still() -> None:
    found = decide("save", saving_record(held=True), held=True)
    assert found[0] == LetGo(M, thaw=True)


def test_a_job_that_is_to_be_suspended_by_then_stays_so() -> None:
    asked = tasks(replace(RUN, suspend=True))
    found = decide("save", saving_record(held=True), held=True, tasks=asked)
    assert found[0] == LetGo(M, thaw=False)


def test_a_job_is_not_thawed_under_a_save() -> None:
    assert decide("save", saving_record(held=True), alive=True, held=True) == []


def test_a_save_that_is_not_wanted_is_told_and_never_ended() -> None:
    assert decide(None, saving_record(), alive=True) == [Undo(M, stop=False)]
    assert decide(None, saving_record(undone=True)) == [Run(M, "clean")]


def test_an_image_that_is_kept_outlives_the_record() -> None:
    kept = saving_record(results={"save": OK, "keep": OK})
    assert decide(None, kept) == [Remove(M)]


def fetch_record(result: Result) -> MoveRecord:
    return MoveRecord(begun=frozenset({FETCH}), results={FETCH: result})


def test_a_task_waits_for_its_image() -> None:
    assert fetches.wanted(tasks(FROM_IMAGE, None), "a")[M].step == FETCH
    assert core.decide(tasks(FROM_IMAGE, None)) == []


def test_a_task_begins_once_its_image_is_here() -> None:
    there = fetches.fetched({T: FROM_IMAGE}, {M: fetch_record(OK)})
    found = core.decide(tasks(FROM_IMAGE, None, fetched=there))
    assert found == [Prepare(FROM_IMAGE, None, ""), Start(T)]


def test_a_task_is_refused_with_the_cause_of_its_fetch() -> None:
    bad = Result(False, "it is damaged", data={"cause": NO_IMAGE})
    there = fetches.fetched({T: FROM_IMAGE}, {M: fetch_record(bad)})
    assert there == {T: Fetched("it is damaged", NO_IMAGE)}
    found = core.decide(tasks(FROM_IMAGE, None, fetched=there))
    assert found == [Prepare(FROM_IMAGE, "it is damaged", NO_IMAGE)]


@pytest.mark.parametrize(
    ("complaint", "cause"),
    [
        ("cannot read the image: No such file or directory", NO_IMAGE),
        ("cannot read the image: /s/.kcms belongs to another user", NO_IMAGE),
        ("cannot read the image: /s/.kcms/i is closed to its owner", NO_IMAGE),
        ("cannot read the image: Permission denied", NOT_HERE),
        ("cannot read the image: it does not answer", NOT_HERE),
        ("cannot read the image: Input/output error", NOT_HERE),
    ],
)
def test_a_server_that_does_not_answer_costs_no_image(complaint: str, cause: str) -> None:
    assert fetching.cause_of(complaint) == cause


class Server:
    """The owner's hands, whose complaint is given, and the device that they see."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, complaint: str, device: int) -> None:
        self.complaint, self.device = complaint, device
        monkeypatch.setattr(fetching, "bring", self.bring)
        monkeypatch.setattr(fetching, "ask", self.ask)

    def bring(self, *_: object) -> None:
        raise CarryError(f"cannot read the image: {self.complaint}")

    def ask(self, _ids: object, request: dict[str, Any]) -> dict[str, Any]:
        row = {"problem": "", "shared": True, "device": self.device}
        return {"directories": [row for _ in request["directories"]]}


@pytest.mark.parametrize(
    ("device", "cause", "says"),
    [(0, NO_IMAGE, "No such file"), (None, NOT_HERE, "is its shared directory mounted?")],
)
def test_an_image_that_lacks_on_a_local_disk_may_be_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: int | None, cause: str, says: str
) -> None:
    own = Path("/").stat().st_dev
    Server(monkeypatch, "No such file or directory", own if device is None else own + 1)
    given = Image(3, "/s/.kcms/i", 5, "ab", 1.0).document()
    message, _, data = fetching.fetch(plan(tmp_path, "fetch", given, account={"groups": []}))
    assert data == {"cause": cause}
    assert says in message


def test_versions_of_criu() -> None:
    assert fetching.is_older("3.17.1", "4.1.1")
    assert fetching.is_older("4.9", "4.10")
    assert not fetching.is_older("4.1.1", "4.1.1")
    assert not fetching.is_older("5.0", "4.1.1")
    assert not fetching.is_older("", "4.1.1")
    assert not fetching.is_older("4.1.1", "")


def about(path: Path, **changes: Any) -> About:
    file = {"path": f"/s/{'o' * 200}", "use": "written", "size": 5, "mtime": 1, "inode": 1}
    made = About("a", "4.1.1", 5, [5], [5], {}, {}, [{**file, "end": 1}])
    (path / "image").mkdir(exist_ok=True)
    return replace(made, **changes)


def test_what_an_image_says_of_itself_is_bounded_on_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = about(tmp_path)
    told = saving.written(made)
    there = tmp_path / "image" / "about.json"
    there.write_bytes(told)
    monkeypatch.setattr(saving, "MOST", len(told))
    monkeypatch.setattr(fetching, "MOST", len(told))
    assert saving.written(made) == told
    assert fetching._about(plan(tmp_path, "fetch")) == made
    monkeypatch.setattr(saving, "MOST", len(told) - 1)
    monkeypatch.setattr(fetching, "MOST", len(told) - 1)
    with pytest.raises(MoveError, match="more than a checkpoint can tell of"):
        saving.written(made)
    with pytest.raises(fetching.FetchError, match="more of itself") as caught:
        fetching._about(plan(tmp_path, "fetch"))
    assert caught.value.cause == NOT_HERE


def test_what_an_image_says_of_itself_is_part_of_it(tmp_path: Path) -> None:
    there = about(tmp_path) and tmp_path / "image"
    (there / "core-5.img").write_bytes(b"core")
    (there / "about.json").write_bytes(saving.written(about(tmp_path)))
    counting = image.Counting()
    packed = [counting.add(each) for each in image.pack(there)]
    laid = tmp_path / "laid"
    image.receive(iter(packed), laid, counting.digest)
    assert (laid / "about.json").read_bytes() == (there / "about.json").read_bytes()
    assert (laid / "core-5.img").read_bytes() == b"core"


def plan(path: Path, step: str, data: dict[str, Any] | None = None, **more: Any) -> Plan:
    return Plan(move(step, data), path, "a", ["/s"], "/criu", {"trouble": ""}, **more)


def test_a_node_without_criu_costs_no_image(tmp_path: Path) -> None:
    told = replace(plan(tmp_path, "fetch"), capability={"trouble": "no criu"})
    assert fetching.fetch(told) == ("no criu", False, {"cause": NOT_HERE})


def test_keep_trusts_the_save_on_record_alone(tmp_path: Path) -> None:
    durable.create(str(tmp_path), "save.result", {"ok": True})
    assert keeping.keep(plan(tmp_path, "keep"))[0] == ""
    durable.create(str(tmp_path), "undone", {})
    with pytest.raises(MoveError, match="no longer wanted"):
        keeping.keep(plan(tmp_path, "keep"))


def test_keep_of_a_save_that_failed_is_refused(tmp_path: Path) -> None:
    durable.create(str(tmp_path), "save.result", {"ok": False})
    with pytest.raises(MoveError, match="none to keep"):
        keeping.keep(plan(tmp_path, "keep"))


def test_drop_takes_absolute_paths_only(tmp_path: Path) -> None:
    with pytest.raises(MoveError, match="absolute"):
        keeping.drop(plan(tmp_path, "drop", {"images": ["x"]}))


@pytest.mark.parametrize(
    ("problem", "device", "removed"),
    [("", 0, True), ("does not exist", 0, False), ("does not exist", 1, True)],
)
def test_drop_is_not_done_where_the_shared_directory_is_lacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str, device: int, removed: bool
) -> None:
    row = {"problem": problem, "device": Path("/").stat().st_dev + device}
    gone: list[str] = []
    monkeypatch.setattr(keeping, "ask", lambda *_: {"directories": [row]})
    monkeypatch.setattr(keeping.Carrier, "remove", lambda _, path: gone.append(path))
    dropping = replace(plan(tmp_path, "drop", {"images": ["/s/.kcms/x"]}), account={"groups": []})
    if removed:
        assert keeping.drop(dropping)[0] == ""
    else:
        with pytest.raises(MoveError, match="is its shared directory mounted"):
            keeping.drop(dropping)
    assert gone == ["/s/.kcms/x"] * removed


def test_jobs_that_cannot_be_saved_are_refused() -> None:
    saving.refuse({}, {"can_move": True})
    with pytest.raises(MoveError, match="ranks"):
        saving.refuse({"ranks": 2}, {"can_move": True})
    with pytest.raises(MoveError, match="release"):
        saving.refuse({}, {})


def test_lengths_are_of_files_that_are_there() -> None:
    uses = {"/s/a": "written", "/s/b": "read"}
    assert saving.rows(uses, [[5, 6, 7, 8], []]) == [
        {"path": "/s/a", "use": "written", "size": 5, "mtime": 6, "inode": 7, "end": 8}
    ]
    assert saving.below("/s/a", ["/s"])
    assert not saving.below("/sa", ["/s"])


def test_an_image_that_reads_back_otherwise_is_found() -> None:
    counting = image.Counting()
    counting.add(b"hello")
    image.verify(iter([b"hel", b"lo"]), counting.digest)
    for other in (b"hellO", b"hell", b"hello!"):
        with pytest.raises(image.ImageError):
            image.verify(iter([other]), counting.digest)


class Calls:
    """A cgroup that is only told of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, held: bool = False) -> None:
        self.made: list[str] = []
        monkeypatch.setattr(cgroup, "is_held", lambda path: held and path.endswith("/task"))
        monkeypatch.setattr(cgroup, "pids", lambda _: [])
        monkeypatch.setattr(cgroup, "hold", lambda _: self.made.append("hold"))
        monkeypatch.setattr(cgroup, "release", lambda _: self.made.append("release"))
        monkeypatch.setattr(cgroup, "await_frozen", lambda *_: True)


def failing_save(path: Path, monkeypatch: pytest.MonkeyPatch) -> saving.Save:
    """One whose criu fails."""

    def fail(*_: object) -> None:
        raise MoveError("criu cannot dump the job")

    (path / "record").mkdir()
    durable.create(str(path / "record"), "started", {"can_move": True})
    told = plan(
        path, "save", cgroup="/cg/task", record=str(path / "record"), account={"groups": []}
    )
    made = saving.Save(told, "x.image")
    scan = movable.Scan(True, "", {"place": "/s"})
    monkeypatch.setattr(made.look, "at_running", lambda: scan)
    monkeypatch.setattr(movable, "find_init", lambda _: 1)
    monkeypatch.setattr(made.carrier, "make_place", lambda _: None)
    monkeypatch.setattr(made, "_warm", lambda _: None)
    monkeypatch.setattr(made, "_image_of", fail)
    return made


def test_a_job_goes_on_when_criu_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    outcome = failing_save(tmp_path, monkeypatch).run()
    assert outcome == ("criu cannot dump the job", True, {})
    assert calls.made == ["hold", "release"]
    assert (tmp_path / "held").exists()
    assert (tmp_path / "copied").exists()


def test_a_suspended_job_stays_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, held=True)
    message, touched, _ = failing_save(tmp_path, monkeypatch).run()
    assert message == "criu cannot dump the job"
    assert not touched
    assert "release" not in calls.made
    assert not (tmp_path / "held").exists()


def test_what_no_node_could_restore_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    made = failing_save(tmp_path, monkeypatch)
    monkeypatch.setattr(opened, "closed_to_root", lambda _: "/s/home/out")
    assert "root of a may not open /s/home/out" in made.run()[0]
    assert calls.made == []


def test_nor_is_anything_without_criu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    made = failing_save(tmp_path, monkeypatch)
    made.plan.capability["trouble"] = "no criu"
    assert made.run() == ("no criu", False, {})
    assert calls.made == []


def test_a_save_that_is_not_wanted_freezes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    made = failing_save(tmp_path, monkeypatch)
    durable.create(str(tmp_path), "undone", {})
    assert "no longer wanted" in made.run()[0]
    assert calls.made == []
