"""What nodes send: taken when it is well-formed, refused in one line when not."""

from __future__ import annotations

from typing import Any

import pytest

from kcms.errors import ProtocolError
from kcms.jobs.model import Exit, NodeReport, TaskReport, WantedTask

EXIT = {"code": 3, "signal": None, "time": 12.5, "processes_killed": 1, "processes_left": 0}
TASK = {"job": 1, "task": 0, "epoch": 2, "phase": "ended", "start_time": 10.0, "exit": EXIT}
NODE = {
    "boot_id": "b",
    "release": "1",
    "slots": 2,
    "load": {"load_one": 0.5, "cpu_num": 2},
    "tasks": [TASK],
}


def test_a_report_survives_the_wire() -> None:
    report = NodeReport.parse(NODE)
    assert report.tasks[0].exit == Exit(3, None, 12.5, 1, 0)
    assert report.load == {"load_one": 0.5, "cpu_num": 2.0}
    assert NodeReport.parse(report.document() | {"tasks": [report.tasks[0].document()]}) == report


def test_what_a_newer_node_says_besides_is_passed_over() -> None:
    task = {**TASK, "new": 1, "exit": {**EXIT, "new": 1}}
    assert NodeReport.parse({**NODE, "new": {}, "tasks": [task]}) == NodeReport.parse(NODE)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"slots": "2"}, "slots"),
        ({"slots": -1}, "slots"),
        ({"slots": True}, "slots"),
        ({"load": {"load_one": None}}, "load_one"),
        ({"load": {"load_one": "0.1"}}, "load_one"),
        ({"load": {"load_one": float("nan")}}, "load_one"),
        ({"load": {"load_one": float("inf")}}, "load_one"),
        ({"load": []}, "load"),
        ({"boot_id": 7}, "boot_id"),
        ({"release": None}, "release"),
        ({"tasks": {}}, "tasks"),
        ({"tasks": [7]}, "task report"),
        ({"tasks": [{**TASK, "phase": "gone"}]}, "phase"),
        ({"tasks": [{**TASK, "job": "1"}]}, "job"),
        ({"tasks": [{**TASK, "job": 1 << 60}]}, "job"),
        ({"tasks": [{**TASK, "start_time": "early"}]}, "start_time"),
        ({"tasks": [{**TASK, "message": 1}]}, "message"),
        ({"tasks": [{**TASK, "exit": {**EXIT, "code": "3"}}]}, "code"),
        ({"tasks": [{**TASK, "exit": {**EXIT, "time": None}}]}, "time"),
        ({"tasks": [{**TASK, "exit": {**EXIT, "usage": 1}}]}, "usage"),
        ({"tasks": [{**TASK, "exit": {**EXIT, "usage": {"cpu_seconds": []}}}]}, "cpu_seconds"),
        ({"tasks": [{**TASK, "exit": 1}]}, "exit"),
    ],
)
def test_nonsense_is_refused_by_name(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ProtocolError, match=word) as caught:
        NodeReport.parse({**NODE, **changes})
    assert "\n" not in caught.value.message


def test_a_message_can_always_be_stored() -> None:
    said = TaskReport.parse({**TASK, "message": "cannot open /x/\udcff\ud800" + "y" * 9999})
    assert said.message.startswith("cannot open /x/??y")
    assert len(said.message) == 4096


def test_a_wanted_task_is_wanted_run_or_killed() -> None:
    with pytest.raises(ProtocolError, match="'run' or 'kill'"):
        WantedTask.parse(
            {
                "job": 1,
                "task": 0,
                "epoch": 1,
                "want": "eat",
                "user": "a",
                "uid": 1,
                "gid": 1,
                "spec": {},
            }
        )


def test_what_a_newer_manager_says_more_is_passed_over() -> None:
    said = {"job": 1, "task": 0, "epoch": 1, "want": "run", "user": "a", "uid": 1, "gid": 1}
    wanted = WantedTask.parse({**said, "spec": {}, "later": {"things": 1}})
    assert (wanted.job, wanted.want) == (1, "run")
    with pytest.raises(ProtocolError, match="not a wanted task"):
        WantedTask.parse(said)
    with pytest.raises(ProtocolError, match="not a wanted task"):
        WantedTask.parse("nonsense")


def test_of_usage_only_what_is_known_is_taken() -> None:
    known = {
        **{"cpu_seconds": 1.5, "user_seconds": 1.0, "system_seconds": 0.5, "max_rss_kib": 2048},
        **{"read_bytes": 0, "write_bytes": 1 << 40, "sources": {"cpu": "cgroup", "io": "wait"}},
    }
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"deep": deep}
    assert Exit.parse({**EXIT, "usage": {**known, "more": deep}}).usage == known
    earlier = {"cpu_seconds": 1.5, "max_rss_kib": 2048.0, "source": "cgroup cpu.stat, wait maxrss"}
    taken = Exit.parse({**EXIT, "usage": earlier}).usage
    assert taken == {"cpu_seconds": 1.5, "max_rss_kib": 2048}
    assert Exit.parse({**EXIT, "usage": {}}).usage == {}


def test_a_text_has_no_control_characters() -> None:
    said = TaskReport.parse({**TASK, "message": "is /nope\0y\x1b[1m there?\x7f\n\tno"})
    assert said.message == "is /nope?y?[1m there??\n\tno"
