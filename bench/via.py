"""200 MB staged to a head and fetched from it by ``kcms --via``, beside scp.

    make bench NAME=via

A lab host of this machine is the head, so there is no network to speak of: what is measured is
what the programs do themselves.  They take turns, on a file of new random bytes each turn.

What ours does and scp does not: it has the SHA-256 of the file made on both ends, and lets nobody
see the file before both are the same.  So scp with a checksum on both ends stands beside it, too.
Each includes its login; ours starts in a process that has its modules loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [each for each in (str(ROOT), str(ROOT / "app")) if each not in sys.path]

from kcms.via.session import Session  # noqa: E402
from kcms.via.staging import Local, Place, place  # noqa: E402
from kcms.via.target import Target  # noqa: E402
from kcms.via.transfer import get, look, put  # noqa: E402

BIN = Path(sys.executable).parent
LAB, HOSTS = "bench", "head"
MEGABYTES = 200
TURNS = 5
HOME = "/shared/home/alice"
CONFIG = """\
Host head
  HostName {address}
  User alice
  IdentityFile {keys}/id_ed25519
  IdentitiesOnly yes
  UserKnownHostsFile {keys}/known_hosts
"""


class Way:
    """One way of bringing ``big`` there or ``back`` here, and the seconds of each turn."""

    def __init__(self, name: str, there: Callable[[], None], back: Callable[[], None]) -> None:
        self.name = name
        self.calls = {"put": there, "get": back}
        self.took: dict[str, list[float]] = {"put": [], "get": []}

    def run(self, what: str) -> None:
        begun = time.perf_counter()
        self.calls[what]()
        self.took[what].append(time.perf_counter() - begun)

    def rate(self, what: str) -> float:
        """Megabytes a second, the median of the turns."""
        return MEGABYTES / statistics.median(self.took[what])


def run(*command: str | Path, **more: str) -> str:
    environment = {
        **os.environ,
        "LAB": LAB,
        "LAB_HOSTS": HOSTS,
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        command, cwd=ROOT, env={**environment, **more}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"bench: {' '.join(map(str, command))} failed: {done.stderr[-500:]}")
    return done.stdout


def ways(home: Path) -> list[Way]:
    """Ours, scp, and scp with checksums; each leaves ``home`` with the file ``name`` fetched."""
    big, back, config = home / "big", home / "back", home / ".ssh/config"
    scp = ("scp", "-q", "-F", config)
    ssh = ("ssh", "-F", config, "head", "sha256sum")

    def stage() -> None:
        with_session(lambda head: put(head, *staged(big)))

    def fetch() -> None:
        with_session(lambda head: get(head, f"{HOME}/result", back))

    def same(path: Path, there: str) -> None:
        if run(*ssh, there).split()[0] != digest(path):
            raise SystemExit("bench: scp damaged the file")

    def checked_put() -> None:
        run(*scp, big, f"head:{HOME}/scp2")
        same(big, f"{HOME}/scp2")

    def checked_get() -> None:
        run(*scp, f"head:{HOME}/result", back / "scp2")
        same(back / "scp2", f"{HOME}/result")

    return [
        Way("kcms --via", stage, fetch),
        Way(
            "scp",
            lambda: void(run(*scp, big, f"head:{HOME}/scp")),
            lambda: void(run(*scp, f"head:{HOME}/result", back / "scp")),
        ),
        Way("scp and checksums", checked_put, checked_get),
    ]


def void(_: object) -> None:
    """For a lambda that returns nothing."""


def staged(big: Path) -> tuple[Local, Place]:
    local = look("input", str(big))
    return local, place(local, f"{HOME}/.kcms/stage", by_content=True)


def with_session(act: Callable[[Session], object]) -> None:
    session = Session.open(Target("head"))
    try:
        act(session)
    finally:
        session.close()


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def report(found: list[Way]) -> str:
    lines = [f"{'MB/s':<20}{'put':>8}{'get':>8}"]
    lines += [f"{each.name:<20}{each.rate('put'):>8.0f}{each.rate('get'):>8.0f}" for each in found]
    lines.append("")
    ours = found[0]
    for peer in found[1:]:
        for what in ("put", "get"):
            rates = [a / b for a, b in zip(peer.took[what], ours.took[what], strict=True)]
            lines.append(
                f"{what}: {ours.name} / {peer.name}: {ours.rate(what) / peer.rate(what):.2f} "
                f"(turn by turn {min(rates):.2f} to {max(rates):.2f})"
            )
    return "\n".join(lines)


def measure(home: Path, shared: Path) -> list[Way]:
    found = ways(home)
    (home / "back").mkdir()
    for _ in range(TURNS):
        (home / "big").write_bytes(os.urandom(MEGABYTES * 10**6))
        (shared / "home/alice/result").write_bytes(os.urandom(MEGABYTES * 10**6))
        for what in ("put", "get"):
            for each in found:
                each.run(what)
    return found


def main() -> int:
    lab = (sys.executable, "-m", "lab")
    try:
        run(*lab, "up")
        inventory = Path(run(*lab, "inventory").strip())
        told = json.loads(run("ansible-inventory", "-i", inventory, "--host", "head"))
        state = inventory.parent.parent
        with tempfile.TemporaryDirectory(prefix="kcms-bench-") as scratch:
            home = Path(scratch)
            (home / ".ssh").mkdir(mode=0o700)
            text = CONFIG.format(address=told["ansible_host"], keys=state / "ssh")
            (home / ".ssh/config").write_text(text)
            os.environ["HOME"] = scratch
            print(report(measure(home, state / "shared")))
    finally:
        run(*lab, "down")
    load = os.getloadavg()[0]
    print(
        f"\n{TURNS} turns of {MEGABYTES} MB; {os.cpu_count()} processors, load average {load:.1f}"
    )
    return 0
