"""A job moves between hosts with different boot clocks, whatever goes wrong on the way."""

from __future__ import annotations

import itertools

import pytest

from tests.lab_node.counts import (
    COUNT,
    LARGE,
    counted,
    end,
    goes_on,
    nothing_left,
    stands_still,
    start_count,
)
from tests.lab_node.grid import HOME, Grid
from tests.lab_node.host import STATE, STORE

TREE = """
exec 3>>"$0"
python3 -c '
import sys, time
last, jumps = time.monotonic(), 0
for _ in range(LINES + 20):
    time.sleep(0.1)
    now = time.monotonic()
    jumps += not 0 <= now - last < 60
    last = now
print("jumps", jumps, file=sys.stderr)
' 2>&3 3>&- &
clock=$!
i=0
while [ $i -lt LINES ]; do echo "line $i"; i=$((i+1)); sleep 0.1; done |
  while read -r line; do echo "read $line"; done &
reader=$!
wait $clock; wait $reader
echo end
exit 3
"""
ZOMBIE = """
import itertools, subprocess, time
ended = subprocess.Popen(["true"])
for i in itertools.count():
    print(i)
    time.sleep(0.05)
"""


def expected(lines: int = 60) -> str:
    return "".join(f"read line {each}\n" for each in range(lines)) + "end\n"


def start_tree(grid: Grid, number: int, host: str, lines: int = 60) -> None:
    """A job of some 0.1 s a line."""
    script = TREE.replace("LINES", str(lines))
    arguments = {"executable": "/bin/sh", "arguments": ["-c", script, f"{HOME}/{number}.log"]}
    grid.start(number, "", host, **arguments)
    grid.hosts[host].wait(lambda: "line 3" in grid.read(f"{number}.out"), "the tree to work")


def test_a_tree_moves_and_goes_on_as_if_nothing_had_been(grid: Grid) -> None:
    start_tree(grid, 1, "alpha1")
    move = grid.move(1, "alpha1", "alpha2", 1)
    move.up_to("restore")
    move.commit()
    source, target = move.source.over(1), move.target.over(1)
    assert (source["exit"]["signal"], source["exit"]["processes_left"]) == (9, 0)
    assert (target["exit"]["code"], target["exit"]["signal"]) == (3, None)
    assert target["exit"]["usage"]["cpu_seconds"] > 0
    assert grid.read("1.out") == expected()
    assert grid.read("1.log") == "jumps 0\n"
    nothing_left(grid)


def test_a_job_that_moved_gains_no_rights_by_it(grid: Grid) -> None:
    grid.start(22, "while :; do grep NoNewPrivs /proc/$$/status; sleep 0.1; done", "alpha1")
    move = grid.move(22, "alpha1", "alpha2", 1)
    move.up_to("restore")
    before = grid.read("22.out").count("\n")
    move.commit()
    there = grid.hosts["alpha2"]
    there.wait(lambda: grid.read("22.out").count("\n") > before + 3, "the job to go on")
    assert {each.split()[1] for each in grid.read("22.out").splitlines()} == {"1"}
    end(grid, 22, "alpha2", 2)
    nothing_left(grid)


def test_there_and_back_and_on(grid: Grid) -> None:
    start_tree(grid, 2, "alpha1", 250)
    path = ["alpha1", "alpha2", "alpha1", "alpha3"]
    for epoch, (source, target) in enumerate(itertools.pairwise(path), 1):
        move = grid.move(2, source, target, epoch)
        move.up_to("restore")
        move.commit()
        move.source.over(2)
        move.forget()
    assert grid.hosts["alpha3"].over(2)["exit"]["code"] == 3
    assert grid.read("2.out") == expected(250)
    assert grid.read("2.log") == "jumps 0\n"
    nothing_left(grid)


def test_undone_after_the_dump_goes_on_at_the_source(grid: Grid) -> None:
    start_count(grid, 3)
    move = grid.move(3, "alpha1", "alpha2", 1)
    move.up_to("dump")
    stands_still(grid, 3)
    move.undo()
    goes_on(grid, 3)
    nothing_left(grid)
    end(grid, 3, "alpha1", 1)


