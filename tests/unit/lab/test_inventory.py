"""The texts a lab writes: inventory, hosts files, proxy and boot script."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lab import hosts, inventory, proxy, spec
from lab.errors import LabError
from lab.model import Lab

STATE = Path("/var/lib/kcms-lab/demo")


def make_lab(text: str = spec.DEFAULT_HOSTS) -> Lab:
    lab = Lab("demo", "demo", "10.70.3.0/24")
    for host in spec.parse_hosts(text):
        lab.add(host, "/roots/trixie-prepared-1")
    return lab


def test_inventory_of_the_default_hosts() -> None:
    document = yaml.safe_load(inventory.inventory_text(make_lab(), STATE))["all"]
    assert "ansible_user" not in document["vars"], "it would override `ansible -u alice`"
    assert document["vars"]["kcms_grid"] == "demo"
    assert document["vars"]["kcms_shared_directory"] == "/shared"
    assert document["vars"]["kcms_pki_directory"] == "/var/lib/kcms-lab/demo/pki"
    head = {"ansible_host": "10.70.3.11", "kcms_address": "10.70.3.11"}
    assert document["children"]["kcms_head"]["hosts"] == {"head": head}
    clusters = document["children"]["kcms_nodes"]["children"]
    assert list(clusters) == ["alpha", "beta"]
    assert list(clusters["alpha"]["hosts"]) == ["alpha1", "alpha2", "alpha3"]
    assert clusters["beta"]["hosts"]["beta2"]["kcms_address"] == "10.70.3.16"
    assert clusters["beta"]["vars"] == {
        "kcms_cluster": "beta",
        "kcms_channel": "239.2.11.72",
        "kcms_manager_port": 8661,
    }


def test_inventory_trusts_the_labs_own_host_keys_only() -> None:
    variables = yaml.safe_load(inventory.inventory_text(make_lab(), STATE))["all"]["vars"]
    options = variables["ansible_ssh_common_args"]
    assert "UserKnownHostsFile=/var/lib/kcms-lab/demo/ssh/known_hosts" in options
    assert "StrictHostKeyChecking=yes" in options
    assert variables["ansible_host_key_checking"] is True


def test_inventory_without_a_head_still_has_the_group() -> None:
    document = yaml.safe_load(inventory.inventory_text(make_lab("alpha=1"), STATE))["all"]
    assert document["children"]["kcms_head"]["hosts"] == {}


def test_a_password_comes_through_yaml_unharmed() -> None:
    for password in ("-x: y#", "null", "0123", "a'\"\\b"):
        document = yaml.safe_load(inventory.admin_vars_text(password))
        assert document["ansible_become_password"] == password
        assert document["ansible_user"] == "admin"
        assert document["ansible_become"] is True


def test_no_two_hosts_share_address_clock_link_or_machine_id() -> None:
    lab = make_lab("head a=100 b=99")
    for values in (
        [host.address for host in lab.hosts],
        [str(host.boot_clock) for host in lab.hosts],
        [host.link for host in lab.hosts],
        [host.machine_id for host in lab.hosts],
    ):
        assert len(set(values)) == 200
    assert lab.hosts[0].boot_clock == 100_000
    with pytest.raises(LabError, match="full"):
        lab.add(spec.HostSpec("more", None), "/r")


def test_an_added_host_takes_the_next_number_and_others_keep_theirs() -> None:
    lab = make_lab("head alpha=1")
    added = lab.add(spec.HostSpec("alpha2", "alpha"), "/roots/trixie-bare-1", proxied=False)
    assert added.address == "10.70.3.13"
    assert Lab.from_json(lab.to_json()) == lab


def test_hosts_file_keeps_foreign_lines_and_renews_its_own() -> None:
    lab = make_lab("head")
    first = hosts.hosts_file("127.0.0.1 localhost\n192.0.2.1 printer\n", lab)
    lab.add(spec.HostSpec("alpha1", "alpha"), "/r")
    second = hosts.hosts_file(first + "192.0.2.2 scanner\n", lab)
    assert second.count("10.70.3.11\thead") == 1
    assert "10.70.3.12\talpha1" in second
    for line in ("127.0.0.1 localhost", "192.0.2.1 printer", "192.0.2.2 scanner"):
        assert line in second.splitlines()
    assert hosts.hosts_file(second, lab) == second


def test_an_empty_hosts_file_gets_localhost() -> None:
    assert hosts.hosts_file("", make_lab("head")).startswith("127.0.0.1\tlocalhost\n")


def test_the_proxy_serves_this_lab_and_refuses_hosts_kept_from_it() -> None:
    lab = make_lab("head")
    lab.add(spec.HostSpec("alpha1", "alpha"), "/r", proxied=False)
    lines = proxy.config_text(lab).splitlines()
    assert "Listen 10.70.3.1" in lines
    assert lines.index("Deny 10.70.3.12") < lines.index("Allow 10.70.3.0/24")
    assert not any(line.startswith("Deny 10.70.3.11") for line in lines)


def test_boot_script_gives_the_host_its_own_clock_and_keeps_the_clock_capability() -> None:
    host = make_lab().find("alpha1")
    text = hosts.boot_script(host, "kl-demo", Path("/s/root"), Path("/s/shared"))
    assert "print(200000 - int(clock_gettime(clock)))" in text
    assert "--drop-capability=CAP_SYS_MODULE,CAP_SYS_RAWIO" in text
    assert "CAP_SYS_TIME" not in text
    assert "--machine=demo-alpha1 --hostname=alpha1" in text


def test_an_unknown_host_is_refused_with_those_there_are() -> None:
    with pytest.raises(LabError, match="it has head alpha1"):
        make_lab("head alpha=1").find("alpha9")
