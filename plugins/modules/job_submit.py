#!/usr/bin/python
"""Ansible module: submit a job to a cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: job_submit
short_description: Submit a job to a KCMS cluster
description:
  - Submits a program on the shared directory as a job, on whichever host of the grid the task runs.
    The cluster's manager chooses the node where the job starts.
  - The job runs as O(user); without it, as the user that the task runs as on the host. That must
    not be root, as it is where Ansible logs in as root and does not become somebody else; root
    has to name the user whose job it is, and is refused otherwise.
extends_documentation_fragment:
  - kcms.cluster.jobs
attributes:
  check_mode:
    support: full
    description:
      - Checks the specification and the files as a submission would, submits nothing, and predicts
        whether a job would be made. With O(key) it looks for a job that has it among all of the
        user's.
  diff_mode:
    support: full
    description: Shows the specification of a job that is made.
options:
  executable:
    description: The program, an absolute path on the shared directory.
    type: str
    required: true
  arguments:
    description: Arguments of the program.
    type: list
    elements: str
    default: []
  name:
    description: Name shown in lists. By default the name of the executable.
    type: str
  class:
    description:
      - V(single) is one task. V(batch) is O(total_tasks) independent ones, each told its index in
        E(KCMS_TASK_INDEX). V(parallel) is O(total_tasks) that start together on one or several
        nodes, each told E(KCMS_RANK), E(KCMS_SIZE) and the node of each rank in E(KCMS_HOSTS).
    type: str
    choices: [single, batch, parallel]
    default: single
  argument_count:
    description: How many O(arguments) there are, where that is to be checked.
    type: int
  total_tasks:
    description: Tasks of a batch or parallel job, with the indexes from 0 on; such a job needs it.
    type: int
  tasks_per_node:
    description: Tasks of the job on one node at once, at the most. By default as fit there.
    type: int
  cpus_per_task:
    description: Slots that each task takes.
    type: int
    default: 1
  task_failure:
    description:
      - What the failure of one task makes of the job. With V(end) the other tasks are killed and
        the job ends as that task did, with V(continue) they go on. By default V(end) for parallel
        and V(continue) for batch jobs.
    type: str
    choices: [end, continue]
  partition:
    description: Queue whose nodes the job is to run on. By default any node of the cluster.
    type: str
  load_metric:
    description:
      - What makes a node the best one, its load average (V(load)), its processes that run or wait
        for a CPU (V(queue)), or its load and its memory (V(load_memory)).
    type: str
    choices: [load, queue, load_memory]
    default: load
  requeue:
    description: The job is begun anew when its node is lost. E(KCMS_RESTART_COUNT) tells it so.
    type: bool
    default: false
  restart_from_checkpoint:
    description:
      - The job keeps its own checkpoints. It is begun anew when its node is lost and when a signal
        ended it, and goes on from them. E(KCMS_RESTART_COUNT) tells it so.
    type: bool
    default: false
  checkpoint_interval:
    description:
      - How often each task is saved while it runs, as a number of seconds or as a text such as
        V(30m), or V(auto) for what is best by its cost and the losses of nodes here, or V(none) for
        never. A job with an interval is begun anew when its node is lost and when a signal ended
        it, from its last checkpoint.
      - By default as the site has it. Parallel jobs have none.
    type: raw
  checkpoint_signal:
    description:
      - The signal at which the job saves itself. A checkpoint of it is then this signal to its
        first process, and the job goes on from what it saved by itself when
        E(KCMS_RESTART_COUNT) says that it is begun anew. Parallel jobs have none.
    type: str
    choices: [HUP, INT, QUIT, TERM, USR1, USR2]
  on_end:
    description:
      - Program, on the shared directory, that is run as a job of its own when this one is over,
        however it ended. E(KCMS_ENDED_JOB), E(KCMS_ENDED_STATE) and E(KCMS_ENDED_REASON) tell how.
    type: str
  comment:
    description: A line that is shown with the job.
    type: str
  base_directory:
    description: Directory where the program starts. By default the user's home.
    type: str
  input:
    description:
      - File read as standard input, with V(%j), V(%t) and V(%u) as of O(output). By default
        C(/dev/null).
    type: str
  output:
    description:
      - File that takes standard output. In its name V(%j) becomes the job's id, V(%t) the index of
        the task, and V(%u) the user. With several tasks it needs V(%t).
      - By default V(kcms-%j.out), or V(kcms-%j.%t.out) of a batch or parallel job, in the base
        directory.
    type: str
  error:
    description: File that takes standard error. By default the one of O(output).
    type: str
  time_limit:
    description:
      - Time that each task may run, suspended or not, as a number of seconds or as a text such as
        V(90m), V(36h) or V(1-12:00:00). Then it is killed, and ends as C(TIMEOUT). By default there
        is none.
    type: raw
  memory:
    description:
      - Memory of each task, in MiB or as a text such as V(512M) or V(2G). It goes to a node
        where so much is not promised to others, and ends as C(FAILED) when it takes more. By
        default there is no limit.
    type: raw
  rss_limit:
    description:
      - Resident memory of any one process of the job, written as O(memory). The job ends as
        C(FAILED) when one takes more. By default there is no limit.
    type: raw
  dependency:
    description:
      - Jobs that this one is to follow, as V(afterok:12) when job 12 has completed,
        V(afternotok:12) when it ended otherwise, V(afterany:12) however it ended, V(after:12) once
        it began. A job that can follow no more ends as C(CANCELLED).
    type: list
    elements: str
    default: []
  begin_time:
    description:
      - The job starts no sooner. Seconds since the epoch, or a text such as V(2030-12-24T18:00), of
        the host's time zone when it names none, or V(+2h) for from now on, which does not go with
        O(key).
    type: raw
  hold:
    description: The job waits until it is released, see M(kcms.cluster.job_hold).
    type: bool
    default: false
  priority:
    description: From -1000 to 1000. Higher starts first; equals in the order of their submission.
    type: int
    default: 0
  staged:
    description:
      - Which of O(executable) and O(input) are files in C(~/.kcms/stage/CONTENT) of the user on the
        host of the task, as V(SHA256:BYTES) each. CONTENT is the first 32 digits of the SHA-256. A
        node that has not that file below the user's home there brings it from this host before the
        job begins. Output and error may then be on the node alone.
    type: dict
  environment:
    description: Variables added to the few that a login has.
    type: dict
    default: {}
  key:
    description:
      - A name for this submission that makes the task repeatable. When a job of the same user has
        the same key already, nothing is submitted, and that job is returned, also when it is over.
      - A job that has the key and was asked for with other fields is an error.
    type: str
  wait:
    description: Wait until the job is over. The task fails when the job does not end well.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds to wait at the most. The task then fails, and the job goes on. By default no limit.
    type: int
seealso:
  - module: kcms.cluster.job_info
  - module: kcms.cluster.job_kill
"""

