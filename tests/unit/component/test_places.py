"""Which directories the round-robin files may have for themselves."""

from __future__ import annotations

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils.host_places import wrong_rrd_directory


@pytest.mark.parametrize(
    "path", ["/srv/rrd", "/rrd", "/data/rrd/", "/var/lib/kcms/rrd", "/var/lib/rrd", "/home/k/rrd",
             "/opt/rrd", "/mnt/disk1/rrd", "/var/lib/kcms/nodes"]
)  # fmt: skip
def test_a_place_of_their_own(path: str) -> None:
    assert wrong_rrd_directory(path) == ""


@pytest.mark.parametrize(
    "path", ["/srv", "/srv/", "//srv", "/srv/.", "/var", "/var/lib", "/var/lib//", "/home",
             "/home/alice", "/etc/kcms", "/usr/local/rrd", "/opt", "/opt/kcms/rrd", "/run/rrd",
             "/var/run/rrd", "/tmp", "/root", "/root/rrd", "/lib64/x", "/var/lib/kcms",
             "/var/lib/kcms/", "/var/lib/kcms/node", "/var/lib/kcms/manager-alpha/rrd",
             "/var/lib/kcms/before-20261124T040000Z", "/var/cache/kcms-web/rrd"]
)  # fmt: skip
def test_a_place_of_others_too(path: str) -> None:
    assert wrong_rrd_directory(path).startswith("it must be a directory of the files' own")


@pytest.mark.parametrize("path", ["", "rrd", "/", "//", "/.", "/srv/../etc", "/srv/rrd/.."])
def test_no_place_at_all(path: str) -> None:
    assert wrong_rrd_directory(path) == "it must be an absolute path below /"
