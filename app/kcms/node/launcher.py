"""Tasks as transient units: the only file that speaks to systemd (over D-Bus, with jeepney)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from jeepney import DBusAddress, new_method_call
from jeepney.io.blocking import open_dbus_connection
from jeepney.wrappers import DBusErrorResponse, unwrap_msg

from kcms.errors import KcmsError, Unavailable
from kcms.node import cgroup, init
from kcms.node.core import TaskId, Unit
from kcms.node.moves import NEVER_ENDED, MoveId

SLICE = "kcms-tasks.slice"
MOVER_SLICE = "kcms-moves.slice"
SLICE_PATH = "kcms.slice/kcms-tasks.slice"
CALL_TIMEOUT = 10.0
STOP_TIMEOUT = 20_000_000  # microseconds; longer than an init leaves a task that is stopped
NO_LIMIT = 2**64 - 1

_PREFIX = "kcms-task-"
_MOVER = "kcms-move-"
_SUFFIX = ".service"
_SYSTEMD = "org.freedesktop.systemd1"
_MANAGER = DBusAddress(
    "/org/freedesktop/systemd1", bus_name=_SYSTEMD, interface=f"{_SYSTEMD}.Manager"
)


class LaunchError(KcmsError):
    """systemd refuses to start the unit; the message is its own."""

    code = "cannot_launch"


class Launcher(Protocol):
    """What the agent needs of systemd; the tests have one in memory."""

    def units(self) -> Mapping[TaskId, Unit]: ...

    def start(self, task: TaskId, directory: str) -> None: ...

    def reset(self, task: TaskId) -> None: ...

    def stop(self, task: TaskId) -> None: ...

    def cgroup(self, task: TaskId) -> str: ...

    def movers(self) -> frozenset[MoveId]: ...

    def start_mover(self, move: MoveId, step: str, directory: str) -> None: ...

    def stop_mover(self, move: MoveId) -> None: ...


def unit_name(task: TaskId) -> str:
    return f"{_PREFIX}{task}{_SUFFIX}"


def task_of_unit(name: str) -> TaskId | None:
    if not (name.startswith(_PREFIX) and name.endswith(_SUFFIX)):
        return None
    return TaskId.parse(name.removeprefix(_PREFIX).removesuffix(_SUFFIX))


def tasks_root(init_cgroup: str) -> str:
    """Directory of the slice of all tasks, from the cgroup of the host's PID 1."""
    return cgroup.ROOT + init_cgroup.removesuffix("/init.scope").rstrip("/") + "/" + SLICE_PATH


def unit_properties(
    task: TaskId, directory: str, release: Path, boot_id: str, allow_setuid: bool = False
) -> list[tuple[str, Any]]:
    """The properties of a task's unit.

    ``release`` is the directory of our package behind every link: an upgrade that moves the
    link ``current`` does not change the code of a running task.  ``boot_id`` is the one that this
    daemon compares with: on a host that is itself a container, /proc may show others elsewhere.
    Without ``allow_setuid`` no program gives a task rights that its user has not.
    """
    argv = [
        "/bin/sh",
        str(release / "node/task_start.sh"),
        directory,
        str(release / "node/begin.py"),
        boot_id,
    ]
    return [
        ("Description", ("s", f"KCMS job {task.job} task {task.task} epoch {task.epoch}")),
        ("ExecStart", ("a(sasb)", [(argv[0], argv, False)])),
        ("Slice", ("s", SLICE)),
        ("Delegate", ("b", True)),
        ("RemainAfterExit", ("b", True)),  # systemd stays a second witness until told to forget
        ("KillMode", ("s", "control-group")),
        ("KillSignal", ("i", int(init.STOP_SIGNAL))),
        ("TimeoutStopUSec", ("t", STOP_TIMEOUT)),
        ("NoNewPrivileges", ("b", not allow_setuid)),
        ("OOMPolicy", ("s", "continue")),  # the init sees who died, and reports it
        ("TasksMax", ("t", NO_LIMIT)),
        ("After", ("as", ["remote-fs.target", "network.target"])),  # so stopped before these
        ("StandardInput", ("s", "null")),
        ("StandardOutput", ("s", "journal")),
        ("StandardError", ("s", "journal")),
        ("SyslogIdentifier", ("s", "kcms-task")),
    ]


def mover_properties(
    move: MoveId, step: str, directory: str, release: Path
) -> list[tuple[str, Any]]:
    """The properties of the unit that does one step of a migration.

    It is gone when it is over, however it ends: the outcome is in the move's record.  It gets the
    rights that this daemon lacks.  Nobody kills criu in a dump, which would take the job with it.
    """
    program = str(release / "node/mover.py")
    argv = ["/usr/bin/python3", "-I", "-S", "-X", "utf8", program, step, directory]
    return [
        ("Description", ("s", f"KCMS move {move}: {step}")),
        ("ExecStart", ("a(sasb)", [(argv[0], argv, False)])),
        ("Slice", ("s", MOVER_SLICE)),
        ("CollectMode", ("s", "inactive-or-failed")),
        ("KillMode", ("s", "control-group")),
        ("TimeoutStopUSec", ("t", STOP_TIMEOUT)),
        ("SendSIGKILL", ("b", step not in NEVER_ENDED)),
        ("OOMPolicy", ("s", "continue")),
        ("UMask", ("u", 0o077)),
        ("After", ("as", ["remote-fs.target", "network.target"])),
        ("StandardInput", ("s", "null")),
        ("StandardOutput", ("s", "journal")),
        ("StandardError", ("s", "journal")),
        ("SyslogIdentifier", ("s", "kcms-move")),
    ]


