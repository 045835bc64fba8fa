#!/usr/bin/python
"""Documentation of the action of this name; there is nothing to run on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site_ca
short_description: Keep the site's certificate authority and issue certificates for hosts
description:
  - Runs inside the control node's own process, once for all hosts.  Makes the CA (20 years) when
    there is none, and issues, or keeps, a certificate (5 years) for every request.
  - A certificate is issued anew in its last year, when names, addresses or URIs differ, when its
    key is gone, or when another CA signed it.
  - What is returned holds private keys, so the task must say C(no_log).
  - In check mode nothing is written; what is missing is made in memory and returned.
requirements:
  - cryptography
options:
  directory:
    description: Directory of the CA; made with mode 0700.
    type: path
    required: true
  grid:
    description: Name of the grid, for the CA's subject.
    type: str
    required: true
  certificates:
    description: Certificates to have.
    type: list
    elements: dict
    required: true
    suboptions:
      host:
        description: Inventory name of the host.
        type: str
        required: true
      service:
        description: What it is for, as V(node).
        type: str
        required: true
      names:
        description: DNS names.
        type: list
        elements: str
        default: []
      addresses:
        description: IP addresses.
        type: list
        elements: str
        default: []
      uris:
        description: Identities, as V(kcms://node/alpha1).
        type: list
        elements: str
        default: []
  renew:
    description: Issue every certificate anew, with a new key, also where the old one would do.
    type: bool
    default: false
author: KCMS maintainers (@kcms)
attributes:
  check_mode:
    support: full
    description: Writes nothing and returns what there would be.
  diff_mode:
    support: none
    description: Private keys are shown nowhere.
  platform:
    description: The control node.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: Keep the CA and issue certificates
  kcms.cluster.site_ca:
    directory: ~/.config/kcms/lab/pki
    grid: lab
    certificates:
      - host: alpha1
        service: node
        names: [alpha1]
        addresses: [10.0.0.11]
        uris: ["kcms://node/alpha1"]
  run_once: true
  no_log: true
"""

RETURN = r"""
ca:
  description: The CA's certificate, PEM.
  returned: success
  type: str
  sample: "-----BEGIN CERTIFICATE-----\n..."
certificates:
  description: C(certificate) and C(key) of each host and service, PEM.
  returned: success
  type: dict
  sample:
    alpha1:
      node:
        certificate: "-----BEGIN CERTIFICATE-----\n..."
        key: "-----BEGIN PRIVATE KEY-----\n..."
ends:
  description: Day on which the first of the certificates ends.
  returned: success
  type: str
  sample: "2031-11-24"
ca_ends:
  description: Day on which the CA's certificate ends.
  returned: success
  type: str
  sample: "2046-11-24"
reasons:
  description: One line for each thing issued, and why.
  returned: success
  type: list
  elements: str
  sample: ["alpha1/node: there is none"]
"""
