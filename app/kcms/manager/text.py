"""The text protocol between an interface and the central manager, as of 2003 (K8).  Pure.

One line is one request, and one connection:

    request = "REQ|" user | "MIG|" pid "|" from "|" to | "KIL|" pid "|" node
    answer  = { node "|" { pid "|" pname "|" pstate "&" } }                     to REQ alone
    pstate  = "0" it runs | "1" it has ended

    REQ|alice       alpha1|4711|sh|0&4713|sleep|0&alpha2|alpha3|902|sort|1&

The report that it comes from leaves these open; our choice:

- *Where a node begins.*  Nothing separates nodes.  A field of digits alone where a node or a pid
  can stand is a pid, any other begins a node.  The name of a node that is all digits gets a ``_``
  in front.
- *Names.*  ``|`` and ``&`` inside the name of a process or node become ``_``, and so does whatever
  is not printable; an empty name is ``_``.  The text is UTF-8.
- *Which nodes.*  Every node of the cluster in the order of the inventory, also those without a
  process; then nodes that left the inventory and still have processes.
- *Which processes.*  Those of the jobs of ``user``; of everybody's for ``root``.  Ended ones stay
  for ``ended_shown`` (10 minutes).  A pid is that of the host.
- *Ends.*  A request ends with a newline (CR is passed over), a NUL, or the end of what the client
  sends; REQ also after a second of silence, for a client that sends no newline and waits.  An
  answer ends as the connection closes; it has no newline.  MIG and KIL have no answer.
- *What is acted on.*  A pid stands for its job: MIG and KIL act on the whole job that the process
  belongs to.  ``from``, ``to`` and ``node`` are the name of a node or its address in the inventory.
- *A request that is none* closes the connection without an answer, and is a line in the journal.

There is no password: whoever may connect acts as root, whatever name stands in a REQ.  So the port
is off unless it is set, and then open to the addresses of ``text_allowed`` alone: on a manager that
listens on loopback, to every user of that host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from kcms.errors import ProtocolError

PID_DIGITS = 10
FIELD_LIMIT = 255


@dataclass(frozen=True)
class Req:
    """What runs where, for ``user``."""

    user: str


@dataclass(frozen=True)
class Mig:
    """Move the job of a process from one node to another."""

    pid: int
    source: str
    target: str


@dataclass(frozen=True)
class Kil:
    """End the job of a process."""

    pid: int
    node: str


def parse(line: bytes) -> Req | Mig | Kil:
    """One request, without its end.  :raises ProtocolError: it is none"""
    try:
        verb, *fields = line.decode("utf-8").split("|")
    except UnicodeDecodeError as error:
        raise ProtocolError("the request is not UTF-8") from error
    if not all(each.isprintable() and 0 < len(each) <= FIELD_LIMIT for each in fields):
        raise ProtocolError(f"a field must be 1 to {FIELD_LIMIT} printable characters")
    if (verb, len(fields)) == ("REQ", 1):
        return Req(fields[0])
    if (verb, len(fields)) == ("MIG", 3):
        return Mig(_pid(fields[0]), fields[1], fields[2])
    if (verb, len(fields)) == ("KIL", 2):
        return Kil(_pid(fields[0]), fields[1])
    raise ProtocolError("a request is REQ|user, MIG|pid|from|to or KIL|pid|node")


def _pid(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= PID_DIGITS and int(text) > 0):
        raise ProtocolError("a pid must be a number above 0")
    return int(text)


def answer(nodes: Sequence[str], processes: Iterable[Mapping[str, Any]]) -> bytes:
    """The answer to REQ.

    :param nodes: the cluster's, in the order wanted
    :param processes: ``node``, ``pid``, ``name`` and ``ended`` (None while it runs) of each
    """
    ordered = sorted(processes, key=lambda each: (each["node"], each["pid"]))
    by_node = {
        name: "".join(_process(each) for each in group)
        for name, group in groupby(ordered, key=lambda each: each["node"])
    }
    names = dict.fromkeys([*nodes, *by_node])
    return "".join(f"{_node(name)}|{by_node.get(name, '')}" for name in names).encode()


def _node(name: str) -> str:
    return f"_{name}" if name.isdigit() else _field(name)


def _process(each: Mapping[str, Any]) -> str:
    state = 0 if each["ended"] is None else 1
    return f"{each['pid']}|{_field(each['name'])}|{state}&"


def _field(text: str) -> str:
    clean = "".join(c if c not in "|&" and c.isprintable() else "_" for c in text)
    return clean or "_"
