"""The Ansible inventory of a lab as text.  Pure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.model import Lab

FIRST_CHANNEL = 71
FIRST_MANAGER_PORT = 8660


def ssh_options(state: Path) -> list[str]:
    """Options of ssh that trust this lab's host keys and no others."""
    options = {
        "UserKnownHostsFile": state / "ssh/known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "ControlPath": state / "ssh/master-%h-%r",
    }
    return [word for key, value in options.items() for word in ("-o", f"{key}={value}")]


def inventory_text(lab: Lab, state: Path) -> str:
    """The inventory: groups kcms_head and kcms_nodes, the latter with a child for each cluster."""
    clusters = lab.clusters()
    heads = {host.name: _host(host.address) for host in lab.hosts if host.cluster is None}
    children = {}
    for number, cluster in enumerate(clusters):
        children[cluster] = {
            "hosts": {h.name: _host(h.address) for h in lab.hosts if h.cluster == cluster},
            "vars": {
                "kcms_cluster": cluster,
                "kcms_channel": f"239.2.11.{FIRST_CHANNEL + number}",
                "kcms_manager_port": FIRST_MANAGER_PORT + number,
            },
        }
    document = {
        "all": {
            "vars": _common(lab, state),
            "children": {"kcms_head": {"hosts": heads}, "kcms_nodes": {"children": children}},
        }
    }
    return f"# The lab {lab.name}; written by `python3 -m lab up`.\n" + to_yaml(document)


def _common(lab: Lab, state: Path) -> dict[str, Any]:
    # No ansible_user: it would silently override `ansible -u alice`; root is the default.
    return {
        "ansible_ssh_private_key_file": str(state / "ssh/id_ed25519"),
        "ansible_ssh_common_args": " ".join(ssh_options(state)),
        "ansible_host_key_checking": True,
        "ansible_python_interpreter": "/usr/bin/python3",
        "kcms_grid": lab.name,
        "kcms_shared_directory": "/shared",
        "kcms_pki_directory": str(state / "pki"),
        "kcms_verify_user": "alice",
    }


def _host(address: str) -> dict[str, str]:
    return {"ansible_host": address, "kcms_address": address}


def admin_vars_text(password: str) -> str:
    """Variables that make Ansible work as ``admin`` with sudo and its password."""
    return to_yaml(
        {"ansible_user": "admin", "ansible_become": True, "ansible_become_password": password}
    )


def to_yaml(document: dict[str, Any], indent: str = "") -> str:
    """Nested mappings as YAML; every scalar in JSON's form, which YAML contains."""
    lines = []
    for key, value in document.items():
        if isinstance(value, dict) and value:
            lines.append(f"{indent}{key}:\n{to_yaml(value, indent + '  ')}")
        else:
            lines.append(f"{indent}{key}: {json.dumps(value)}\n")
    return "".join(lines)
