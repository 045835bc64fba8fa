"""Watching, submitting, moving, killing and draining on the page."""

from __future__ import annotations

import html
import re
import time

import pytest

from tests.integration.fake_gateway import FakeGateway, Refusal, World, ended, job, unsaved
from tests.integration.page.face import (
    EVIL,
    Page,
    running,
    said,
)


class TestProcesses:
    def test_processes_that_the_manager_left_out_are_told(self, alice: Page, world: World) -> None:
        assert "not shown" not in said(alice.get("/cluster/alpha/processes"))
        world.left_out = 7
        assert "7 more processes are not shown" in said(alice.get("/cluster/alpha/processes"))

    def test_nodes_as_columns_and_processes_as_rows(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        world.processes = [
            running(4711, 1),
            running(12, 2, node="alpha2", state="T", ended=time.time() - 65, name=EVIL),
            running(99, 3, user="bob"),
        ]
        shown = alice.get("/cluster/alpha/processes")
        assert shown.status_code == 200
        assert re.findall(r'<h2 id="node-\d+"><a [^>]*>([^<]+)<', shown.text) == [
            "alpha1", "alpha2", "alpha3",
        ]  # fmt: skip
        assert re.findall(r'type="radio"[^>]*value="([^"]+)"', shown.text) == ["1/4711"]
        assert "ended 1 minute ago" in said(shown)
        assert EVIL not in shown.text
        assert " 99 " not in said(shown)
        assert re.findall(r"<option[^>]*>([^<]*)</option>", shown.text)[-3:] == [
            "choose a node", "alpha1", "alpha2",
        ]  # fmt: skip

    def test_root_sees_everybody(self, page: Page, world: World) -> None:
        page.login("root", "grid root")
        world.processes = [running(4711, 1), running(99, 3, user="bob")]
        shown = page.get("/cluster/alpha/processes")
        assert re.findall(r'type="radio"[^>]*value="([^"]+)"', shown.text) == ["1/4711", "3/99"]

    def test_kill(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        seal = alice.seal("/cluster/alpha/processes")
        answer = alice.post("/cluster/alpha/processes", form=seal, process="1/4711", do="kill")
        assert answer.headers["Location"] == "/cluster/alpha/processes"
        assert world.jobs[1]["killed_by"] == "alice"
        assert "Job 1 is being killed." in said(alice.get("/cluster/alpha/processes"))

    def test_a_migration_is_followed_to_its_outcome(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        url = "/cluster/alpha/processes"
        form = {"form": alice.seal(url), "process": "1/4711", "do": "migrate"}
        answer = alice.post(url, node="alpha2", **form)
        assert answer.headers["Location"] == f"{url}?moved=1"
        moving = alice.get(f"{url}?moved=1")
        assert "Job 1 is moving to alpha2: looking whether it can be moved." in said(moving)
        assert 'data-refresh="3"' in moving.text
        world.jobs[1]["migration"].update(
            phase="refused", end_time=time.time(), message="process 4711 has a TCP socket"
        )
        world.jobs[1]["state"] = "COMPLETED"  # and so no more among those that run
        over = alice.get(f"{url}?moved=1")
        assert "Job 1 was not moved to alpha2" in said(over)
        assert "process 4711 has a TCP socket." in said(over)
        assert 'data-refresh="60"' in over.text

    @pytest.mark.parametrize(
        ("form", "sentence"),
        [
            ({"do": "kill"}, "Choose a process first."),
            ({"process": "1/x", "do": "kill"}, "Choose a process first."),
            ({"process": "1/4711", "do": "migrate"}, "not moved: choose the node to move it to."),
            (
                {"process": "1/4711", "do": "explode"},
                "not touched: what can be done to a job is",
            ),
            ({"process": "2/5", "do": "kill"}, "Job 2 was not killed: there is no job 2"),
            ({"process": "3/5", "do": "kill"}, "Job 3 was not killed: job 3 is already over."),
            (
                {"process": "4/5", "do": "kill"},  # bob's
                "Job 4 was not killed: there is no job 4 in cluster alpha.",
            ),
        ],
    )
    def test_what_cannot_be_is_one_sentence(
        self, alice: Page, world: World, form: dict[str, str], sentence: str
    ) -> None:
        world.jobs = {1: job(1), 3: ended(3, "COMPLETED", "exit status 0", 0)}
        world.jobs[4] = job(4, user="bob")
        url = "/cluster/alpha/processes"
        alice.post(url, form=alice.seal(url), **form)
        assert sentence in said(alice.get(url))
        assert world.jobs[4]["killed_by"] is None

    def test_a_token_that_died_asks_to_log_in_and_leads_back(
        self, alice: Page, world: World
    ) -> None:
        for token in [each for each in world.tokens if each.startswith("alpha")]:
            del world.tokens[token]
        answer = alice.get("/cluster/alpha/processes?moved=1")
        assert answer.status_code == 401
        assert "Your login to alpha is over: log in again." in said(answer)
        assert 'name="next" value="/cluster/alpha/processes?moved=1"' in answer.text
        assert alice.get("/cluster/beta/results").status_code == 200

    def test_a_manager_that_is_down_is_said(self, alice: Page, world: World) -> None:
        world.clusters["alpha"] = "DOWN"
        for what in ("processes", "results", "jobs/1"):
            answer = alice.get(f"/cluster/alpha/{what}")
            assert answer.status_code == 503
            assert "the manager of alpha cannot be reached" in said(answer)
        assert alice.get("/cluster/alpha").status_code == 200

    def test_there_is_no_such_cluster(self, alice: Page) -> None:
        assert alice.get("/cluster/gamma/processes").status_code == 404


class TestSubmit:
    URL = "/cluster/alpha/submit"

    def form(self, alice: Page, **changes: str) -> dict[str, str]:
        shown = alice.get(self.URL).text
        hidden = dict(re.findall(r'type="hidden" name="(form|key)" value="([^"]+)"', shown))
        return {
            **hidden,
            "spec.executable": "/shared/a.sh",
            "spec.class": "single",
            "spec.output": "/shared/o",
            **changes,
        }

    def test_the_form_proposes_the_output(self, alice: Page) -> None:
        shown = alice.get(self.URL).text
        assert 'value="/shared/results/alice/kcms-%j.%t.out"' in shown
        labels = re.findall(r'<label for="f-\w+">([^<]+?) ?<', shown)
        assert labels[:4] == ["Job Name", "No. of Arguments", "Arguments", "Job Classification"]

    def test_a_submission_leads_to_its_job_once(self, alice: Page, world: World) -> None:
        form = self.form(alice, **{"spec.arguments": "a b\r\nc", "spec.name": "sum"})
        first = alice.post(self.URL, **form)
        assert (first.status_code, first.headers["Location"]) == (303, "/cluster/alpha/jobs/1")
        assert world.jobs[1]["spec"]["arguments"] == ["a b", "c"]
        assert world.jobs[1]["user"] == "alice"
        assert "Job 1 was submitted to alpha." in said(alice.get("/cluster/alpha/jobs/1"))
        again = alice.post(self.URL, **form)
        assert again.headers["Location"] == "/cluster/alpha/jobs/1"
        assert "submitted before, as job 1" in said(alice.get("/cluster/alpha/jobs/1"))
        assert len(world.jobs) == 1
        other = alice.post(self.URL, **{**form, "spec.name": "other"})
        assert other.status_code == 409
        assert "submitted before, with other values, and nothing was done" in said(other)
        key = re.findall(r'name="key" value="([^"]+)"', other.text)[0]
        third = alice.post(self.URL, **{**form, "spec.name": "other", "key": key})
        assert third.headers["Location"] == "/cluster/alpha/jobs/2"

    def test_what_is_wrong_is_said_and_what_was_typed_is_kept(
        self, alice: Page, world: World
    ) -> None:
        form = self.form(
            alice, **{"spec.executable": "a.sh", "spec.name": EVIL, "spec.arguments": "\nx",
                      "spec.argument_count": "7"},
        )  # fmt: skip
        answer = alice.post(self.URL, **form)
        assert answer.status_code == 400
        assert "Executing File must be an absolute path" in said(answer)
        assert "No. of Arguments is 7, and 2 arguments are given" in said(answer)
        assert EVIL not in answer.text
        assert 'value="a.sh"' in answer.text
        assert html.escape(EVIL).replace("&#x27;", "&#39;") in answer.text
        assert re.findall(r"<textarea[^>]*>([^<]*)<", answer.text)[0] == "\n\nx"
        assert f'name="key" value="{form["key"]}"' in answer.text
        assert world.jobs == {}

    def test_a_refusal_of_the_gateway_stands_with_the_form(self, alice: Page, world: World) -> None:
        refusal = Refusal(400, "invalid_request", "executable /shared/a.sh is no file")
        world.refuse["POST /v1/jobs"] = refusal
        answer = alice.post(self.URL, **self.form(alice))
        assert answer.status_code == 400
        assert "Executing File /shared/a.sh is no file." in said(answer)
        world.refuse["POST /v1/jobs"] = Refusal(503, "unavailable", "the disk is full")
        answer = alice.post(self.URL, **self.form(alice))
        assert answer.status_code == 503
        assert "The disk is full." in said(answer)

    def test_strange_keys_are_replaced(self, alice: Page, world: World) -> None:
        assert alice.post(self.URL, **self.form(alice, key="x" * 500)).status_code == 303
        assert alice.post(self.URL, **self.form(alice, key="\n")).status_code == 303
        assert all(each["key"].isprintable() for each in world.jobs.values())
        assert max(len(each["key"]) for each in world.jobs.values()) <= 128


class TestResults:
    def test_newest_at_the_bottom_and_older_ones_before(self, alice: Page, world: World) -> None:
        world.jobs = {n: ended(n, "COMPLETED", "exit status 0", 0) for n in range(1, 121)}
        url = "/cluster/alpha/results"
        pages = [alice.get(url).text]
        while older := re.findall(r'href="([^"]+before=\d+)"', pages[-1]):
            pages.append(alice.get(html.unescape(older[0])).text)
        numbers = [[int(each) for each in re.findall(r'/jobs/(\d+)">', page)] for page in pages]
        assert numbers == [
            list(range(71, 121)), list(range(21, 71)), list(range(1, 21)),
        ]  # fmt: skip
        assert "12.35 s" in pages[0] or "12.34 s" in pages[0]

    @pytest.mark.parametrize("before", ["x", "-1", "9" * 30, ""])
    def test_before_must_be_a_number(self, alice: Page, before: str) -> None:
        assert alice.get(f"/cluster/alpha/results?before={before}").status_code == 400

    @pytest.mark.parametrize("number", ["x", "-1", "9" * 5000, "999"])
    def test_no_such_job(self, alice: Page, number: str) -> None:
        assert alice.get(f"/cluster/alpha/jobs/{number}").status_code == 404

    def test_a_job_of_somebody_else_is_none(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1, user="bob")
        assert alice.get("/cluster/alpha/jobs/1").status_code == 404
        form = {"form": alice.seal("/cluster/alpha/results"), "do": "kill"}
        alice.post("/cluster/alpha/jobs/1", **form)
        assert world.jobs[1]["killed_by"] is None

    def test_a_job_with_its_output_and_its_buttons(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        world.jobs[1]["spec"]["error"] = "/shared/home/alice/err"
        world.output = f"done\x1b[31m {EVIL}\n\u202e"
        shown = alice.get("/cluster/alpha/jobs/1")
        assert "done␛[31m" in shown.text
        assert EVIL not in shown.text
        assert "\u202e" not in shown.text
        assert said(shown).count("Error Log File /shared/home/alice/err") >= 1
        assert re.findall(r'<button[^>]* value="(\w+)"', shown.text) == [
            "migrate",
            "kill",
            "suspend",
        ]
        options = re.findall(r"<option>([^<]*)</option>", shown.text)
        assert options[-1] == "alpha2"
        assert "alpha1" not in options

    def test_only_the_tasks_that_are_shown_are_asked_for(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        world.jobs[1]["spec"] |= {"class": "batch", "total_tasks": 9000}
        for query in ("", "?task=8000"):
            assert alice.get(f"/cluster/alpha/jobs/1{query}").status_code == 200
        assert alice.get("/cluster/alpha/jobs/1?task=99999").status_code == 400
        assert alice.get("/cluster/alpha/processes?moved=1").status_code == 200
        asked = [("64", None), ("64", "8000"), ("64", None), ("0", None)]
        assert world.tasks_asked == asked

    def test_the_tasks_of_a_job_of_several(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        world.jobs[1]["spec"] |= {"class": "batch", "total_tasks": 3}
        world.jobs[1]["task_counts"] = {"RUNNING": 1, "PENDING": 2}
        shown = alice.get("/cluster/alpha/jobs/1?task=2")
        assert "Tasks 2 PENDING, 1 RUNNING" in said(shown)
        assert 'href="/cluster/alpha/jobs/1?task=0"' in shown.text
        assert "Output File of task 2" in said(shown)
        assert alice.get("/cluster/alpha/jobs/1?task=3").status_code == 400

    def test_a_job_that_is_over_has_no_buttons(self, alice: Page, world: World) -> None:
        world.jobs[1] = ended(1, "FAILED", "exit status 3", 3)
        shown = alice.get("/cluster/alpha/jobs/1")
        assert 'name="do"' not in shown.text
        assert "exit status 3" in said(shown)

    def test_an_output_that_cannot_be_read_is_a_sentence(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        world.refuse["GET /v1/jobs/1/output"] = Refusal(404, "not_found", "there is no such file")
        shown = alice.get("/cluster/alpha/jobs/1")
        assert shown.status_code == 200
        assert "there is no such file." in said(shown)

    def test_a_job_that_waits_is_held_and_released(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1, state="PENDING", tasks=[], start_time=None)
        url = "/cluster/alpha/jobs/1"
        form = alice.seal(url)
        assert re.findall(r'name="do" value="(\w+)"', alice.get(url).text) == ["hold", "kill"]
        alice.post(url, form=form, do="hold")
        shown = alice.get(url)
        assert "Job 1 is held." in said(shown)
        assert "Held by alice" in said(shown)
        assert re.findall(r'name="do" value="(\w+)"', shown.text) == ["release", "kill"]
        alice.post(url, form=form, do="release")
        assert "Job 1 is released." in said(alice.get(url))
        assert world.jobs[1]["held_by"] is None

    def test_a_job_that_runs_is_suspended_and_resumed(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        url = "/cluster/alpha/jobs/1"
        form = alice.seal(url)
        buttons = re.findall(r'name="do" value="(\w+)"', alice.get(url).text)
        assert buttons == ["migrate", "kill", "suspend"]
        alice.post(url, form=form, do="suspend")
        shown = alice.get(url)
        assert "Job 1 is being suspended." in said(shown)
        assert re.findall(r'name="do" value="(\w+)"', shown.text) == ["resume", "kill"]
        alice.post(url, form=form, do="resume")
        assert "Job 1 goes on." in said(alice.get(url))

    def test_a_job_is_saved_and_goes_back(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1, checkpoint=unsaved())
        url = "/cluster/alpha/jobs/1"
        form = alice.seal(url)
        shown = alice.get(url)
        assert re.findall(r'name="do" value="(\w+)"', shown.text)[-1] == "checkpoint"
        assert "Safety beginning: no checkpoint was asked for" in said(shown)
        assert alice.post(url, form="forged", do="checkpoint").status_code == 403
        assert world.jobs[1]["checkpoint"]["under_way"] == []
        alice.post(url, form=form, do="checkpoint")
        shown = alice.get(url)
        assert "Job 1 is being saved." in said(shown)
        assert 'data-refresh="3"' in shown.text
        assert 'value="checkpoint"' not in shown.text
        alice.post(url, form=form, do="checkpoint")
        assert "Job 1 was not saved: one is being made already." in said(alice.get(url))
        image = {"task": 0, "number": 1, "node": "alpha1", "time": time.time() - 61,
                 "size": 52_428_800, "freeze_seconds": 0.384, "seconds": 2.0}  # fmt: skip
        world.jobs[1]["checkpoint"].update(under_way=[], last=image, rung="transparent")
        shown = alice.get(url)
        assert "number 1, 1 minute ago on alpha1: 52 MB, it stood still for 0.38 s" in said(shown)
        buttons = re.findall(r'name="do" value="(\w+)"', shown.text)
        assert buttons[-2:] == ["checkpoint", "restart"]
        alice.post(url, form=form, do="restart")
        shown = alice.get(url)
        assert "Job 1 goes back to its last checkpoint." in said(shown)
        assert 'value="restart"' not in shown.text

    def test_kill_from_the_page_of_the_job(self, alice: Page, world: World) -> None:
        world.jobs[1] = job(1)
        form = {"form": alice.seal("/cluster/alpha/jobs/1"), "do": "kill"}
        answer = alice.post("/cluster/alpha/jobs/1", **form)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/cluster/alpha/jobs/1")
        assert "Job 1 is being killed." in said(alice.get("/cluster/alpha/jobs/1"))


class TestNodes:
    def test_what_the_managers_say_stands_in_the_tree(self, page: Page, world: World) -> None:
        world.drained = "alpha2"
        document = page.get("/api/v1/grid").json
        assert document is not None
        hosts = {each["name"]: each for c in document["clusters"] for each in c["hosts"]}
        assert hosts["alpha2"]["jobs"] == {
            "availability": "drained", "drained": True, "drain_reason": "new fan", "slots": 2,
            "used": 1,
        }  # fmt: skip
        assert "jobs" not in hosts["alpha4"]
        assert hosts["alpha4"]["address"] == "10.0.0.9"
        overview = page.get("/cluster/alpha")
        assert re.findall(r'class="node up drained[^>]*/host/(\w+)', overview.text) == ["alpha2"]
        assert "drained: new fan; 1 of 2 slots used" in said(overview)
        assert "Drained: new fan" in said(page.get("/cluster/alpha/host/alpha2"))

    def test_root_drains_and_resumes(self, page: Page, world: World) -> None:
        page.login("root", "grid root")
        url = "/cluster/alpha/host/alpha1"
        form = page.seal(url)
        page.post(url, form=form, do="drain", reason="  ")
        assert world.drained == ""
        assert "Nothing was done to alpha1: say why, for others to know." in said(page.get(url))
        answer = page.post(url, form=form, do="drain", reason="new fan")
        assert (answer.status_code, answer.headers["Location"]) == (303, url)
        shown = page.get(url)
        assert "alpha1 is drained now." in said(shown)
        assert "Drained: new fan" in said(shown)
        assert re.findall(r'name="do" value="(\w+)"', shown.text) == ["resume"]
        page.post(url, form=form, do="resume")
        assert re.findall(r'name="do" value="(\w+)"', page.get(url).text) == ["drain"]
        assert world.drained == ""

    def test_nobody_else_is_offered_or_let_do_that(self, alice: Page, world: World) -> None:
        url = "/cluster/alpha/host/alpha1"
        form = alice.seal(url)
        assert 'name="do"' not in alice.get(url).text
        alice.post(url, form=form, do="drain", reason="mine")
        assert "Nothing was done to alpha1: only root may drain" in said(alice.get(url))
        assert alice.post(url, form="forged", do="drain", reason="x").status_code == 403
        assert world.drained == ""

    def test_root_is_offered_no_submission(self, page: Page, world: World) -> None:
        page.login("root", "grid root")
        assert "Job Submit" not in page.get("/cluster/alpha").text
        answer = page.get("/cluster/alpha/submit")
        assert answer.status_code == 403
        assert "log in as the user whose job it is" in said(answer)

    def test_without_a_gateway_the_tree_is_as_before(
        self, page: Page, gateway: FakeGateway
    ) -> None:
        gateway.close()
        document = page.get("/api/v1/grid").json
        assert document is not None
        assert all("jobs" not in h for c in document["clusters"] for h in c["hosts"])


@pytest.mark.parametrize(
    "url", ["/login", "/cluster/alpha/processes", "/cluster/alpha/submit", "/cluster/alpha/results"]
)
def test_nothing_inline_nothing_stored_and_no_frames(alice: Page, url: str) -> None:
    answer = alice.get(url)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", answer.text)
    assert answer.headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "alpha-alice" not in answer.text
