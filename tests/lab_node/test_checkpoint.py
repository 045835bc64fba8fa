"""A job is saved while it runs and begun anew from its image, whatever goes wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab_node.counts import (
    LARGE,
    clean,
    counted,
    end,
    goes_on,
    nothing_left,
    stands_still,
    start_count,
)
from tests.lab_node.grid import HOME, Grid, mover
from tests.lab_node.host import Host
from tests.lab_node.saving import PLACE, Checkpoint, images, stat

__all__ = ["clean"]

TREE = """
exec 3>>"$0" 4<"$0.in"
python3 -c '
import sys, time
last, jumps = time.monotonic(), 0
for at in range(LINES):
    time.sleep(0.05)
    now = time.monotonic()
    jumps += not 0 <= now - last < 60
    last = now
    print("tick", at, "jumps", jumps, file=sys.stderr)
' 2>&3 3>&- 4<&- &
clock=$!
while read -r line <&4; do echo "$line"; sleep 0.05; done |
  while read -r line; do echo "read $line"; done &
reader=$!
wait $clock; wait $reader
echo end
exit 3
"""
THREADS = """
import sys, threading, time
def count(name):
    with open(f"{sys.argv[1]}.{name}", "w", buffering=1) as file:
        for at in range(200):
            file.write(f"{name} {at}\\n")
            time.sleep(0.05)
threads = [threading.Thread(target=count, args=(each,)) for each in range(4)]
for each in threads:
    each.start()
for each in threads:
    each.join()
