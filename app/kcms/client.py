"""The client of API version 1, over the Unix socket of this host's gateway.

Standard library only, and nothing of this package: the same file is the ``kcms_client`` of the
Ansible modules.  It speaks HTTP itself, as importing ``http.client`` would cost every command
15 ms: HTTP/1.0, so an answer is one head and everything up to the end of the stream.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # 6 ms, so not when it runs

DEFAULT_SOCKET = "/run/kcms-gateway/api.sock"
FINAL_STATES = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"})
REASON_LIMIT = 200
"""Characters of the reason that a node is drained for; the manager's own limit."""

PAGE = 1000  # jobs that one call lists
BULK_JOBS, BULK_BYTES = 1000, 1_000_000  # that one call submits
ANSWER_LIMIT = 256 * 1024 * 1024
_UNRESERVED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


class ClientError(Exception):
    """A call that failed, in one line.

    ``code`` is the word of the API's error shape (``unavailable`` when there is no gateway),
    ``status`` the HTTP status, 0 when there was no answer.
    """

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class Client:
    """Calls of one user to one cluster.

    :param socket_path: where the gateway listens
    :param cluster: the cluster meant; the gateway's default when None
    :param as_user: whose name to act in; only root may give one
    :param token: of a login, to act in its user's name
    :param timeout: seconds without a byte after which a call is given up
    :param connect: makes the connection of a call, given the timeout, where it is no socket of this
        host: it has ``sendall`` and ``recv``, and is closed as a context
    """

    def __init__(
        self,
        socket_path: str = DEFAULT_SOCKET,
        cluster: str | None = None,
        as_user: str | None = None,
        timeout: float = 60.0,
        token: str | None = None,
        connect: Callable[[float], Any] | None = None,
    ) -> None:
        self.connect = self._connected if connect is None else connect
        self.socket_path = socket_path
        self.cluster = cluster
        self.as_user = as_user
        self.timeout = timeout
        self.token = token

    def submit(self, spec: dict[str, Any], key: str | None = None) -> tuple[dict[str, Any], bool]:
        """Submit a job; also says whether it is new, rather than there already under ``key``.

        An answer that is lost does not tell whether there is a job now, so the call is repeated,
        and a key, be it one of this call alone, makes both of them one job.
        """
        own = _own_key() if key is None else key
        status, job = self._keyed("/v1/jobs", {"spec": spec, "key": own})
        return job, status == 201 or key is None

    def _keyed(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """A call whose key makes one of two, so that it is made again when its answer is lost."""
        try:
            return self.call("POST", path, body)
        except ClientError as error:
            if error.status and error.code != "protocol_error":
                raise
            return self.call("POST", path, body)

    def submit_all(self, jobs: Iterable[tuple[dict[str, Any], str | None]]) -> list[dict[str, Any]]:
        """Submit many jobs, specifications with keys, each by itself: a row for each, with
        ``status`` (201, or 200 when it was there already) and ``job``, or with ``error``.

        As many go in one call as one takes.  Repeated as :meth:`submit` is.  When a call fails
        behind another that did not, it and all after it are rows with its error.
        """
        rows: list[dict[str, Any]] = []
        own = f"client-{os.urandom(16).hex()}"
        asked = [
            {"spec": spec, "key": f"{own}-{at}" if key is None else key}
            for at, (spec, key) in enumerate(jobs)
        ]
        for part in _parts(asked):
            try:
                rows += self._keyed("/v1/jobs/bulk", {"jobs": part})[1]["jobs"]
            except ClientError as error:
                if not rows:
                    raise
                told = {"code": error.code, "message": error.message}
                rows += [{"status": error.status, "error": told}] * (len(asked) - len(rows))
                break
        for row, one in zip(rows, asked, strict=True):
            if row["status"] == 200 and str(one["key"]).startswith(own):
                row["status"] = 201
        return rows

    def check(self, spec: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        """Have everything checked that :meth:`submit` would check; the complete specification."""
        document = self.call("POST", "/v1/jobs", {"spec": spec, "key": key}, check="1")[1]
        return dict(document["spec"])

    def jobs(
        self,
        states: Iterable[str] = (),
        user: str | None = None,
        limit: int | None = None,
        before: int | None = None,
        name: str | None = None,
    ) -> list[dict[str, Any]]:
        """The caller's jobs (for the grid's root: everybody's), newest last.

        ``limit`` is how many at the most, ``before`` an id that all of them are lower than, and
        ``name`` a pattern such as ``train-*`` for theirs.  Of each the first tasks are listed.
        """
        return self.jobs_told(states, user, limit, before, name)[0]

    def jobs_told(
        self,
        states: Iterable[str] = (),
        user: str | None = None,
        limit: int | None = None,
        before: int | None = None,
        name: str | None = None,
    ) -> tuple[list[dict[str, Any]], bool]:
        """As :meth:`jobs`, and whether there are older ones, which the manager did not list."""
        query: dict[str, Any] = {
            "state": ",".join(states) or None,
            "user": user,
            "limit": limit,
            "before": before,
            "name": name,
        }
        document = self.call("GET", "/v1/jobs", **query)[1]
        return list(document["jobs"]), document.get("more") is True

    def every_job(
        self, states: Iterable[str] = (), user: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """As :meth:`jobs`, all there are, the newest first.

        A page may be short, as a manager bounds its bytes, too; one with nothing older is the end.
        (A manager of before 0.2 knows no ``before`` and lists its newest ones again.)
        """
        before: int | None = None
        while page := [
            each
            for each in self.jobs(states, user, PAGE, before)
            if before is None or int(each["id"]) < before
        ]:
            yield from reversed(page)
            before = min(int(each["id"]) for each in page)

    def job(self, job_id: int, tasks: int | None = None, task: int | None = None) -> dict[str, Any]:
        """A job with all of its tasks.

        :param tasks: with as many at the most, those that went wrong first
        :param task: with that one, too, or without ``tasks`` with that one alone

        (An older manager lists all of them whatever is asked.)
        """
        return self.call("GET", f"/v1/jobs/{job_id}", tasks=tasks, task=task)[1]

    def kill(self, job_id: int, task: int | None = None) -> dict[str, Any]:
        """End a job, or one task of a batch job.

        :raises ClientError: code ``conflict`` when it is already over
        """
        if task is not None and "task_counts" not in self.job(job_id, tasks=0):
            raise ClientError("unsupported", "this cluster's manager is too old to end one task")
        body = {} if task is None else {"task": task}
        return self.call("POST", f"/v1/jobs/{job_id}/kill", body)[1]

    def act(self, act: str, job_id: int, check: bool = False) -> dict[str, Any]:
        """Hold a waiting job back or release it, suspend a running one, resume it, or let it begin
        anew.

        :param act: ``hold``, ``release``, ``suspend``, ``resume`` or ``requeue``
        :param check: only ask how the job would be then
        :raises ClientError: code ``conflict`` or ``forbidden`` when that cannot be
        """
        return self.call("POST", f"/v1/jobs/{job_id}/{act}", {"check": True} if check else {})[1]

    def signal(
        self,
        job_id: int,
        signal: str,
        task: int | None = None,
        process: tuple[str, int] | None = None,
        kill: bool = False,
        check: bool = False,
    ) -> dict[str, Any]:
        """Signal every process of a job that runs, or of one ``task``; the job.

        :param signal: its name, as ``USR1``
        :param process: node and pid of the only process that is meant
        :param kill: that one is killed if it is still there after the manager's grace
        :param check: only ask whether it could be done
        """
        body: dict[str, Any] = {"signal": signal, "key": _own_key()}
        if task is not None:
            body["task"] = task
        if process is not None:
            body["process"] = {"node": process[0], "pid": process[1]}
        body.update({name: True for name, on in (("kill", kill), ("check", check)) if on})
        try:
            return self._keyed(f"/v1/jobs/{job_id}/signal", body)[1]
        except ClientError as error:
            _check_known(error, "signals")
            raise

    def checkpoint(
        self, job_id: int, task: int | None = None, check: bool = False
    ) -> dict[str, Any]:
        """Have what runs of a job saved, or one task of it; the job.

        :param check: only ask whether it could be done
        :raises ClientError: code ``conflict`` when it cannot be now
        """
        return self._of_tasks("checkpoint", job_id, task, check)

    def restart(self, job_id: int, task: int | None = None, check: bool = False) -> dict[str, Any]:
        """End what runs of a job, or one task of it, and let that go on from its last checkpoint.

        :param check: only ask whether it could be done
        :raises ClientError: code ``conflict`` when it has none, or cannot be ended now
        """
        return self._of_tasks("restart", job_id, task, check)

    def _of_tasks(self, act: str, job_id: int, task: int | None, check: bool) -> dict[str, Any]:
        body: dict[str, Any] = {} if task is None else {"task": task}
        if check:
            body["check"] = True
        try:
            return self.call("POST", f"/v1/jobs/{job_id}/{act}", body)[1]
        except ClientError as error:
            _check_known(error, "checkpoints")
            raise

    def output(
        self,
        job_id: int,
        which: str = "output",
        limit: int = 65536,
        begin: int | None = None,
        task: int = 0,
    ) -> dict[str, Any]:
        """The end of the output or error file of a task: path, size, offset, end and text.

        :param begin: an offset, for what follows it
        """
        query: dict[str, Any] = {"which": which, "bytes": limit, "from": begin}
        query["task"] = task or None
        return self.call("GET", f"/v1/jobs/{job_id}/output", **query)[1]

    def follow(
        self,
        job_id: int,
        which: str = "output",
        limit: int = 65536,
        sleep: Callable[[float], None] = time.sleep,
        task: int = 0,
    ) -> Iterator[dict[str, Any]]:
        """As :meth:`output`, the end first and then whatever comes, until the task is over.

        A file that is there before the job begins is not the job's.  A manager or gateway that
        cannot be reached for a while is waited for, but not at first.
        """
        limit = max(limit, 4)  # bytes of the longest character
        begin: int | None = None
        job: dict[str, Any] | None = self.job(job_id, task=task)
        while True:
            over = job is not None and _is_over(job, task)
            part = None if job is None else self._part(job, which, limit, begin, over, task)
            if part is None:
                begin = 0 if begin is None and job is not None else begin
                sleep(1.0)
            else:
                yield part
                begin = int(part["end"])
                more = bool(part["text"]) and begin < part["size"]
                if over and not more:
                    return
                if not more:
                    sleep(0.2 if part["text"] else 1.0)
            job = self._state(job_id, task=task)

    def _part(
        self, job: dict[str, Any], which: str, limit: int, begin: int | None, over: bool, task: int
    ) -> dict[str, Any] | None:
        """What follows ``begin`` in a task's file; None when there is nothing yet."""
        found = _task(job, task)
        if not over and not (found and found["start_time"]):
            return None
        try:
            part = self.output(job["id"], which, limit, begin, task)
        except ClientError as error:
            if over or error.code not in ("not_found", "unavailable"):
                raise
            return None
        if "end" not in part:
            raise ClientError("unsupported", "this host's gateway is too old to follow an output")
        if over and not part["text"] and part["end"] < part["size"]:
            return {**part, "text": "\ufffd", "end": part["size"]}  # a character that is cut off
        return part

    def migrate(
        self, job_id: int, node: str, check: bool = False, task: int | None = None
    ) -> dict[str, Any]:
        """Ask for a running job, or a task of a batch job, to be moved to ``node``, or only whether
        it could be.

        The job's ``migration`` tells how it goes; :meth:`wait_migration` waits for its end.
        """
        body: dict[str, Any] = {"node": node, "check": check}
        if task is not None:
            body["task"] = task
        return self.call("POST", f"/v1/jobs/{job_id}/migrate", body)[1]

    def set_node_state(
        self, node: str, state: str, reason: str = "", migrate: bool = False
    ) -> dict[str, Any]:
        """Take a node out of use (``drain``) or into it again (``resume``); the node as it is.

        :param migrate: what runs on a drained one is moved away, see :meth:`leaving`
        """
        body: dict[str, Any] = {"state": state, "reason": reason}
        if migrate:
            body["migrate"] = True
        return self.call("POST", f"/v1/nodes/{_quoted(node)}/state", body)[1]

    def leaving(self, node: str) -> dict[str, Any]:
        """Whether a node is to be empty (``leaving``), and of each of its tasks whether it moves,
        waits or stays, and why."""
        return self.call("GET", f"/v1/nodes/{_quoted(node)}/leaving")[1]

    def follow_leaving(
        self, node: str, sleep: Callable[[float], None] = time.sleep
    ) -> Iterator[list[dict[str, Any]]]:
        """The tasks on a node that is to be empty, again and again, until none of them can leave
        any more.  A manager that cannot be reached for a while is waited for, but not at first.

        :raises ClientError: code ``conflict`` when the node need not be empty any more
        """
        told = False
        while True:
            try:
                found = self.leaving(node)
            except ClientError as error:
                if error.code != "unavailable" or not told:
                    raise
            else:
                told = True
                if not found["leaving"]:
                    raise ClientError("conflict", f"{node} is not to be empty any more", 409)
                yield found["tasks"]
                if all(each["state"] == "staying" for each in found["tasks"]):
                    return
            sleep(1.0)

    def processes(self, user: str | None = None, node: str | None = None) -> list[dict[str, Any]]:
        """Processes of the caller's jobs (for the grid's root: of everybody's)."""
        return self.processes_told(user, node)[0]

    def processes_told(
        self, user: str | None = None, node: str | None = None, job: int | None = None
    ) -> tuple[list[dict[str, Any]], int]:
        """As :meth:`processes`, and how many more there are that the manager left out.

        (An older manager knows no ``job`` and lists those of all.)
        """
        document = self.call("GET", "/v1/processes", user=user, node=node, job=job)[1]
        rows = [each for each in document["processes"] if job is None or each["job"] == job]
        return rows, int(document.get("left_out") or 0)

    def accounting(
        self, since: float | None = None, until: float | None = None, user: str | None = None
    ) -> dict[str, Any]:
        """What jobs that ended in a period took: ``since``, ``until``, ``rows`` (sums by day, user
        and state) and ``more``, whether there are more rows than the manager lists.

        :raises ClientError: code ``not_found`` when the manager is of a release without this
        """
        return self.call("GET", "/v1/accounting", since=since, until=until, user=user)[1]

    def set_password(self, password: str | None) -> None:
        """Set the caller's password for the page; None takes it away."""
        self.call("POST", "/v1/password", {"password": password})

    def login(self, user: str, password: str) -> dict[str, Any]:
        """Log in: ``token``, ``user``, ``root`` and ``expires`` (seconds since the epoch)."""
        return self.call("POST", "/v1/login", {"user": user, "password": password})[1]

    def session(self) -> dict[str, Any]:
        """Whose login this client's token is of: ``user``, ``uid``, ``gid``, ``root``, ``expires``.

        :raises ClientError: code ``unauthorized`` when the login is over
        """
        return self.call("GET", "/v1/session")[1]

    def logout(self) -> None:
        """End the login of this client's token."""
        self.call("POST", "/v1/logout", {})

    def nodes(self) -> list[dict[str, Any]]:
        return list(self.call("GET", "/v1/nodes")[1]["nodes"])

    def balance(self) -> dict[str, Any]:
        """How the balancer of a cluster stands: ``on``, its ``marks``, ``nodes`` with their roles,
        ``why`` nothing moves, which tasks are ``staying`` and why, and the last ``decisions``.

        :raises ClientError: code ``not_found`` when the manager is of a release without it
        """
        return self.call("GET", "/v1/balance")[1]

    def clusters(self) -> list[dict[str, Any]]:
        return list(self.call("GET", "/v1/clusters")[1]["clusters"])

    def places(self) -> dict[str, Any]:
        """Where the caller's files may lie: ``user``, ``home``, ``shared`` (directories)."""
        return self.call("GET", "/v1/places")[1]

    def ping(self) -> dict[str, Any]:
        return self.call("GET", "/v1/ping")[1]

    def wait(
        self,
        job_id: int,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> dict[str, Any]:
        """Ask until the job is over; its last document.

        A manager that cannot be reached for a while is waited for, too.

        :raises ClientError: code ``timeout`` when it is not over after ``seconds``
        """
        began = clock()
        pause = 0.1
        while True:
            left = float("inf") if seconds is None else began + seconds - clock()
            state = self._state(job_id, tasks=0)
            if state is not None and state["state"] in FINAL_STATES:
                state = state if state.get("tasks") else self._state(job_id)  # all, of an old one
            if state is not None and state["state"] in FINAL_STATES:
                return state
            if left <= 0:
                word = state["state"] if state is not None else "out of reach"
                raise ClientError("timeout", f"job {job_id} is {word} after {seconds:g} s")
            sleep(min(pause, left))
            pause = min(2.0, pause * 1.5)

    def wait_migration(
        self,
        job_id: int,
        number: int,
        sleep: Callable[[float], None] = time.sleep,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> dict[str, Any]:
        """Ask until migration ``number`` of the job is over; the job's last document.

        Its manager bounds how long that takes, and is waited for while it cannot be reached.

        :raises ClientError: code ``timeout`` when it is not over after ``seconds``
        """
        began = clock()
        pause = 0.05
        while True:
            left = float("inf") if seconds is None else began + seconds - clock()
            job = self._state(job_id)
            if job is not None:
                migration = job.get("migration") or {}
                if migration.get("number") != number or migration.get("end_time") is not None:
                    return job
            if left <= 0:
                word = "still under way" if job is not None else "of an outcome unknown"
                raise ClientError(
                    "timeout", f"the migration of job {job_id} is {word} after {seconds:g} s"
                )
            sleep(min(pause, left))
            pause = min(1.0, pause * 1.5)

    def wait_checkpoint(
        self,
        job_id: int,
        under_way: Callable[[dict[str, Any]], bool],
        task: int | None = None,
        seconds: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> dict[str, Any]:
        """Ask until a job, of which ``task`` alone is meant if any, has no checkpoint that is
        ``under_way``; its last document.

        Its manager bounds how long that takes, and is waited for while it cannot be reached.

        :raises ClientError: code ``timeout`` when there still is one after ``seconds``
        """
        began, pause = clock(), 0.05
        while True:
            left = float("inf") if seconds is None else began + seconds - clock()
            job = self._state(job_id, 0, task)
            if job is not None and not under_way(job):
                job = job if task is not None else self._state(job_id)  # with all of its tasks
                if job is not None and not under_way(job):
                    return job
            if left <= 0:
                word = "still under way" if job is not None else "of an outcome unknown"
                raise ClientError(
                    "timeout", f"the checkpoint of job {job_id} is {word} after {seconds:g} s"
                )
            sleep(min(pause, left))
            pause = min(1.0, pause * 1.5)

    def _state(
        self, job_id: int, tasks: int | None = None, task: int | None = None
    ) -> dict[str, Any] | None:
        try:
            return self.job(job_id, tasks, task)
        except ClientError as error:
            if error.code != "unavailable":
                raise
            return None

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, **query: object
    ) -> tuple[int, dict[str, Any]]:
        """One call: the status and the document.  :raises ClientError: any failure"""
        request = self._request(method, path, body, query)
        try:
            answer = self._exchange(request)
        except OSError as error:
            raise ClientError("unavailable", self.explained(error)) from error
        return _parsed(answer, f"the gateway at {self.socket_path}")

    def open(self, path: str, protocol: str, **query: object) -> socket.socket:
        """A connection that speaks ``protocol``, which the gateway switches to at this call.

        :raises ClientError: it does not
        """
        request = self._request("GET", path, None, query, protocol)
        try:
            channel: socket.socket = self.connect(self.timeout)
        except OSError as error:
            raise ClientError("unavailable", self.explained(error)) from error
        try:
            channel.sendall(request)
            answer = _one_answer(channel)
        except OSError as error:
            channel.close()
            raise ClientError("unavailable", self.explained(error)) from error
        if answer.startswith(b"HTTP/1.1 101 "):
            return channel
        channel.close()
        status, _ = _parsed(answer, f"the gateway at {self.socket_path}")
        raise ClientError("protocol_error", "the gateway did not switch protocols", status)

    def _request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        query: dict[str, object],
        protocol: str = "",
    ) -> bytes:
        query = {"cluster": self.cluster, **query}
        given = [f"{key}={_quoted(value)}" for key, value in query.items() if value is not None]
        target = path + ("?" + "&".join(given) if given else "")
        content = b"" if body is None else json.dumps(body).encode()
        version = "1.1" if protocol else "1.0"
        head = f"{method} {target} HTTP/{version}\r\nHost: gateway\r\n"
        if protocol:
            head += f"Connection: Upgrade\r\nUpgrade: {protocol}\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        if self.as_user is not None:
            head += f"Kcms-As: {_quoted(self.as_user)}\r\n"
        if self.token is not None:
            head += f"Kcms-Token: {_quoted(self.token)}\r\n"
        return head.encode("ascii") + b"\r\n" + content

    def _connected(self, timeout: float) -> socket.socket:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            channel.settimeout(timeout)
            channel.connect(self.socket_path)
        except BaseException:
            channel.close()
            raise
        return channel

    def _exchange(self, request: bytes) -> bytes:
        with self.connect(self.timeout) as channel:
            try:  # noqa: SIM105 - contextlib would cost each command time
                channel.sendall(request)
            except BrokenPipeError:
                pass  # a gateway that has had enough of this user answers without reading
            parts: list[bytes] = []
            size = 0
            try:
                while size <= ANSWER_LIMIT and (part := channel.recv(65536)):
                    parts.append(part)
                    size += len(part)
            except ConnectionResetError:
                if not parts:
                    raise
        return b"".join(parts)

    def explained(self, error: OSError) -> str:
        """What kept the connection from being made or used, in one line."""
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return (
                f"no gateway on this host: nothing listens at {self.socket_path}; "
                "systemctl status kcms-gateway says more"
            )
        if isinstance(error, TimeoutError):
            return f"the gateway at {self.socket_path} did not answer within {self.timeout:g} s"
        reason = error.strerror or str(error)
        return f"cannot use the gateway at {self.socket_path}: {reason}"


def trouble_of_move(job: dict[str, Any], number: int) -> str | None:
    """Why migration ``number`` of a job did not come about, in one line; None when it did.

    :param job: what :meth:`Client.wait_migration` returned
    """
    migration = job.get("migration") or {}
    if migration.get("number") != number:
        return (
            f"how migration {number} of job {job['id']} ended is not known, "
            "as another one began soon after: look where the job runs"
        )
    what = moved_name(job)
    phase, why = migration["phase"], migration["message"] or "its manager does not say why"
    if phase in ("done", "possible"):
        return None
    if migration["check_only"]:
        return f"{what} cannot be moved to {migration['target']}: {why}"
    stays = (
        "" if job["state"] in FINAL_STATES or phase == "refused" else " and goes on where it was"
    )
    return f"{what} was not moved to {migration['target']}{stays}: {why}"


def is_several(job: Mapping[str, Any]) -> bool:
    """Whether a job has more than one task."""
    return int((job.get("spec") or {}).get("total_tasks") or 1) > 1


def moved_name(job: Mapping[str, Any]) -> str:
    """What a job's last migration was of: the job, or one task of several."""
    if not is_several(job):
        return f"job {job['id']}"
    return f"task {(job.get('migration') or {}).get('task', 0)} of job {job['id']}"


def figures_of_move(migration: dict[str, Any]) -> str:
    """What a migration took, or what its check foretells as long as nothing was moved, in words;
    "" when neither is known: it was not measured, or its manager is of an older release."""
    if migration["phase"] == "done":
        count, seconds = migration.get("bytes"), migration.get("freeze_seconds")
        about, verb = "", "stood still for"
    else:
        count, seconds = migration.get("predicted_bytes"), migration.get("predicted_seconds")
        about, verb = "about ", "standing still for"
    said = [] if count is None else [f"{about}{count / 1e6:.{1 if count < 1e7 else 0}f} MB"]
    if seconds is not None:
        places = 2 if seconds < 1 else 1 if seconds < 10 else 0
        said.append(f"{verb} {about}{seconds:.{places}f} s")
    return ", ".join(said)


def _check_known(error: ClientError, what: str) -> None:
    """:raises ClientError: nobody there knows the call"""
    if (error.code, error.message) == ("not_found", "Not Found"):
        old = f"the manager, or this host's gateway, is of a release that knows no {what}"
        raise ClientError("unsupported", old, error.status) from error


def _own_key() -> str:
    return f"client-{os.urandom(16).hex()}"


def _task(job: dict[str, Any], index: int) -> dict[str, Any] | None:
    return next((each for each in job["tasks"] if each["index"] == index), None)


def _is_over(job: dict[str, Any], index: int) -> bool:
    task = _task(job, index)
    return job["state"] in FINAL_STATES or (task is not None and task["state"] in FINAL_STATES)


def _quoted(value: object) -> str:
    """Percent-encoded as RFC 3986 asks; ``urllib.parse`` would cost each command 3 ms."""
    return "".join(
        chr(byte) if byte in _UNRESERVED else f"%{byte:02X}"
        for byte in str(value).encode("utf-8", "surrogateescape")
    )


def _parts(asked: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """What one call takes at a time."""
    part: list[dict[str, Any]] = []
    room = BULK_BYTES
    for each in asked:
        size = len(json.dumps(each)) + 2
        if part and (size > room or len(part) == BULK_JOBS):
            yield part
            part, room = [], BULK_BYTES
        part.append(each)
        room -= size
    if part:
        yield part


def _parsed(answer: bytes, who: str) -> tuple[int, dict[str, Any]]:
    """The status and document of a whole HTTP answer.  :raises ClientError: none, or an error"""
    head, found, content = answer.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split()
    if not found or len(words) < 2 or not head.startswith(b"HTTP/") or not words[1].isdigit():
        raise ClientError("protocol_error", f"{who} broke off its answer; try again")
    status = int(words[1])
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ClientError("protocol_error", f"{who} did not answer in JSON", status) from error
    if not isinstance(document, dict):
        raise ClientError("protocol_error", f"{who} answered with no object", status)
    if status >= 400:
        raise _refusal(status, document, who)
    return status, document


def _one_answer(channel: socket.socket) -> bytes:
    """One answer with its Content-Length, or without content, and not a byte of what follows."""
    head = b""
    while not head.endswith(b"\r\n\r\n") and len(head) < 65536:
        part = channel.recv(1)
        if not part:
            return head
        head += part
    words = head.lower().partition(b"\r\ncontent-length:")[2].split(None, 1)
    left = int(words[0]) if words and words[0].isdigit() else 0
    parts = [head]
    while 0 < left <= ANSWER_LIMIT and (part := channel.recv(min(left, 65536))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _refusal(status: int, document: dict[str, Any], who: str) -> ClientError:
    error = document.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return ClientError("protocol_error", f"{who} answered {status} without a reason", status)
    return ClientError(str(error.get("code", "error")), error["message"], status)
