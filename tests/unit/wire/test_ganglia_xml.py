"""XML: the forms of gmond and gmetad are read, ours is theirs, and nothing breaks it."""

from __future__ import annotations

import gzip
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kcms.errors import ProtocolError
from kcms.wire import xml_write
from kcms.wire.ganglia_xml import Cluster, Grid, Host, Metric, MetricSum
from kcms.wire.xml_read import TreeReader, parse

GMOND = """<?xml version="1.0" encoding="ISO-8859-1" standalone="yes"?>
<!DOCTYPE GANGLIA_XML [
   <!ELEMENT GANGLIA_XML (GRID|CLUSTER|HOST)*>
      <!ATTLIST GANGLIA_XML VERSION CDATA #REQUIRED>
      <!ATTLIST METRIC SOURCE CDATA 'gmond'>
]>
<GANGLIA_XML VERSION="3.7.2" SOURCE="gmond">
<CLUSTER NAME="testcl" LOCALTIME="1795442582" OWNER="unspecified" LATLONG="unspecified" URL="unspecified">
<HOST NAME="localhost" IP="127.0.0.1" TAGS="" REPORTED="1795442577" TN="4" TMAX="20" DMAX="0" LOCATION="unspecified" GMOND_STARTED="1795442577">
<METRIC NAME="mem_total" VAL="24684084" TYPE="float" UNITS="KB" TN="4" TMAX="1200" DMAX="0" SLOPE="zero">
<EXTRA_DATA>
<EXTRA_ELEMENT NAME="GROUP" VAL="memory"/>
<EXTRA_ELEMENT NAME="DESC" VAL="Total amount of memory displayed in KBs"/>
<EXTRA_ELEMENT NAME="TITLE" VAL="Memory Total"/>
</EXTRA_DATA>
</METRIC>
</HOST>
</CLUSTER>
</GANGLIA_XML>
"""  # noqa: E501
GMETAD = """<?xml version="1.0" encoding="ISO-8859-1" standalone="yes"?>
<GANGLIA_XML VERSION="3.7.2" SOURCE="gmetad">
<GRID NAME="Top" AUTHORITY="http://vm/ganglia/" LOCALTIME="1000">
<CLUSTER NAME="one" LOCALTIME="990" OWNER="o" LATLONG="N1" URL="u">
<HOST NAME="a" IP="1.1.1.1" REPORTED="970" TN="25" TMAX="20" DMAX="0" LOCATION="0,0,0" GMOND_STARTED="5" TAGS="t">
<METRIC NAME="os_name" VAL="Linux" TYPE="string" UNITS="" TN="9" TMAX="1200" DMAX="0" SLOPE="zero" SOURCE="gmond">
<EXTRA_DATA>
</EXTRA_DATA>
</METRIC>
</HOST>
</CLUSTER>
<GRID NAME="Below" AUTHORITY="http://other/" LOCALTIME="999">
<HOSTS UP="101" DOWN="2" SOURCE="gmetad"/>
<METRICS NAME="cpu_num" SUM="802" NUM="101" TYPE="double" UNITS="CPUs" SLOPE="zero" SOURCE="gmond">
<EXTRA_DATA>
<EXTRA_ELEMENT NAME="GROUP" VAL="cpu"/>
</EXTRA_DATA>
</METRICS>
</GRID>
</GRID>
</GANGLIA_XML>
"""  # noqa: E501


def test_gmonds_document() -> None:
    tree = parse(GMOND.encode())
    (cluster,) = tree.clusters
    (host,) = cluster.hosts
    assert (tree.source, tree.version, tree.grids) == ("gmond", "3.7.2", ())
    assert (cluster.name, cluster.localtime, cluster.age) == ("testcl", 1795442582, 0)
    assert host == Host(
        "localhost", "127.0.0.1", 1795442577, 4, 20, 0, "unspecified", 1795442577, "",
        (
            Metric(
                "mem_total", "24684084", "float", "KB", 4, 1200, 0, "zero", "gmond",
                (
                    ("GROUP", "memory"),
                    ("DESC", "Total amount of memory displayed in KBs"),
                    ("TITLE", "Memory Total"),
                ),
            ),
        ),
    )  # fmt: skip
    assert host.metrics[0].number == 24684084
    assert tree.grid.clusters == tree.clusters


