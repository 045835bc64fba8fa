"""Channels that cannot be: one line that says why."""

from __future__ import annotations

import pytest

from kcms.errors import ConfigError
from kcms.monitor.channel import ChannelAddress


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (ChannelAddress("10.0.0.1", 8649, "10.0.0.1", 1), "no multicast group"),
        (ChannelAddress("239.2.11.71", 8649, "fd00::1", 1), "must both be IPv4 or both IPv6"),
        (ChannelAddress("239.2.11.71", 8649, "alpha1", 1), "must be addresses"),
        (ChannelAddress("239.2.11.71", 0, "10.0.0.1", 1), "out of range"),
        (ChannelAddress("239.2.11.71", 8649, "10.0.0.1", 256), "out of range"),
    ],
)
def test_refused(where: ChannelAddress, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        where.check()


@pytest.mark.parametrize("pair", [("239.2.11.71", "10.0.0.1"), ("ff15::4b43", "fd00::1")])
def test_accepted(pair: tuple[str, str]) -> None:
    ChannelAddress(pair[0], 8649, pair[1], 1).check()
