"""What keeps a job from coming to a host, each in its sentence."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from kcms.errors import Forbidden
from kcms.jobs.migration import WantedMove
from kcms.node import admit, manifest, mounts, processor
from kcms.node.account import Account
from kcms.node.manifest import Digests, FileError
from kcms.node.owner import OwnerError

GOOD = {"trouble": ""}


class Target:
    """A host that takes the job, until something is changed; ``system`` stands for /usr."""

    def __init__(self, where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.system, self.images = where / "usr", where / "images"
        self.system.mkdir()
        self.images.mkdir()
        self.file = self.system / "libc.so.6"
        self.file.write_bytes(b"library")
        self.account: Account | Forbidden = Account("/s/alice", "/bin/sh", [2001, 3000])
        self.rows: dict[str, dict[str, Any]] = {}
        self.data: dict[str, Any] = {
            "root": 2, "processes": 1, "memory_kib": 1000, "groups": [2001], "terminals": [],
            "place": "/s/alice", "processor": ["x86_64", "avx2"], "cwd": ["/s/alice/work"],
            "directories": [str(self.system)],
            "files": [self.row()],
        }  # fmt: skip
        monkeypatch.setattr(mounts, "SYSTEM", (str(self.system),))
        monkeypatch.setattr(admit.account, "resolve", self._resolve)
        monkeypatch.setattr(admit, "ask", self._ask)
        monkeypatch.setattr(
            admit.processor, "instructions", lambda: ["x86_64", "avx", "avx2", "sse4_2"]
        )

    def row(self, **changes: Any) -> dict[str, Any]:
        digest = hashlib.sha256(b"library").hexdigest()
        return {"path": str(self.file), "size": 7, "sha256": digest, **changes}

    def _resolve(self, wanted: Any, host: str) -> Account:
        assert (wanted.user, wanted.uid, wanted.gid, host) == ("alice", 2001, 2001, "beta2")
        if isinstance(self.account, Forbidden):
            raise self.account
        return self.account

    def _ask(self, ids: Any, request: dict[str, Any]) -> dict[str, Any]:
        assert (ids.uid, ids.gid, ids.groups) == (2001, 2001, (2001, 3000))
        return {name: [self._seen(each) for each in request[name]]
                for name in ("places", "directories")}  # fmt: skip

    def _seen(self, path: str) -> dict[str, Any]:
        row = {"path": path, "real": path, "shared": True, "problem": "", "free": 1 << 30}
        return {**row, **self.rows.get(path, {})}

    def judge(self, capability: dict[str, str] = GOOD, uid: int = 2001, **data: Any) -> str:
        move = WantedMove(
            1, 0, 2, "5e1f0a2b", 1, "admit", "alpha1", "beta2", "alice", uid, 2001, {},
            {**self.data, **data},
        )  # fmt: skip
        return admit.judge(move, "beta2", ["/s"], str(self.images), capability)


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    return Target(tmp_path, monkeypatch)


def test_a_job_that_can_come(target: Target) -> None:
    assert target.judge() == ""
    assert target.judge(groups=[2001, 3000]) == ""


def test_criu_of_the_target(target: Target) -> None:
    assert target.judge({"trouble": "criu is not installed"}) == "criu is not installed"
    assert "not known" in target.judge({})


def test_no_shared_directory(target: Target) -> None:
    move = WantedMove(1, 0, 2, "", 1, "admit", "a", "b", "alice", 2001, 2001, {})
    assert "setting shared_directories" in admit.judge(move, "beta2", [], "/", GOOD)


def test_the_user(target: Target) -> None:
    target.account = Forbidden("user alice is unknown on beta2")
    assert target.judge() == "user alice is unknown on beta2"


def test_a_processor_that_lacks_something(target: Target) -> None:
    assert target.judge(processor=["x86_64", "avx2", "avx512f"]) == (
        "the processor of beta2 has no avx512f, which the one of alpha1 has, and the job may use it"
    )
    assert "has no aarch64" in target.judge(processor=["aarch64"])


def test_groups_that_the_user_does_not_have_here(target: Target) -> None:
    assert target.judge(groups=[2001, 27]) == (
        "the job has group 27, which user alice is not in on beta2"
    )


@pytest.mark.parametrize("path", ["/s/alice", "/s/alice/work"])
def test_directories_as_the_owner_sees_them(target: Target, path: str) -> None:
    target.rows[path] = {"problem": "does not exist"}
    assert target.judge() == f"{path} does not exist on beta2"
    target.rows[path] = {"shared": False}
    assert target.judge() == f"{path} does not lie on a shared directory on beta2"


def test_room_on_both(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    target.rows["/s/alice"] = {"free": 65535}
    assert "and /s/alice has 63 MiB free" in target.judge()
    del target.rows["/s/alice"]
    target.rows = {}
    needed = 1100 + 65536
    monkeypatch.setattr(admit.room, "free_kib", lambda _: needed - 1)
    says = f"takes 65 MiB, and beta2 has 65 MiB free below {target.images}"
    assert says in target.judge()
    monkeypatch.setattr(admit.room, "free_kib", lambda _: needed)
    assert target.judge() == ""


def test_memory_on_the_target(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admit.room, "available_kib", lambda: 999)
    assert target.judge() == "the job has 0 MiB of memory, and beta2 has 0 MiB available"
    monkeypatch.setattr(admit.room, "available_kib", lambda: 1000)
    assert target.judge() == ""


def test_a_directory_that_root_may_not_enter(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admit.opened, "closed_to_root", lambda pids, places: places[0])
    assert target.judge() == (
        "root of beta2 may not open /s/alice/work, as its file server takes root for nobody, and "
        "criu works as root"
    )


def test_an_owner_who_cannot_be_asked(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise OwnerError("looking at the owner's files took over 20 s")

    monkeypatch.setattr(admit, "ask", fail)
    assert target.judge() == "looking at the owner's files took over 20 s"


def test_a_file_that_differs(target: Target) -> None:
    target.file.write_bytes(b"LIBRARY")
    assert target.judge() == (
        f"{target.file} differs between alpha1 and beta2: install the same packages on both"
    )
    assert "differs" in target.judge(files=[target.row(size=8)])


def test_a_file_that_cannot_be_compared(target: Target) -> None:
    (target.system / "link").symlink_to(target.file)
    (target.system / "secret").touch(0o600)
    for name, sentence in (
        ("none", "does not exist on beta2"),
        ("link", "cannot be read: Too many levels of symbolic links on beta2"),
        ("secret", "is not readable by everybody on beta2"),
        ("../images/x", "is no file of the system on beta2"),
        (".", "is no regular file on beta2"),
    ):
        path = f"{target.system}/{name}"
        assert (
            target.judge(files=[target.row(path=path)]) == f"the job uses {path}, which {sentence}"
        )
    assert "is no file of the system" in target.judge(files=[target.row(path="/etc/shadow")])


def test_a_directory_that_is_missing(target: Target) -> None:
    gone = f"{target.system}/gone"
    assert (
        target.judge(directories=[gone])
        == f"the job uses the directory {gone}, which is not on beta2"
    )
    assert "which is not on beta2" in target.judge(directories=["/root"])


def test_a_terminal_that_is_taken(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admit.os.path, "lexists", lambda path: path == "/dev/pts/3")
    assert target.judge(terminals=[2]) == ""
    assert "pseudo-terminal 3, and beta2 has another" in target.judge(terminals=[2, 3])


@pytest.mark.parametrize(
    "data",
    [
        {"files": [{"path": 7}]}, {"files": "x"}, {"files": [[]]}, {"groups": ["x"]},
        {"groups": [-1]}, {"groups": [True]}, {"place": None}, {"memory_kib": "x"},
        {"cwd": ["work"]}, {"directories": [7]}, {"terminals": ["../null"]},
        {"processor": []}, {"processor": [1]},
    ],
)  # fmt: skip
def test_data_that_is_none(target: Target, data: dict[str, Any]) -> None:
    assert target.judge(**data).startswith("not a ")


def test_what_is_read_is_bounded_as_a_whole(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "MOST_BYTES", 10)
    assert target.judge() == ""
    assert "which is larger than" in target.judge(files=[target.row(), target.row()])


def test_a_digest_is_made_once_a_content(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    digests, path = Digests(), str(target.file)
    first = digests.of(path)
    monkeypatch.setattr(manifest, "_digest", lambda *_: "made again")
    assert digests.of(path) == first
    target.file.write_bytes(b"another")
    assert digests.of(path) == (7, "made again")


def test_the_manifest_is_bounded(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileError, match="uses 501 files of this node alone; 500 is the most"):
        manifest.make([f"/usr/{n}" for n in range(501)], Digests())
    monkeypatch.setattr(manifest, "MOST_BYTES", 10)
    with pytest.raises(FileError, match="which is larger than"):
        manifest.make([str(target.file)] * 2, Digests())


def test_instruction_sets_are_those_of_every_processor() -> None:
    text = (
        b"processor\t: 0\nflags\t\t: fpu md_clear sse2 avx avx512f bmi1 hypervisor\nbogomips: 1\n"
        b"processor\t: 1\nflags\t\t: fpu md_clear sse2 avx bmi1 hypervisor\n"
    )
    assert processor.parse(text) == ["avx", "bmi1", "sse2"]
    assert processor.parse(b"Features\t: fp asimd sve\n") == ["asimd", "fp", "sve"]
    assert processor.parse(b"") == []