class Systemd:
    """The units of tasks.  Methods raise Unavailable when systemd cannot be reached now.

    The connection is made when it is first needed, and made again after any failure: at boot
    the bus may come later than this daemon.
    """

    def __init__(self, boot_id: str, allow_setuid: bool = False) -> None:
        self._boot_id = boot_id
        self._allow_setuid = allow_setuid
        self._connection: Any = None
        self._root = tasks_root(cgroup.of_process(1))
        self._well: set[TaskId] = set()
        self._release = Path(__file__).resolve().parent.parent

    def cgroup(self, task: TaskId) -> str:
        return f"{self._root}/{unit_name(task)}"

    def units(self) -> dict[TaskId, Unit]:
        """Every loaded unit of a task."""
        (rows,) = self._call("ListUnitsByPatterns", "asas", ([], ["kcms-task-*.service"]))
        found = {}
        self._well.clear()
        for name, _, _, active, sub, _, path, job, *_ in rows:
            task = task_of_unit(name)
            if task is not None:
                well = (active, sub) == ("active", "exited")
                if well:
                    self._well.add(task)
                found[task] = self._unit(task, path, _is_alive(active, sub, job), well)
        return found

    def _unit(self, task: TaskId, path: str, alive: bool, well: bool) -> Unit:
        if alive or cgroup.populated(self.cgroup(task)):
            return Unit(alive=True)
        return Unit(alive=False, status=0 if well else self._exit_status(path))

    def _exit_status(self, path: str) -> int:
        address = DBusAddress(path, bus_name=_SYSTEMD, interface="org.freedesktop.DBus.Properties")
        try:
            ((_, value),) = self._call(
                "Get", "ss", (f"{_SYSTEMD}.Service", "ExecMainStatus"), address
            )
        except LaunchError:
            return 0  # unloaded between the list and this question
        return int(value)

    def start(self, task: TaskId, directory: str) -> None:
        """:raises LaunchError: systemd says no; a unit that is there already is no error"""
        properties = unit_properties(
            task, directory, self._release, self._boot_id, self._allow_setuid
        )
        self._start(unit_name(task), properties)

    def _start(self, name: str, properties: list[tuple[str, Any]]) -> None:
        try:
            self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", (name, "fail", properties, []))
        except LaunchError as error:
            if "UnitExists" not in error.message:
                raise

    def reset(self, task: TaskId) -> None:
        """Unload a unit that is over; one that ended well is gone with its stop."""
        calls: list[tuple[str, str, tuple[str, ...]]] = [
            ("StopUnit", "ss", (unit_name(task), "replace"))
        ]
        if task not in self._well:
            calls.append(("ResetFailedUnit", "s", (unit_name(task),)))
        self._well.discard(task)
        for method, signature, body in calls:
            try:
                self._call(method, signature, body)
            except LaunchError as error:
                if "NoSuchUnit" not in error.message:
                    raise

    def stop(self, task: TaskId) -> None:
        """End everything in the unit, the init too."""
        cgroup.kill(self.cgroup(task))
        self.reset(task)

    def movers(self) -> frozenset[MoveId]:
        """The moves of which a unit runs, or may come to run without a further call."""
        (rows,) = self._call("ListUnitsByPatterns", "asas", ([], [f"{_MOVER}*{_SUFFIX}"]))
        found = set()
        for name, _, _, active, sub, _, _, job, *_ in rows:
            move = MoveId.parse(name.removeprefix(_MOVER).removesuffix(_SUFFIX))
            if move is not None and _is_alive(active, sub, job):
                found.add(move)
        return frozenset(found)

    def start_mover(self, move: MoveId, step: str, directory: str) -> None:
        """:raises LaunchError: systemd says no; a unit that is there already is no error"""
        self._start(
            f"{_MOVER}{move}{_SUFFIX}", mover_properties(move, step, directory, self._release)
        )

    def stop_mover(self, move: MoveId) -> None:
        """End the step at once; never that of a dump."""
        for method, signature, body in (
            ("KillUnit", "ssi", (f"{_MOVER}{move}{_SUFFIX}", "all", 9)),
            ("StopUnit", "ss", (f"{_MOVER}{move}{_SUFFIX}", "replace")),
        ):
            try:
                self._call(method, signature, body)
            except LaunchError as error:
                if "NoSuchUnit" not in error.message:
                    raise

    def _call(
        self, method: str, signature: str, body: tuple[Any, ...], address: DBusAddress = _MANAGER
    ) -> tuple[Any, ...]:
        try:
            if self._connection is None:
                self._connection = open_dbus_connection(bus="SYSTEM")
            message = new_method_call(address, method, signature, body)
            reply = self._connection.send_and_get_reply(message, timeout=CALL_TIMEOUT)
        except (OSError, EOFError, TimeoutError) as error:
            self._disconnect()
            raise Unavailable(f"cannot reach systemd over D-Bus: {error}") from error
        try:
            result: tuple[Any, ...] = unwrap_msg(reply)
        except DBusErrorResponse as error:
            raise _translated(error) from error
        return result

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _is_alive(active: str, sub: str, job: int) -> bool:
    """Whether a unit in this state runs, or may come to run without a further call."""
    return job != 0 or (active not in ("inactive", "failed") and sub != "exited")


def _translated(error: DBusErrorResponse) -> KcmsError:
    """An answer of the bus itself means that systemd is not there; others are its own."""
    text = f"{error.name.rpartition('.')[2]}: {error.data[0] if error.data else ''}"
    if error.name.startswith("org.freedesktop.DBus.Error.") and error.name.endswith(
        ("NoReply", "ServiceUnknown", "NameHasNoOwner", "Disconnected", "Timeout")
    ):
        return Unavailable(f"systemd does not answer over D-Bus: {text}")
    return LaunchError(text)
