"""Whether a job of another node can come here: the same files, the same user, and room for it.

:func:`judge` runs as root of the target; what it opens are the system's files only (see
:mod:`kcms.node.manifest`), and what lies on the shared directory is looked at with the owner's
ids.  The data that it judges came through the manager from the source, so nothing of it is
believed to be well formed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from kcms.errors import Forbidden, ProtocolError
from kcms.jobs.members import Members
from kcms.jobs.migration import WantedMove
from kcms.jobs.model import WantedTask
from kcms.node import account, manifest, movable, opened, processor, procfs, room
from kcms.node.account import Account
from kcms.node.child import ChildError
from kcms.node.mounts import is_system
from kcms.node.movable import NoMoveError
from kcms.node.owner import Ids, OwnerError, ask

MOST_ROWS = 4096


def judge(
    move: WantedMove,
    host: str,
    shared_directories: Sequence[str],
    image_directory: str,
    capability: dict[str, str],
    digests: manifest.Digests | None = None,
) -> str:
    """Why the job cannot come to this host, as one sentence; "" when it can.

    :param move: the step *admit*; its ``data`` is what :func:`kcms.node.movable.scan` gave
    :param image_directory: the local directory that takes the image here
    :param capability: what :mod:`kcms.node.capability` says of this host
    """
    try:
        if capability.get("trouble", "unknown"):
            raise NoMoveError(capability.get("trouble") or "it is not known whether criu works")
        _check_shared(shared_directories)
        user = resolve(move, host)
        data = Members(move.data, "answer of the node that the job is on")
        _processor(move, data, host)
        _user(move, user, data, host)
        _places(move, user, data, shared_directories, host)
        _room(data, image_directory, host)
        _terminals(data, host)
        _directories(data, host)
        _files(move, data, host, digests or manifest.Digests())
    except (NoMoveError, OwnerError, ChildError, Forbidden, ProtocolError) as error:
        return procfs.plain(str(error), 1000)
    except OSError as error:
        return f"{host} cannot look whether it can take the job: {error!s:.500}"
    return ""


def _check_shared(shared_directories: Sequence[str]) -> None:
    if not shared_directories:
        raise NoMoveError("this node has no shared directory (setting shared_directories)")


def resolve(move: WantedMove, host: str) -> Account:
    """The owner's account here.  :raises Forbidden: unknown, or with other ids"""
    wanted = WantedTask(
        move.job, move.task, move.epoch, "run", move.user, move.uid, move.gid, move.spec,
        store=move.store,
    )  # fmt: skip
    return account.resolve(wanted, host)


def _processor(move: WantedMove, data: Members, host: str) -> None:
    wanted = data.rows("processor")[:MOST_ROWS]
    if not wanted or not all(isinstance(each, str) for each in wanted):
        raise ProtocolError(f"not a {data.what}: processor must be texts")
    lacking = processor.lacking(wanted, processor.instructions())
    if lacking:
        raise NoMoveError(
            f"the processor of {host} has no {lacking}, which the one of {move.source} has, and "
            "the job may use it"
        )


def _user(move: WantedMove, user: Account, data: Members, host: str) -> None:
    if move.uid == 0:
        raise NoMoveError("a job of root cannot be moved")
    strange = set(_numbers(data, "groups")) - {*user.groups, move.gid}
    if strange:
        raise NoMoveError(
            f"the job has group {min(strange)}, which user {move.user} is not in on {host}"
        )


def _numbers(data: Members, name: str) -> list[int]:
    found = data.rows(name)[:MOST_ROWS]
    if not all(type(each) is int and 0 <= each < 1 << 32 for each in found):
        raise ProtocolError(f"not a {data.what}: {name} must be whole numbers")
    return found


def _texts(data: Members, name: str) -> list[str]:
    found = data.rows(name)[:MOST_ROWS]
    if not all(isinstance(each, str) and each.startswith("/") for each in found):
        raise ProtocolError(f"not a {data.what}: {name} must be absolute paths")
    return found


def _places(
    move: WantedMove, user: Account, data: Members, shared: Sequence[str], host: str
) -> None:
    """Where the image passes and where the job stands: as the owner sees them here."""
    place, stands = data.text("place"), _texts(data, "cwd")
    request = {"shared": list(shared), "places": [place], "directories": stands}
    told = ask(Ids(move.uid, move.gid, tuple(user.groups)), request)
    for row in [*told["places"], *told["directories"]]:
        if row["problem"]:
            raise NoMoveError(f"{row['path']} {row['problem']} on {host}")
        if not row["shared"]:
            raise NoMoveError(f"{row['path']} does not lie on a shared directory on {host}")
    closed = opened.closed_to_root((), stands)
    if closed:
        raise NoMoveError(closed_sentence(closed, host))
    movable.check_room(data.whole("memory_kib"), place, told["places"][0]["free"])


def closed_sentence(path: str, host: str) -> str:
    return (
        f"root of {host} may not open {procfs.plain(path)}, as its file server takes root for "
        "nobody, and criu works as root"
    )


def _room(data: Members, image_directory: str, host: str) -> None:
    """Of the image and of the job itself."""
    memory, available = data.whole("memory_kib"), room.available_kib()
    if memory > available:
        raise NoMoveError(
            f"the job has {memory >> 10} MiB of memory, and {host} has {available >> 10} MiB "
            "available"
        )
    needed = movable.needed_kib(data.whole("memory_kib"))
    free = room.free_kib(image_directory)
    if needed > free:
        raise NoMoveError(
            f"the job's image takes {needed >> 10} MiB, and {host} has {free >> 10} MiB free below "
            f"{image_directory}"
        )


def _terminals(data: Members, host: str) -> None:
    for each in _numbers(data, "terminals"):
        if os.path.lexists(f"/dev/pts/{each}"):
            raise NoMoveError(
                f"the job uses the pseudo-terminal {each}, and {host} has another of that number"
            )


def _directories(data: Members, host: str) -> None:
    for each in _texts(data, "directories"):
        if not is_system(each) or not os.path.isdir(each):  # noqa: PTH112 - as in procfs
            raise NoMoveError(f"the job uses the directory {each}, which is not on {host}")


def _files(move: WantedMove, data: Members, host: str, digests: manifest.Digests) -> None:
    left = manifest.MOST_BYTES
    for each in data.rows("files")[: manifest.MOST_FILES + 1]:
        row = Members(each, "file that the job needs")
        path = row.text("path")
        try:
            found = digests.of(path, left)
        except manifest.FileError as error:
            raise NoMoveError(f"the job uses {path}, which {error} on {host}") from None
        left -= found[0]
        if found != (row.whole("size"), row.text("sha256")):
            raise NoMoveError(
                f"{path} differs between {move.source} and {host}: install the same packages on "
                "both"
            )
