"""A lab and its hosts, as remembered in its state directory."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from lab import spec
from lab.errors import LabError


@dataclass(frozen=True)
class Host:
    """A host of a lab.

    ``number`` is the last byte of its address and decides its boot clock; ``root`` is the
    directory below its own files; ``proxied`` says whether the lab's proxy serves it.
    """

    name: str
    cluster: str | None
    number: int
    address: str
    machine: str
    machine_id: str
    root: str
    proxied: bool = True

    @property
    def link(self) -> str:
        """The machine's end of the host's network link."""
        return f"vb-{self.machine}"

    @property
    def boot_clock(self) -> int:
        """What its boot clock says when it is switched on, in seconds; no two hosts agree."""
        return 100_000 * (self.number - spec.FIRST_HOST_NUMBER + 1)


@dataclass
class Lab:
    """A lab: its name, what derives from the name, and its hosts in the order they came."""

    name: str
    tag: str
    subnet: str
    hosts: list[Host] = field(default_factory=list)

    @property
    def bridge(self) -> str:
        return f"kl-{self.tag}"

    @property
    def network(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(self.subnet)

    @property
    def bridge_address(self) -> str:
        """This machine's address in the lab."""
        return str(self.network[1])

    def clusters(self) -> list[str]:
        """The names of the clusters, in the order they came."""
        return list(dict.fromkeys(host.cluster for host in self.hosts if host.cluster))

    def find(self, name: str) -> Host:
        """The host of that name; LabError names those there are."""
        for host in self.hosts:
            if host.name == name:
                return host
        names = " ".join(host.name for host in self.hosts)
        raise LabError(f"no host {name!r} in the lab {self.name}: it has {names}")

    def add(self, wanted: spec.HostSpec, root: str, proxied: bool = True) -> Host:
        """Give a new host its number, address and machine name."""
        used = {host.number for host in self.hosts}
        numbers = range(spec.FIRST_HOST_NUMBER, spec.FIRST_HOST_NUMBER + spec.MAX_HOSTS)
        number = next((n for n in numbers if n not in used), None)
        if number is None:
            raise LabError(f"the lab {self.name} is full: at most {spec.MAX_HOSTS} hosts")
        machine = spec.machine_name(self.tag, wanted.name)
        for other in self.hosts:
            if machine == other.machine:
                raise LabError(f"{wanted.name} and {other.name} get the same short name {machine}")
        host = Host(
            name=wanted.name,
            cluster=wanted.cluster,
            number=number,
            address=str(self.network[number]),
            machine=machine,
            machine_id=spec.machine_id(self.name, wanted.name),
            root=root,
            proxied=proxied,
        )
        self.hosts.append(host)
        return host

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Lab:
        document: dict[str, Any] = json.loads(text)
        hosts = [Host(**host) for host in document.pop("hosts")]
        return cls(**document, hosts=hosts)
