"""What apt is asked on a host, and what its answers mean.

Pure: command lines and texts, no process is started here.  Every apt run works in a directory of
its own (lists and cache), so neither the host's sources, nor its lists, nor its cache change, and
no other apt run on the host is waited for until dpkg itself is needed.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass

SOURCES = ("apt", "mirror", "proxy", "bundle")
PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
URL = re.compile(r"https?://[^/\s]+(/\S*)?")
STATUS_FORMAT = "${binary:Package}\\t${db:Status-Status}\\t${Version}\\n"
BUNDLE_DIRECTORY = "~/.cache/kcms/bundles"
LOCK_SECONDS = 180
POLICY = "/usr/sbin/policy-rc.d"
POLICY_MARK = "# for the time of one installation"
NETWORK_SECONDS = 20

_REMEDY = {
    "apt": "set kcms_packages_source to mirror, proxy or bundle",
    "mirror": "correct kcms_packages_url, or set kcms_packages_source to bundle",
    "proxy": "correct kcms_packages_url, or set kcms_packages_source to bundle",
    "bundle": "build the bundle anew with playbooks/bundle.yml",
}
_NETWORK = re.compile(
    r"could not resolve|failure resolving|could(?: not|n't) connect|unable to connect"
    r"|network is unreachable|no route to host|connection (?:timed out|failed|refused)"
    r"|cannot initiate the connection",
    re.IGNORECASE,
)
_LOCATE = re.compile(r"E: (?:Unable to locate package|Package '?)\s*([a-z0-9][a-z0-9+.-]*)")
_HOST = re.compile(r"https?://([^/\s']+)")


@dataclass(frozen=True)
class Source:
    """Where packages come from: ``kind`` is one of SOURCES; ``url`` is of a mirror or a proxy."""

    kind: str
    url: str = ""


def source_problem(kind: str, url: str) -> str | None:
    """One line that says what is wrong with the choice of source, or None."""
    if kind not in SOURCES:
        return f"kcms_packages_source is {kind!r}; it must be one of {', '.join(SOURCES)}"
    if kind in ("mirror", "proxy") and not URL.fullmatch(url):
        return f"kcms_packages_url is {url!r}; a {kind} needs an address such as http://HOST:PORT/"
    return None


def wrong_names(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that cannot be names of Debian packages."""
    return [name for name in names if not PACKAGE_NAME.fullmatch(name)]


def installed(status: str) -> dict[str, str]:
    """Name (without architecture) to version of what dpkg-query calls installed."""
    found = {}
    for line in status.splitlines():
        name, state, version = [*line.split("\t"), "", ""][:3]
        if state == "installed":
            found[name.split(":")[0]] = version
    return found


def mirror_sources(url: str, release: str, keyring: str) -> str:
    """A sources.list of one mirror; ``keyring`` is empty where apt's trusted keys must do."""
    signed = f"[signed-by={keyring}] " if keyring else ""
    return f"deb {signed}{url.rstrip('/')}/ {release} main\n"


def bundle_sources(directory: str) -> str:
    """A sources.list of an unpacked bundle; its files are checked against the index we sent."""
    return f"deb [trusted=yes] file:{directory} ./\n"


def apt_options(work: str, source: Source) -> list[str]:
    """Options that keep one apt run inside ``work`` and bounded in time."""
    settings = [
        f"Dir::State::lists={work}/lists",
        f"Dir::Cache={work}/cache",
        f"DPkg::Lock::Timeout={LOCK_SECONDS}",
        f"Acquire::http::Timeout={NETWORK_SECONDS}",
        f"Acquire::https::Timeout={NETWORK_SECONDS}",
        "Acquire::Retries=1",
        "Acquire::Languages=none",
        "APT::Update::Error-Mode=any",
        "APT::Color=0",
        "Dpkg::Use-Pty=0",
        "Dpkg::Options::=--force-confdef",
        "Dpkg::Options::=--force-confold",
    ]
    if source.kind == "proxy":
        settings += [f"Acquire::{scheme}::Proxy={source.url}" for scheme in ("http", "https")]
    if source.kind in ("mirror", "bundle"):
        settings += [f"Dir::Etc::SourceList={work}/sources.list", "Dir::Etc::SourceParts=-"]
    # A shell hook of the host (-c is read after its own configuration) must not empty its cache.
    options = ["-c", f"{work}/hooks.conf"]
    return options + [word for setting in settings for word in ("-o", setting)]


def policy_text(pid: int) -> str:
    """What keeps new services down while process ``pid`` installs; without it, it allows all."""
    return (
        f"#!/bin/sh\n{POLICY_MARK}, by process {pid}: nothing new is started\n"
        f'[ "$2" != start ] || [ ! -d /proc/{pid} ] || exit 101\n'
    )


def policy_owner(text: str) -> int | None:
    """The process a policy of ours was written for, 0 when an older release does not say it.

    None for everybody else's policy.
    """
    if POLICY_MARK not in text:
        return None
    found = re.search(rf"{re.escape(POLICY_MARK)}, by process (\d+):", text)
    return int(found.group(1)) if found else 0


HOOKS = "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n"


def update_command(options: list[str]) -> list[str]:
    return ["apt-get", *options, "-qq", "update"]


def install_command(options: list[str], names: Iterable[str], *extra: str) -> list[str]:
    """One installation; ``extra`` such as ``--print-uris`` makes it less than that."""
    words = ["-qq", "-y", "--no-install-recommends", "--no-remove", *extra, "install"]
    return ["apt-get", *options, *words, "--", *names]


def fetched_files(printed: str) -> list[str]:
    """Base names of the files in apt's ``--print-uris`` output (``'URI' FILE SIZE HASH``)."""
    found = re.findall(r"^'([^']+)' ", printed, re.MULTILINE)
    return sorted({urllib.parse.unquote(uri.rsplit("/", 1)[-1]) for uri in found})


def explain(output: str, source: Source) -> str:
    """The one line an operator needs out of a failed apt run."""
    for line in output.splitlines():
        if _NETWORK.search(line):
            where = _HOST.search(f"{source.url if source.kind == 'proxy' else ''} {line}")
            what = where.group(1) if where else "the package source"
            return f"cannot reach {what} for OS packages; {_REMEDY[source.kind]}"
    unknown = sorted(set(_LOCATE.findall(output)))
    if unknown:
        return f"no package source offers {', '.join(unknown)}; {_REMEDY[source.kind]}"
    if "dpkg --configure -a" in output:
        return "dpkg was interrupted on this host before; run: dpkg --configure -a"
    if re.search(r"Could not get lock|Unable to acquire the dpkg", output):
        return f"another package manager held dpkg's lock for {LOCK_SECONDS} s; try again after it"
    errors = [line[3:].strip() for line in output.splitlines() if line.startswith("E: ")]
    last = errors[-1] if errors else (output.strip().splitlines() or ["no output"])[-1]
    return f"apt failed: {last}"
