"""The rollout on real hosts: second run, ordinary user with sudo, proof by use."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.grid import Grid


def test_first_run_reaches_every_host(grid: Grid) -> None:
    assert grid.first is not None
    assert {"head", "alpha1", "alpha2", "beta1"} <= set(grid.first.recap)
    assert all(host["failed"] == 0 for host in grid.first.recap.values())


def test_second_run_changes_nothing(grid: Grid) -> None:
    again = grid.playbook("site.yml")
    assert again.changed == 0, again.output
    assert all(host["ok"] > 3 for host in again.recap.values())


def test_check_mode_agrees_with_the_second_run(grid: Grid) -> None:
    assert grid.playbook("site.yml", "--check").changed == 0


def test_rollout_as_admin_with_sudo_and_a_password(grid: Grid) -> None:
    admin = Path(grid.inventory).parent.parent / "admin_vars.yml"
    assert admin.stat().st_mode & 0o077 == 0
    grid.shell("alpha2", "rm /etc/kcms/node.toml")
    play = grid.playbook("site.yml", "-e", f"@{admin}")
    assert play.recap["alpha2"]["changed"] > 0
    assert play.recap["alpha1"]["changed"] == 0, play.output
    assert grid.shell("alpha2", "stat -c %U /etc/kcms/node.toml").stdout.strip() == "root"


def test_verify_proves_the_grid_by_use(grid: Grid) -> None:
    report = grid.playbook("verify.yml").output
    for word in ("heard", "RRD", "job", "killed"):
        assert word.lower() in report.lower(), report


def test_only_what_changed_is_restarted(grid: Grid) -> None:
    ask = "systemctl show -p MainPID --value kcms-monitor kcms-node | tr '\\n' ' '"
    before = grid.shell("alpha2", ask).stdout.split()
    grid.shell("alpha2", "echo '# touched' >> /etc/kcms/monitor.toml")
    play = grid.playbook("site.yml")
    after = grid.shell("alpha2", ask).stdout.split()
    assert play.recap["alpha2"]["changed"] > 0
    assert before[0] != after[0]
    assert before[1] == after[1]
    assert play.recap["alpha1"]["changed"] == 0


def test_keys_are_private(grid: Grid) -> None:
    listing = grid.shell("alpha1", "find /etc/kcms/tls -name '*.key' -printf '%m %p\\n'").stdout
    assert listing
    assert all(line.startswith("600 ") for line in listing.splitlines()), listing
