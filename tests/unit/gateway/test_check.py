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

APP = str(Path(check.__file__).resolve().parents[2])
NOBODY = ["--reuid=65534", "--clear-groups"] if os.getuid() == 0 else []


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
    check.check_shared("executable", f"{link}/run.sh", [str(link)])


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
        f"output {shared}/%j/o may have %j, %t, %u in the file's name only"
    )


def test_a_link_to_nowhere_is_no_output(shared: Path) -> None:
    (shared / "dangling").symlink_to(f"{shared}/no/where")
    assert problem(shared, output=f"{shared}/dangling") == (
        f"output {shared}/dangling does not exist"
    )


@pytest.mark.parametrize("field", ["base_directory", "input", "output", "error"])
def test_what_is_not_shared_would_be_lost_or_another_file(shared: Path, field: str) -> None:
    """Also where it does not exist: the gateway has a /tmp of its own."""
    outside = {"base_directory": "/", "input": "/etc/passwd"}.get(field, "/tmp/o.%j")
    said = problem(shared, **{field: outside}) or ""
    assert said.startswith(f"{field} {outside} is not on a shared directory, and ")
    assert said.endswith(f": name one below {shared}")
    link = shared / "away"
    link.symlink_to("/etc")
    behind = f"{link}/x" if field != "base_directory" else str(link)
    assert f"{field} {behind} (it is /etc" in (problem(shared, **{field: behind}) or "")


def test_devices_that_are_the_same_on_every_node_need_not_be_shared(shared: Path) -> None:
    assert problem(shared, input="/dev/zero", output="/dev/null", error="/dev/full") is None
    assert "not on a shared directory" in (problem(shared, output="/dev/tty") or "")


def test_the_end_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes(b"one\ntwo\n")
    assert check.tail("output", str(file), 100) == {
        "size": 8,
        "offset": 0,
        "end": 8,
        "text": "one\ntwo\n",
    }
    assert check.tail("output", str(file), 4) == {"size": 8, "offset": 4, "end": 8, "text": "two\n"}
    file.write_bytes(b"")
    assert check.tail("output", str(file), 4) == {"size": 0, "offset": 0, "end": 0, "text": ""}


def test_the_end_begins_with_a_whole_character_and_hides_no_bytes(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes("ab\U0001f600c".encode())
    for count in (2, 3, 4):
        assert check.tail("output", str(file), count) == {
            "size": 7,
            "offset": 6,
            "end": 7,
            "text": "c",
        }
    assert check.tail("output", str(file), 5)["text"] == "\U0001f600c"
    file.write_bytes(b"x\x80\x80\x80\x80\xff")
    assert check.tail("output", str(file), 5) == {
        "size": 6,
        "offset": 1,
        "end": 6,
        "text": "\ufffd" * 5,
    }


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "link"):
        with pytest.raises(CheckError, match="is no regular file") as caught:
            check.tail("output", str(path), 4)
        assert caught.value.code == "conflict"
    (tmp_path / "plain").write_text("x")
    for path in (tmp_path / "none", tmp_path / "plain" / "x"):
        with pytest.raises(CheckError, match="does not exist") as caught:
            check.tail("error", str(path), 4)
        assert caught.value.code == "not_found"


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
    code = (
        f"import json, sys; sys.path.insert(0, {APP!r}); from kcms.gateway import check;"
        "json.dump(check.answer(json.load(sys.stdin)), sys.stdout)"
    )
    done = subprocess.run(
        ["/usr/bin/setpriv", *NOBODY, "/usr/bin/python3", "-IS", "-c", code],
        input=json.dumps({"shared": [str(shared)], "files": [good]}),
        capture_output=True,
        text=True,
        check=True,
    )
    (found,) = json.loads(done.stdout)["problems"]
    return str(found)


def test_an_answer_has_the_problem_of_each_and_a_code_when_it_is_one(shared: Path) -> None:
    good = {"executable": f"{shared}/run.sh", "base_directory": str(shared), "input": None}
    good |= {"output": "/dev/null", "error": "/dev/null"}
    bad = {**good, "executable": f"{shared}/none"}
    asked = {"shared": [str(shared)], "files": [bad, good, bad]}
    said = f"executable {shared}/none does not exist"
    assert check.answer(asked) == {"problems": [said, None, said]}
    wanted = {"name": "output", "path": f"{shared}/none", "bytes": 5, "from": None}
    assert check.answer({"tail": wanted}) == {
        "problem": f"output {shared}/none does not exist",
        "code": "not_found",
    }


def test_what_many_have_in_common_is_looked_at_once(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[object] = []
    monkeypatch.setattr(check, "check", lambda files, _: looked_at.append(files["executable"]))
    check.problems([{"executable": each} for each in "aabab"], ["/"])
    assert looked_at == ["a", "b"]


def test_check_and_node_mean_the_same_by_a_jobs_id() -> None:
    assert check.MARKS == paths.MARKS
    assert paths.expand("/a/" + "".join(check.MARKS) + "%x%%", 7, 3, "al%j") == "/a/73al%j%x%%"


def test_what_follows_an_offset(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes("one\n\u00e9".encode()[:-1])  # a character of which the half is there
    first = check.tail("output", str(file), 100)
    assert first == {"size": 5, "offset": 0, "end": 4, "text": "one\n"}
    file.write_bytes("one\n\u00e9 two\n".encode())
    more = {"size": 11, "offset": 4, "end": 11, "text": "\u00e9 two\n"}
    assert check.tail("output", str(file), 100, 4) == more
    assert check.tail("output", str(file), 3, 6)["text"] == " tw"
    nothing = {"size": 11, "offset": 11, "end": 11, "text": ""}
    assert check.tail("output", str(file), 100, 11) == nothing
    file.write_bytes(b"new\n")
    assert check.tail("output", str(file), 100, 11)["text"] == "new\n"


def test_what_is_staged_need_not_be_shared_and_what_a_node_has_alone_is_not_looked_at(
    shared: Path, tmp_path: Path
) -> None:
    stage = tmp_path / "stage"
    stage.mkdir()
    for name in ("run.sh", "data.txt"):
        (stage / name).write_bytes((shared / name).read_bytes())
    (stage / "run.sh").chmod(0o755)
    files: dict[str, str | None] = {
        "executable": f"{stage}/run.sh",
        "input": f"{stage}/data.txt",
        "base_directory": "/nonexistent",
        "output": "/nonexistent/out",
        "error": f"{shared}/err",
        "on_end": None,
    }
    staged = {**files, "staged": "executable input"}
    assert check.problem(staged, [str(shared)]) is None
    for changed, said in (
        ({"staged": "executable"}, f"input {stage}/data.txt is not on a shared directory"),
        ({"on_end": f"{stage}/run.sh"}, f"on_end {stage}/run.sh is not on a shared directory"),
        ({"error": f"{shared}/none/err"}, "directory of error"),
        ({"executable": f"{stage}/data.txt"}, f"executable {stage}/data.txt may not be executed"),
        ({"staged": None}, f"executable {stage}/run.sh is not on a shared directory"),
    ):
        assert str(check.problem({**staged, **changed}, [str(shared)])).startswith(said)
    nothing = check.problem({"executable": "/bin/sh"}, [])
    assert "as there is none: submit the job with --stage" in str(nothing)