def test_undone_after_the_restore_goes_on_at_the_source(grid: Grid) -> None:
    start_count(grid, 4)
    move = grid.move(4, "alpha1", "alpha2", 1)
    move.up_to("restore")
    stands_still(grid, 4)
    move.undo()
    goes_on(grid, 4)
    copy = move.target.over(4)
    assert (copy["exit"]["signal"], move.target.processes(4, 2)) == (9, [])
    nothing_left(grid)
    end(grid, 4, "alpha1", 1)


@pytest.mark.parametrize(
    ("number", "damage", "says"),
    [
        (5, "printf x | dd of=F bs=1 seek=5000 conv=notrunc", "not the one that was written"),
        (6, "truncate -s -1 F", "less than"),
        (7, "echo >> F", "more than"),
        (8, "rm F", "No such file"),
        (9, "mv F F.x; ln -s F.x F; true", "Too many levels of symbolic links"),
    ],
)
def test_an_image_that_is_not_the_source_s_is_refused(
    grid: Grid, number: int, damage: str, says: str
) -> None:
    start_count(grid, number)
    move = grid.move(number, "alpha1", "alpha2", 1)
    told = move.up_to("dump")
    path = str(told["image"])
    assert grid.hosts["alpha1"].run(f"stat -c '%U %a' {path}").split() == ["alice", "600"]
    grid.hosts["alpha1"].run(damage.replace("F", path))
    move.ask("restore", told)
    answer = move.answer("restore")
    assert answer["ok"] is False
    assert says in answer["message"]
    assert move.target.task(number)["phase"] == "unknown"
    move.undo()
    goes_on(grid, number)
    grid.hosts["alpha1"].run(f"rm -f {path}.x; rmdir {HOME}/.kcms 2>/dev/null; true")
    nothing_left(grid)
    end(grid, number, "alpha1", 1)


def test_a_link_in_the_place_of_an_open_file_leads_nowhere(grid: Grid) -> None:
    """criu opens the output as root: it must not come to be a file of the host."""
    victim = "/etc/kcms-victim"
    start_count(grid, 18)
    move = grid.move(18, "alpha1", "alpha2", 1)
    told = move.up_to("dump")
    move.target.run(f"echo mine > {victim}; chmod 644 {victim}")
    place = f"cd {HOME} && mv 18.out 18.old && ln -s {victim} 18.out"
    move.target.run(f"su alice -s /bin/sh -c '{place}'")
    move.ask("restore", told)
    answer = move.answer("restore")
    assert answer["ok"] is False
    assert "Too many levels of symbolic links" in answer["message"]
    assert move.target.run(f"cat {victim}; rm {victim}") == "mine\n"
    move.target.run(f"mv {HOME}/18.old {HOME}/18.out")
    move.undo()
    goes_on(grid, 18)
    nothing_left(grid)
    end(grid, 18, "alpha1", 1)


def test_another_user_s_file_in_the_place_of_an_open_one_is_not_opened(grid: Grid) -> None:
    """Who may write where another's file lies can rename it into the place of an own one."""
    start_count(grid, 20)
    move = grid.move(20, "alpha1", "alpha2", 1)
    told = move.up_to("dump")
    place = f"cd {HOME} && mv 20.out 20.old"
    move.target.run(f"{place} && echo private > 20.out && chown 2002 20.out && chmod 644 20.out")
    move.ask("restore", told)
    answer = move.answer("restore")
    assert answer["ok"] is False
    assert f"has {HOME}/20.out open, which its owner cannot open here now" in answer["message"]
    assert move.target.run(f"cat {HOME}/20.out") == "private\n"
    move.target.run(f"mv {HOME}/20.old {HOME}/20.out")
    move.undo()
    goes_on(grid, 20)
    nothing_left(grid)
    end(grid, 20, "alpha1", 1)


