"""The command line as a person meets it: words in, lines and exit status out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kcms import __version__
from kcms.cli import COMMANDS, complain, main

APP = Path(__file__).resolve().parents[3] / "app"
GATEWAY = """
host = "alpha1"
shared_directories = ["/shared"]
tls_ca = "/nonexistent/ca.pem"
tls_certificate = "/nonexistent/gateway.pem"
tls_key = "/nonexistent/gateway.key"
[[clusters]]
name = "alpha"
address = "127.0.0.1"
"""


def run(*words: str) -> int:
    try:
        return main(list(words))
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "a command is missing; there are submit, run"),
        (("migrat",), 2, "there is no command 'migrat'"),
        (("jobs", "-M", ""), 2, "-M/--cluster: must be a name, not ''"),
        (("jobs", "--user", " "), 2, "--user: must be a name, not ' '"),
        (("checkpoint",), 2, "required: JOB[.TASK]"),
        (("checkpoint", "12.x"), 2, "must be a job as 12, or a task as 12.3, not"),
        (("restart", "x"), 2, "JOB[.TASK]: must be a whole number, not"),
        (
            ("submit", "--checkpoint-interval", "5", "/x"),
            1,
            "checkpoint_interval must be auto, none",
        ),
        (
            ("submit", "--checkpoint-signal", "KILL", "/x"),
            1,
            "checkpoint_signal must be one of HUP",
        ),
        (("migrate", "12"), 2, "required: NODE"),
        (("migrate", "12", ""), 2, "NODE: must be a name, not ''"),
        (("drain", "alpha1"), 2, "required: --reason"),
        (("web-password", "--stdin", "--remove"), 2, "not allowed with argument"),
        (("submit", "--name", "n" * 5000, "/x"), 1, "name must be 1 to 128 printable"),
        (("submit", "--name", " ", "/x"), 1, "name must be 1 to 128 printable"),
        (("submit",), 2, "required: EXECUTABLE"),
        (("submit", "--priorty", "3", "/x"), 2, "--priorty"),
        (("submit", "--prio", "3", "/x"), 2, "--prio"),
        (("submit", "--priority", "x", "/x"), 2, "--priority: must be a whole number, not 'x'"),
        (("submit", "--priority", "9999", "/x"), 1, "priority must be a whole number from -1000"),
        (("submit", "--environment", "A", "/x"), 2, "must be NAME=VALUE, not 'A'"),
        (("submit", "--class", "double", "/x"), 1, "class must be one of single"),
        (("submit", "/x" * 3000), 1, "executable must be at most 4096 characters"),
        (("job", "twelve"), 2, "must be a whole number, not 'twelve'"),
        (("job", "1_2"), 2, "must be a whole number, not '1_2'"),
        (("job", "1" * 5000), 2, "must be a whole number, not '111"),
        (("kill",), 2, "required: TARGET"),
        (("kill", "x" * 5000), 2, "is no job as 12, no task as 12.3 and no process as"),
        (("signal", "USR1"), 2, "required: TARGET"),
        (("signal", "USR3", "12"), 2, "SIGNAL: 'USR3' is none; there are HUP, INT"),
        (("signal", "10", "12"), 2, "SIGNAL: '10' is none"),
        (("signal", "USR1", "12.0.7"), 2, "'12.0.7' is no job as 12"),
        (("signal", "--socket", "/nonexistent/s", "HUP", "1"), 1, "no gateway on this host"),
        (("ps", "-o", "pid,size"), 2, "no column 'size'; there are id, job"),
        (("ps", "-o", ""), 2, "no column ''; there are id"),
        (("ps", "-o", "pid", "--tree"), 2, "--tree is drawn before the name or the command"),
        (("ps", "-o", "pid", "--json"), 2, "--json prints all there is"),
        (("ps", "--tree", "--json"), 2, "--json prints all there is"),
        (("jobs", "--state", "running,ill"), 2, "no state 'ILL'; there are PENDING"),
        (("jobs", "--socket", "/nonexistent/s"), 1, "no gateway on this host"),
        (("kill", "--socket", "/nonexistent/s", "1"), 1, "no gateway on this host"),
        (("--via",), 2, "a command is missing"),
        (("--via", "head"), 2, "a command is missing"),
        (("--via", "a b", "jobs"), 2, "--via: must be [USER@]HEAD[:PORT], not 'a b'"),
        (("--via=head:0", "jobs"), 2, "--via: must have a port from 1 to 65535"),
        (("--via", "head", "daemon", "web"), 2, "daemon is about this host itself, so there is no"),
        (("jobs", "--known-hosts", "/x"), 1, "--known-hosts goes with --via"),
        (("fetch", "1", "--socket", "/nonexistent/s"), 1, "no gateway on this host"),
        (("fetch", "1", "--user", "al"), 1, "be al to use it"),
        (("--via", "h", "fetch", "1", "--to", "/nonexistent"), 1, "--to /nonexistent is no direct"),
        (("submit", "--stage", "/nonexistent/x"), 1, "executable /nonexistent/x cannot be read"),
        (("submit", "--stage", "--user", "al", "/x"), 1, "be al to use it"),
        (("submit", "--stage-to", "/x", "/x"), 1, "it goes with --stage"),
        (("--via", "h", "submit", "--stage", "--check", "/x"), 1, "--check looks at files that"),
        (("--via", "h", "submit", "--stage", "--user", "al", "/x"), 1, "use --via al@HEAD"),
        (("--via", "h", "submit", "--stage", "--priority", "9999", "x"), 1, "priority must be"),
        (
            ("--via", "h", "submit", "--stage", "/nonexistent/x"),
            1,
            "cannot be read on this",
        ),
        (("relay", "--socket", "/nonexistent/s"), 1, "no gateway on this host"),
        (("config",), 2, "required: check|document"),
        (("config", "check", "gateway", "/nonexistent/f"), 1, "cannot read /nonexistent/f"),
        (("daemon", "gatway", "--config", "/x"), 2, "'gatway'"),
        (("daemon", "gateway"), 2, "--config"),
        (("daemon", "gateway", "--config", "/nonexistent/f"), 78, "cannot read /nonexistent/f"),
    ],
)
def test_bad_input_is_one_line(
    words: tuple[str, ...], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("kcms: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_a_configuration_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(GATEWAY)
    assert run("config", "check", "gateway", str(path)) == 0
    assert capsys.readouterr().out == f"{path} is a configuration of kcms-gateway\n"
    path.write_text("sokcet = 1\n" + GATEWAY)
    assert run("config", "check", "gateway", str(path)) == 1
    assert "did you mean 'socket'?" in capsys.readouterr().err


def test_a_daemon_says_what_keeps_it_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(GATEWAY)
    done = command("daemon", "gateway", "--config", str(path))
    assert done.returncode == 78
    assert done.stderr.startswith("kcms: cannot use the certificate files /nonexistent/ca.pem")
    assert done.stderr.count("\n") == 1


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kcms", *words],
        env={"PYTHONPATH": str(APP), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("version") == run("--version") == run("--help") == 0
    said = capsys.readouterr().out
    usage = "usage: kcms [--via [USER@]HEAD[:PORT]] COMMAND"
    assert said.startswith(f"kcms {__version__}\nkcms {__version__}\n{usage}")
    assert "\n  submit        submit a job\n" in said


def test_a_reader_that_went_away_is_no_error() -> None:
    reader = subprocess.Popen(["/bin/true"], stdin=subprocess.PIPE)
    reader.wait()
    assert reader.stdin is not None
    done = subprocess.run(
        [sys.executable, "-m", "kcms", "config", "document"],
        env={"PYTHONPATH": str(APP), "PATH": "/usr/bin:/bin"},
        stdout=reader.stdin,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    reader.stdin.close()
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("closed", "words", "said"),
    [
        (">&-", "version", ""),
        (">&- 2>&-", "version", ""),
        ("2>&-", "nothing", ""),
        (">&-", "submit --help", ""),
        (">/dev/full", "version", "kcms: cannot write the output: No space left on device\n"),
    ],
)
def test_output_that_nobody_takes_is_no_traceback(closed: str, words: str, said: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {sys.executable} -m kcms {words} {closed}"],
        env={"PYTHONPATH": str(APP), "PATH": "/usr/bin:/bin"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.stderr == said
    assert done.returncode == (2 if words == "nothing" else int(bool(said)))


def test_what_the_system_refuses_is_not_taken_for_trouble_with_the_output() -> None:
    code = (
        "import kcms.cli, errno\n"
        "def refused(words):\n"
        "    raise PermissionError(errno.EPERM, 'Operation not permitted', '/proc/x')\n"
        "kcms.cli._dispatch = refused\n"
        "raise SystemExit(kcms.cli.main(['jobs']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(APP)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "kcms: [Errno 1] Operation not permitted: '/proc/x'\n"


def test_a_submission_imports_nothing_heavy() -> None:
    """What makes ``kcms submit`` quick: each of these costs 5 to 150 ms."""
    code = (
        "import sys; from kcms.cli import main;"
        "main(['submit', '--socket', '/nonexistent/s', '/shared/x']);"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-IS", "-c", f"import sys; sys.path.insert(0, {str(APP)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {
        "aiohttp",
        "asyncio",
        "dataclasses",
        "email",
        "http",
        "inspect",
        "logging",
        "pathlib",
        "shutil",
        "site",
        "ssl",
        "subprocess",
        "tomllib",
        "typing",
        "urllib",
    }
    assert "no gateway" in done.stderr
    assert heavy & set(done.stdout.split()) == set()


LAUNCHER = APP.parent / "roles/common/templates/kcms.py.j2"


def launched(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command started as on a host, by the role's own launcher."""
    program = tmp_path / "kcms"
    program.write_text(LAUNCHER.read_text().replace("/opt/kcms/current", str(APP)))
    program.chmod(0o755)
    return subprocess.run([program, *words], env={}, capture_output=True, text=True, check=False)


