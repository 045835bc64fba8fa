"""The command line: ``python3 -m lab COMMAND``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable

from lab import access, commands, network, proxy, recipe, roots, spec, state
from lab.errors import LabError
from lab.processes import find_inits

_EPILOG = """
The lab is named by LAB (default kcms), its hosts by LAB_HOSTS or --hosts: a word alone is a host
of the head group, NAME=N a cluster of N hosts, as in "head alpha=3 beta=2" (the default).
Two labs of different names may stand at once.  LAB_MIRROR names a package mirror for new roots.
The last line of up, down, add, start, power-off, cut, heal and proxy is "changed" or "unchanged".
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit status."""
    options = _parser().parse_args(argv)
    try:
        options.lab = spec.check_name("lab (LAB=)", os.environ.get("LAB") or spec.DEFAULT_LAB)
        if os.geteuid() != 0:
            raise LabError("lab hosts need root: run it as root, for example with sudo")
        signal.signal(signal.SIGTERM, _interrupt)
        status: int = options.action(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; `up` goes on from here, `down` removes it", file=sys.stderr)
        return 130
    return status


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m lab",
        description="Lab hosts on this machine, for the demo, Molecule and the tests.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands_ = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_whole_lab(commands_)
    _add_single_host(commands_)
    return parser


def _add_whole_lab(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    up = _command(sub, "up", _up, "make the lab stand, or start what has died in it")
    up.add_argument("--hosts", default=os.environ.get("LAB_HOSTS") or None, metavar="SPEC")
    up.add_argument(
        "--fresh", action="store_true", help="remove first what an earlier run left of it"
    )
    _root_options(up, "prepared")
    _command(sub, "down", _down, "remove the lab")
    _command(sub, "status", _status, "the hosts and how they are")
    _command(sub, "inventory", _inventory, "print the path of the inventory")
    _command(sub, "destroy-all", _destroy_all, "remove every lab of this machine")
    root = _command(sub, "root", _root, "build cached roots, or drop the cache")
    root.add_argument("what", choices=("build", "drop"))
    root.add_argument("names", nargs="*", metavar="prepared|bare|bookworm|bookworm-bare")
    proxy_ = _command(sub, "proxy", _proxy, "a proxy for packages, on the bridge")
    proxy_.add_argument("what", choices=("start", "stop"))


def _add_single_host(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    for name, action, text in (
        ("power-off", _power_off, "kill a host at once, as when its power fails"),
        ("start", _start, "switch a host on"),
        ("reboot", _reboot, "restart a host in order"),
        ("cut", _cut, "cut a host off from the network"),
        ("heal", _heal, "undo cut"),
    ):
        _command(sub, name, action, text).add_argument("host")
    execute = _command(sub, "exec", _exec, "run a command on a host as root")
    execute.add_argument("host")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    add = _command(sub, "add", _add, "add one host to the lab")
    add.add_argument("host")
    add.add_argument("--cluster", help="its cluster (default: its name without the number)")
    add.add_argument("--head", action="store_true", help="a host of the head group")
    add.add_argument("--no-route", action="store_true", help="the lab's proxy refuses it")
    _root_options(add, "bare")


def _command(
    sub: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    action: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = sub.add_parser(name, help=text, description=text)
    parser.set_defaults(action=action)
    return parser


def _root_options(parser: argparse.ArgumentParser, kind: str) -> None:
    parser.add_argument("--root", choices=recipe.KINDS, default=kind, help=f"default {kind}")
    parser.add_argument("--release", choices=recipe.RELEASES, default=recipe.RELEASES[0])


def _tell(changed: bool) -> int:
    print("changed" if changed else "unchanged")
    return 0


def _up(options: argparse.Namespace) -> int:
    with state.lock(f"lab-{options.lab}"):
        if options.fresh:
            commands.down(options.lab)
        changed = commands.up(options.lab, options.hosts, options.release, options.root)
    _status(options)
    return _tell(changed)


def _down(options: argparse.Namespace) -> int:
    with state.lock(f"lab-{options.lab}"):
        return _tell(commands.down(options.lab))


def _destroy_all(options: argparse.Namespace) -> int:
    changed = False
    for name in state.names():
        with state.lock(f"lab-{name}"):
            changed = commands.down(name) or changed
    return _tell(changed)


def _status(options: argparse.Namespace) -> int:
    paths, lab = commands.existing(options.lab)
    current = commands.current_roots()
    running = find_inits(host.machine_id for host in lab.hosts)
    links = network.links()
    print(f"lab {lab.name}: {lab.subnet} on {lab.bridge}, inventory {paths.inventory}")
    for host in lab.hosts:
        power = "running" if host.machine_id in running else "off"
        if power == "running" and not links.get(host.link, False):
            power = "running, cut off"
        root = commands.root_name(host)
        old = "" if host.root in current else ", root of an older recipe (down and up renew it)"
        print(
            f"{host.name:<12} {host.cluster or '-':<10} {host.address:<15} {root:<18} {power}{old}"
        )
    if proxy.runs(lab):
        print(f"proxy {proxy.url(lab)}")
    return 0


def _inventory(options: argparse.Namespace) -> int:
    paths, _ = commands.existing(options.lab)
    print(paths.inventory)
    return 0


def _root(options: argparse.Namespace) -> int:
    if options.what == "drop":
        if options.names:
            raise LabError("root drop takes no names: it removes the whole cache")
        roots.drop()
        return 0
    for release, kind in map(recipe.parse_root_name, options.names or ["prepared", "bare"]):
        path, built = roots.ensure(recipe.recipe(release, kind, state.CHECKOUT))
        print(f"{path} {'built' if built else 'was there'}")
    return 0


def _proxy(options: argparse.Namespace) -> int:
    with state.lock(f"lab-{options.lab}"):
        paths, lab = commands.existing(options.lab)
        if options.what == "stop":
            return _tell(proxy.stop(lab))
        network.ensure_bridge(lab)
        changed = proxy.start(lab, paths)
        print(proxy.url(lab))
        return _tell(changed)


def _power_off(options: argparse.Namespace) -> int:
    with state.lock(f"lab-{options.lab}"):
        return _tell(commands.power_off(options.lab, options.host))


def _start(options: argparse.Namespace) -> int:
    with state.lock(f"lab-{options.lab}"):
        return _tell(commands.start(options.lab, options.host))


def _reboot(options: argparse.Namespace) -> int:
    with state.lock(f"lab-{options.lab}"):
        commands.reboot(options.lab, options.host)
    return _tell(True)


def _cut(options: argparse.Namespace) -> int:
    return _tell(commands.set_link(options.lab, options.host, up=False))


def _heal(options: argparse.Namespace) -> int:
    return _tell(commands.set_link(options.lab, options.host, up=True))


def _add(options: argparse.Namespace) -> int:
    name = spec.check_name("host", options.host)
    cluster = None if options.head else options.cluster or spec.cluster_of(name)
    if cluster is not None:
        spec.check_name("cluster", cluster)
    elif not options.head:
        raise LabError(f"{name} names no cluster: say --cluster NAME, or --head for the head group")
    wanted = spec.HostSpec(name, cluster)
    routed = not options.no_route
    with state.lock(f"lab-{options.lab}"):
        changed = commands.add(options.lab, wanted, options.release, options.root, routed)
    return _tell(changed)


def _exec(options: argparse.Namespace) -> int:
    if not options.command:
        raise LabError("exec wants a command after the host's name")
    _, lab = commands.existing(options.lab)
    access.execute(lab.find(options.host), options.command)
    return 0
