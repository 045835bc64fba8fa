"""Taking KCMS off one host: what of ours is there, what forbids it, and the removal.

What is ours is found on the host, not worked out from the inventory: a host may have had other
roles before.  *Code* is everything that a rollout makes again; *data* is what it cannot: the job
stores, the tasks' records and the round-robin files.  Data that is kept belongs to root afterwards,
as its owners go; a later rollout gives it to them again.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.kcms.cluster.plugins.module_utils import packages_host
from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError
from ansible_collections.kcms.cluster.plugins.module_utils.host_owners import give, has_strangers
from ansible_collections.kcms.cluster.plugins.module_utils.host_places import wrong_rrd_directory
from ansible_collections.kcms.cluster.plugins.module_utils.host_store import open_jobs
from ansible_collections.kcms.cluster.plugins.module_utils.host_tasks import Tasks
from ansible_collections.kcms.cluster.plugins.module_utils.host_units import Systemd
from ansible_collections.kcms.cluster.plugins.module_utils.preflight_collect import mounts

ACCOUNTS = ("kcms-aggregator", "kcms-gateway", "kcms-manager", "kcms-monitor", "kcms-web")
STATE = "/var/lib/kcms"
LAB = "kcms-lab-"  # units of lab hosts, which a machine of a grid may run, too
# Patterns of paths.  Beside each file there may be a temporary one of a run that was broken off.
CODE = (
    *("/etc/systemd/system/*.wants/kcms-*", "/etc/systemd/system/kcms-*"),
    *("/etc/systemd/system/.kcms-*", "/etc/tmpfiles.d/kcms*", "/etc/kcms", "/opt/kcms"),
    *("/usr/local/bin/kcms", "/usr/local/bin/.kcms.*", "/run/kcms-*", "/var/cache/kcms-*"),
    "/var/tmp/kcms-apt-*",  # noqa: S108 - of an installation that was broken off
)
NAMED_JOBS = 5
ROOT = (0, 0)


@dataclass(frozen=True)
class Wish:
    """``running``: end tasks, and give up the open jobs of a store; ``data``: remove data too."""

    running: bool = False
    data: bool = False
    rrd_directory: str = f"{STATE}/rrd"

    @property
    def data_paths(self) -> list[str]:
        """The places of data, none below another one."""
        inside = self.rrd_directory.startswith(f"{STATE}/")
        return [STATE] if inside else [STATE, self.rrd_directory]


@dataclass(frozen=True)
class Found:
    """What of ours is on a host.

    ``strangers``: data that does not belong to root; ``foreign``: a file of others among it.
    """

    units: Sequence[str] = ()
    jobs: Sequence[str] = ()
    code: Sequence[str] = ()
    accounts: Sequence[str] = ()
    data: Sequence[str] = ()
    strangers: Sequence[str] = ()
    open_jobs: dict[str, int | None] = field(default_factory=dict)
    foreign: str = ""

    def refusal(self, wish: Wish) -> str:
        """Why the host is left as it is, in one line; empty when nothing forbids it."""
        reasons = []
        right = wrong_rrd_directory(wish.rrd_directory)
        if right:
            reasons.append(f"kcms_rrd_directory is {wish.rrd_directory!r}: {right}")
        if self.foreign and wish.data:
            reasons.append(
                f"{self.foreign} is no round-robin file: move it elsewhere, or keep the data"
            )
        if self.jobs and not wish.running:
            what = f"{_jobs(self.jobs)} {'runs' if len(self.jobs) == 1 else 'run'} there"
            reasons.append(f"{what}: wait, kill them, or say -e kcms_remove_running=true")
        if wish.data and not wish.running:
            for cluster, number in sorted(self.open_jobs.items()):
                if number != 0:
                    many = "jobs that cannot be counted" if number is None else f"{number} jobs"
                    reasons.append(
                        f"the manager of {cluster} there has {many} that are not over, and "
                        "kcms_remove_data would forget them: wait, kill them, keep the data, or "
                        "say -e kcms_remove_running=true"
                    )
        return "; ".join(reasons)

    def steps(self, wish: Wish) -> list[str]:
        """One line for each thing that goes or changes hands."""
        return [
            *(f"end job {job}" for job in self.jobs),
            *(f"stop {unit}" for unit in self.units),
            *self.code,
            *(self.data if wish.data else (f"give {each} to root" for each in self.strangers)),
            *(f"user {name}" for name in self.accounts),
        ]


class Removal:
    """``root`` is where the paths are looked for; the tests have one of their own."""

    def __init__(self, wish: Wish, root: str = "", systemd: Systemd | None = None) -> None:
        self.wish = wish
        self.root = root
        self.systemd = systemd or Systemd()
        self.tasks = Tasks(self.systemd)

    def examine(self) -> Found:
        """Look at the host, touching nothing."""
        loaded = [each for each in self.systemd.loaded("kcms-*") if not each.startswith(LAB)]
        local = _names(self.root)
        data = [path for path in self.wish.data_paths if self._is_data(path, local["passwd"])]
        policy = [str(path) for path in packages_host.interrupted()]
        return Found(
            units=[name for name in _stop_order(loaded) if not self.tasks.is_task(name)],
            jobs=self.tasks.running(),
            code=[*self._code(), *policy],
            accounts=[name for name in ACCOUNTS if any(name in names for names in local.values())],
            data=data,
            strangers=[path for path in data if _is_strange(self._at(path))],
            open_jobs=open_jobs(self._at(STATE)) if self.wish.data else {},
            foreign=self._foreign(data) if self.wish.data else "",
        )

    def carry_out(self, found: Found) -> None:
        """Remove what :meth:`examine` found.

        :raises HostError: a step failed; those after it were not taken, and the next run takes them
        """
        self.systemd.stop(found.units)
        self.tasks.end()
        for path in found.code:
            remove(self._at(path))
        self.systemd.forget("kcms-*")
        for path in found.data if self.wish.data else ():
            remove(self._at(path))
        for path in () if self.wish.data else found.strangers:
            give_to_root(self._at(path))
        for name in found.accounts:
            _remove_account(name)

    def _code(self) -> list[str]:
        top = Path(self.root or "/")
        paths = {path for pattern in CODE for path in top.glob(pattern.lstrip("/"))}
        return sorted(f"/{path.relative_to(top)}" for path in paths)

    def _is_data(self, path: str, users: dict[str, int]) -> bool:
        """Whether it is there, and ours: any host may have others' files where ours would be."""
        try:
            owner = os.lstat(self._at(path)).st_uid
        except FileNotFoundError:
            return False
        return path == STATE or owner in (os.geteuid(), users.get("kcms-aggregator"))

    def _foreign(self, data: Sequence[str]) -> str:
        """A file beside the round-robin files, in a directory that the inventory names."""
        for top in (each for each in data if each != STATE):
            for path, directories, files in os.walk(self._at(top)):
                directories[:] = [each for each in directories if not each.startswith(".")]
                for name in sorted(files):
                    if not name.endswith(".rrd") and not name.startswith("."):
                        return f"{path.removeprefix(self.root)}/{name}"
        return ""

    def _at(self, path: str) -> str:
        return self.root + path


