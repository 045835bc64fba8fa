"""Ansible inventory plugin: the hosts of a grid, grouped by how they are now."""

from __future__ import annotations

DOCUMENTATION = r"""
name: grid
short_description: The hosts of a KCMS grid, grouped by how they are now
description:
  - Asks the page of a KCMS grid, which needs no login to be looked at, for its clusters and hosts,
    and makes an inventory of them with one group a cluster and groups of what the hosts are doing.
  - Groups are one a cluster, C(idle), C(busy) (jobs run there), C(drained), C(down), and
    C(least_loaded), the few that can take work with the lowest load a processor. Where a cluster's
    manager does not answer, idle and busy are told by the load.
  - Hosts have C(ansible_host), C(kcms_cluster_name), C(kcms_state) (up, late or down),
    C(kcms_load), C(kcms_cpus), C(kcms_silence) (seconds) and C(kcms_metrics), and, when their
    manager answers, C(kcms_availability), C(kcms_drained), C(kcms_drain_reason), C(kcms_slots) and
    C(kcms_used).
  - Whoever can change what the page answers chooses the addresses that Ansible logs in at. Over
    C(http) that is everybody on the way; use C(https) with O(ca_path), or host keys that are
    checked. The page's own source, the monitoring packets, is not signed. A host can speak only
    for its own address there, but one that is in no inventory can add itself; limit a play to the
    hosts you know.
author: KCMS maintainers (@kcms)
extends_documentation_fragment:
  - constructed
  - inventory_cache
options:
  plugin:
    description: Says that the file is for this plugin.
    required: true
    choices: [kcms.cluster.grid]
  url:
    description: Address of the page, as V(https://head:8443); the path is added.
    type: str
    required: true
    env:
      - name: KCMS_URL
  validate_certs:
    description: Whether a certificate of the page must be good.
    type: bool
    default: true
  ca_path:
    description: File with the certificate of the CA that signed the page's, PEM.
    type: path
  timeout:
    description: Seconds after which the page is given up.
    type: int
    default: 10
  least_loaded_count:
    description: How many hosts are in the group C(least_loaded).
    type: int
    default: 3
  cluster_prefix:
    description: What the names of the clusters' groups begin with.
    type: str
    default: ""
"""

EXAMPLES = r"""
# grid.kcms.yml; the name of the file must end so
plugin: kcms.cluster.grid
url: http://head:8080

# ansible -i grid.kcms.yml idle -m ansible.builtin.command -a uptime
# ansible-playbook -i inventory/hosts.yml -i grid.kcms.yml update.yml --limit least_loaded

---
# With groups of one's own, and kept for a minute
plugin: kcms.cluster.grid
url: https://head:8443
ca_path: /etc/kcms/tls/ca.pem
cluster_prefix: cluster_
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/kcms/inventory
cache_timeout: 60
groups:
  large: kcms_cpus >= 32
keyed_groups:
  - key: kcms_metrics.os_release
    prefix: kernel
"""

import json
import re
import time
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from ansible.errors import AnsibleParserError
from ansible.module_utils.urls import SSLValidationError, open_url
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.kcms.cluster.plugins.plugin_utils import grid_hosts

try:
    from ansible.template import trust_as_template as plain
except ImportError:  # before 2.19 every text is as good as trusted
    plain = str

PLAIN = re.compile(r"[A-Za-z0-9_.:/ +%,()-]*")
"""Texts that are no template and no beginning of one."""

PATH = "/api/v1/grid"
ANSWER_LIMIT = 64 * 1024 * 1024
PART = 65536


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]
    """Called by Ansible for each inventory source."""

    NAME = "kcms.cluster.grid"

    def verify_file(self, path: str) -> bool:
        """Whether a source is a file for this plugin, by its name."""
        named = path.endswith(("kcms.yml", "kcms.yaml"))
        return named and bool(super().verify_file(path))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill ``inventory``.  :raises AnsibleParserError: one line that says what is wrong"""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        document = self._document(path, cache)
        try:
            found = grid_hosts.read(
                document, self.get_option("least_loaded_count"), self.get_option("cluster_prefix")
            )
        except grid_hosts.GridError as error:
            raise AnsibleParserError(f"{self.get_option('url')}: {error}") from error
        for line in found.warnings:
            self.display.warning(line)
        for group in found.groups:
            self.inventory.add_group(group)
        for host in found.hosts:
            self._add(host)

    def _document(self, path: str, cache: bool) -> Any:
        """What the page says, or said when it was kept."""
        key, kept = self.get_cache_key(path), self.get_option("cache")
        if cache and kept:
            try:
                return self._cache[key]
            except KeyError:
                pass
        document = fetch(
            self.get_option("url"),
            self.get_option("timeout"),
            self.get_option("validate_certs"),
            self.get_option("ca_path"),
        )
        if kept:
            self._cache[key] = document
        return document

    def _add(self, host: grid_hosts.GridHost) -> None:
        self.inventory.add_host(host.name)
        for group in host.groups:
            self.inventory.add_child(group, host.name)
        variables = {name: marked(value) for name, value in host.variables.items()}
        for name, value in variables.items():
            self.inventory.set_variable(host.name, name, value)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, host.name, strict=strict)
        self._add_host_to_composed_groups(
            self.get_option("groups"), variables, host.name, strict=strict
        )
        self._add_host_to_keyed_groups(
            self.get_option("keyed_groups"), variables, host.name, strict=strict
        )


def marked(value: Any) -> Any:
    """``value`` with every text that could be a template marked as none.

    Before 2.19 Ansible would evaluate it, on the control node.  Since then it marks all texts of
    plugins, which ``ansible-inventory`` shows; those that cannot be templates need not be.
    """
    if isinstance(value, dict):
        return {name: marked(each) for name, each in value.items()}
    if not isinstance(value, str):
        return value
    return plain(value) if PLAIN.fullmatch(value) else wrap_var(value)


def fetch(url: str, seconds: float, validate: bool, ca_path: str | None) -> Any:
    """The document at the page.  :raises AnsibleParserError: one line that says what is wrong"""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AnsibleParserError(f"url must be as https://head:8443, not {url!r}")
    address = url if parts.path.rstrip("/") else f"{parts.scheme}://{parts.netloc}{PATH}"
    try:
        answer = open_url(
            address,
            timeout=seconds,
            validate_certs=validate,
            ca_path=ca_path,
            follow_redirects="none",
            headers={"Accept": "application/json"},
        )
        content = whole(answer, address, seconds)
    except HTTPError as error:
        raise AnsibleParserError(f"{address} answered {error.code}{_reason(error)}") from error
    except (SSLValidationError, URLError, OSError, ValueError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise AnsibleParserError(f"cannot read {address}: {reason}") from error
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise AnsibleParserError(f"{address} did not answer in JSON; is it the page?") from error


def whole(answer: Any, address: str, seconds: float) -> bytes:
    """The body.  :raises AnsibleParserError: it is too large, or takes too long as a whole"""
    end = time.monotonic() + seconds
    parts: list[bytes] = []
    size = 0
    while part := answer.read1(PART):
        parts.append(part)
        size += len(part)
        if size > ANSWER_LIMIT:
            raise AnsibleParserError(f"{address} answered more than {ANSWER_LIMIT >> 20} MiB")
        if time.monotonic() > end:
            raise AnsibleParserError(f"{address} did not answer within {seconds:g} s")
    return b"".join(parts)


def _reason(error: HTTPError) -> str:
    """The sentence of the page's error shape, if the answer has one."""
    try:
        message = json.loads(error.read(PART))["error"]["message"]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return f": {' '.join(str(message)[:500].split())}"
