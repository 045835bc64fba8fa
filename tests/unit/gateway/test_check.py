"""Whether a user can use the files of a submission: real files, and the kernel's word."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from kcms.gateway import check
from kcms.gateway.check import CheckError
from kcms.jobs import paths


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    directory = tmp_path / "shared"
    directory.mkdir()
    program = directory / "run.sh"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (directory / "data.txt").write_text("data")
    return directory


def problem(shared: Path, **files: str | None) -> str | None:
    good: dict[str, str | None] = {
        "executable": f"{shared}/run.sh",
        "base_directory": str(shared),
        "input": None,
        "output": f"{shared}/kcms-%j.out",
        "error": f"{shared}/kcms-%j.out",
    }
    try:
        check.check({**good, **files}, [str(shared)])
    except CheckError as error:
        return str(error)
    return None


def test_a_good_submission_has_no_problem(shared: Path) -> None:
    assert problem(shared, input=f"{shared}/data.txt", error="/dev/null") is None


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("missing", "executable {} does not exist"),
        ("data.txt", "executable {} may not be executed by this user"),
        ("sub", "executable {} is no regular file"),
    ],
)
def test_an_executable_that_is_none(shared: Path, path: str, said: str) -> None:
    (shared / "sub").mkdir()
    full = f"{shared}/{path}"
    assert (problem(shared, executable=full) or "").startswith(said.format(full))


def test_an_executable_elsewhere_is_refused_even_behind_a_link(shared: Path) -> None:
    assert "/bin/true" in (problem(shared, executable="/bin/true") or "")
    link = shared / "link"
    link.symlink_to("/bin/true")
    said = problem(shared, executable=str(link)) or ""
    real = os.path.realpath("/bin/true")
    assert said.startswith(f"executable {link} (it is {real}) is not on a shared directory")


def test_a_neighbour_with_a_longer_name_is_not_shared(shared: Path) -> None:
    neighbour = shared.with_name("shared2")
    neighbour.mkdir()
    program = neighbour / "run.sh"
    program.write_text("")
    program.chmod(0o755)
    assert "not on a shared directory" in (problem(shared, executable=str(program)) or "")


def test_a_shared_directory_that_is_a_link_counts(shared: Path) -> None:
    link = shared.with_name("link")
    link.symlink_to(shared)
    check.check_executable(f"{link}/run.sh", [str(link)])


def test_directories_and_files_that_cannot_be_used(shared: Path) -> None:
    plain = f"{shared}/data.txt"
    assert problem(shared, base_directory=f"{shared}/no") == (
        f"base_directory {shared}/no does not exist"
    )
    assert problem(shared, base_directory=plain) == f"base_directory {plain} is no directory"
    assert problem(shared, input=str(shared)) == f"input {shared} is a directory"
    assert problem(shared, input=f"{plain}/x") == f"input {plain}/x cannot be used: Not a directory"
    assert problem(shared, output=f"{shared}/no/o") == (
        f"directory of output {shared}/no does not exist"
    )
    assert problem(shared, error=f"{shared}/") == f"error {shared}/ is a directory, not a file"
    assert problem(shared, error=str(shared)) == f"error {shared} is neither a file nor a device"
    assert problem(shared, output=f"{shared}/%j/o") == (
        f"output {shared}/%j/o may have %j in the file's name only"
    )


def test_a_link_to_nowhere_is_no_output(shared: Path) -> None:
    (shared / "dangling").symlink_to(f"{shared}/no/where")
    assert problem(shared, output=f"{shared}/dangling") == (
        f"output {shared}/dangling does not exist"
    )


def test_permissions() -> None:
    """Asked as an ordinary user, also when root runs the tests: permissions do not bind root."""
    with tempfile.TemporaryDirectory() as directory:
        shared = Path(directory)
        shared.chmod(0o755)
        (shared / "run.sh").write_text("#!/bin/sh\n")
        (shared / "run.sh").chmod(0o755)
        (shared / "data.txt").write_text("data")
        (shared / "data.txt").chmod(0)
        data = f"{shared}/data.txt"
        assert "may not be read" in problem_of_a_user(shared, input=data)
        assert "may not be written" in problem_of_a_user(shared, output=data)


def problem_of_a_user(shared: Path, **files: str) -> str:
    good = {"executable": f"{shared}/run.sh", "base_directory": str(shared), "input": None}
    good |= {"output": "/dev/null", "error": "/dev/null", **files}
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-E", "-c", Path(check.__file__).read_text()],
        input=json.dumps({"shared": [str(shared)], "files": good}),
        capture_output=True,
        text=True,
        check=True,
        user=65534 if os.getuid() == 0 else None,
    )
    return str(json.loads(done.stdout)["problem"])


def test_as_a_program_it_answers_in_json(shared: Path) -> None:
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-E", check.__file__],
        input='{"shared": ["/"], "files": {"executable": "/nonexistent/x"}}',
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == '{"problem": "executable /nonexistent/x does not exist"}'


def test_no_capability_is_left(shared: Path) -> None:
    code = (
        f"import runpy; check = runpy.run_path({check.__file__!r});"
        "check['drop_capabilities'](); print(check['capabilities']())"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-E", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "0\n"


def test_check_and_node_mean_the_same_by_a_jobs_id() -> None:
    assert check.JOB_ID == paths.JOB_ID
    assert paths.expand(f"/a/{check.JOB_ID}%t%u%%", 7) == "/a/7%t%u%%"
