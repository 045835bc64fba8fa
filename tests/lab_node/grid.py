"""Three hosts with a node daemon each, and a manager of their migrations played by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.lab_node.host import STATE, STORE, Host, job

HOME = "/shared/home/alice"
SETTINGS = 'shared_directories = ["/shared"]\n'


class Grid:
    """``prefixes`` are the commands that reach the hosts, by name."""

    def __init__(self, prefixes: dict[str, list[str]], settings: str = "") -> None:
        self.hosts = {name: Host(each, SETTINGS + settings) for name, each in prefixes.items()}

    def set_up(self) -> None:
        for each in self.hosts.values():
            each.set_up()
        each.run(f"rm -rf {HOME}/.kcms {HOME}/*.out* {HOME}/*.log*")
        for each in self.hosts.values():
            each.wait(lambda h=each: mover(h).get("trouble") == "", "criu to be tried")

    def clean(self) -> None:
        for each in self.hosts.values():
            each.clean()

    def start(self, number: int, script: str, host: str, **changes: Any) -> None:
        files = {"base_directory": HOME, "output": f"{HOME}/%j.out"}
        self.hosts[host].want(job(number, script, **{**files, **changes}))
        self.hosts[host].until(number, "running")

    def move(self, number: int, source: str, target: str, epoch: int) -> Move:
        return Move(self, number, source, target, epoch)

    def read(self, name: str) -> str:
        return self.hosts["alpha1"].run(f"cat {HOME}/{name} 2>/dev/null; true")

    def leftovers(self) -> str:
        """What moves might have left behind, anywhere."""
        found = self.hosts["alpha1"].run(f"find {HOME} -name '.kcms*'")
        for each in self.hosts.values():
            found += each.run(
                f"find {STATE}/moves /run/kcms-images -mindepth 1 2>/dev/null; "
                f"ls {STATE}/tasks | grep image; true"
            )
            found += each.run("systemctl list-units --all --plain --no-legend 'kcms-move-*'")
        return found


def mover(host: Host) -> dict[str, str]:
    return dict(host.last_report().get("mover", {}))


class Move:
    """One migration, step by step; ``epoch`` is the task's on the source."""

    def __init__(self, grid: Grid, number: int, source: str, target: str, epoch: int) -> None:
        self.grid = grid
        self.job = number
        self.number = 10 * epoch + 1
        self.names = {"source": source, "target": target}
        self.source, self.target = grid.hosts[source], grid.hosts[target]
        self.epoch = epoch
        self.wanted = self.source.wanted[(number, 0, epoch)]

    def ask(self, step: str, data: dict[str, Any] | None = None) -> None:
        """Want a step, as the manager does: the source holds while the target restores."""
        at_source = step in ("check", "dump")
        move = {
            **{name: self.wanted[name] for name in ("job", "task", "user", "uid", "gid", "spec")},
            **self.names, "store": STORE, "number": self.number, "step": step,
            "epoch": self.epoch if at_source else self.epoch + 1, "data": data or {},
        }  # fmt: skip
        host = self.source if at_source else self.target
        if step != "restore":
            self.source.moves, self.target.moves = [], []
        host.moves = [move]
        self.source.publish()
        self.target.publish()

    def answer(self, step: str) -> dict[str, Any]:
        """What came of the step, once it is over."""
        host = self.source if step in ("check", "dump") else self.target

        def there() -> dict[str, Any] | None:
            for each in host.last_report().get("moves", []):
                if (each["job"], each["step"]) == (self.job, step) and each["ok"] is not None:
                    return dict(each)
            return None

        return host.wait(there, f"job {self.job} to answer {step}")

    def do(self, step: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """The data of a step that comes about."""
        self.ask(step, data)
        answer = self.answer(step)
        assert answer["ok"], answer["message"]
        return dict(answer["data"])

    def up_to(self, last: str, between: Callable[[str], None] | None = None) -> dict[str, Any]:
        """All steps up to this one, each fed with what the one before told."""
        data: dict[str, Any] = {}
        for step in ("check", "admit", "dump", "restore"):
            data = self.do(step, data)
            if between is not None:
                between(step)
            if step == last:
                break
        return data

    def commit(self) -> None:
        """The target's copy is the job."""
        there = {**self.wanted, "epoch": self.epoch + 1}
        self.source.moves, self.target.moves = [], []
        self.target.want(there)
        self.source.want({**self.wanted, "want": "kill"})

    def undo(self) -> None:
        """The job stays where it is; what the target made of it is to go."""
        self.source.moves, self.target.moves = [], []
        self.source.publish()
        copies = [each for each in self.target.last_report()["tasks"] if each["job"] == self.job]
        for each in copies:
            self.target.want({**self.wanted, "epoch": each["epoch"], "want": "kill"})
        self.target.publish()

    def forget(self) -> None:
        for host in (self.source, self.target):
            rows = [
                [each["job"], each["task"], each["epoch"], STORE]
                for each in host.last_report()["tasks"]
                if each["phase"] in ("ended", "refused", "lost")
            ]
            host.write("/run/kcms-nodetest/forget.json", json.dumps(rows))
