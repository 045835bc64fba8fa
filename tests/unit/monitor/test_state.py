"""The cluster as one monitor sees it: who may speak, what is printed, what is forgotten."""

from __future__ import annotations

import pytest

from kcms.monitor.state import ASK_GAP, ClusterState, Limits, Outcome
from kcms.wire.ganglia_xml import Cluster, Host
from kcms.wire.packets import Kind, Metadata, Packet, Request, Value
from kcms.wire.xml_read import parse
from kcms.wire.xml_write import encode

NAMES = {"10.0.0.1": "alpha1", "10.0.0.2": "alpha2"}
WALL = 1_700_000_000.5
EXTRA = (("TITLE", "t"), ("DESC", "d"), ("GROUP", "g"))


@pytest.fixture
def state() -> ClusterState:
    return ClusterState(NAMES, Limits())


def described(name: str = "temp", **more: object) -> Metadata:
    given = {"type": "float", "units": "C", "tmax": 60, "extra": EXTRA}
    return Metadata("liar", name, **(given | more))  # type: ignore[arg-type]


def value(name: str = "temp", number: float | str = 1.5, **more: object) -> Value:
    kind = Kind.STRING if isinstance(number, str) else Kind.FLOAT
    return Value("liar", name, kind, number, "%.1f", **more)  # type: ignore[arg-type]


def heartbeat(started: int) -> Value:
    return Value("liar", "heartbeat", Kind.UINT, started, "%u")


def hosts(state: ClusterState, now: float) -> dict[str, Host]:
    """The hosts of the XML at ``now``, when the wall clock says WALL."""
    header = Cluster("alpha", owner="lab")
    text = "".join(state.pieces(header, now, WALL))
    (cluster,) = parse(encode(text)).clusters
    assert (cluster.name, cluster.owner, cluster.localtime) == ("alpha", "lab", int(WALL))
    return {host.name: host for host in cluster.hosts}


def apply(state: ClusterState, now: float, *given: Packet, address: str = "10.0.0.1") -> None:
    for packet in given:
        state.apply(packet, address, now)


def test_a_host_is_its_address_and_has_the_inventory_s_name(state: ClusterState) -> None:
    apply(state, 100, heartbeat(1234), described(), value())
    apply(state, 103, value("x", "text"), described("x", type="string"), address="10.0.0.9")
    found = hosts(state, 107.9)
    assert list(found) == ["alpha1", "liar"]
    first = found["alpha1"]
    assert (first.ip, first.tn, first.tmax, first.dmax) == ("10.0.0.1", 7, 20, 0)
    assert (first.reported, first.gmond_started) == (int(WALL - 7.9), 1234)
    (metric,) = first.metrics
    assert (metric.name, metric.value, metric.type, metric.units) == ("temp", "1.5", "float", "C")
    assert (metric.tn, metric.tmax, metric.slope) == (7, 60, "both")
    assert metric.extra == (("GROUP", "g"), ("DESC", "d"), ("TITLE", "t"))


@pytest.mark.parametrize(
    "told", ["alpha1", "alpha3", "10.0.0.7", "10.0.0.2", "77", "a b", "../x", "", "x" * 64]
)
def test_a_host_that_joined_later_tells_its_name_but_nobody_else_s(
    state: ClusterState, told: str
) -> None:
    apply(state, 100, Value("alpha3", "temp", Kind.FLOAT, 1.0, "%.1f"), address="10.0.0.3")
    apply(state, 100, Value(told, "temp", Kind.FLOAT, 1.0, "%.1f"), address="10.0.0.9")
    assert list(hosts(state, 101)) == ["alpha3", "10.0.0.9"]


def test_any_packet_is_a_word_from_its_host_but_a_value_ages_alone(state: ClusterState) -> None:
    apply(state, 100, described(), value())
    apply(state, 130, heartbeat(1))
    apply(state, 150, Request("x", "y"))
    (host,) = hosts(state, 151).values()
    assert (host.tn, host.metrics[0].tn) == (1, 51)


def test_a_metric_needs_its_description_and_its_value(state: ClusterState) -> None:
    apply(state, 100, described("no value"), value("no description"))
    assert hosts(state, 100)["alpha1"].metrics == ()


@pytest.mark.parametrize("claimed", ["10.0.0.2:alpha2", "10.0.0.2", "alpha1:alpha1", ""])
def test_nobody_speaks_for_another(state: ClusterState, claimed: str) -> None:
    packet = Value(claimed, "temp", Kind.FLOAT, 9.0, spoof=True)
    assert state.apply(packet, "10.0.0.1", 100) == Outcome()
    assert (state.hosts, state.counters.spoofed) == (0, 1)


def test_who_names_its_own_address_is_heard_under_its_known_name(state: ClusterState) -> None:
    spoofed = Metadata("10.0.0.1:other", "temp", "float", spoof=True)
    apply(state, 100, spoofed, Value("10.0.0.1:other", "temp", Kind.FLOAT, 9.0, spoof=True))
    assert [host.name for host in hosts(state, 100).values()] == ["alpha1"]