EXAMPLES = r"""
- name: Run a program as alice
  kcms.cluster.job_submit:
    executable: /shared/home/alice/simulate
    arguments: ["--steps", "1000"]
    output: /shared/home/alice/simulate.%j.out
    user: alice
  register: submitted

- name: Prepare the data set once, however often the play runs, and wait for it
  kcms.cluster.job_submit:
    executable: /shared/tools/prepare
    user: alice
    key: prepare-2024-05
    wait: true
    wait_timeout: 3600

# ansible alpha1 -m kcms.cluster.job_submit -a 'executable=/shared/home/alice/simulate user=alice'
"""

RETURN = r"""
job:
  description:
    - The job as the manager knows it; in check mode only the job that O(key) found, if any.
  returned: when there is a job
  type: dict
  sample:
    id: 12
    cluster: alpha
    user: alice
    name: simulate
    state: PENDING
    reason: waiting for a free slot
spec:
  description: The complete specification, defaults filled in.
  returned: success
  type: dict
  sample:
    executable: /shared/home/alice/simulate
    base_directory: /shared/home/alice
    output: /shared/home/alice/kcms-%j.out
code:
  description: Word for the kind of failure, as V(not_found), V(forbidden), V(unavailable).
  returned: failure of a call
  type: str
  sample: not_found
status:
  description: HTTP status of the failure, 0 when there was no answer.
  returned: failure of a call
  type: int
  sample: 404
"""

