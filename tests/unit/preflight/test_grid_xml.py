"""Who is heard, read from the grid's XML."""

from __future__ import annotations

import pytest
from ansible_collections.kcms.cluster.plugins.module_utils.grid_xml import (
    GridError,
    clusters,
    fetch,
    not_heard,
)

# The shape that gmetad 3.7.2 answers with, metrics left out
XML = b"""<?xml version="1.0" encoding="ISO-8859-1" standalone="yes"?>
<!DOCTYPE GANGLIA_XML [
  <!ELEMENT GANGLIA_XML (GRID|CLUSTER|HOST)*>
]>
<GANGLIA_XML VERSION="3.7.2" SOURCE="gmetad">
<GRID NAME="lab" AUTHORITY="http://head/" LOCALTIME="1">
<CLUSTER NAME="alpha" LOCALTIME="1" OWNER="lab" LATLONG="" URL="">
<HOST NAME="alpha1" IP="10.0.0.2" REPORTED="1" TN="79" TMAX="20" DMAX="0"></HOST>
<HOST NAME="alpha2" IP="10.0.0.3" REPORTED="1" TN="80" TMAX="20" DMAX="0"></HOST>
</CLUSTER>
</GRID>
</GANGLIA_XML>
"""


def test_a_host_is_up_while_tn_is_below_four_tmax() -> None:
    found = clusters(XML)
    assert found == {
        "alpha": {
            "alpha1": {"up": True, "tn": 79, "tmax": 20, "address": "10.0.0.2"},
            "alpha2": {"up": False, "tn": 80, "tmax": 20, "address": "10.0.0.3"},
        }
    }
    assert not_heard({"alpha": ["alpha1", "alpha2", "alpha3"], "beta": ["beta1"]}, found) == [
        "alpha/alpha2",
        "alpha/alpha3",
        "beta/beta1",
    ]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "no Ganglia XML"),
        (XML[:-30], "no Ganglia XML"),
        (XML.replace(b'TN="79"', b""), "no Ganglia XML"),
        (XML.replace(b'TN="79"', b'TN="soon"'), "no Ganglia XML"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "declares entities"),
    ],
)
def test_what_is_not_ganglias_is_one_line(document: bytes, reason: str) -> None:
    with pytest.raises(GridError, match=reason):
        clusters(document)


def test_a_silent_port_says_what_to_look_at() -> None:
    with pytest.raises(GridError, match="is kcms-aggregator running there"):
        fetch("127.0.0.1", 1, 1.0)