def test_gmetads_document() -> None:
    grid = parse(GMETAD.encode()).grid
    (cluster,) = grid.clusters
    (below,) = grid.grids
    (host,) = cluster.hosts
    assert (grid.name, grid.authority, grid.localtime) == ("Top", "http://vm/ganglia/", 1000)
    assert (cluster.name, cluster.age, host.tags, host.location) == ("one", 10, "t", "0,0,0")
    assert (host.late, host.down, host.metrics[0].number) == (True, False, None)
    assert (below.name, below.hosts_up, below.hosts_down) == ("Below", 101, 2)
    assert below.metrics == (
        MetricSum("cpu_num", 802.0, 101, "double", "CPUs", "zero", "gmond", (("GROUP", "cpu"),)),
    )


def test_our_lines_are_gmonds() -> None:
    (cluster,) = parse(GMOND.encode()).clusters
    (host,) = cluster.hosts
    (metric,) = host.metrics
    head, middle, tail = xml_write.metric_parts(
        metric.name, metric.type, metric.units, metric.slope, 1200, 0, metric.extra, ""
    )
    text = (
        xml_write.cluster_start(cluster)
        + xml_write.host_start(host, "gmond")
        + f"{head}{metric.value}{middle}4{tail}"
        + xml_write.HOST_END
        + xml_write.CLUSTER_END
    )
    assert text == GMOND[GMOND.index("<CLUSTER") : GMOND.index("</GANGLIA_XML>")]


def test_our_lines_are_gmetads() -> None:
    grid = parse(GMETAD.encode()).grid
    text = "".join(xml_write.grid(grid, [(each, 0) for each in grid.clusters]))
    assert text[text.index("<GRID") :] == GMETAD[GMETAD.index("<GRID") :]


def test_silence_grows_with_age() -> None:
    grid = parse(GMETAD.encode()).grid
    told = parse("".join(xml_write.grid(grid, [(grid.clusters[0], 7.6)])).encode()).grid
    (host,) = told.clusters[0].hosts
    assert (host.tn, host.metrics[0].tn) == (32, 16)


@pytest.mark.parametrize(
    ("tn", "tmax", "late", "down"),
    [(20, 20, False, False), (21, 20, True, False), (79, 20, True, False), (80, 20, True, True),
     (79, 0, True, False), (80, 0, True, True), (239, 60, True, False), (240, 60, True, True)],
)  # fmt: skip
def test_late_and_down(tn: int, tmax: int, late: bool, down: bool) -> None:
    host = Host("a", tn=tn, tmax=tmax)
    assert (host.late, host.down) == (late, down)


@pytest.mark.parametrize(
    ("kind", "text", "number"),
    [("float", "1.5", 1.5), ("uint32", "7", 7), ("string", "7", None), ("float", "nan", None),
     ("double", "inf", None), ("float", "", None), ("bogus", "1", None), ("float", "-2", -2)],
)  # fmt: skip
def test_number(kind: str, text: str, number: float | None) -> None:
    assert Metric("m", text, kind).number == number


ANY = st.text(max_size=20)
HOSTILE = "\ud800\udfff\ufffe\x00\x85\x7f\t\n<&>\"'é€\U0001f600"