print("all", threading.active_count())
"""


def start_tree(grid: Grid, number: int, host: str, lines: int) -> None:
    """A job of some 0.05 s a line: a shell, its child, a pipe between two, and three files."""
    text = "".join(f"line {each}\n" for each in range(lines))
    there = grid.hosts[host]
    there.run(f"cat > {HOME}/{number}.log.in && rm -f {HOME}/{number}.log", given=text.encode())
    arguments = ["-c", TREE.replace("LINES", str(lines)), f"{HOME}/{number}.log"]
    grid.start(number, "", host, executable="/bin/sh", arguments=arguments)
    there.wait(lambda: "line 3" in grid.read(f"{number}.out"), "the tree to work")


def expected(lines: int) -> tuple[str, str]:
    """What an undisturbed run writes: output, and log."""
    out = "".join(f"read line {each}\n" for each in range(lines)) + "end\n"
    return out, "".join(f"tick {each} jumps 0\n" for each in range(lines))


def is_gone(grid: Grid, path: str) -> bool:
    return "No such file" in stat(grid, path)


def lines_of(grid: Grid, number: int) -> int:
    return grid.read(f"{number}.out").count("\n")


def test_a_tree_begins_anew_elsewhere_as_if_nothing_had_been(grid: Grid) -> None:
    lines = 240
    start_tree(grid, 1, "alpha1", lines)
    saving = Checkpoint(grid, 1, "alpha1")
    image = saving.do("save")
    assert 0 < image["freeze_seconds"] < 5
    assert image["number"] == saving.number
    path = str(image["path"])
    assert path.startswith(PLACE + "/")
    assert stat(grid, path) == f"alice 600 {image['size']}"
    content = saving.host.run(f"sha256sum < {path}").split()[0]
    assert content == image["sha256"]
    then = lines_of(grid, 1)
    saving.host.wait(lambda: lines_of(grid, 1) > then + 10, "the tree to go on")
    saving.host.kill_daemon()
    saving.do("keep", image)
    saving.withdraw()
    saving.host.kill_daemon()
    assert stat(grid, path) == f"alice 600 {image['size']}"
    saving.end_now()
    assert "end" not in grid.read("1.out")
    there = saving.begin("alpha2", image)
    running = there.until(1, "running", "refused")
    assert "was cut from" in running["note"], running
    assert there.over(1)["exit"]["code"] == 3
    assert (grid.read("1.out"), grid.read("1.log")) == expected(lines)
    saving.drop(image)
    assert is_gone(grid, path)
    saving.drop(image, {"path": f"{PLACE}/1.1-none.image"}, host="alpha3")
    nothing_left(grid)


def test_an_image_is_good_for_more_than_one_beginning(grid: Grid) -> None:
    lines = 200
    start_tree(grid, 2, "alpha1", lines)
    saving = Checkpoint(grid, 2, "alpha1")
    image = saving.made()
    saving.end_now()
    for epoch, host in enumerate(("alpha2", "alpha3"), 2):
        there = saving.begin(host, image, epoch)
        there.until(2, "running")
        before = lines_of(grid, 2)
        there.wait(lambda before=before: lines_of(grid, 2) > before + 5, "the tree to go on")
        there.want({**saving.wanted, "epoch": epoch, "want": "kill", "grace": 0.0})
        there.over(2)
    there = saving.begin("alpha1", image, 4)
    there.wait(lambda: phase(there, 2, 4) == "ended", "the tree to end")
    assert (grid.read("2.out"), grid.read("2.log")) == expected(lines)
    saving.drop(image)
    nothing_left(grid)


def phase(host: Host, job: int, epoch: int) -> str:
    rows = [each for each in host.last_report()["tasks"] if each["job"] == job]
    return next((str(each["phase"]) for each in rows if each["epoch"] == epoch), "unknown")


def test_what_was_restored_is_saved_and_begins_anew_again(grid: Grid) -> None:
    lines = 200
    start_tree(grid, 3, "alpha1", lines)
    first = Checkpoint(grid, 3, "alpha1")
    image = first.made()
    first.end_now()
    first.begin("alpha2", image).until(3, "running")
    second = Checkpoint(grid, 3, "alpha2", epoch=2, number=9)
    later = second.made()
    second.end_now()
    there = second.begin("alpha3", later, 3)
    assert there.over(3)["exit"]["code"] == 3
    assert (grid.read("3.out"), grid.read("3.log")) == expected(lines)
    second.drop(image, later)
    nothing_left(grid)


def test_a_program_with_threads(grid: Grid) -> None:
    arguments = ["-c", THREADS, f"{HOME}/4.out"]
    grid.start(4, "", "alpha1", executable="/usr/bin/python3", arguments=arguments)
    grid.hosts["alpha1"].wait(lambda: "3 5\n" in grid.read("4.out.3"), "the threads to work")
    saving = Checkpoint(grid, 4, "alpha1")
    image = saving.made()
    saving.host.wait(lambda: "3 40\n" in grid.read("4.out.3"), "the threads to go on")
    saving.end_now()
    there = saving.begin("alpha3", image)
    assert there.over(4)["exit"]["code"] == 0
    assert grid.read("4.out") == "all 1\n"
    for each in range(4):
        wanted = "".join(f"{each} {at}\n" for at in range(200))
        assert grid.read(f"4.out.{each}") == wanted
    saving.drop(image)
    nothing_left(grid)


def test_a_save_that_is_not_wanted_any_more_leaves_no_image(grid: Grid) -> None:
    start_count(grid, 5)
    saving = Checkpoint(grid, 5, "alpha1")
    path = str(saving.do("save")["path"])
    assert "alice 600" in stat(grid, path)
    saving.host.kill_daemon()
    saving.withdraw()
    assert is_gone(grid, path)
    goes_on(grid, 5)
    end(grid, 5, "alpha1", 1)
    nothing_left(grid)


def test_nor_does_one_that_is_under_way(grid: Grid) -> None:
    start_count(grid, 6, script=f"exec python3 -uc '{LARGE}'")
    saving = Checkpoint(grid, 6, "alpha1")
    saving.ask("save")
    saving.await_file("held")
    saving.withdraw()
    goes_on(grid, 6)
    assert images(grid) == []
    end(grid, 6, "alpha1", 1)
    nothing_left(grid)


def test_a_mover_killed_while_the_job_stands_still(grid: Grid) -> None:
    """Nobody is there to let it go but the node daemon, which is killed, too."""
    start_count(grid, 7, script=f"exec python3 -uc '{LARGE}'")
    saving = Checkpoint(grid, 7, "alpha1")
    saving.ask("save")
    saving.await_file("image/pages-*")
    saving.host.run(
        f"systemctl kill -s KILL --kill-whom=main {saving.unit};"
        "systemctl kill -s KILL kcms-nodetest.service"
    )
    answer = saving.answer("save")
    assert (answer["ok"], answer["touched"]) == (False, True)
    assert "interrupted" in answer["message"]
    goes_on(grid, 7)
    saving.withdraw()
    end(grid, 7, "alpha1", 1)
    nothing_left(grid)


def test_a_job_killed_while_it_is_saved_ends_and_leaves_no_image(grid: Grid) -> None:
    start_count(grid, 8, script=f"exec python3 -uc '{LARGE}'")
    saving = Checkpoint(grid, 8, "alpha1")
    saving.ask("save")
    saving.await_file("held")
    over = end(grid, 8, "alpha1", 1)
    assert over["exit"]["signal"] in (15, 9)
    assert saving.answer("save")["ok"] is False
    saving.withdraw()
    nothing_left(grid)


def test_a_suspended_job_stays_suspended(grid: Grid) -> None:
    start_count(grid, 9)
    saving = Checkpoint(grid, 9, "alpha1")
    saving.host.want({**saving.wanted, "suspend": True})
    saving.host.wait(lambda: saving.host.task(9).get("suspended"), "the job to be suspended")
    image = saving.made()
    stands_still(grid, 9)
    saving.host.want({**saving.wanted, "suspend": False})
    goes_on(grid, 9)
    saving.end_now()
    there = saving.begin("alpha2", image, suspend=True)
    there.wait(lambda: there.task(9).get("suspended"), "the job to be suspended there, too")
    stands_still(grid, 9)
    there.want({**there.wanted[(9, 0, 2)], "suspend": False})
    goes_on(grid, 9)
    end(grid, 9, "alpha2", 2)
    saving.drop(image)
    nothing_left(grid)


@pytest.mark.parametrize(
    ("number", "damage", "says"),
    [
        (10, "printf x | dd of=F bs=1 seek=5000 conv=notrunc", "not the one that was written"),
        (11, "truncate -s -1 F", "less than"),
        (12, "echo >> F", "more than"),
        (13, "rm F", "No such file"),
        (14, "mv F F.x; ln -s F.x F; true", "Too many levels of symbolic links"),
        (15, "chown 2002 F", "belongs to another user"),
        (16, "chmod 0 F", "is closed to its owner"),
    ],
)
def test_an_image_that_is_not_the_saved_one_is_no_node_s(
    grid: Grid, number: int, damage: str, says: str
) -> None:
    start_count(grid, number)
    saving = Checkpoint(grid, number, "alpha1")
    image = saving.made()
    saving.end_now()
    counted_then, path = counted(grid, number), str(image["path"])
    saving.host.run(damage.replace("F", path))
    told = saving.refused("alpha2", image)
    assert told["cause"] == "image"
    assert says in told["message"]
    assert counted(grid, number) == counted_then  # nothing was cut
    assert saving.grid.hosts["alpha2"].processes(number, 2) == []
    saving.host.run(f"rm -f {path} {path}.x; rmdir {PLACE} 2>/dev/null; true")
    nothing_left(grid)


def test_one_that_is_damaged_in_the_save_is_not_told_as_made(grid: Grid) -> None:
    """The owner's hands are the owner's: what they wrote is read again."""
    start_count(grid, 17)
    there, carrier = grid.hosts["alpha1"], "/opt/kcms-nodetest/releases/1/kcms/node/carrier.py"
    there.run(f"cp {carrier} {carrier}.x; sed -i 's/CHUNK):$/CHUNK)[:-1]:/' {carrier}")
    try:
        answer = Checkpoint(grid, 17, "alpha1").fail("save")
    finally:
        there.run(f"mv {carrier}.x {carrier}")
    assert "less than" in answer["message"]
    Checkpoint(grid, 17, "alpha1").withdraw()
    goes_on(grid, 17)
    end(grid, 17, "alpha1", 1)
    nothing_left(grid)


@contextmanager
def criu_replaced(grid: Grid, host: str, script: str) -> Iterator[None]:
    """The host has a criu that a script stands before, or none.  ``-p``: with root's rights, though
    a dump is made in the owner's name."""
    there = grid.hosts[host]
    there.run("mv /usr/sbin/criu /usr/sbin/criu.real")
    if script:
        content = f'#!/bin/sh -p\n{script}\nexec /usr/sbin/criu.real "$@"\n'
        there.write("/usr/sbin/criu", content, "755")
    try:
        yield
    finally:
        there.run("mv /usr/sbin/criu.real /usr/sbin/criu")
        there.wait(lambda: mover(there).get("trouble") == "", "criu to be tried")


