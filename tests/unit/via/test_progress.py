"""What a terminal shows of a transfer."""

from __future__ import annotations

import io

from kcms.via.progress import Progress, line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line() -> None:
    mib = 1 << 20
    assert line("x", 90 * mib, 200 * mib, 90 * mib, 1.5) == "x  45%  90 of 200 MiB  60 MiB/s"
    assert line("x", 0, 0, 0, 0.0) == "x  100%  0 of 0 MiB"


def test_it_is_written_over_and_taken_away_and_not_too_often() -> None:
    now, shown = [0.0], Terminal()
    progress = Progress("x", 100, 50, shown, lambda: now[0])
    progress.at(60)
    assert shown.getvalue() == ""
    now[0] = 1.0
    progress.at(70)
    progress.at(80)
    progress.at(100)
    progress.end()
    assert [each.split("  ")[1:2] for each in shown.getvalue().split("\r")[1:]] == [
        *(["70%"], ["100%"], [])
    ]


def test_a_name_that_somebody_else_chose_moves_no_cursor() -> None:
    shown = Terminal()
    progress = Progress("a\x1b]0;b\x07\rc", 1, 0, shown)
    progress.at(1)
    progress.say("verifying")
    assert shown.getvalue().replace("\x1b[K", "").split("\r") == [
        *("", "a?]0;b??c  100%  0 of 0 MiB", "a?]0;b??c: verifying")
    ]


def test_without_a_terminal_nothing_is_shown() -> None:
    stream = io.StringIO()
    progress = Progress("x", 1, 0, stream)
    progress.at(1)
    progress.say("verifying")
    progress.end()
    assert stream.getvalue() == ""
