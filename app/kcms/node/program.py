"""The child that becomes the user's program: from root inside the namespaces to the user's exec.

Nothing of the user's (directory, file, program) is touched before the ids are the user's, so that
homes of mode 0700 on NFS with root_squash work and nobody reaches through root's rights.

Loaded by every task's PID 1, hence so few imports.
"""

# pathlib would cost every init time and memory.
# ruff: noqa: PTH118, PTH123

from __future__ import annotations

import errno
import os

from kcms.jobs.paths import default_output, expand
from kcms.node import cgroup, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any, NoReturn

    from kcms.node.session import Session
else:
    import _signal as signal  # without enum, which takes 3 ms to load

PATH = "/usr/local/bin:/usr/bin:/bin"
NOT_RUN, LATER = 127, 75
"""Exit statuses of what could not be run: for good, or for now."""

HINT_LIMIT = 160
"""Characters of a file's first line in a message, whose hint has 200 at the most."""


class CannotRunError(Exception):
    """One line that says which step failed on what, and why; ``status`` is an exit status."""

    status = NOT_RUN


def become(
    plan: dict[str, Any],
    task: int,
    task_cgroup: str,
    complaint: int,
    session: Session | None = None,
) -> NoReturn:
    """Run the program of ``plan`` (see records.py) as its ``task`` in this process, a fresh fork of
    root's.

    When that cannot be, the reason is written to the descriptor ``complaint``, which a successful
    exec closes, and the process exits with 127, or 75 when it could perhaps be later.
    """
    status = NOT_RUN
    try:
        _run(plan, task, task_cgroup, complaint, session)
    except CannotRunError as error:
        text, status = str(error), error.status
    except BaseException as error:  # noqa: BLE001 - it must never go on as the init's code
        text = f"cannot prepare the program: {str(error) or type(error).__name__}"
    os.write(complaint, text.encode(errors="replace")[:4000])
    os._exit(status)


def _run(
    plan: dict[str, Any], task: int, task_cgroup: str, complaint: int, session: Session | None
) -> None:
    wanted = plan["wanted"]
    spec = wanted["spec"]
    cgroup.enter(task_cgroup)
    os.setsid()
    _become_user(wanted["uid"], wanted["gid"], plan["account"]["groups"])
    os.umask(0o022)
    if spec.get("staged"):
        spec = _staged(plan)
        wanted = {**wanted, "spec": spec}
    base = spec["base_directory"] or plan["account"]["home"]
    _step("enter base directory", base, os.chdir)
    if session is not None:
        session.enter()
    else:
        _open_files(wanted, task, base)
    _default_signals()
    _close_others(complaint)
    _execute(spec["executable"], spec["arguments"], environment(plan, task))


def _staged(plan: dict[str, Any]) -> dict[str, Any]:
    """The specification once its staged files are here."""
    from kcms.node import staging  # few jobs need it

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an end as by any other signal
    try:
        return staging.bring(plan)
    except staging.StagingError as error:
        problem = CannotRunError(str(error))
        problem.status = LATER if error.again else NOT_RUN
        raise problem from error


def _become_user(uid: int, gid: int, groups: list[int]) -> None:
    """Take the user's ids for good; leaving uid 0 drops every capability."""
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise CannotRunError(f"the ids did not become {uid}:{gid}")


def _step(what: str, path: str, function: Callable[[str], Any]) -> Any:
    try:
        return function(path)
    except OSError as error:
        raise CannotRunError(f"cannot {what} {path}: {error.strerror}") from error
    except ValueError as error:
        raise CannotRunError(f"cannot {what} {path!r}: {error}") from error


def _open_files(wanted: dict[str, Any], task: int, base: str) -> None:
    """Standard input, output and error; output is begun anew, and both may be one file."""
    spec = wanted["spec"]
    values = (wanted["job"], task, wanted["user"])
    source = expand(spec["input"] or "/dev/null", *values)
    named = spec["output"] or default_output(spec.get("class") or "single")
    output = os.path.join(base, expand(named, *values))
    error = expand(spec["error"], *values) if spec["error"] else output
    _redirect(0, _step("open input file", source, files.for_reading))
    _redirect(1, _step("open output file", output, files.for_writing))
    if error == output:
        os.dup2(1, 2)
    else:
        _redirect(2, _step("open error file", error, files.for_writing))


def _redirect(target: int, descriptor: int) -> None:
    os.dup2(descriptor, target)
    if descriptor != target:
        os.close(descriptor)


def _default_signals() -> None:
    """Undo what Python and our init changed: dispositions and the mask go through exec."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):  # the C library keeps a few for itself
            continue
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _close_others(keep: int) -> None:
    os.closerange(3, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))


def environment(plan: dict[str, Any], task: int) -> dict[str, str]:
    """A login's few variables, then the job's own, then what the job can rely on."""
    wanted, account = plan["wanted"], plan["account"]
    variables = {
        "HOME": account["home"],
        "USER": wanted["user"],
        "LOGNAME": wanted["user"],
        "SHELL": account["shell"],
        "PATH": PATH,
        "LANG": "C.UTF-8",
    }
    variables.update(wanted["spec"]["environment"])
    variables.update(
        KCMS_JOB_ID=str(wanted["job"]),
        KCMS_TASK_INDEX=str(task),
        KCMS_TASK_COUNT=str(wanted["spec"].get("total_tasks") or 1),
        KCMS_CPUS_PER_TASK=str(wanted["spec"].get("cpus_per_task") or 1),
        KCMS_RESTART_COUNT=str(wanted.get("restarts") or 0),
        KCMS_CLUSTER=plan["cluster"],
        KCMS_NODE=plan["node"],
    )
    if wanted.get("ranks"):
        variables.update(_of_rank(wanted, task))
    return variables


def _of_rank(wanted: dict[str, Any], task: int) -> dict[str, str]:
    """What a task of a parallel job is told of the others; the hosts are in the order of ranks."""
    hosts = list(wanted["hosts"])
    return {
        "KCMS_RANK": str(task),
        "KCMS_SIZE": str(len(hosts)),
        "KCMS_LOCAL_RANK": str(wanted["ranks"].index(task)),
        "KCMS_LOCAL_SIZE": str(len(wanted["ranks"])),
        "KCMS_HOSTS": ",".join(hosts),
    }


def _execute(executable: str, arguments: list[str], variables: dict[str, str]) -> None:
    try:
        os.execve(executable, [executable, *arguments], variables)  # noqa: S606
    except OSError as error:
        hint = _hint(executable) if error.errno in (errno.ENOENT, errno.ENOEXEC) else ""
        raise CannotRunError(f"cannot run {executable}: {error.strerror}{hint}") from error
    except ValueError as error:
        raise CannotRunError(f"cannot run {executable!r}: {error}") from error


def _hint(executable: str) -> str:
    """The usual mistake behind an exec that failed on a file that is there."""
    try:
        with open(executable, "rb") as file:
            first = file.readline(256)
    except OSError:
        return ""
    if first.startswith(b"#!"):
        return f" (is {_plain(first[2:].strip())} installed on this node?)"
    if not first.startswith(b"\x7fELF"):
        return " (a script begins with a line such as #!/bin/sh)"
    return ""


def _plain(content: bytes) -> str:
    """What a file has, as it may stand in a sentence (as procfs.plain, which would be costly)."""
    text = content.decode(errors="replace")[:HINT_LIMIT]
    return "".join(each if each.isprintable() else "?" for each in text)
