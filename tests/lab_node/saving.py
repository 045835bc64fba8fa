"""A manager of one task's checkpoints, played by hand on a :class:`tests.lab_node.grid.Grid`."""

from __future__ import annotations

from typing import Any

from tests.lab_node.grid import HOME, Grid
from tests.lab_node.host import STATE, STORE, WORK, Host

PLACE = f"{HOME}/.kcms"
NODE = "testnode"


def stat(grid: Grid, path: str) -> str:
    """Owner, mode and size, or why there are none."""
    return grid.hosts["alpha1"].run(f"stat -c '%U %a %s' {path} 2>&1; true").strip()


def images(grid: Grid) -> list[str]:
    return grid.hosts["alpha1"].run(f"ls {PLACE} 2>/dev/null; true").split()


class Checkpoint:
    """One checkpoint of a task that runs on ``host``, step by step."""

    def __init__(self, grid: Grid, job: int, host: str, epoch: int = 1, number: int = 5) -> None:
        self.grid, self.job, self.epoch, self.number = grid, job, epoch, number
        self.name = host
        self.wanted = grid.hosts[host].wanted[(job, 0, epoch)]

    @property
    def host(self) -> Host:
        return self.grid.hosts[self.name]

    @property
    def record(self) -> str:
        return f"{STATE}/moves/{self.job}.0.{self.epoch}-{STORE}_{self.number}"

    @property
    def unit(self) -> str:
        return f"kcms-move-{self.job}.0.{self.epoch}-{STORE}_{self.number}"

    def ask(self, step: str, data: dict[str, Any] | None = None, host: str = "") -> None:
        """Want a step of the task's host, or of another one."""
        there = self.grid.hosts[host or self.name]
        there.moves = [{
            **{name: self.wanted[name] for name in ("job", "task", "user", "uid", "gid", "spec")},
            "source": NODE, "target": NODE, "store": STORE, "number": self.number,
            "step": step, "epoch": self.epoch, "data": data or {},
        }]  # fmt: skip
        there.publish()

    def answer(self, step: str, host: str = "") -> dict[str, Any]:
        """What came of the step, once it is over."""
        there = self.grid.hosts[host or self.name]

        def told() -> dict[str, Any] | None:
            for each in there.last_report().get("moves", []):
                names = (each["job"], each["number"], each["step"])
                if names == (self.job, self.number, step) and each["ok"] is not None:
                    return dict(each)
            return None

        return there.wait(told, f"job {self.job} to answer {step}")

    def do(self, step: str, data: dict[str, Any] | None = None, host: str = "") -> dict[str, Any]:
        """The data of a step that comes about."""
        self.ask(step, data, host)
        answer = self.answer(step, host)
        assert answer["ok"], answer["message"]
        return dict(answer["data"])

    def fail(self, step: str, data: dict[str, Any] | None = None, host: str = "") -> dict[str, Any]:
        """What is told of a step that does not come about."""
        self.ask(step, data, host)
        answer = self.answer(step, host)
        assert answer["ok"] is False
        return answer

    def await_file(self, name: str, host: str = "", record: str = "") -> None:
        """Wait until a file is in the record of the checkpoint."""
        self.grid.hosts[host or self.name].run(
            f"for i in $(seq 1000); do ls {record or self.record}/{name} 2>/dev/null && exit;"
            "sleep 0.01; done; exit 1"
        )

    def withdraw(self, host: str = "") -> None:
        """Want no step any more, and see the node have no record of it."""
        there = self.grid.hosts[host or self.name]
        there.moves = []
        there.publish()
        gone = f"test -e {self.record} || echo gone"
        there.wait(lambda: there.run(gone), f"no record of the checkpoint of job {self.job}")

    def made(self) -> dict[str, Any]:
        """Save and keep; the image."""
        image = self.do("save")
        self.do("keep", image)
        self.withdraw()
        return image

    def end_now(self) -> None:
        """Kill the task that was saved, at once."""
        self.host.want({**self.wanted, "want": "kill", "grace": 0.0})
        self.host.over(self.job)

    def begin(self, host: str, image: dict[str, Any], epoch: int = 2, **more: Any) -> Host:
        """Have the task begin anew from the image."""
        there = self.grid.hosts[host]
        there.want({**self.wanted, "epoch": epoch, "image": image, **more})
        return there

    def refused(self, host: str, image: dict[str, Any], epoch: int = 2) -> dict[str, Any]:
        """What a host tells that does not begin it; it is to forget that."""
        there = self.begin(host, image, epoch)
        told = there.until(self.job, "refused", "running", "ended", "lost")
        assert told["phase"] == "refused", told
        del there.wanted[(self.job, 0, epoch)]
        there.publish()
        there.write(f"{WORK}/forget.json", f'[[{self.job}, 0, {epoch}, "{STORE}"]]')
        there.wait(
            lambda: there.task(self.job)["phase"] == "unknown", "the refusal to be forgotten"
        )
        return told

    def drop(self, *images: dict[str, Any], host: str = "") -> None:
        """Have the images removed; it takes another number."""
        self.number += 1
        self.do("drop", {"images": [each["path"] for each in images]}, host)
        self.withdraw(host)
