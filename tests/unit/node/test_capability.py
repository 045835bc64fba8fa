"""What a host says of itself as a mover, with a criu that the test plays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kcms.node import capability
from kcms.node.capability import AGAIN, AGAIN_SOON, STILL, Capability, Found


class Stage:
    """A criu, a clock, and tries that end when the test says so."""

    def __init__(self, where: Path) -> None:
        self.criu = where / "criu"
        self.criu.write_text("1")
        self.now = 0.0
        self.found: Found | Exception = Found("4.1.1", "", firm=True)
        self.waiting: list[Callable[[], None]] = []
        self.capability = Capability(
            str(self.criu), self._attempt, self.waiting.append, lambda: self.now
        )

    def _attempt(self, criu: str) -> Found:
        assert criu == str(self.criu)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def finish(self) -> int:
        """End what is under way; how many tries that were."""
        tries = len(self.waiting)
        while self.waiting:
            self.waiting.pop()()
        return tries

    @property
    def trouble(self) -> str:
        return self.capability.mover()["trouble"]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_it_is_tried_once_and_beside(stage: Stage) -> None:
    assert stage.trouble == STILL
    assert stage.trouble == STILL
    assert stage.finish() == 1
    told = stage.capability.mover()
    assert (told["criu"], told["trouble"]) == ("4.1.1", "")
    assert told["machine"]
    assert told["kernel"]
    stage.now = 10 * AGAIN
    assert stage.trouble == ""
    assert stage.finish() == 0


def test_another_criu_is_tried_anew(stage: Stage) -> None:
    assert stage.trouble == STILL
    stage.finish()
    stage.criu.write_text("another")
    assert stage.trouble == STILL
    assert stage.finish() == 1
    assert stage.trouble == ""


def test_no_criu(stage: Stage) -> None:
    stage.criu.unlink()
    assert stage.trouble == f"criu is not installed ({stage.criu} is not there)"
    assert stage.finish() == 0
    stage.criu.write_text("1")
    assert stage.trouble == STILL


def test_a_bad_result_is_tried_again_now_and_then(stage: Stage) -> None:
    stage.found = Found("3.17.1", "criu dump fails on this kernel: vdso", firm=True)
    assert stage.trouble == STILL
    stage.finish()
    stage.now = AGAIN - 1
    assert stage.trouble == "criu dump fails on this kernel: vdso"
    assert stage.finish() == 0
    stage.now = AGAIN
    stage.found = Found("4.1.1", "", firm=True)
    assert stage.trouble == "criu dump fails on this kernel: vdso"  # until it is known better
    assert stage.finish() == 1
    assert stage.trouble == ""


def test_what_could_not_be_tried_is_tried_soon(stage: Stage) -> None:
    stage.found = OSError("no systemd")
    assert stage.trouble == STILL
    stage.finish()
    assert stage.trouble == "criu cannot be tried: no systemd"
    stage.now = AGAIN_SOON
    assert stage.trouble == "criu cannot be tried: no systemd"
    assert stage.finish() == 1


def test_answers_of_the_programs() -> None:
    assert capability.parse_version("Version: 4.1.1\nGitID: v4\n") == "4.1.1"
    with pytest.raises(ValueError, match="does not tell"):
        capability.parse_version("usage")
    assert capability.parse_answer(b'{"trouble": "x"}', b"") == "x"
    with pytest.raises(ValueError, match="Failed to start"):
        capability.parse_answer(b"", b"hm\nFailed to start transient unit\n")


def test_the_unit_runs_the_test_beside_this_file() -> None:
    command = capability.command("/usr/sbin/criu")
    assert command[0] == "systemd-run"
    assert Path(command[-4]).is_file()
    assert command[-3:] == ["/usr/sbin/criu", f"/run/{capability.DIRECTORY}", "65534"]


def test_one_try_at_a_time(stage: Stage) -> None:
    assert stage.trouble == STILL
    stage.criu.write_text("another, while the first is tried")
    assert stage.trouble == STILL
    assert stage.finish() == 1
