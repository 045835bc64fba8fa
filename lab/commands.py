"""What the command line does to a lab.  Each caller holds the lab's lock."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import hosts, inventory, limits, network, proxy, recipe, roots, spec, state
from lab.errors import LabError
from lab.launcher import launcher
from lab.model import Host, Lab
from lab.processes import find_init, find_inits
from lab.shell import require_programs, run, succeeds
from lab.state import Paths

_AT_ONCE = 16


def up(name: str, wanted: str | None, release: str, kind: str) -> bool:
    """Make the lab stand with all its hosts; True when anything had to be done.

    ``wanted`` is None for the hosts it has (or the usual ones, when it is new).  Hosts beyond
    ``wanted`` stay.
    """
    require_programs()
    paths = Paths(name)
    lab = state.load(paths)
    text = wanted or (spec.DEFAULT_HOSTS if lab is None else "")
    missing = [h for h in spec.parse_hosts(text) if not _has(lab, h)] if text else []
    root = _root(release, kind) if missing else ""
    if lab is None:
        lab = _found(name, paths)
    for host in missing:
        lab.add(host, root)
    return stand(lab, paths) or bool(missing)


def add(name: str, wanted: spec.HostSpec, release: str, kind: str, proxied: bool) -> bool:
    """Add one host to a lab that stands; True when it is new."""
    require_programs()
    paths, lab = existing(name)
    if _has(lab, wanted):
        return stand(lab, paths)
    lab.add(wanted, _root(release, kind), proxied)
    stand(lab, paths)
    if proxy.runs(lab):
        proxy.start(lab, paths)
    return True


def _has(lab: Lab | None, wanted: spec.HostSpec) -> bool:
    for host in lab.hosts if lab else ():
        if host.name == wanted.name:
            if host.cluster != wanted.cluster:
                place = f"cluster {host.cluster}" if host.cluster else "the head group"
                raise LabError(f"{host.name} is there already, in {place}")
            return True
    return False


def _root(release: str, kind: str) -> str:
    path, _ = roots.ensure(recipe.recipe(release, kind, state.CHECKOUT))
    return str(path)


def current_roots() -> set[str]:
    """Where the roots of today's recipes are, or would be."""
    recipes = (
        recipe.recipe(release, kind, state.CHECKOUT)
        for release in recipe.RELEASES
        for kind in recipe.KINDS
    )
    return {str(roots.CACHE / one.directory) for one in recipes}


def root_name(host: Host) -> str:
    """The release and kind of a host's root, as ``trixie-prepared``."""
    return Path(host.root).name.rpartition("-")[0]


def existing(name: str) -> tuple[Paths, Lab]:
    """The paths and description of a lab that must be there."""
    paths = Paths(name)
    lab = state.load(paths)
    if lab is None:
        raise LabError(f"there is no lab {name}: `python3 -m lab up` makes it (LAB= names another)")
    return paths, lab


def _found(name: str, paths: Paths) -> Lab:
    """Give a new lab its place on this machine, beside all others."""
    with state.lock("places"):
        others = [lab for other in state.names() if (lab := state.load(Paths(other)))]
        taken = network.taken_networks() + [other.network for other in others]
        tag = spec.pick_tag(name, {other.tag for other in others})
        lab = Lab(name, tag, str(spec.pick_subnet(name, taken)))
        state.save(paths, lab)
    return lab


def stand(lab: Lab, paths: Paths) -> bool:
    """Bring everything of a lab to what its description says; True when anything was done."""
    state.save(paths, lab)
    starter = launcher(lab.name)
    files_changed = _write_files(lab, paths)
    changed = network.ensure_bridge(lab) or files_changed
    running = find_inits(host.machine_id for host in lab.hosts)
    dead = [host for host in lab.hosts if host.machine_id not in running]
    if dead:
        limits.check_inotify(len(dead))
        print(f"starting {' '.join(host.name for host in dead)}", flush=True)
    hashed = _password_hash(paths)

    def start(host: Host, _: threading.Event) -> None:
        starter.kill(host.name)
        hosts.prepare(lab, host, paths, hashed)
        hosts.switch_on(host, paths, starter)

    def wait(host: Host, stop: threading.Event) -> None:
        plug(host)
        if hosts.await_ready(host, paths, starter, stop) == "degraded":
            print(f"{host.name}: a service failed (`systemctl --failed` there)", flush=True)

    def plug(host: Host) -> None:
        if host not in dead and network.set_link(host, up=True):
            replugged.append(host)

    replugged: list[Host] = []
    each(dead, start)
    for host in lab.hosts:
        hosts.write_hosts(lab, host, paths)
    each(lab.hosts, wait)
    return changed or bool(dead) or bool(replugged)