from typing import Any

from ansible_collections.kcms.cluster.plugins.module_utils.kcms_client import Client, ClientError
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_module import (
    Failed,
    run,
    spec_arguments,
    spec_of,
)
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_spec import (
    SpecError,
    check_repeatable,
    check_spec,
    same,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **spec_arguments(),
    "key": {"type": "str", "no_log": False},
    "wait": {"type": "bool", "default": False},
    "wait_timeout": {"type": "int"},
}


def act(client: Client, params: dict[str, Any], checking: bool) -> dict[str, Any]:
    """Submit a job, or predict it; what the task returns."""
    spec = spec_of(params)
    try:
        check_repeatable(spec, params["key"])
        clean = check_spec(spec)
        spec = {each: clean[each] for each in spec}
    except SpecError as error:
        raise ClientError("invalid_request", str(error), 400) from error
    if checking:
        return with_diff(predict(client, spec, params["key"]))
    result = with_diff(submit(client, spec, params["key"]))
    return waited(client, result, params["wait_timeout"]) if params["wait"] else result


def predict(client: Client, spec: dict[str, Any], key: str | None) -> dict[str, Any]:
    """What :func:`submit` would return, without submitting."""
    complete = client.check(spec, key)
    number = None if key is None else number_of(client, key)
    if number is None:
        return {"changed": True, "spec": complete}
    job = client.job(number)  # a listing leaves the environment out
    if complete.get("checkpoint_interval") is None:  # which the site may have given it
        complete = {**complete, "checkpoint_interval": job["spec"].get("checkpoint_interval")}
    if not same(job["spec"], complete):
        raise ClientError(
            "conflict",
            f"key {key!r} is that of job {job['id']}, which was asked for with other fields",
            409,
        )
    return {"changed": False, "job": job, "spec": complete}


def number_of(client: Client, key: str) -> int | None:
    """The job of the caller's that has ``key``, among all there are, the newest first."""
    return next((int(each["id"]) for each in client.every_job() if each["key"] == key), None)


def submit(client: Client, spec: dict[str, Any], key: str | None) -> dict[str, Any]:
    job, created = client.submit(spec, key)
    return {"changed": created, "job": job, "spec": job["spec"]}


def with_diff(result: dict[str, Any]) -> dict[str, Any]:
    """``result`` with the difference that Ansible shows; one comparison makes both."""
    after = result["spec"]
    return {**result, "diff": {"before": {} if result["changed"] else after, "after": after}}


def waited(client: Client, result: dict[str, Any], seconds: int | None) -> dict[str, Any]:
    """``result`` when the job has ended well.  :raises Failed: it has not"""
    try:
        job = client.wait(result["job"]["id"], seconds)
    except ClientError as error:
        raise Failed(error, result) from error
    result = {**result, "job": job}
    problem = ended_badly(job)
    if problem is not None:
        raise Failed(ClientError("", problem), result)
    return result


def ended_badly(job: dict[str, Any]) -> str | None:
    """One line when a job that is over did not complete."""
    if job["state"] == "COMPLETED":
        return None
    said = [task["message"] for task in job["tasks"] if task["message"]]
    for record in (task["exit"] for task in job["tasks"] if task["exit"]):
        ended_by = record["signal"] is not None
        said.append(f"signal {record['signal']}" if ended_by else f"exit {record['code']}")
    why = f" ({', '.join(dict.fromkeys(said))})" if said else ""
    return f"job {job['id']} ended as {job['state']}{why}"


def main() -> None:
    run(act, ARGUMENTS)


if __name__ == "__main__":
    main()