def test_nor_is_one_that_is_named_like_a_removed_file(grid: Grid) -> None:
    """The kernel calls a removed file so, and criu only where it has no name any more."""
    name = f"{HOME}/21.out (deleted)"
    grid.start(21, COUNT, "alpha1", output=name)
    grid.hosts["alpha1"].wait(lambda: "3" in grid.read("'21.out (deleted)'"), "the count to begin")
    move = grid.move(21, "alpha1", "alpha2", 1)
    told = move.up_to("dump")
    move.target.run(f"cd {HOME} && mv '{name}' 21.old")
    move.target.run(f"echo private > '{name}' && chown 2002 '{name}' && chmod 644 '{name}'")
    move.ask("restore", told)
    answer = move.answer("restore")
    assert answer["ok"] is False
    assert "which its owner cannot open here now" in answer["message"]
    assert move.target.run(f"cat '{name}'") == "private\n"
    move.target.run(f"cd {HOME} && mv 21.old '{name}'")
    move.undo()
    end(grid, 21, "alpha1", 1)
    nothing_left(grid)


def test_a_child_that_ended_and_was_not_waited_for_comes_along(grid: Grid) -> None:
    # It has the highest number of the job, the next one that the kernel would give.
    script = f"for i in $(seq 320); do /bin/true; done; python3 -uc '{ZOMBIE}'; true"
    start_count(grid, 24, script=script)
    move = grid.move(24, "alpha1", "alpha2", 1)
    move.up_to("restore")
    move.commit()
    move.source.over(24)
    goes_on(grid, 24)
    states = move.target.run("ps -o stat= --ppid $(pgrep -u alice -x python3)")
    assert states.split() == ["Z"]
    end(grid, 24, "alpha2", 2)
    nothing_left(grid)


def test_the_time_before_a_move_counts_for_the_limit(grid: Grid) -> None:
    start_count(grid, 23, time_limit=20)
    grid.hosts["alpha1"].run("sleep 12")
    began = grid.hosts["alpha1"].task(23)["start_time"]
    move = grid.move(23, "alpha1", "alpha2", 1)
    move.up_to("restore")
    move.commit()
    move.source.over(23)
    over = move.target.over(23)
    assert (over["cause"], over["exit"]["processes_left"]) == ("time limit", 0)
    assert 20 <= over["exit"]["time"] - began < 30  # what it stood still is not counted
    counted(grid, 23)
    nothing_left(grid)


def test_a_job_that_moved_follows_links_as_before(grid: Grid) -> None:
    grid.hosts["alpha1"].run(f"echo there > {HOME}/real; ln -sf real {HOME}/link")
    script = f"i=0; while [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; cat {HOME}/link"
    grid.start(19, script, "alpha1")
    move = grid.move(19, "alpha1", "alpha2", 1)
    move.up_to("restore")
    move.commit()
    move.source.over(19)
    assert move.target.over(19)["exit"]["code"] == 0
    assert grid.read("19.out") == "there\n"
    nothing_left(grid)


def test_what_cannot_be_dumped_is_refused_and_untouched(grid: Grid) -> None:
    script = "exec 5>/tmp/kcms-local-file; while :; do sleep 0.1; done"
    grid.start(10, script, "alpha1")
    move = grid.move(10, "alpha1", "alpha2", 1)
    move.ask("check")
    answer = move.answer("check")
    assert (answer["ok"], answer["touched"]) == (False, False)
    assert "/tmp/kcms-local-file" in answer["message"]
    move.undo()
    end(grid, 10, "alpha1", 1)


def test_what_came_between_check_and_dump_is_refused_and_goes_on(grid: Grid) -> None:
    script = f"while [ ! -e {HOME}/go ]; do sleep 0.05; done; exec 5>/tmp/kcms-late; {COUNT}"
    grid.hosts["alpha1"].run(f"rm -f {HOME}/go")
    grid.start(11, script, "alpha1")
    move = grid.move(11, "alpha1", "alpha2", 1)
    told = move.up_to("admit")
    grid.hosts["alpha1"].run(f"touch {HOME}/go; chown alice {HOME}/go")
    grid.hosts["alpha1"].wait(lambda: "1" in grid.read("11.out"), "the count to begin")
    move.ask("dump", told)
    answer = move.answer("dump")
    assert answer["ok"] is False
    assert "/tmp/kcms-late" in answer["message"]
    goes_on(grid, 11)
    move.undo()
    nothing_left(grid)
    end(grid, 11, "alpha1", 1)