def _write_files(lab: Lab, paths: Paths) -> bool:
    """Keys, homes, inventory; True when the inventory changed."""
    hosts.make_homes(paths.shared)
    paths.ssh.mkdir(parents=True, exist_ok=True)
    paths.pki.mkdir(mode=0o700, exist_ok=True)
    hosts.make_key(paths.key, f"lab {lab.name}")
    known = ""
    for host in lab.hosts:
        key = paths.host(host).host_key
        hosts.make_key(key, host.name)
        known += f"{host.address},{host.name} {key.with_suffix('.pub').read_text()}"
    state.write(paths.known_hosts, known)
    if not paths.password.exists():
        state.write(paths.password, secrets.token_urlsafe(15) + "\n", 0o600)
    password = paths.password.read_text(encoding="utf-8").strip()
    changed = state.write(paths.inventory, inventory.inventory_text(lab, paths.top))
    state.write(paths.admin_vars, inventory.admin_vars_text(password), 0o600)
    return changed


def _password_hash(paths: Paths) -> str:
    password = paths.password.read_text(encoding="utf-8")
    return run("openssl", "passwd", "-6", "-stdin", text=password).strip()


def each(which: Iterable[Host], action: Callable[[Host, threading.Event], None]) -> None:
    """Do something to several hosts at once; the first failure ends the waiting for the others."""
    chosen = list(which)
    if not chosen:
        return
    stop = threading.Event()
    with ThreadPoolExecutor(min(len(chosen), _AT_ONCE)) as pool:
        try:
            futures = [pool.submit(action, host, stop) for host in chosen]
            for future in futures:
                future.result()
        finally:
            stop.set()


def down(name: str) -> bool:
    """Remove a lab, from whatever state it is in; True when there was something to remove."""
    paths = Paths(name)
    lab = _try_load(name)
    found = paths.top.exists()
    _end_ssh(paths)
    launcher(name).kill_all()
    for host in lab.hosts if lab else ():
        network.await_no_link(host)
    if lab or (lab := _unremembered(name)):
        network.remove(lab.bridge)
        hosts.forget_machines(f"{lab.tag}-*")
    hosts.unmount(state.HostPaths(paths.top))
    state.remove_tree(paths.top)
    if state.STATE.is_dir() and not any(state.STATE.iterdir()):
        state.STATE.rmdir()
    return found


def _unremembered(name: str) -> Lab | None:
    """The lab as it would have been made, unless another one has its short name."""
    lab = Lab(name, spec.pick_tag(name, set()), "")
    others = [other for one in state.names() if one != name and (other := _try_load(one))]
    return None if lab.tag in {other.tag for other in others} else lab


def _try_load(name: str) -> Lab | None:
    try:
        return state.load(Paths(name))
    except LabError:
        return None


def _end_ssh(paths: Paths, addresses: Iterable[str] = ("*",)) -> None:
    """End the ssh connections that Ansible keeps open, of some hosts or of all."""
    for address in addresses:
        for socket in paths.ssh.glob(f"master-{address}-*"):
            succeeds("ssh", "-o", f"ControlPath={socket}", "-O", "exit", "lab")
            socket.unlink(missing_ok=True)


def power_off(name: str, host_name: str) -> bool:
    """Kill a host at once, as when its power fails."""
    paths, lab = existing(name)
    host = lab.find(host_name)
    _end_ssh(paths, [host.address])
    return hosts.switch_off(host, launcher(name))


def start(name: str, host_name: str) -> bool:
    """Switch a host on that is off, and wait until it is ready."""
    paths, lab = existing(name)
    host = lab.find(host_name)
    starter = launcher(name)
    changed = host.machine_id not in find_inits([host.machine_id])
    if changed:
        limits.check_inotify(1)
        network.ensure_bridge(lab)
        starter.kill(host.name)
        hosts.prepare(lab, host, paths, _password_hash(paths))
        hosts.switch_on(host, paths, starter)
    hosts.await_ready(host, paths, starter, threading.Event())
    return changed


def set_link(name: str, host_name: str, up: bool) -> bool:
    """Cut a host off from the network, or heal it."""
    _, lab = existing(name)
    return network.set_link(lab.find(host_name), up)


def reboot(name: str, host_name: str) -> None:
    """Restart a host in order, its services stopped first, and wait until it is ready."""
    paths, lab = existing(name)
    host = lab.find(host_name)
    init = find_init(host.machine_id)
    if init is None:
        raise LabError(f"{host.name} is off: `python3 -m lab start {host.name}`")
    _end_ssh(paths, [host.address])
    run("nsenter", "--all", f"--target={init}", "--", "systemctl", "reboot")
    end = time.monotonic() + hosts.READY_SECONDS
    while find_init(host.machine_id) in (init, None):
        if time.monotonic() > end:
            raise LabError(f"{host.name} did not restart within {hosts.READY_SECONDS:.0f} s")
        time.sleep(0.1)
    hosts.await_ready(host, paths, launcher(name), threading.Event())