def abilities(host: Host) -> list[str]:
    return list(host.last_report().get("abilities", []))


def test_a_job_goes_on_when_criu_cannot_dump_it(grid: Grid) -> None:
    start_count(grid, 18)
    fails = 'case " $* " in *" --freeze-cgroup "*) echo no >&2; exit 1;; esac'
    with criu_replaced(grid, "alpha1", fails):
        saving = Checkpoint(grid, 18, "alpha1")
        answer = saving.fail("save")
        assert answer["touched"] is True
        assert "criu cannot dump the job: no" in answer["message"]
        goes_on(grid, 18)
        assert images(grid) == []
        saving.withdraw()
    end(grid, 18, "alpha1", 1)
    nothing_left(grid)


@pytest.fixture(scope="module")
def saved(grid: Grid) -> Iterator[tuple[Checkpoint, dict[str, Any]]]:
    """A count that was saved and killed."""
    for each in grid.hosts.values():
        each.wanted, each.moves = {}, []
    start_count(grid, 30)
    saving = Checkpoint(grid, 30, "alpha1")
    image = saving.made()
    saving.end_now()
    yield saving, image
    saving.drop(image)


def refused_here(saved: tuple[Checkpoint, dict[str, Any]], epoch: int) -> str:
    """Why alpha3 does not begin it, having seen that it says so of itself alone."""
    saving, image = saved
    told = saving.refused("alpha3", image, epoch)
    assert told["cause"] == "checkpoint", told
    return str(told["message"])