def _jobs(jobs: Sequence[str]) -> str:
    more = len(jobs) - NAMED_JOBS
    shown = ", ".join(jobs[:NAMED_JOBS]) + (f" and {more} more" if more > 0 else "")
    return f"job{'' if len(jobs) == 1 else 's'} {shown}"


def _stop_order(units: Iterable[str]) -> list[str]:
    """Whatever starts others goes first, then the node daemon, so that nothing new begins."""

    def rank(name: str) -> tuple[int, str]:
        kind = name.rpartition(".")[2]
        return (0 if kind in ("timer", "socket", "path") else 1 if "node" in name else 2, name)

    return sorted((name for name in units if not name.endswith(".slice")), key=rank)


def remove(path: str) -> None:
    """Take a file, a link or a whole tree away; where a file system is mounted, the place stays.

    Symbolic links are never followed.  :raises HostError: something of it cannot be removed
    """
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            _remove_below(path)
            _remove_directory(path, None, path)
        else:
            Path(path).unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostError(f"cannot remove {error.filename or path}: {error.strerror}") from error


def _remove_below(top: str) -> None:
    def broken(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # as of a link whose target has just gone
            raise error

    for path, directories, files, handle in os.fwalk(top, topdown=False, onerror=broken):
        for name in files:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=handle)
        for name in directories:
            _remove_directory(name, handle, f"{path}/{name}")


def _remove_directory(name: str, handle: int | None, path: str) -> None:
    try:
        os.rmdir(name, dir_fd=handle)
    except NotADirectoryError:  # a link to a directory counts as one in a walk
        os.unlink(name, dir_fd=handle)
    except OSError:
        below = f"{path.rstrip('/')}/"
        table = mounts(Path("/proc/self/mountinfo").read_text(errors="replace"))
        if not any(f"{place}/".startswith(below) for place, _kind in table):
            raise


def give_to_root(top: str) -> None:
    """Let ``top`` and everything below it belong to root.

    :raises HostError: the file system refuses it
    """
    give(top, ROOT)
    try:
        os.chown(top, *ROOT, follow_symlinks=False)
    except OSError as error:
        raise HostError(f"cannot give {top} to root: {error.strerror}") from error


def _is_strange(top: str) -> bool:
    there = os.lstat(top)
    return (there.st_uid, there.st_gid) != ROOT or has_strangers(top, ROOT)


def _names(root: str = "") -> dict[str, dict[str, int]]:
    """Users and groups of this host itself with their ids; a directory service's are not ours."""
    found = {}
    for database in ("passwd", "group"):
        path = Path(f"{root}/etc/{database}")
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        rows = (line.split(":") for line in lines)
        found[database] = {row[0]: int(row[2]) for row in rows if len(row) > 2 and row[2].isdigit()}
    return found


def _remove_account(name: str) -> None:
    """The user, and its group when that is left (userdel takes an empty one along)."""
    for program, database in (("userdel", "passwd"), ("groupdel", "group")):
        if name in _names()[database]:
            done = subprocess.run([program, name], capture_output=True, text=True, check=False)
            if done.returncode:
                said = " ".join(done.stderr.split())
                raise HostError(f"cannot remove {program[:-3]} {name}: {said}")
