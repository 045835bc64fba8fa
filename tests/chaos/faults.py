"""Faults at random, drawn from a seed; each leaves a grid that can heal."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence

from tests.e2e.grid import Grid

KINDS = ("kill", "kill", "kill", "cut", "power off")


class Faults:
    """What strikes ``hosts``, the first of which has the manager and keeps its power.

    :param longest_cut: seconds; longer than a lease, so that some jobs are begun anew elsewhere
    """

    def __init__(
        self, grid: Grid, hosts: Sequence[str], dice: random.Random, longest_cut: float
    ) -> None:
        self.grid = grid
        self.hosts = hosts
        self.dice = dice
        self.longest_cut = longest_cut
        self.lost: set[str] = set()  # hosts on which jobs may have been lost
        self.struck: list[str] = []
        self._cuts: dict[str, float] = {}  # who is cut off, until when
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        self._error: BaseException | None = None

    def __enter__(self) -> Faults:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for host in self.hosts:
            self.grid.lab("heal", host, check=False)  # first: a start waits for the network
            self.grid.lab("start", host, check=False)
        if self._error is not None:
            raise self._error

    def _go_on(self) -> None:
        try:
            while not self._stop.wait(self.dice.uniform(0.3, 3)):
                self._heal()
                getattr(self, f"_{self.dice.choice(KINDS).replace(' ', '_')}")()
        except BaseException as error:  # noqa: BLE001 - told by whoever waits for the thread
            self._error = error

    def _heal(self) -> None:
        for host, when in list(self._cuts.items()):
            if time.monotonic() >= when:
                del self._cuts[host]
                self.grid.lab("heal", host)
                self._say(f"{host} is plugged in again")

    def _kill(self) -> None:
        host = self.dice.choice(self.hosts)
        works = "'kcms-manager@*'" if host == self.hosts[0] else "kcms-node"
        daemon = self.dice.choice((works, works, "kcms-gateway"))
        self._say(f"kill {daemon} on {host}")
        self.grid.shell(host, f"systemctl kill -s KILL {daemon}", check=False)

    def _cut(self) -> None:
        host, seconds = self.dice.choice(self.hosts), self.dice.uniform(1, self.longest_cut)
        if host == self.hosts[0]:
            seconds /= 3  # as it cuts everybody off
        if host in self._cuts:
            return
        self._say(f"cut {host} for {seconds:.0f} s")
        self.lost |= set(self.hosts) if host == self.hosts[0] else {host}
        self.grid.lab("cut", host)
        self._cuts[host] = time.monotonic() + seconds

    def _power_off(self) -> None:
        host = self.dice.choice(self.hosts[1:])
        if host in self._cuts:
            return
        self._say(f"power failure of {host}")
        self.lost.add(host)
        self.grid.lab("power-off", host)
        self.grid.lab("start", host)

    def _say(self, text: str) -> None:
        self.struck.append(text)
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
