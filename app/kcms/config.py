"""Every daemon's settings: the only place that says their names, types, defaults and meaning.

A configuration file is TOML with the fields of one of the classes below at its top level.  An
unknown key, a missing key without default or a value of another type is one clear error line.
docs/configuration.md is generated from this file (``kcms config document``).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kcms.errors import ConfigError

DEFAULT_CHANNEL = "239.2.11.71"
GANGLIA_PORT = 8649
AGGREGATOR_XML_PORT = 8651
MANAGER_PORT = 8660
GATEWAY_PORT = 8659
SESSIONS_DIRECTORY = "/run/kcms-sessions"
GATEWAY_SOCKET = "/run/kcms-gateway/api.sock"
WEB_PORT = 8080
WEB_TLS_PORT = 8443

T = TypeVar("T")


def setting(
    text: str,
    default: Any = dataclasses.MISSING,
    factory: Any = dataclasses.MISSING,
    least: float = 0,
    most: float = math.inf,
) -> Any:
    """Declare one setting: what it means (with its unit), and its default if it has one.

    ``least`` and ``most`` bound what is a number.
    """
    more = {"text": text, "least": least, "most": most}
    if factory is not dataclasses.MISSING:
        return field(default_factory=factory, metadata=more)
    return field(default=default, metadata=more)


def port_number(text: str, default: Any = dataclasses.MISSING) -> Any:
    """Declare a setting that is the number of a TCP or UDP port."""
    return setting(text, default, most=65535)


def program(text: str) -> Any:
    """Declare a setting that is the path of a program of the site; empty, its default, is none."""
    return field(default="", metadata={"text": text, "program": True})


@dataclass(frozen=True, kw_only=True)
class MonitorConfig:
    """The monitor of one node (K2): samples, sends, receives, serves XML."""

    host: str = setting("inventory name of this host, sent with every packet")
    address: str = setting("own address: multicast interface, and the name packets are known by")
    cluster: str = setting("cluster name in the XML", "unspecified")
    owner: str = setting("owner in the XML", "unspecified")
    channel: str = setting("multicast group", DEFAULT_CHANNEL)
    port: int = port_number("UDP port of the channel", GANGLIA_PORT)
    ttl: int = setting("multicast hops", 1)
    xml_bind: str = setting("address the XML is served on; empty is every one", "")
    xml_port: int = port_number("TCP port the XML is served on", GANGLIA_PORT)
    trusted_hosts: list[str] = setting(
        "addresses or networks allowed to read the XML; loopback always is", factory=list
    )
    names: dict[str, str] = setting(
        "address to inventory name, for the names printed in the XML; others show their address",
        factory=dict,
    )
    host_tmax: int = setting("seconds without a word after which a host is late", 20)
    host_dmax: int = setting("seconds without a word after which a host is forgotten; 0 never", 0)
    send_metadata_interval: int = setting("seconds between repeats of metadata; 0 never", 0)
    max_hosts: int = setting("hosts remembered at the most", 4096)
    max_metrics: int = setting("metrics of one host remembered at the most", 1024)
    xml_timeout: float = setting("seconds a reader of the XML may take", 10.0)


@dataclass(frozen=True, kw_only=True)
class AggregatorConfig:
    """The aggregator of the grid (K3): polls clusters, stores, serves the grid's XML."""

    gridname: str = setting("name of the grid", "unspecified")
    authority: str = setting("address of the grid's page, printed in the XML", "")
    data_source: list[str] = setting(
        'one line a cluster: "name" [interval] host[:port] ...', factory=list
    )
    xml_bind: str = setting("address the XML is served on; empty is every one", "")
    xml_port: int = port_number("TCP port the XML is served on", AGGREGATOR_XML_PORT)
    trusted_hosts: list[str] = setting(
        "addresses or networks allowed to read the XML; loopback always is", factory=list
    )
    rrd_directory: str = setting("directory of the round-robin files", "/var/lib/kcms/rrd")
    connect_timeout: float = setting("seconds to reach a source", 3.0)
    read_timeout: float = setting("seconds for the whole answer of a source", 10.0)
    max_xml_bytes: int = setting("bytes of one source's answer at the most", 256 * 1024 * 1024)
    xml_timeout: float = setting("seconds a reader of the XML may take", 30.0)


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A queue: some nodes of a cluster, under a name that jobs may ask for."""

    name: str = setting("name of the partition")
    nodes: list[str] = setting("inventory names of its nodes")


@dataclass(frozen=True, kw_only=True)
class ManagerConfig:
    """The central manager of one cluster (K7)."""

    cluster: str = setting("name of the cluster")
    address: str = setting("address to listen on")
    port: int = port_number("TCP port to listen on (TLS)", MANAGER_PORT)
    state_directory: str = setting("directory of the job store")
    hosts_file: str = setting("JSON file of the hosts that may speak, and their roles")
    tls_ca: str = setting("PEM file of the site's CA")
    tls_certificate: str = setting("PEM file of this manager's certificate")
    tls_key: str = setting("PEM file of this manager's key")
    node_timeout: float = setting("seconds without a report after which a node is DOWN", 30.0)
    node_lost: float = setting(
        "seconds without a report after which tasks of a node end as NODE_FAIL", 300.0
    )
    lease: float = setting(
        "seconds without a report after which a task that is begun anew elsewhere ends by itself",
        180.0,
        least=5,
    )
    max_restarts: int = setting("times that a task is begun anew, at the most", 10)
    partitions: list[Partition] = setting("queues of nodes that jobs may name", factory=list)
    kill_grace: float = setting("seconds between SIGTERM and SIGKILL of a killed job", 5.0)
    max_open_jobs: int = setting("jobs of one user that are not over, at the most", 10_000)
    max_open_tasks: int = setting("tasks of these jobs together, at the most", 100_000)
    host_connections: int = setting(
        "connections of one address at the most; more are closed at once", 256, least=8
    )
    migration_timeout: float = setting(
        "seconds after which a migration, or a checkpoint, is undone", 300.0
    )
    checkpoint_interval: str = setting(
        "how often jobs are saved that do not say it: a duration as 30m, auto, or none; such jobs "
        "are begun anew when their node is lost",
        "none",
    )
    checkpoints_kept: int = setting("checkpoints of a task that are kept", 2, least=1)
    checkpoints_at_once: int = setting("checkpoints that are made at once, at the most", 4, least=1)
    checkpoints_a_node: int = setting("of these on one node", 2, least=1)
    ended_shown: float = setting(
        "seconds that a process which ended stays in the process monitor", 600.0
    )
    balance: bool = setting("whether running jobs are moved from crowded nodes to idle ones", False)
    balance_high: float = setting(
        "processes that run or wait for a CPU, for each CPU of a node, above which it gives jobs",
        1.2,
        least=1,
    )
    balance_low: float = setting("the same, below which it takes some", 0.7)
    balance_seconds: float = setting(
        "seconds for which a node must have stood so before it gives or takes", 120.0, least=1
    )
    balance_factor: float = setting(
        "CPU seconds that a move must gain for each that it costs", 3.0, least=1
    )
    balance_pause: float = setting(
        "seconds that a job stays where it is after it moved, twice as long after each further "
        "move; as long nothing moves back between the two nodes",
        600.0,
        least=1,
    )
    balance_jobs_only: bool = setting(
        "whether only what jobs use counts, for nodes that share their kernel with others, as "
        "containers do, and so its figures",
        False,
    )
    web_root: bool = setting("whether root may log in on the page", False)
    login_idle: float = setting("seconds without a call after which a login is over", 1800.0)
    login_life: float = setting("seconds after which a login is over", 43200.0)
    text_port: int = port_number("TCP port of the text protocol of 2003; 0 is off", 0)
    text_bind: str = setting("address the text protocol is served on", "127.0.0.1")
    text_allowed: list[str] = setting(
        "addresses or networks allowed to use the text protocol; it asks for no password, and "
        "each of them sees and ends everybody's work",
        factory=lambda: ["127.0.0.1", "::1"],
    )

    def __post_init__(self) -> None:
        """:raises ConfigError: settings that contradict each other"""
        if self.balance_low >= self.balance_high:
            raise ConfigError(
                f"balance_low must be below balance_high ({self.balance_high}), "
                f"not {self.balance_low}"
            )


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """The node daemon (2003: the job module's *Monitor*): runs what the manager wants here."""

    host: str = setting("inventory name of this host")
    cluster: str = setting("name of the cluster")
    manager_address: str = setting("where the central manager is")
    manager_port: int = port_number("TCP port of the central manager", MANAGER_PORT)
    slots: int = setting("tasks at once; 0 is one a CPU", 0)
    state_directory: str = setting("directory of the task records", "/var/lib/kcms/node")
    runtime_directory: str = setting(
        "directory, in memory, where tasks see when this node was heard last", "/run/kcms-node"
    )
    tls_ca: str = setting("PEM file of the site's CA")
    tls_certificate: str = setting("PEM file of this node's certificate")
    tls_key: str = setting("PEM file of this node's key")
    report_interval: float = setting("seconds between reports when nothing happens", 5.0)
    shared_directories: list[str] = setting(
        "directories that all nodes share; only files there move with a job", factory=list
    )
    criu: str = setting("path of criu, which moves jobs", "/usr/sbin/criu")
    prologue: str = program("program that root runs here before each task; empty is none")
    epilogue: str = program("program that root runs here after each task; empty is none")
    logue_seconds: float = setting("seconds that each of the two may take", 60.0, least=1)
    allow_setuid: bool = setting(
        "whether programs with the setuid or setgid bit, or with capabilities, give jobs the "
        "rights that they give at a login (sudo, fusermount, containers that need newuidmap)",
        False,
    )
    gateway_user: str = setting(
        "user of this host's gateway, through which people are attached to interactive jobs; empty "
        "is none, and no such job comes here",
        "",
    )
    sessions_directory: str = setting(
        "directory of the sockets of interactive jobs", SESSIONS_DIRECTORY
    )
    gateway_socket: str = setting(
        "Unix socket of this host's gateway, through which staged files come", GATEWAY_SOCKET
    )


@dataclass(frozen=True, kw_only=True)
class ClusterAddress:
    """Where one cluster's manager listens."""

    name: str = setting("name of the cluster")
    address: str = setting("address of its manager")
    port: int = port_number("TCP port of its manager", MANAGER_PORT)


@dataclass(frozen=True, kw_only=True)
class GatewayConfig:
    """The gateway: local users reach the managers through its Unix socket."""

    host: str = setting("inventory name of this host")
    socket: str = setting("path of the Unix socket", GATEWAY_SOCKET)
    clusters: list[ClusterAddress] = setting("the managers that can be reached from here")
    default_cluster: str = setting("cluster meant when none is named; empty is the first", "")
    shared_directories: list[str] = setting(
        "where programs of jobs must lie, unless they are staged; none where nothing is shared",
        factory=list,
    )
    tls_ca: str = setting("PEM file of the site's CA")
    tls_certificate: str = setting("PEM file of this gateway's certificate")
    tls_key: str = setting("PEM file of this gateway's key")
    address: str = setting("address to listen on for other gateways; empty is none", "")
    port: int = port_number("TCP port to listen on for other gateways (TLS)", GATEWAY_PORT)
    sessions_directory: str = setting(
        "directory of the sockets of interactive jobs", SESSIONS_DIRECTORY
    )


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """The page."""

    bind: str = setting("address the page is served on; empty is every one", "")
    port: int = port_number("TCP port of the page", WEB_PORT)
    gridname: str = setting("name of the grid", "unspecified")
    aggregator_address: str = setting("address of the aggregator", "127.0.0.1")
    aggregator_port: int = port_number("XML port of the aggregator", AGGREGATOR_XML_PORT)
    rrd_directory: str = setting("directory of the round-robin files", "/var/lib/kcms/rrd")
    default_range: str = setting("range shown first: hour, day, week, month or year", "hour")
    refresh: int = setting("seconds between automatic refreshes of the page; 0 never", 60)
    threads: int = setting("requests served at once", 8, least=1)
    gateway_socket: str = setting(
        "Unix socket of this host's gateway, for everything about jobs",
        "/run/kcms-gateway/api.sock",
    )
    tls_port: int = port_number("TCP port of the page over TLS, where one logs in; 0 is off", 0)
    tls_certificate: str = setting("PEM file of the page's certificate", "")
    tls_key: str = setting("PEM file of its key", "")
    plain_login: bool = setting(
        "whether one may log in without TLS; only where a proxy in front of the page has it, and "
        "bind is the address that it uses",
        False,
    )
    results_directory: str = setting(
        "directory that the submit form proposes for output; %u is the user, empty proposes none",
        "",
    )


SCHEMAS: dict[str, type] = {
    "monitor": MonitorConfig,
    "aggregator": AggregatorConfig,
    "manager": ManagerConfig,
    "node": NodeConfig,
    "gateway": GatewayConfig,
    "web": WebConfig,
}


def load(schema: type[T], path: str | Path) -> T:
    """Read the TOML file at ``path`` as ``schema``.

    :raises ConfigError: unreadable file, no TOML, unknown or missing key, wrong type
    """
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    return parse(schema, document, str(path))


def parse(schema: type[T], document: dict[str, Any], where: str) -> T:
    """Check ``document`` against ``schema``; ``where`` begins every error line."""
    fields = {each.name: each for each in dataclasses.fields(typing.cast(Any, schema))}
    hints = typing.get_type_hints(schema)
    for key in document:
        if key not in fields:
            raise ConfigError(f"{where}: unknown setting {key!r}{_suggestion(key, list(fields))}")
    values: dict[str, Any] = {}
    for name, declared in fields.items():
        if name in document:
            values[name] = convert(hints[name], document[name], f"{where}: {name}")
            _check_bounds(values[name], declared.metadata, f"{where}: {name}")
        elif (
            declared.default is dataclasses.MISSING
            and declared.default_factory is dataclasses.MISSING
        ):
            raise ConfigError(f"{where}: missing setting {name!r} ({declared.metadata['text']})")
    try:
        return schema(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}") from error


def _check_bounds(value: Any, bounds: Mapping[str, Any], where: str) -> None:
    if "program" in bounds and value and not (value.startswith("/") and value.isprintable()):
        raise ConfigError(f"{where} must be a path, as /etc/site/program, not {value!r}")
    if type(value) not in (int, float) or bounds["least"] <= value <= bounds["most"]:
        return
    most = "" if bounds["most"] == math.inf else f" and at most {bounds['most']}"
    raise ConfigError(f"{where} must be at least {bounds['least']}{most}, not {value}")


def _suggestion(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"


def convert(kind: Any, value: Any, where: str) -> Any:
    """``value`` as a setting of type ``kind``; ``where`` begins the error line.

    :raises ConfigError: it is of another type
    """
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a table, not {value!r}")
        return parse(typing.cast(type, kind), value, where)
    origin = typing.get_origin(kind)
    if origin is list:
        if not isinstance(value, list):
            raise ConfigError(f"{where} must be a list, not {value!r}")
        (inner,) = typing.get_args(kind)
        return [convert(inner, each, f"{where}[{at}]") for at, each in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a table, not {value!r}")
        inner = typing.get_args(kind)[1]
        return {key: convert(inner, each, f"{where}.{key}") for key, each in value.items()}
    return _convert_scalar(kind, value, where)


def _convert_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, types.UnionType) or type(value) is not kind:
        raise ConfigError(f"{where} must be {kind.__name__}, not {value!r}")
    return value