def test_every_command_starts_without_site_packages(tmp_path: Path) -> None:
    for name in COMMANDS:
        sub = {"config": ["document"], "store": ["backup"]}.get(name, [])
        done = launched(tmp_path, name, *sub, "--help")
        assert (done.returncode, done.stderr) == (0, ""), name
        assert done.stdout.startswith("usage: kcms ")


def test_a_daemon_has_site_packages(tmp_path: Path) -> None:
    """It comes as far as its certificate, which is after aiohttp."""
    path = tmp_path / "gateway.toml"
    path.write_text(GATEWAY)
    done = launched(tmp_path, "daemon", "gateway", "--config", str(path))
    assert done.returncode == 78
    assert done.stderr.splitlines()[-1].startswith("kcms: cannot use the certificate files")


def test_help_is_as_wide_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    widths = []
    for told in ("60", "120", "no number"):
        monkeypatch.setenv("COLUMNS", told)
        assert run("submit", "--help") == 0
        widths.append(max(map(len, capsys.readouterr().out.splitlines())))
    assert widths[0] <= 58 < widths[2] <= 78 < widths[1] <= 118


def test_help_tells_of_no_default_that_there_is_none_of(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("submit", "run"):
        assert run(name, "--help") == 0
        told = " ".join(capsys.readouterr().out.split())
        assert "None" not in told
        assert "slots that each of its tasks takes; 1 by default" in told


def test_what_somebody_else_has_named_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    complain("no file /s/a\x1b]0;b\x07\n\x9b2J \u202e here: größe")
    assert capsys.readouterr().err == "kcms: no file /s/a?]0;b? ?2J ? here: größe\n"