def test_newcomers_and_those_started_anew_are_told_of(state: ClusterState) -> None:
    assert state.apply(heartbeat(5), "10.0.0.1", 100).newcomer
    assert not state.apply(heartbeat(5), "10.0.0.1", 110).newcomer
    assert state.apply(heartbeat(6), "10.0.0.1", 120).newcomer
    assert not state.apply(heartbeat(6), "10.0.0.1", 130).newcomer
    assert state.apply(value(), "10.0.0.2", 130).newcomer


def test_an_unknown_metric_is_asked_for_and_not_too_often(state: ClusterState) -> None:
    apply(state, 100, heartbeat(1))
    asked = [state.apply(value(), "10.0.0.1", now).unknown for now in (101, 102, 101 + ASK_GAP)]
    assert asked == [Request("alpha1", "temp"), None, Request("alpha1", "temp")]
    apply(state, 120, described())
    assert state.apply(value(), "10.0.0.1", 140).unknown is None


def test_a_question_is_handed_on(state: ClusterState) -> None:
    question = Request("alpha1", "temp")
    assert state.apply(question, "10.0.0.2", 100).asked == question


@pytest.mark.parametrize(
    ("shown", "other"),
    [("alpha1", False), ("10.0.0.1", False), ("node.example.org", False), ("alpha2", True),
     ("10.0.0.2", True), ("10.0.0.7", True)],
)  # fmt: skip
def test_whom_a_question_is_for(state: ClusterState, shown: str, other: bool) -> None:
    apply(state, 100, heartbeat(1), address="10.0.0.7")
    assert state.is_other(shown, "10.0.0.1") is other


def test_a_heartbeat_of_text_is_no_start(state: ClusterState) -> None:
    apply(state, 100, heartbeat(77), value("heartbeat", "0"), value("HeartBeat", 3.0))
    (host,) = hosts(state, 100).values()
    assert (host.gmond_started, host.metrics) == (77, ())


def test_location_and_colons(state: ClusterState) -> None:
    apply(state, 100, value("location", "1,2,0"), described("a:b"), value("a:b"))
    (host,) = hosts(state, 100).values()
    assert host.location == "1,2,0"
    assert [metric.name for metric in host.metrics] == ["a_b"]


def test_hosts_and_metrics_are_bounded() -> None:
    state = ClusterState({}, Limits(max_hosts=2, max_metrics=2))
    for at in range(5):
        apply(state, 100, value(), address=f"10.0.0.{at}")
        apply(state, 100, described(f"m{at}"), value(f"m{at}"))
    assert state.hosts == 2
    assert len(hosts(state, 100)["10.0.0.1"].metrics) == 1  # temp has no description
    assert state.counters.too_many > 0


def test_silent_hosts_are_forgotten_after_dmax_only() -> None:
    state = ClusterState({}, Limits(host_dmax=60))
    apply(state, 100, heartbeat(1))
    apply(state, 130, heartbeat(1), address="10.0.0.2")
    state.expire(160)
    assert state.hosts == 2
    state.expire(161)
    assert list(hosts(state, 161)) == ["10.0.0.2"]
    forever = ClusterState({}, Limits(host_dmax=0))
    apply(forever, 100, heartbeat(1))
    forever.expire(1e9)
    assert forever.hosts == 1


def test_a_metric_is_forgotten_by_the_age_of_its_value(state: ClusterState) -> None:
    apply(state, 100, described("old", dmax=50), described("kept", dmax=50), value("old"))
    apply(state, 140, value("kept"))
    state.expire(151)
    assert [metric.name for metric in hosts(state, 151)["alpha1"].metrics] == ["kept"]


def test_a_new_description_replaces_the_old(state: ClusterState) -> None:
    apply(state, 100, described(), value(), described(units="F", type="bogus"))
    (metric,) = hosts(state, 100)["alpha1"].metrics
    assert (metric.units, metric.type) == ("F", "string")


def test_equal_descriptions_are_kept_once_and_unused_ones_not_at_all(state: ClusterState) -> None:
    for at in range(1, 4):
        apply(state, 100, described(), value(), address=f"10.0.0.{at}")
    assert len(state._descriptions) == 1
    for at in range(1, 4):
        apply(state, 100, described(units="F"), address=f"10.0.0.{at}")
    state.expire(101)
    assert len(state._descriptions) == 1


def test_hostile_texts_leave_the_xml_whole(state: ClusterState) -> None:
    bad = '"><&\x01\x80€\ud800'
    apply(state, 100, described(bad, units=bad, extra=((bad, bad),)), value(bad, bad))
    (metric,) = hosts(state, 100)["alpha1"].metrics
    assert (metric.name, metric.value, metric.units) == ('"><&€',) * 3
    assert metric.extra == (('"><&€', '"><&€'),)


def test_what_changes_while_it_is_read_does_no_harm(state: ClusterState) -> None:
    apply(state, 100, heartbeat(1), described(), value())
    apply(state, 100, heartbeat(1), address="10.0.0.2")
    pieces = state.pieces(Cluster("c"), 110, WALL)
    text = next(pieces) + next(pieces)
    apply(state, 120, value(number=7.0), address="10.0.0.2")
    apply(state, 120, heartbeat(1), address="10.0.0.3")
    (cluster,) = parse(encode(text + "".join(pieces))).clusters
    assert [(host.name, host.tn) for host in cluster.hosts] == [("alpha1", 10), ("alpha2", 0)]
