"""What a restore decides by itself: room among the process numbers, and what criu's log says."""

from __future__ import annotations

from pathlib import Path

import pytest

from kcms.node import criu
from kcms.node.restoring import ROOM, RestoreError, free_pid, is_owner


def test_helpers_come_after_the_job_s_highest_number() -> None:
    assert free_pid([2, 3, 900], 32768) == 900
    assert free_pid([2, 3], 32768) == 300


def test_the_first_gap_is_taken_when_the_job_is_at_the_end() -> None:
    assert free_pid([2, 100, 200, 310, 1000, 32760], 32768) == 310
    assert free_pid([2, 100, 200, 300 + ROOM + 1, 32760], 32768) == 300


def test_a_job_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(RestoreError, match="no room"):
        free_pid(list(range(300, 32768, ROOM)), 32768)


def test_the_cause_is_taken_from_criu_s_log(tmp_path: Path) -> None:
    log = tmp_path / "dump.log"
    log.write_text(
        "(00.001) Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: no\n"
        "Warn  (criu/x.c:1): whatever\n"
        "(00.02)  12: Error (criu/sk-inet.c:191): inet: Connected TCP socket \x1b[1m\n"
        "(00.03) Error (criu/cr-dump.c:2098): Dumping FAILED.\n"
    )
    assert criu.reason(str(log)) == "Connected TCP socket ?[1m"
    assert criu.reason(str(tmp_path / "none")) == ""


STATUS = """Name:\ta: b
Umask:\t0022
Uid:\t2001\t2001\t2001\t2001
Gid:\t2001\t2001\t2001\t2001
Groups:\t27 2001
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t000001ffffffffff
CapAmb:\t0000000000000000
"""


@pytest.mark.parametrize(
    ("old", "new", "fits"),
    [
        ("", "", True),
        ("27 2001", "", True),
        ("Uid:\t2001\t2001", "Uid:\t2001\t0", False),
        ("Uid:\t2001\t2001\t2001\t2001", "Uid:\t0\t0\t0\t0", False),
        ("Gid:\t2001", "Gid:\t42", False),
        ("27 2001", "27 42", False),
        ("CapPrm:\t00", "CapPrm:\t01", False),
        ("CapEff:\t00", "CapEff:\t01", False),
        ("CapAmb:\t00", "CapAmb:\t01", False),
    ],
)
def test_a_restored_process_has_its_owner_s_rights_alone(old: str, new: str, fits: bool) -> None:
    assert is_owner(STATUS.replace(old, new, 1), 2001, 2001, [27]) is fits