def test_daemons_killed_after_every_step(grid: Grid) -> None:
    start_tree(grid, 12, "alpha1", 200)
    move = grid.move(12, "alpha1", "alpha2", 1)

    def kill_both(_: str) -> None:
        move.source.kill_daemon()
        move.target.kill_daemon()

    move.up_to("restore", kill_both)
    move.commit()
    kill_both("commit")
    assert move.target.over(12)["exit"]["code"] == 3
    move.source.over(12)
    assert grid.read("12.out") == expected(200)
    nothing_left(grid)


def test_daemons_killed_within_every_step(grid: Grid) -> None:
    start_tree(grid, 13, "alpha1", 300)
    move = grid.move(13, "alpha1", "alpha2", 1)
    data: dict[str, object] = {}
    for step in ("check", "admit", "dump", "restore"):
        move.ask(step, data)
        for _ in range(3):
            move.source.kill_daemon()
            move.target.kill_daemon()
        answer = move.answer(step)
        assert answer["ok"], answer["message"]
        data = answer["data"]
    move.commit()
    assert move.target.over(13)["exit"]["code"] == 3
    assert grid.read("13.out") == expected(300)
    move.source.over(13)
    nothing_left(grid)


def test_killed_while_frozen_at_the_source_runs_no_further(grid: Grid) -> None:
    start_count(grid, 14)
    move = grid.move(14, "alpha1", "alpha2", 1)
    move.up_to("dump")
    before = counted(grid, 14)
    move.source.moves = []
    over = end(grid, 14, "alpha1", 1)
    assert over["exit"]["signal"] == 9
    assert counted(grid, 14) == before
    nothing_left(grid)


def test_a_restored_copy_that_is_killed_ran_nothing(grid: Grid) -> None:
    script = f"trap 'echo bye >> {HOME}/15.bye; exit' TERM; {COUNT}"
    grid.hosts["alpha1"].run(f"rm -f {HOME}/15.bye")
    grid.start(15, script, "alpha1")
    grid.hosts["alpha1"].wait(lambda: "3" in grid.read("15.out"), "the count to begin")
    move = grid.move(15, "alpha1", "alpha2", 1)
    move.up_to("restore")
    move.undo()
    assert move.target.over(15)["exit"]["signal"] == 9
    goes_on(grid, 15)
    assert grid.read("15.bye") == ""
    end(grid, 15, "alpha1", 1)
    assert grid.read("15.bye") == "bye\n"


def test_init_killed_while_it_holds_the_restored_tree(grid: Grid) -> None:
    start_count(grid, 16)
    move = grid.move(16, "alpha1", "alpha2", 1)
    move.up_to("restore")
    unit = f"kcms-task-16.0.2-{STORE}.service"
    move.target.run(f"systemctl kill -s KILL {unit}")

    def fails() -> bool:
        rows = [each for each in move.target.last_report()["moves"] if each["job"] == 16]
        return bool(rows) and rows[0]["ok"] is False

    move.target.wait(fails, "the restore to be told as failed")
    move.undo()
    goes_on(grid, 16)
    end(grid, 16, "alpha1", 1)
    nothing_left(grid)


def test_mover_killed_in_the_dump_is_told_and_undone(grid: Grid) -> None:
    """The program that does the step dies; criu does not, as nobody kills it."""
    script = f"exec python3 -uc '{LARGE}'"
    start_count(grid, 17, script=script)
    move = grid.move(17, "alpha1", "alpha2", 1)
    told = move.up_to("admit")
    move.ask("dump", told)
    record = f"{STATE}/moves/17.0.1-{STORE}_{move.number}"
    move.source.run(
        f"for i in $(seq 600); do ls {record}/image/pages-* 2>/dev/null && break; sleep 0.01; done;"
        f"systemctl kill -s KILL --kill-whom=main kcms-move-17.0.1-{STORE}_{move.number}"
    )
    answer = move.answer("dump")
    assert answer["ok"] is False
    assert "interrupted" in answer["message"]
    move.undo()
    goes_on(grid, 17)
    end(grid, 17, "alpha1", 1)
    nothing_left(grid)