def test_a_node_without_criu(grid: Grid, saved: tuple[Checkpoint, dict[str, Any]]) -> None:
    there = grid.hosts["alpha3"]
    assert "checkpoint" in abilities(there)
    with criu_replaced(grid, "alpha3", ""):
        assert "criu is not installed" in refused_here(saved, 2)
        there.wait(lambda: "checkpoint" not in abilities(there), "the ability to be gone")


def test_a_node_with_an_older_criu(grid: Grid, saved: tuple[Checkpoint, dict[str, Any]]) -> None:
    old = '[ "$1" = --version ] && { echo "Version: 3.17.1"; exit; }'
    with criu_replaced(grid, "alpha3", old):
        grid.hosts["alpha3"].wait(
            lambda: mover(grid.hosts["alpha3"]).get("criu") == "3.17.1", "criu to be tried"
        )
        assert "has the older 3.17.1" in refused_here(saved, 3)


def test_a_node_with_other_files(grid: Grid, saved: tuple[Checkpoint, dict[str, Any]]) -> None:
    there = grid.hosts["alpha3"]
    there.run("cd /usr/bin && cp -p dash dash.real && cp -p dash d && echo >> d && mv d dash")
    try:
        assert "/usr/bin/dash differs between" in refused_here(saved, 4)
    finally:
        there.run("mv /usr/bin/dash.real /usr/bin/dash")


def test_a_node_where_the_shared_directory_is_not_mounted(
    grid: Grid, saved: tuple[Checkpoint, dict[str, Any]]
) -> None:
    there = grid.hosts["alpha3"]
    local = "/var/tmp/local"
    there.run(f"mkdir {local} && mount --bind {local} /shared")
    try:
        saved[0].number += 1
        told = saved[0].fail("drop", {"images": [saved[1]["path"]]}, "alpha3")
        assert "is its shared directory mounted?" in told["message"]
        saved[0].withdraw("alpha3")
        assert "does not exist" in refused_here(saved, 5)
        there.run(f"mkdir -p {HOME} && chown alice {HOME}")  # as PAM makes it at a login
        assert "is its shared directory mounted?" in refused_here(saved, 6)
    finally:
        there.run(f"umount /shared; rm -r {local}")


def test_a_node_that_the_server_refuses(
    grid: Grid, saved: tuple[Checkpoint, dict[str, Any]]
) -> None:
    there = grid.hosts["alpha3"]
    there.run("mkdir -m 700 /run/closed; mount --bind /run/closed /shared/home")
    try:
        assert "closed to the owner" in refused_here(saved, 8)
    finally:
        there.run("umount /shared/home; rmdir /run/closed")


def test_it_begins_where_all_is_well_after_all_that(
    grid: Grid, saved: tuple[Checkpoint, dict[str, Any]]
) -> None:
    saving, image = saved
    saving.begin("alpha3", image, 9).until(30, "running")
    goes_on(grid, 30)
    end(grid, 30, "alpha3", 9)