@given(ANY, ANY, ANY, ANY, ANY)
@example(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_any_text_makes_well_formed_xml(
    name: str, value: str, units: str, key: str, text: str
) -> None:
    metric = Metric("m" + name, value, "string", units, extra=((key, text),))
    host = Host("h" + name, ip=value, location=units, metrics=(metric,))
    grid = Grid("g" + name, authority=text)
    document = "".join(xml_write.grid(grid, [(Cluster("c" + name, owner=key, hosts=(host,)), 0)]))
    found = parse(xml_write.encode(document)).grid
    assert found.name == "g" + kept(name)
    (told,) = found.clusters[0].hosts
    assert (told.name, told.ip) == ("h" + kept(name), kept(value))
    assert told.metrics[0].value == kept(value)
    assert told.metrics[0].extra == ((kept(key), kept(text)),)


def kept(text: str) -> str:
    """What XML and we keep of a text: no control codes, surrogates or non-characters."""

    def keep(each: str) -> bool:
        code = ord(each)
        if each in "\t\n\r":
            return True
        gone = code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000
        return not gone and code & 0xFFFF not in (0xFFFE, 0xFFFF)

    return "".join(filter(keep, text))


def test_our_document_declares_what_it_is() -> None:
    text = "".join(xml_write.grid(Grid("é€"), []))
    raw = xml_write.encode(text)
    assert raw.startswith(b'<?xml version="1.0" encoding="ISO-8859-1" standalone="yes"?>\n')
    assert b'NAME="\xe9&#8364;"' in raw
    root = ET.fromstring(raw)
    assert root.find("GRID").get("NAME") == "é€"  # type: ignore[union-attr]


BOMB = (
    '<!DOCTYPE GANGLIA_XML [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    '<GANGLIA_XML VERSION="&b;" SOURCE="gmond"/>'
)
OUTSIDE = (
    '<!DOCTYPE GANGLIA_XML [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    '<GANGLIA_XML VERSION="1" SOURCE="gmond"/>'
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not well-formed"),
        (GMOND[:-20], "not well-formed"),
        (GMOND.replace('UNITS="KB"', 'UNITS="<KB"'), "not well-formed"),
        (GMOND.replace('UNITS="KB"', 'UNITS="KB'), "not well-formed"),
        ("<html><body/></html>", "no Ganglia document but <html>"),
        ("HTTP/1.0 400 Bad Request", "not well-formed"),
        (BOMB, "declares an entity"),
        (OUTSIDE, "declares an entity"),
        ('<?xml version="1.0" encoding="nonsense"?><GANGLIA_XML/>', "XML"),
        ("<GANGLIA_XML>" + "<GRID>" * 50, "nested more than 16 deep"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        parse(text.encode())


def test_a_document_that_is_too_long_is_refused_while_it_comes() -> None:
    reader = TreeReader(max_bytes=500)
    reader.feed(GMOND[:400].encode())
    with pytest.raises(ProtocolError, match="longer than 500 bytes"):
        reader.feed(GMOND[400:600].encode())


def test_a_compressed_bomb_is_refused() -> None:
    bomb = gzip.compress(GMOND.encode() + b" " * 10_000_000)
    with pytest.raises(ProtocolError, match="longer than 100000 bytes"):
        parse(bomb, max_bytes=100_000)


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
@pytest.mark.parametrize("zipped", [False, True])
def test_any_pieces_make_the_same_tree(size: int, zipped: bool) -> None:
    data = gzip.compress(GMOND.encode()) if zipped else GMOND.encode()
    reader = TreeReader()
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
    assert reader.close() == parse(GMOND.encode())


def test_a_compressed_document_cut_short_is_refused() -> None:
    with pytest.raises(ProtocolError, match="ends too early"):
        parse(gzip.compress(GMOND.encode())[:-30])


def test_odd_figures_cost_no_cluster() -> None:
    odd = (
        GMOND.replace('TN="4"', 'TN="soon"')
        .replace('GMOND_STARTED="1795442577"', 'GMOND_STARTED="-389260032"')
        .replace('DMAX="0"', 'DMAX="1e999"')
    )
    (host,) = parse(odd.encode()).clusters[0].hosts
    assert (host.tn, host.gmond_started, host.dmax) == (0, -389260032, 0)


def test_elements_of_a_later_day_and_misplaced_ones_are_left_out() -> None:
    text = """<GANGLIA_XML VERSION="9" SOURCE="gmond"><NEW><METRIC NAME="x" VAL="1"/></NEW>
    <HOST NAME="stray" IP="1"/><METRIC NAME="stray" VAL="1"/><HOSTS UP="1" DOWN="x"/>
    <CLUSTER NAME="c" LOCALTIME="1"><HOST IP="9.9.9.9"/><HOST/><HOST NAME="a" IP="1">
    <METRIC VAL="1"/><METRIC NAME="m" VAL="1"/><METRIC NAME="m" VAL="2"/></HOST></CLUSTER>
    <CLUSTER/></GANGLIA_XML>"""
    (cluster,) = parse(text.encode()).clusters
    assert [host.name for host in cluster.hosts] == ["9.9.9.9", "a"]
    assert [(each.name, each.value) for each in cluster.hosts[1].metrics] == [("m", "2")]
