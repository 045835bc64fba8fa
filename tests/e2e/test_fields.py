"""Every field of a job by command line, module, API and form, which ask for the same and get it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kcms.jobs.spec import FIELDS, SAVED, check_spec
from tests.e2e.api import api
from tests.e2e.browser import Browser, chromium
from tests.e2e.grid import Grid

HOME = "/shared/home/alice"
BASE = f"{HOME}/fields"
TELLS = """#!/bin/sh
echo "$#: $1, $2; $COLOUR; $KCMS_TASK_INDEX of $KCMS_TASK_COUNT in $(pwd): $(cat)"
echo "rank $KCMS_RANK" >&2
until [ -e go.$KCMS_JOB_ID ]; do sleep 0.1; done
"""
HOOK = f"""#!/bin/sh
echo "$KCMS_ENDED_STATE" > {BASE}/ended.$KCMS_ENDED_JOB
"""
LIMITS = {"time_limit": 90, "memory": 200, "rss_limit": 150}
PARTITION = 'partitions = [{name = "pair", nodes = ["alpha2", "alpha3"]}]'


@pytest.fixture(scope="module")
def partitioned(grid: Grid) -> Iterator[None]:
    with grid.managed(PARTITION):
        yield


@pytest.fixture(scope="module")
def ended(partitioned: None, grid: Grid) -> int:
    """A job that is over, for one to follow."""
    job = grid.submit("alice", grid.program("alice", "true.sh", "#!/bin/sh\n"))
    return int(grid.wait_job(job["id"], "COMPLETED")["id"])


def asked(grid: Grid, ended: int) -> dict[str, Any]:
    """A specification in which no field is as by default, but for those of checkpoints, which a
    parallel job has not."""
    grid.shell("alpha1", f"mkdir -p {BASE}; cd {BASE}; echo zero > in.0; echo one > in.1", "alice")
    return {
        "name": "every field",
        "class": "parallel",
        "executable": grid.program("alice", "tells.sh", TELLS),
        "argument_count": 2,
        "arguments": ["a", "b c"],
        "base_directory": BASE,
        "input": f"{BASE}/in.%t",
        "output": f"{BASE}/%j.%t.%u.out",
        "error": f"{BASE}/%j.%t.%u.err",
        "tasks_per_node": 1,
        "total_tasks": 2,
        "cpus_per_task": 2,
        "task_failure": "continue",
        **LIMITS,
        "dependency": [f"afterok:{ended}"],
        "begin_time": 1_700_000_000,
        "hold": True,
        "priority": 7,
        "partition": "pair",
        "load_metric": "load_memory",
        "requeue": True,
        "restart_from_checkpoint": True,
        "on_end": grid.program("alice", "hook.sh", HOOK),
        "comment": "of all kinds",
        "environment": {"COLOUR": "blue green"},
    }


def saved(grid: Grid) -> dict[str, Any]:
    """A specification with the fields of checkpoints."""
    return {
        "name": "saves itself",
        "executable": grid.program("alice", "true.sh", "#!/bin/sh\n"),
        "output": "/dev/null",
        "error": "/dev/null",
        "hold": True,
        "checkpoint_interval": 1800,
        "checkpoint_signal": "USR1",
    }


def typed(spec: dict[str, Any]) -> dict[str, list[str]]:
    """The texts of each field, as a person writes them."""
    units = {"time_limit": "90s", "memory": "200M", "checkpoint_interval": "30m"}
    return {
        name: [f"{key}={text}" for key, text in value.items()]
        if isinstance(value, dict)
        else [str(each) for each in (value if isinstance(value, list) else [value])]
        for name, value in (spec | {each: units[each] for each in units if each in spec}).items()
    }


def by_command_line(grid: Grid, spec: dict[str, Any], _: Callable[[], Browser]) -> None:
    words = []
    for name, texts in typed(spec).items():
        flag = "--" + name.replace("_", "-")
        if spec[name] is True:
            words.append(flag)
        elif name not in ("executable", "arguments"):
            words += [word for text in texts for word in (flag, text)]
    grid.kcms(
        "alpha1", "submit", *words, spec["executable"], *spec.get("arguments", ()), user="alice"
    )


def by_module(grid: Grid, spec: dict[str, Any], _: Callable[[], Browser]) -> None:
    answer = grid.adhoc("alpha1", "job_submit", user="alice", **spec)
    assert answer.result["changed"] is True


def by_api(grid: Grid, spec: dict[str, Any], _: Callable[[], Browser]) -> None:
    status, answer = api(grid, "alice", "POST", "/v1/jobs", body={"spec": spec})
    assert status == 201, answer


def by_form(grid: Grid, spec: dict[str, Any], browser: Callable[[], Browser]) -> None:
    page = browser()
    for row in (each for each in FIELDS if each.name in spec):
        if row.kind == "boolean":
            page.tick(row.title)
        elif row.choices:
            page.choose(row.title, shown(spec[row.name]))
        else:
            page.fill(row.title, "\n".join(typed(spec)[row.name]))
    page.press("Submit")
    page.wait_text(spec["name"])


def shown(choice: str) -> str:
    """As the form has it."""
    return choice if choice.isupper() else choice.replace("_", " and ").capitalize()


@pytest.fixture
def form(url: str, passwords: dict[str, str]) -> Iterator[Callable[[], Browser]]:
    """Opens the form, all of it, in a browser in which alice is logged in."""
    with chromium() as browser:

        def opened() -> Browser:
            browser.login(url, "alice", passwords["alice"])
            browser.go(f"{url}/cluster/alpha/submit")
            browser.open_details()
            return browser

        yield opened


@pytest.mark.parametrize("way", [by_command_line, by_module, by_api, by_form])
def test_every_field_is_asked_for_and_comes_to_pass(
    three: Grid, ended: int, form: Callable[[], Browser], way: Callable[..., None]
) -> None:
    spec = asked(three, ended)
    assert {*spec, *SAVED} == {row.name for row in FIELDS}
    way(three, spec, form)
    job = three.jobs("alpha")[-1]
    number = job["id"]
    assert three.job(number)["spec"] == check_spec(spec)
    assert (job["state"], job["reason"]) == ("PENDING", "held by alice")
    three.kcms("alpha2", "release", str(number), user="alice")
    three.wait(lambda: told(three, number) == 2, "both ranks to begin")
    taken = {node["name"]: node["used"] for node in three.nodes()}
    assert taken == {"alpha1": 0, "alpha2": 2, "alpha3": 2}
    three.shell("alpha1", f"touch {BASE}/go.{number}", user="alice")
    three.wait_job(number, "COMPLETED")
    three.wait_job(number + 1, "COMPLETED")
    script = f"cd {BASE}; cat {number}.?.alice.out {number}.?.alice.err ended.{number}"
    assert three.shell("alpha1", script, user="alice").stdout.splitlines() == [
        f"2: a, b c; blue green; 0 of 2 in {BASE}: zero",
        f"2: a, b c; blue green; 1 of 2 in {BASE}: one",
        "rank 0",
        "rank 1",
        "COMPLETED",
    ]


@pytest.mark.parametrize("way", [by_command_line, by_module, by_api, by_form])
def test_checkpoints_are_asked_for(
    quiet: Grid, form: Callable[[], Browser], way: Callable[..., None]
) -> None:
    spec = saved(quiet)
    way(quiet, spec, form)
    number = quiet.jobs("alpha")[-1]["id"]
    assert spec.items() <= quiet.job(number)["spec"].items()
    assert quiet.job(number)["checkpoint"]["rung"] == "own"
    quiet.kcms("alpha2", "kill", str(number), user="alice")


@pytest.mark.parametrize(
    ("words", "nodes"), [((), 1), (("--tasks-per-node", "1"), 2), (("--cpus-per-task", "2"), 2)]
)
def test_tasks_go_as_far_apart_as_they_are_told(
    quiet: Grid, words: tuple[str, ...], nodes: int
) -> None:
    """Two ranks fit on one node, whose slots are two."""
    program = quiet.program("alice", "true.sh", "#!/bin/sh\n")
    two = ("--class", "parallel", "--total-tasks", "2", "--output", "/dev/null")
    ended = quiet.wait_job(quiet.submit("alice", *two, *words, program)["id"], "COMPLETED")
    assert len({task["node"] for task in ended["tasks"]}) == nodes


def told(grid: Grid, number: int) -> int:
    """How many ranks have written all that they write before they wait."""
    count = f"cat {BASE}/{number}.?.alice.err 2>/dev/null | wc -l"
    return int(grid.shell("alpha1", count, user="alice").stdout)


def test_the_load_metric_decides_which_node_is_best(quiet: Grid) -> None:
    """Memory that is promised is a host's own; its load averages are those of the lab's machine."""
    nap = quiet.program("alice", "long.sh", "#!/bin/sh\nsleep 600\n")
    has = min(node["load"]["mem_total"] for node in quiet.nodes())

    def place(*words: str) -> str:
        number = quiet.submit("alice", "--output", "/dev/null", *words, nap)["id"]
        return str(quiet.wait_job(number, "RUNNING")["tasks"][0]["node"])

    with quiet.drained("alpha2"):
        assert place("--memory", str(int(has / 1024 * 0.9))) == "alpha1"
    with quiet.drained("alpha1"):
        assert place() == "alpha2"
    assert place("--load-metric", "load_memory") == "alpha2"
